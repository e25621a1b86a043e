"""What an installation holds: configs and weights travel in the wheel and are found there without the clone."""

import configparser
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
CONFIGS = {path.name for path in (ROOT / "configs").glob("*.yaml")}
MODULES = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fire_tf").rglob("*.py")}
WEIGHTS = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fire_tf/weights").glob("*/*")}
COPIED = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "fire_tf/**/*.py", "fire_tf/py.typed")


def run(*command: object, cwd: Path) -> str:
    result = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_containers_hold_versions_that_are_asked_for():
    """containers/constraints.txt, for Python 3.13 on Linux, against setup.cfg."""
    lines = (ROOT / "containers/constraints.txt").read_text().splitlines()
    held = dict(line.split("==") for line in lines if not line.startswith("#"))
    options = configparser.ConfigParser()
    options.read(ROOT / "setup.cfg")
    asked = [options["options"]["install_requires"]]
    asked += [options["options.extras_require"][extra] for extra in ("formats", "gpu")]
    for line in "\n".join(asked).split("\n"):
        requirement = Requirement(line.split("#")[0]) if line.split("#")[0].strip() else None
        if requirement and (
            not requirement.marker or requirement.marker.evaluate({"python_version": "3.13"})
        ):
            assert held[requirement.name.lower()] in requirement.specifier, line


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist built from a copy of what is packaged, so that no build folder appears in the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    for kind in (*COPIED, "fire_tf/weights/*/*", "configs/*.yaml"):
        for path in ROOT.glob(kind):
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    run(sys.executable, "-m", "build", "-o", folder, copy, cwd=folder)
    run(sys.executable, "-m", "twine", "check", "--strict", *folder.glob("fire_tf-*.*"), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (found,) = built.glob("*.whl")
    return found


@pytest.mark.slow
def test_wheel_holds_modules_configs_weights_and_the_type_marker(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packaged = {name for name in names if name.startswith("fire_tf/")}
    assert packaged == {
        "fire_tf/py.typed",
        *MODULES,
        *(f"fire_tf/configs/{name}" for name in CONFIGS),
        *WEIGHTS,
    }
    assert any(name.endswith("LICENSE") for name in names)


@pytest.mark.slow
def test_an_sdist_comes_with_the_wheel(built):
    (sdist,) = built.glob("fire_tf-*.tar.gz")
    assert sdist.stat().st_size > 1_000_000  # it holds the weights too


@pytest.mark.slow
def test_configs_and_weights_are_found_in_an_installed_wheel(wheel, tmp_path):
    installed = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", installed, wheel, cwd=tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "from fire_tf.config.loading import find_config, load_config\n"
        "from fire_tf.model.paths import find_model\n"
        "load_config('demo'); print(find_config('demo')); print(find_config('configs/t1_flair_2d.yaml'))\n"
        "print(find_model('t1_flair_2d'))"
    )
    # -I: neither the working directory nor PYTHONPATH may lead to the clone.
    found = run(sys.executable, "-I", "-c", code, cwd=tmp_path).split()
    expected = ("configs/demo.yaml", "configs/t1_flair_2d.yaml", "weights/t1_flair_2d")
    assert found == [str(installed / "fire_tf" / name) for name in expected]


@pytest.mark.slow
def test_client_and_apply_work_where_tensorflow_is_not_installed(wheel, tmp_path):
    """As docs/serving.md says: the package alone, and the few packages that these two need."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=tmp_path)
    run(python, "-m", "pip", "install", "-q", "-r", ROOT / "requirements/client.txt", cwd=tmp_path)
    values = np.arange(24, dtype=np.float32).reshape(4, 6, 1)
    image, field = (
        nib.Nifti1Image(values, np.eye(4)),
        nib.Nifti1Image(np.zeros((4, 6, 1, 1, 3), np.float32), np.eye(4)),
    )
    field.header.set_intent(1007)
    nib.save(image, tmp_path / "image.nii.gz")
    nib.save(field, tmp_path / "field.nii.gz")
    files = {"transform": "field", "reference": "image", "input": "image", "output": "out"}
    options = [part for name, file in files.items() for part in (f"--{name}", f"{file}.nii.gz")]
    run(python, "-m", "fire_tf", "apply", *options, cwd=tmp_path)
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii.gz").get_fdata(), values)
    asked = ["client", "--server", "127.0.0.1:1", "--moving", "image.nii.gz", "--fixed", "image.nii.gz"]
    command = [python, "-m", "fire_tf", *asked, "--output-prefix", "p_"]
    result = subprocess.run(
        list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "cannot be reached" in result.stderr
    assert (
        run(python, "-c", "import importlib.util as u; print(u.find_spec('tensorflow'))", cwd=tmp_path)
        == "None\n"
    )
