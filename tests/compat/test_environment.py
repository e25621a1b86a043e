"""Importing is silent and cheap, and an environment that cannot work is refused in one line."""

import inspect
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fire_tf.compat import environment as _environment

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
        "from fire_tf.compat.voxelmorph import ne, tfa, vxm\n"
        "assert ne.backend == vxm.backend == 'tensorflow'\n"
        "assert vars(inspect).get('getargspec') is before\n"
        "assert os.environ['VXM_BACKEND'] == os.environ['NEURITE_BACKEND'] == 'pytorch'\n"
        "assert not any('TFA' in str(entry[1]) for entry in warnings.filters)\n"
        "tfa.layers.InstanceNormalization; vxm.layers.SpatialTransformer; ne.layers.Resize\n"
    )
    result = run_python(code, VXM_BACKEND="pytorch", NEURITE_BACKEND="pytorch")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_import_of_every_module_is_silent():
    code = (
        "import importlib, pkgutil, fire_tf\n"
        "for module in pkgutil.iter_modules(fire_tf.__path__):\n"
        "    importlib.import_module('fire_tf.' + module.name)\n"
    )
    result = run_python(code)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_users_own_log_level_is_kept():
    code = "import os, fire_tf; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert run_python(code, TF_CPP_MIN_LOG_LEVEL="1").stdout == "1\n"
    assert run_python(code).stdout == "3\n"


FAKE_VERSION = """
import sys
from importlib import metadata
installed = metadata.version
def version(name):
    if name == {name!r}:
        fake = {version!r}
        if fake is None:
            raise metadata.PackageNotFoundError(name)
        return fake
    return installed(name)
metadata.version = version
"""


@pytest.mark.parametrize(
    ("name", "version", "found", "fix"),
    [
        ("keras", "3.0.5", "found 3.0.5", "pip install tensorflow==2.15.1 keras==2.15.0"),
        ("keras", "2.16.0", "found 2.16.0", "pip install tensorflow==2.15.1 keras==2.15.0"),
        ("voxelmorph", "0.3", "found 0.3", "pip install voxelmorph==0.2"),
        ("neurite", "0.3.1", "found 0.3.1", "pip install neurite==0.2"),
        ("neurite", None, "found none", "pip install neurite==0.2"),
    ],
)
def test_unfit_package_ends_in_one_line_with_the_fix(name, version, found, fix):
    result = run_python(FAKE_VERSION.format(name=name, version=version) + "import fire_tf")
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: fire_tf needs {name} ")
    assert found in line
    assert line.endswith(fix)


def test_unfit_python_ends_in_one_line_with_the_fix():
    result = run_python("import sys; sys.version_info = (3, 12, 1, 'final', 0)\nimport fire_tf")
    (line,) = result.stderr.splitlines()
    assert line == (
        "error: fire_tf needs Python 3.10 or 3.11, found 3.12 (TensorFlow 2.15 has no wheels for it): "
        "python3.11 -m venv .venv"
    )


def test_refusal_is_an_import_error_and_other_errors_keep_their_traceback():
    code = FAKE_VERSION.format(name="keras", version="3.0") + (
        "try:\n    import fire_tf\nexcept ImportError as error:\n    print(error)\nraise RuntimeError('mine')"
    )
    result = run_python(code)
    assert result.stdout.startswith("fire_tf needs keras 2.15, found 3.0")
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("RuntimeError: mine\n")


def test_patch_releases_are_accepted(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: {"keras": "2.15.3"}.get(name, "0.2.1"))
    assert _environment.find_fault() is None


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
