"""Importing is silent and cheap, and an environment that cannot work is refused in one line."""

import inspect
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fire_tf.compat import environment

ROOT = Path(__file__).parents[2]


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new interpreter without the variables that this process or pytest has set."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "PYTHON"))}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_import_is_silent_and_leaves_tensorflow_alone():
    result = run_python("import sys, fire_tf; sys.exit('tensorflow' in sys.modules)")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_import_of_tensorflow_and_the_libraries_is_silent_and_leaves_no_patch():
    code = (
        "import inspect, os, warnings\nbefore = vars(inspect).get('getargspec')\n"
        "from fire_tf.networks.spatial import warp\n"
        "from fire_tf.compat.normalization import instance_normalization\n"
        "from fire_tf.compat.voxelmorph import ne, vxm\n"
        "assert ne.backend == vxm.backend == 'tensorflow'\n"
        "assert vars(inspect).get('getargspec') is before\n"
        "assert os.environ['VXM_BACKEND'] == os.environ['NEURITE_BACKEND'] == 'pytorch'\n"
        "instance_normalization(); vxm.layers.SpatialTransformer; ne.layers.Resize\n"
        "assert not any('TFA' in str(entry[1]) for entry in warnings.filters)\n"
    )
    result = run_python(code, VXM_BACKEND="pytorch", NEURITE_BACKEND="pytorch")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_import_of_every_module_is_silent():
    code = (
        "import importlib, pkgutil, fire_tf\n"
        "for module in pkgutil.walk_packages(fire_tf.__path__, 'fire_tf.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
    )
    result = run_python(code)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_users_own_log_level_is_kept():
    code = "import os, fire_tf; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert run_python(code, TF_CPP_MIN_LOG_LEVEL="1").stdout == "1\n"
    assert run_python(code).stdout == "3\n"


FAKE_VERSIONS = """
import os, sys
from importlib import metadata
installed, fake = metadata.version, {versions!r}
def version(name):
    found = fake[name] if name in fake else installed(name)
    if found is None:
        raise metadata.PackageNotFoundError(name)
    return found
metadata.version = version
"""
OLD = {"tensorflow": "2.15.1", "keras": "2.15.0", "voxelmorph": "0.2", "neurite": "0.2"}
NEW = {"tensorflow": "2.21.0", "tf-keras": "2.21.0", "keras": "3.15.1", "voxelmorph": "0.2", "neurite": "0.2"}


@pytest.mark.parametrize(
    ("versions", "variables", "found", "fix"),
    [
        (
            OLD | {"keras": "3.0.5"},
            {},
            "keras 2.15, found 3.0.5",
            "pip install tensorflow==2.15.1 keras==2.15.0",
        ),
        (OLD | {"keras": "2.16.0"}, {}, "found 2.16.0", "pip install tensorflow==2.15.1 keras==2.15.0"),
        (OLD | {"voxelmorph": "0.3"}, {}, "voxelmorph 0.2, found 0.3", "pip install voxelmorph==0.2"),
        (OLD | {"neurite": "0.3.1"}, {}, "neurite 0.2, found 0.3.1", "pip install neurite==0.2"),
        (NEW | {"neurite": None}, {}, "neurite 0.2, found none", "pip install neurite==0.2"),
        (NEW | {"tf-keras": None}, {}, "tf-keras 2.21, found none", "pip install tf-keras==2.21.*"),
        (NEW | {"tf-keras": "2.20.1"}, {}, "found 2.20.1", "pip install tf-keras==2.21.*"),
        (OLD | {"tensorflow": "2.17.1"}, {}, "2.15 or 2.18 to 2.21, found 2.17.1", ""),
        (OLD | {"tensorflow": "2.22.0"}, {}, "found 2.22.0", ""),
        (OLD | {"tensorflow": None}, {}, "found none", ""),
        (OLD, {"TF_USE_LEGACY_KERAS": "1"}, "2.15.1 has Keras 2 anyway", "unset TF_USE_LEGACY_KERAS"),
        (NEW, {"TF_USE_LEGACY_KERAS": "0"}, "chooses Keras 3", "unset TF_USE_LEGACY_KERAS"),
    ],
)
def test_unfit_package_ends_in_one_line_with_the_fix(versions, variables, found, fix):
    result = run_python(FAKE_VERSIONS.format(versions=versions) + "import fire_tf.networks", **variables)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert found in line
    assert line.endswith(fix)


def test_what_needs_no_keras_asks_for_none():
    code = FAKE_VERSIONS.format(versions=dict.fromkeys(NEW)) + (
        "import fire_tf.apply, fire_tf.client, fire_tf.serving.served_model, fire_tf.applying.images\n"
        "assert 'tensorflow' not in sys.modules"
    )
    result = run_python(code)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


@pytest.mark.parametrize(("versions", "legacy"), [(OLD, None), (NEW, "1")])
def test_keras_2_is_chosen_where_tensorflow_brings_keras_3_and_there_alone(versions, legacy):
    code = (
        FAKE_VERSIONS.format(versions=versions)
        + "import fire_tf; print(os.environ.get('TF_USE_LEGACY_KERAS'))"
    )
    assert run_python(code).stdout == f"{legacy}\n"


@pytest.mark.skipif(not environment.brings_keras_3(), reason="this TensorFlow has Keras 2 alone")
def test_tensorflow_that_was_loaded_with_keras_3_is_named():
    result = run_python("import tensorflow, fire_tf\nfrom fire_tf import FIRE")
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: tensorflow was imported with Keras 3 before fire_tf: import fire_tf first")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0)])
def test_unfit_python_ends_in_one_line_with_the_fix(version):
    result = run_python(f"import sys; sys.version_info = {version} + ('final', 0)\nimport fire_tf")
    (line,) = result.stderr.splitlines()
    assert line == (
        f"error: fire_tf needs Python 3.10 to 3.13, found 3.{version[1]} (TensorFlow has no wheels for it that fit): "
        "python3.13 -m venv .venv"
    )


def test_refusal_is_an_import_error_and_other_errors_keep_their_traceback():
    code = FAKE_VERSIONS.format(versions=OLD | {"keras": "3.0"}) + (
        "try:\n    import fire_tf.model\nexcept ImportError as error:\n    print(error)\nraise RuntimeError('mine')"
    )
    result = run_python(code)
    assert result.stdout.startswith("fire_tf needs keras 2.15, found 3.0")
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("RuntimeError: mine\n")


def test_patch_releases_are_accepted(monkeypatch):
    versions = OLD | {"keras": "2.15.3", "voxelmorph": "0.2.1"}
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    monkeypatch.setattr(metadata, "version", lambda name: versions[name])
    assert environment.find_fault() is None


def test_unknown_attribute_is_refused():
    import fire_tf

    with pytest.raises(AttributeError, match="FIRE2"):
        fire_tf.FIRE2  # noqa: B018
    assert "load_model" in dir(fire_tf)


def test_getargspec_stand_in_gives_four_values_and_goes():
    from fire_tf.compat.voxelmorph import _four_value_getargspec

    before = vars(inspect).get("getargspec")
    with _four_value_getargspec():
        assert vars(inspect)["getargspec"](lambda a, b=1: None) == (["a", "b"], None, None, (1,))
    assert vars(inspect).get("getargspec") is before
