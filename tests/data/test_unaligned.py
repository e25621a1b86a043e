"""Pairs that nobody aligned: heads that lie 30 mm and 15 degrees apart, with headers that say something else."""

import csv
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel
from scipy import ndimage

from fire_tf.config.loading import save_config
from fire_tf.config.schema import Config, DataConfig, DeformationConfig, Stage
from fire_tf.data.cache import load_split
from fire_tf.data.dataset import build_dataset
from fire_tf.evaluate import main as evaluate
from fire_tf.evaluation.drawn_pairs import draw_pairs
from fire_tf.evaluation.methods import TrainedModel
from fire_tf.evaluation.pairs import acquired_pairs
from fire_tf.evaluation.slicewise import SliceBySlice
from fire_tf.files.doubts import Doubt
from fire_tf.files.errors import InputError
from fire_tf.geometry.canvas import prepare
from fire_tf.geometry.images import read_image
from fire_tf.phantom.heads import Phantom, generate_subject
from fire_tf.train import main as train

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

STEP = 4.0  # mm, of the images; the canvas has 5 mm
CANVAS = (40, 48, 40)
SUBJECTS = ("s1", "s2", "s3")
LIE = np.array([100.0, -40.0, 60.0])  # mm that the FLAIR's header is off


def apart(data: np.ndarray) -> np.ndarray:
    """A head turned by 15 degrees and shifted by 30 mm, in a larger field of view than the canvas."""
    turned = ndimage.rotate(np.pad(data, 10), 15, (0, 1), reshape=False, order=1)
    return ndimage.shift(turned, np.array([5.0, -4.0, 4.0]), order=1)  # 7.5 voxels of 4 mm


def write(data: np.ndarray, path: Path, origin: Sequence[float] = (0, 0, 0)) -> None:
    affine = np.diag([STEP, STEP, STEP, 1.0])
    affine[:3, 3] = origin
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data, affine).to_filename(path)


@pytest.fixture(scope="module")
def head() -> Phantom:
    return generate_subject(0, (40, 48, 44), STEP)


