"""What an installation holds: configs and weights travel in the wheel and are found there without the clone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFIGS = {path.name for path in (ROOT / "configs").glob("*.yaml")}
MODULES = {path.name for path in (ROOT / "fire_tf").glob("*.py")}
WEIGHTS = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fire_tf/weights").glob("*/*")}


def run(*command: object, cwd: Path) -> str:
    result = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of what is packaged, so that no build folder appears in the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for kind in ("fire_tf/*.py", "fire_tf/py.typed", "fire_tf/weights/*/*", "configs/*.yaml"):
        for path in ROOT.glob(kind):
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, copy, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_holds_modules_configs_weights_and_the_type_marker(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packaged = {name for name in names if name.startswith("fire_tf/")}
    assert packaged == {
        "fire_tf/py.typed",
        *(f"fire_tf/{name}" for name in MODULES),
        *(f"fire_tf/configs/{name}" for name in CONFIGS),
        *WEIGHTS,
    }
    assert any(name.endswith("LICENSE") for name in names)


@pytest.mark.slow
def test_configs_and_weights_are_found_in_an_installed_wheel(wheel, tmp_path):
    installed = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", installed, wheel, cwd=tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "from fire_tf.config.schema import find_config, load_config\n"
        "from fire_tf.model.paths import find_model\n"
        "load_config('demo'); print(find_config('demo')); print(find_config('configs/t1_flair_2d.yaml'))\n"
        "print(find_model('t1_flair_2d'))"
    )
    # -I: neither the working directory nor PYTHONPATH may lead to the clone.
    found = run(sys.executable, "-I", "-c", code, cwd=tmp_path).split()
    expected = ("configs/demo.yaml", "configs/t1_flair_2d.yaml", "weights/t1_flair_2d")
    assert found == [str(installed / "fire_tf" / name) for name in expected]
