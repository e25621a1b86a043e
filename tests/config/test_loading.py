"""Configs: what is read, what is refused and with which words."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from fire_tf.config.loading import find_config, load_config, save_config
from fire_tf.config.schema import TRAINED, Config, DataConfig, LearningRates, Stage
from fire_tf.files.errors import InputError
from fire_tf.model.objectives import OBJECTIVES

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
    assert config.weights.r_smooth == 0.1
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
        small, [*overrides, "stages.only.learning_rate.affine=1e-3", "data.canvas=[32, 48, 64]"]
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
        ("stages.1.steps=3", "stages.1.steps: expected an index from 0 to 0, got '1'; names: only"),
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
        ("data={rot: a}", "data.rot: unknown key; nearest known: root"),
        ("shading={strenght: [0, 1]}", "shading.strenght: unknown key; nearest known: strength"),
        ("seed={}", "seed: expected a whole number, got {}"),
        ("deformation.rotation=[0]", "deformation.rotation[1]: missing"),
        (
            "data={source: mrbrains, root: images, pairing: unaligned}",
            "data.pairing: source mrbrains has registered images, got unaligned",
        ),
        (
            "data.labels_b=seg",
            "data.labels_b: registered images have one map in common (pairing); give labels",
        ),
        (
            "data={source: folders, root: images, pairing: unaligned, labels: seg}",
            "data.labels: unaligned images have no map in common; give null, and labels_a and labels_b",
        ),
        (
            "data={source: acdc, root: images, labels_a: gt}",
            "data.labels_a: source acdc knows its own, leave the key out",
        ),
        ("search=brains", "search: expected one of heads, hearts; got 'brains'; nearest known: hea"),
        (
            "stages.0.cycle=[[affine, affine]]",
            "stages[0].cycle: expected lists of affine, nonrigid, synthesis",
        ),
    ],
)
def test_wrong_values_are_refused(small, override, words):
    assert words in refusal(small, override)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["stages.0.objective=aligned"],
            "stages[0].cycle: objective aligned does not train affine, it trains synthesis",
        ),
        (
            ["stages.0.objective=known", "stages.0.cycle=[[synthesis]]"],
            "stages[0].cycle: objective known does not",
        ),
    ],
)
def test_groups_that_an_objective_does_not_train_are_refused(small, overrides, words):
    assert words in refusal(small, *overrides)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["stages.0.objective=aligned", "stages.0.cycle=[[synthesis]]", "deformation.rotation=[0, 10]"],
            "objective aligned compares images that lie on each other, give deform: false",
        ),
        (
            ["stages.0.objective=known"],
            "objective known learns the drawn deformation, and deformation draws none",
        ),
        (
            ["stages.0.objective=known", "stages.0.deform=false", "deformation.rotation=[0, 10]"],
            "objective known learns the drawn deformation, and deform is false",
        ),
    ],
)
def test_stages_whose_deformation_does_not_suit_cannot_train(small, overrides, words):
    with pytest.raises(InputError, match=rf"^config small: stages\[0\]\.deform: {words}$"):
        load_config(small, overrides).check_trainable()


def test_what_compares_places_cannot_train_on_unaligned_pairs(small):
    unaligned = ["data.pairing=unaligned", "deformation.rotation=[0, 10]"]
    aligned = ["stages.0.objective=aligned", "stages.0.cycle=[[synthesis]]", "stages.0.deform=false"]
    cause = "aligned compares A with B where they lie, and these pairs are unaligned (data.pairing)"
    with pytest.raises(InputError) as error:
        load_config(small, [*unaligned, *aligned]).check_trainable()
    assert str(error.value).startswith(f"config small: stages[0].objective: {cause}")
    assert "\n" not in str(error.value)
    load_config(small, aligned).check_trainable()
    load_config(small, [*unaligned, "stages.0.objective=known"]).check_trainable()
    load_config(small, unaligned).check_trainable()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_can_train(name):
    load_config(name).check_trainable()


def test_objectives_train_what_the_model_has_a_gradient_for():
    assert {name: set(groups) for name, groups in TRAINED.items()} == {
        name: set(terms) for name, terms in OBJECTIVES.items()
    }


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


# --- configs on configs --------------------------------------------------------------------------------------


def on(base: str, folder: Path, text: str, name: str = "child.yaml") -> Path:
    """A config on another one."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"base: {base}\n{text}")
    return path


def test_a_config_holds_only_what_differs_from_its_base(small):
    below, config = (
        load_config(small),
        load_config(on("small.yaml", small.parent, "data: {spacing: 3}\nseed: 4")),
    )
    assert config.data.spacing == (3.0, 3.0, 3.0)  # a list of the base's is replaced
    assert config.data.canvas == below.data.canvas
    assert (config.seed, config.name, config.stages) == (4, "small", below.stages)


def test_a_base_may_have_a_base_and_lies_where_its_file_sees_it(small):
    middle = on("../small.yaml", small.parent / "a", "seed: 2\nmirror: [0]", "middle.yaml")
    config = load_config(on("a/middle.yaml", small.parent, "seed: 3"), ["mirror=[1]"])
    assert (config.seed, config.mirror, load_config(middle).seed) == (3, (1,), 2)


