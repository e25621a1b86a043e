"""Configs: what is read, what is refused and with which words."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from fire_tf.config.loading import find_config, load_config, save_config
from fire_tf.config.schema import Config, DataConfig, LearningRates, Stage
from fire_tf.files.errors import InputError

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))

MINIMAL = """
name: small
data: {source: folders, root: images, ndim: 3, spacing: [1, 1.5, 2], canvas: 64}
stages:
  - {name: only, objective: paper, cycle: [[affine]], steps: 10, batch_size: 2, learning_rate: {affine: 5e-5}}
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(MINIMAL)
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as error:
        load_config(path, overrides)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def test_reads_values_types_and_defaults(small):
    config = load_config(small)
    assert config.data.spacing == (1.0, 1.5, 2.0)
    assert all(isinstance(value, float) for value in config.data.spacing)
    assert config.data.canvas == (64, 64, 64)
    assert config.data.split == {"train": (), "validate": (), "test": ()}
    assert config.stages == (
        Stage(
            "only", "paper", (("affine",),), steps=10, batch_size=2, learning_rate=LearningRates(affine=5e-5)
        ),
    )
    assert config.stages[0].learning_rate.synthesis == 1e-4
    assert config.weights.r_smooth is None
    with pytest.raises(FrozenInstanceError):
        config.seed = 2


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_are_valid_and_survive_a_round_trip(name, tmp_path):
    config = load_config(name)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_saved_file_spells_out_every_default(small, tmp_path):
    save_config(load_config(small), tmp_path / "all.yaml")
    saved = yaml.safe_load((tmp_path / "all.yaml").read_text())
    assert set(saved) == set(Config.__dataclass_fields__)
    assert set(saved["data"]) == set(DataConfig.__dataclass_fields__)
    assert saved["stages"][0]["schedule"] == "constant"


def test_shipped_config_is_found_by_name_and_by_its_path_in_the_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [
        find_config(given) for given in ("demo", "demo.yaml", "configs/demo.yaml", ROOT / "configs/demo.yaml")
    ]
    assert {path.resolve() for path in found} == {ROOT / "configs/demo.yaml"}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/demo.yaml").write_text(MINIMAL)
    assert load_config("configs/demo.yaml").name == "small"  # the user's own file comes first


def test_unknown_config_names_the_known_ones():
    with pytest.raises(InputError, match=r"^demoo: no such file, .*: acdc_2d, cine_2d, demo, "):
        load_config("demoo")


def test_overrides_reach_sections_lists_and_new_keys(small):
    overrides = ["data.root=a b/c", "stages.0.steps=3", "weights.reg_ic=0.5", "deformation.rotation=[0, 10]"]
    config = load_config(
        small, [*overrides, "stages.0.learning_rate.affine=1e-3", "data.canvas=[32, 48, 64]"]
    )
    assert config.data.root == "a b/c"
    assert config.stages[0].steps == 3
    assert config.stages[0].learning_rate.affine == 1e-3
    assert config.weights.reg_ic == 0.5
    assert config.deformation.rotation == (0.0, 10.0)
    assert config.data.canvas == (32, 48, 64)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.canvs=64", "data.canvs: unknown key; nearest known: canvas"),
        ("dat.root=x", "dat: unknown key; nearest known: data"),
        ("data.split.trian=[a]", "data.split.trian: unknown key; nearest known: train"),
        ("stages.0.objective=papr", "stages[0].objective: expected one of aligned, known, paper; got 'papr'"),
        ("stages.0.cycle=[[afine]]", "stages[0].cycle[0][0]: expected one of affine, nonrigid, synthesis"),
        (
            "stages.0.learning_rate.afine=1",
            "stages[0].learning_rate.afine: unknown key; nearest known: affine",
        ),
        ("stages.1.steps=3", "stages.1.steps: expected an index from 0 to 0, got '1'"),
        ("seed.x=3", "seed.x: seed is a value, not a section"),
        ("seed", "expected KEY=VALUE"),
        ("seed=[", "line 1"),
        ("stages=[]", "stages: expected at least one stage"),
        ("mirror=[3]", "mirror[0]: "),
    ],
)
def test_misspelt_overrides_are_refused(small, override, words):
    small.write_text(MINIMAL + "seed: 1\n")
    assert words in refusal(small, override)


def test_slices_are_mirrored_along_their_own_axes_alone(small):
    flat = ["data.ndim=2", "data.spacing=1"]
    assert load_config(small, [*flat, "mirror=[0, 1]"]).mirror == (0, 1)
    assert "mirror: expected axes from 0 to 1, got [2]" in refusal(small, *flat, "mirror=[2]")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=1.5", "seed: expected a whole number, got 1.5"),
        ("seed=true", "seed: expected a whole number, got True"),
        ("stages.0.deform=1", "stages[0].deform: expected true or false, got 1"),
        ("weights.reg_ic=one", "weights.reg_ic: expected a number, got 'one'"),
        ("weights.reg_ic=.nan", "weights.reg_ic: expected a number"),
        ("weights.reg_ic=-1", "weights.reg_ic: expected a number of at least 0, got -1"),
        ("data.split.test=[01]", "data.split.test[0]: expected text (in quotes), got 1"),
        ("data.split={train: [a], test: [a]}", "data.split: 'a' is in train and in test"),
        ("data.canvas=[64, 64]", "data.canvas: expected 3 numbers (ndim), got [64, 64]"),
        ("data.canvas=[64, 64, 66]", "data.canvas[2]: expected a positive multiple of 4, got 66"),
        ("data.spacing=0", "data.spacing[0]: expected a number above 0, got 0"),
        ("data.ndim=4", "data.ndim: expected one of 2, 3; got 4"),
        ("data.min_tissue=5", "data.min_tissue: expected a number in [0, 1], got 5"),
        ("data.root=null", "data.root: missing, source folders needs it"),
        ("data.structures={BS: 1}", "data.structures, a key: expected a whole number, got 'BS'"),
        ("deformation.rotation=20", "deformation.rotation: expected a list, got 20"),
        ("deformation.rotation=[0, 10, 20]", "deformation.rotation: expected a list of 2"),
        ("deformation.rotation=[20, 0]", "deformation.rotation: expected [low, high] with low <= high"),
        (
            "deformation.translation=[0, 20]",
            "deformation.translation[1]: expected a number in [0, 1], got 20",
        ),
        ("threads=0", "threads: expected a number of at least 1, got 0"),
        ("name=a/b", "name: expected the name of a folder under runs/"),
        ("data=3", "data: expected a section with keys, got 3"),
        ("data={root: a}", "data.source: missing"),
        (
            "stages.0.cycle=[[affine, affine]]",
            "stages[0].cycle: expected lists of affine, nonrigid, synthesis",
        ),
    ],
)
def test_wrong_values_are_refused(small, override, words):
    assert words in refusal(small, override)


def test_refusal_names_the_override():
    with pytest.raises(InputError, match=r"demo\.yaml --set seed=x: seed: expected"):
        load_config("demo", ["seed=x"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL + "name: again\n", "line 6: key 'name' is given twice"),
        ("name: [", "line 1"),
        ("- a", "expected keys and values, got ['a']"),
        (MINIMAL.replace("name: small", ""), "name: missing"),
    ],
)
def test_faulty_files_are_refused(small, text, words):
    small.write_text(text)
    assert words in refusal(small)


def test_unreadable_text_is_refused(small):
    small.write_bytes(b"name: \xff\xfe")
    assert "cannot be read" in refusal(small)