@pytest.fixture(scope="module")
def root(head: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second subject is the first one's mirror image."""
    folder = tmp_path_factory.mktemp("unaligned")
    for name, side in zip(SUBJECTS, (1, -1, 1), strict=True):
        write(np.pad(head.images["T1"], 8)[::side], folder / name / "T1.nii.gz")
        for lie, flair in ((LIE, "FLAIR"), (0 * LIE, "FLAIR_there")):
            write(apart(head.images["FLAIR"][::side]), folder / name / f"{flair}.nii.gz", lie)
    return folder


@pytest.fixture
def config(root: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(
        source="folders",
        root=str(root),
        pairing="unaligned",
        split={"train": ("s1", "s2"), "test": ("s3",)},
        ndim=3,
        spacing=(5.0,),
        canvas=CANVAS,
        cache=str(tmp_path / "cache"),
    )


def elements(
    config: DataConfig, count: int, *, aligned: bool, deform: bool = False
) -> list[dict[str, np.ndarray]]:
    ranges = DeformationConfig(rotation=(2.0, 5.0), peak=(0.5, 1.0), control_points=4) if deform else None
    options = {"split": "train", "moving": "either", "seed": 5, "aligned": aligned}
    batches = build_dataset(config, ranges, None, batch_size=1, repeat=True, **options)
    return [
        {name: value[0] for name, value in batch.items()} for batch in batches.take(count).as_numpy_iterator()
    ]


def middle_of_tissue(image: np.ndarray) -> np.ndarray:
    """Of the smallest box around what is brighter than the background, in voxels."""
    places = np.argwhere(image[..., 0] > -0.9)
    return (places.min(axis=0) + places.max(axis=0)) / 2


def test_either_image_is_centred_on_its_own_tissue_and_is_what_register_sees(
    root: Path, config: DataConfig
) -> None:
    pairs = elements(config, 6, aligned=False)
    seen = {
        (name, kind): prepare(read_image(root / name / f"{kind}.nii.gz"), config.spacing, CANVAS, 99.5).data
        for name in ("s1", "s2")
        for kind in ("T1", "FLAIR")
    }
    found = set()
    for pair in pairs:
        for image in (pair["a"], pair["b"]):
            np.testing.assert_allclose(middle_of_tissue(image), (np.array(CANVAS) - 1) / 2, atol=1)
        (name,) = [n for n in ("s1", "s2") if np.allclose(pair["a"][..., 0], seen[n, "T1"], atol=1e-3)]
        np.testing.assert_allclose(pair["b"][..., 0], seen[name, "FLAIR"], atol=1e-3)
        found.add(name)
    assert found == {"s1", "s2"}


def test_where_the_header_puts_an_image_has_no_influence(config: DataConfig) -> None:
    lying, honest = (
        elements(replace(config, modality_b=flair), 2, aligned=False, deform=True)
        for flair in ("FLAIR", "FLAIR_there")
    )
    for one, other in zip(lying, honest, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])


def test_what_needs_alignment_gets_one_image_twice(root: Path, config: DataConfig) -> None:
    """Either one of the two; undeformed, both roles are equal."""
    kinds = set()
    for pair in elements(config, 12, aligned=True):
        np.testing.assert_array_equal(pair["a"], pair["b"])
        # White matter is brighter than grey matter in T1, where it is darker in FLAIR: so the images differ.
        subjects = load_split(config, "train")
        (kind,) = [
            kind
            for kind in ("a", "b")
            if any(
                np.allclose(pair["a"][..., 0], getattr(subject, kind)[0], atol=1e-3) for subject in subjects
            )
        ]
        kinds.add(kind)
    assert kinds == {"a", "b"}
    for pair in elements(config, 2, aligned=True, deform=True):
        assert np.abs(pair["a"] - pair["b"]).max() > 0.2


def test_registered_and_unaligned_do_not_share_a_cached_subject(root: Path, config: DataConfig) -> None:
    there = replace(config, modality_b="FLAIR_there")
    unaligned = load_split(there, "test")[0]
    with pytest.warns(Doubt, match="does not look aligned"):
        registered = load_split(replace(there, pairing="registered"), "test")[0]
    assert np.abs(registered.b.astype(float) - unaligned.b.astype(float)).max() > 1
    np.testing.assert_array_equal(load_split(there, "test")[0].b, unaligned.b)


# --- single slices ----------------------------------------------------------------------------------------


def sliced(root: Path, folder: Path, config: DataConfig) -> DataConfig:
    """A manifest of single slices of the same heads, each of either image, at different heights."""
    rows = []
    for name, split in zip(SUBJECTS, ("train", "train", "test"), strict=True):
        volumes = {kind: nib.load(root / name / f"{kind}.nii.gz") for kind in ("T1", "FLAIR")}
        for number, (z, other) in enumerate(((28, 36), (34, 42))):
            row = {"subject": f"{name}-{number}", "split": split}
            for kind, height in (("T1", z), ("FLAIR", other)):
                row[kind] = f"{name}-{number}-{kind}.nii.gz"
                write(np.asarray(volumes[kind].dataobj)[:, :, height, None], folder / row[kind])
            rows.append(row)
    with open(folder / "pairs.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    flat = {"ndim": 2, "spacing": (5.0,), "canvas": CANVAS[:2]}
    return replace(config, source="manifest", root=None, manifest=str(folder / "pairs.csv"), split={}, **flat)


def test_slices_are_paired_by_the_rows_of_a_manifest(root: Path, tmp_path: Path, config: DataConfig) -> None:
    flat = sliced(root, tmp_path, config)
    found = load_split(flat, "train")
    assert [subject.subject for subject in found] == ["s1-0", "s1-1", "s2-0", "s2-1"]
    for subject in found:
        for kind, images in (("T1", subject.a), ("FLAIR", subject.b)):
            image = read_image(tmp_path / f"{subject.subject}-{kind}.nii.gz")
            expected = prepare(image, flat.spacing, CANVAS[:2], 99.5).data
            np.testing.assert_allclose(images, expected[None], atol=1e-3)
            np.testing.assert_allclose(
                middle_of_tissue(images[0][..., None]), (np.array(CANVAS[:2]) - 1) / 2, atol=1
            )
    with pytest.raises(InputError, match=r"the split 'train' holds no image with enough tissue"):
        load_split(replace(flat, min_tissue=0.9), "train")


@pytest.mark.filterwarnings("ignore:.*whether they are turned")  # phantoms so coarse that turns are alike
def test_pairs_of_slices_are_scored_as_slices(root: Path, tmp_path: Path, config: DataConfig) -> None:
    flat = replace(sliced(root, tmp_path, config), labels_a="T1", labels_b="FLAIR")  # whole numbers too
    first, second = acquired_pairs(flat, "test", "T1")
    assert (first.name, second.name, first.ndim) == ("s3-0", "s3-1", 2)
    assert first.moving_labels.shape != first.fixed_labels.shape
    model = KnownModel(CANVAS[:2], (5.0, 5.0))
    affine, whole = SliceBySlice(TrainedModel(model))(first)
    assert (affine.method, whole.method) == ("FIRE affine", "FIRE")


def test_the_slices_of_volumes_are_no_pairs(root: Path, config: DataConfig) -> None:
    with pytest.raises(InputError) as error:
        load_split(replace(config, ndim=2, spacing=(5.0,), canvas=CANVAS[:2]), "train")
    assert str(error.value).startswith(f"{root / 's1' / 'T1.nii.gz'}: is a volume")
    assert "manifest" in str(error.value)
    assert "\n" not in str(error.value)


def test_slices_in_3d_are_refused(root: Path, tmp_path: Path, config: DataConfig) -> None:
    flat = sliced(root, tmp_path, config)
    with pytest.raises(InputError, match=r"s1-0-T1\.nii\.gz: is a single slice, expected a volume"):
        load_split(replace(flat, ndim=3, spacing=(5.0,), canvas=CANVAS), "train")


# --- registered pairs that are not --------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
def test_registered_images_that_lie_apart_are_named_once(
    head: Phantom, tmp_path: Path, config: DataConfig, ndim: int
) -> None:
    for name, shift in (("s1", (0, 0, 0)), ("s2", (2, -2, 0)), ("s3", (0, 0, 0))):
        write(head.images["T1"], tmp_path / "data" / name / "T1.nii.gz")
        write(np.roll(head.images["FLAIR"], shift, (0, 1, 2)), tmp_path / "data" / name / "FLAIR.nii.gz")
    registered = replace(
        config,
        root=str(tmp_path / "data"),
        pairing="registered",
        ndim=ndim,
        spacing=(STEP,) * ndim,
        canvas=CANVAS[:ndim],
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_split(registered, "train")
        load_split(registered, "test")
        load_split(registered, "train")  # from the cache
    (doubt,) = [str(warning.message) for warning in caught if warning.category is Doubt]
    assert doubt.startswith(f"s2: {tmp_path / 'data' / 's2' / 'FLAIR.nii.gz'} does not look aligned with ")
    assert "data.pairing: unaligned" in doubt
    assert "\n" not in doubt


# --- the commands -----------------------------------------------------------------------------------------

RUN = """
name: tiny
data: {{source: folders, root: {root}, pairing: unaligned, split: {{train: [s1, s2], validate: [s3]}}, ndim: 3,
       spacing: 10, canvas: [20, 24, 20], cache: {cache}}}
deformation: {{rotation: [0, 20], translation: [0, 0.1], peak: [0, 1], control_points: 3}}
network: {{filters: [2, 3, 4], residual_blocks: 1, affine_filters: [4], affine_maps: 3, affine_units: 5,
          nonrigid_filters: 4, nonrigid_dilations: [1]}}
stages:
  - {{name: only, objective: paper, cycle: [[affine, nonrigid], [synthesis]], steps: 2, batch_size: 1}}
validation: {{batch_size: 1, batches: 1, every: 2}}
"""


@pytest.fixture
def _no_graphs():
    tf.config.run_functions_eagerly(True)  # tracing would take a minute
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("_no_graphs")
@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
def test_a_training_on_unaligned_heads(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(RUN.format(root=root, cache=tmp_path / "cache"))
    arguments = ["--config", str(path), "--output", str(tmp_path / "run"), "--quiet"]
    train(arguments)
    with open(tmp_path / "run" / "metrics.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["step"] == "2"
    assert 0 < float(row["val_reg_acc"]) < np.inf
    assert (tmp_path / "run" / "model" / "config.yaml").is_file()
    arguments[3] = str(tmp_path / "other")
    aligned = ["stages.0.objective=aligned", "stages.0.cycle=[[synthesis]]", "stages.0.deform=false"]
    with pytest.raises(SystemExit) as exit_:
        train([*arguments, *(part for one in aligned for part in ("--set", one))])
    assert exit_.value.code == 2
    assert "stages[0].objective: aligned compares A with B where they lie" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_real_pairs_are_scored_by_the_label_map_of_either_image(
    head: Phantom, tmp_path: Path, config: DataConfig, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The FLAIR is the T1's head, 30 mm away on a grid of another shape: centred on their tissue the two lie on each
    other, and a model that finds the identity scores 1; where the headers put them they have nothing in common."""
    folder = tmp_path / "data" / "s3"
    write(np.pad(head.images["T1"], 8), folder / "T1.nii.gz")
    write(np.pad(head.seg, 8), folder / "T1_seg.nii.gz")
    wide = ((16, 4), (12, 8), (6, 16))
    write(np.pad(head.images["FLAIR"], wide), folder / "FLAIR.nii.gz", 4 * LIE)
    write(np.pad(head.seg, wide), folder / "FLAIR_seg.nii.gz", 4 * LIE)
    split = {"test": ("s3",)}
    maps = {"labels_a": "T1_seg", "labels_b": "FLAIR_seg"}
    canvas = replace(config, root=str(tmp_path / "data"), spacing=(STEP,) * 3, split=split)
    settings = Config("tiny", canvas, (Stage("only", "paper", (("affine",),), 1, 1),))
    monkeypatch.setattr(
        "fire_tf.experiments.experiment.load_model", lambda _: KnownModel(CANVAS, (STEP,) * 3)
    )
    run = tmp_path / "run"
    run.mkdir()
    save_config(settings, run / "config.yaml")
    command = ["--model", str(run), "--split", "test"]
    with pytest.raises(SystemExit):
        evaluate(command)
    assert "T1.nii.gz: has no label map (data.labels_a)" in capsys.readouterr().err
    evaluate([*command, *(part for key, name in maps.items() for part in ("--set", f"data.{key}={name}"))])
    assert "as acquired, T1 onto FLAIR" in capsys.readouterr().out
    with open(run / "evaluation" / "labels.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["structure"] for row in rows} == {"BS", "CE", "WM"}
    assert {row["dice"] for row in rows if row["method"] == "FIRE"} == {"1"}
    assert {row["dice"] for row in rows if row["method"] == "unaligned"} == {"0"}
    with pytest.raises(
        InputError, match=r"^config tiny: pairs are drawn from registered images, and these are"
    ):
        next(draw_pairs(settings, "test", 1, 1, "T1"))


def test_a_manifest_may_leave_cells_of_label_maps_empty(
    root: Path, tmp_path: Path, config: DataConfig
) -> None:
    flat = replace(sliced(root, tmp_path, config), labels_a="seg")
    with pytest.raises(InputError, match=r"pairs\.csv: has no column seg"):
        load_split(flat, "train")
    lines = (tmp_path / "pairs.csv").read_text().splitlines()
    (tmp_path / "pairs.csv").write_text("\n".join([lines[0] + ",seg", *(line + "," for line in lines[1:])]))
    assert len(load_split(flat, "train")) == 4