def test_a_base_may_be_one_that_comes_along(tmp_path):
    config = load_config(on("demo", tmp_path, "name: mine\nnetwork: {residual_blocks: 1}", "demo.yaml"))
    assert (config.name, config.network.residual_blocks) == ("mine", 1)
    assert config.network.filters == load_config("demo").network.filters


def test_single_stages_of_a_base_change(tmp_path):
    text = "stages: {paper: {steps: 3, learning_rate: {affine: 1e-3}}}"
    below, config = load_config("demo"), load_config(on("demo", tmp_path, text))
    assert config.stages[:2] == below.stages[:2]
    assert (config.stages[2].steps, config.stages[2].batch_size) == (3, below.stages[2].batch_size)
    assert config.stages[2].learning_rate == LearningRates(affine=1e-3, nonrigid=1e-4, synthesis=1e-5)


def test_structures_are_a_table_and_replace_the_base_s(tmp_path):
    assert load_config(on("demo", tmp_path, "data: {structures: {8: BS}}")).data.structures == {8: "BS"}


def test_a_saved_config_has_no_base(tmp_path):
    config = load_config(on("demo", tmp_path, "seed: 7"))
    save_config(config, tmp_path / "saved.yaml")
    assert "base" not in yaml.safe_load((tmp_path / "saved.yaml").read_text())
    assert load_config(tmp_path / "saved.yaml") == config


@pytest.mark.parametrize(
    ("base", "text", "words"),
    [
        (
            "nowhere",
            "",
            "/nowhere: no such file, and 'nowhere' is not one of the configs that come along: acdc_2d, ",
        ),
        ("[demo]", "", "base: expected the name or the path of a config, got ['demo']"),
        ("child.yaml", "", "base: a circle, "),
        ("circle.yaml", "", "base: a circle, "),
        ("broken.yaml", "", "broken.yaml: line 1: "),
        (
            "demo",
            "stages: {papr: {steps: 3}}",
            "stages.papr: expected an index from 0 to 2, got 'papr'; names: syn",
        ),
        (
            "demo",
            "stages: {paper: {stps: 3}}",
            "demo.yaml: stages[2].stps: unknown key; nearest known: steps",
        ),
        ("demo", "data: 3", "data: expected a section with keys, got 3"),
    ],
)
def test_faulty_bases_are_refused(tmp_path, base, text, words):
    on("child.yaml", tmp_path, "", "circle.yaml")
    (tmp_path / "broken.yaml").write_text("name: [")
    assert words in refusal(on(base, tmp_path, text))


# --- what follows from the source ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_hearts_and_heads_are_treated_as_such_by_default(name):
    config = load_config(name)
    hearts = config.data.source == "acdc"
    found = (config.data.slice_axis, config.search, config.ants)
    assert found == (("thickest", "hearts", "hearts") if hearts else ("last", "heads", "heads"))
    assert config.data.pairing == ("unaligned" if hearts or "unaligned" in name else "registered")


def test_what_follows_from_the_source_may_be_chosen(small):
    config = load_config(small, ["data.slice_axis=thickest", "search=hearts"])
    assert (config.data.slice_axis, config.search, config.ants) == ("thickest", "hearts", "heads")
    with pytest.raises(ValueError, match="pairing: source acdc has unaligned images, got registered"):
        DataConfig("acdc", "root", pairing="registered")


@pytest.mark.parametrize("base", [False, True])
def test_configs_are_read_however_an_editor_saves_them(small: Path, base: bool) -> None:
    expected, text = load_config(small), small.read_text() + "# Kurven aus München\n"
    path = on("small.yaml", small.parent, "seed: 1") if base else small
    for content in (text.encode("utf-8-sig"), text.replace("\n", "\r\n").encode()):
        small.write_bytes(content)
        assert load_config(path) == expected
    for encoding, cause in (("latin-1", "byte 0xfc in line"), ("utf-16", "it is in UTF-16")):
        small.write_bytes(text.encode(encoding))
        with pytest.raises(InputError, match=rf"small\.yaml: cannot be read: {cause}") as refused:
            load_config(path)
        assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(("ndim", "weight"), [(2, 1.6), (3, 6.4)])
def test_runs_of_earlier_versions_keep_their_lambda(tmp_path, ndim, weight):
    """They saved null for it, and their rule was 2^(2n) / 10; a config that says nothing has the paper's."""
    canvas = [64] * ndim
    saved = tmp_path / "config.yaml"
    text = f"""
name: x
data: {{source: phantom, ndim: {ndim}, spacing: 4, canvas: {canvas}}}
stages: [{{name: a, objective: paper, cycle: [[synthesis]], steps: 1, batch_size: 1}}]
"""
    saved.write_text(text + "weights: {r_smooth: null, syn_fea: 0.5}\n")
    assert load_config(saved).weights.r_smooth == weight
    saved.write_text(text + "weights: {syn_fea: 0.5}\n")
    assert load_config(saved).weights.r_smooth == 0.1
