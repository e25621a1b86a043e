"""ACDC, from generated trees in the challenge's layout: its patients, the pairs of training and those of test."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf
from fake_model import KnownModel

from fire_tf.compat.voxelmorph import vxm
from fire_tf.config.loading import load_config, save_config
from fire_tf.config.schema import Config, DataConfig, DeformationConfig, Stage
from fire_tf.data.dataset import build_dataset
from fire_tf.evaluate import main
from fire_tf.evaluation.measure import evaluate
from fire_tf.evaluation.methods import Result, TrainedModel, Unaligned
from fire_tf.evaluation.pairs import Pair, acquired_pairs
from fire_tf.evaluation.slicewise import SliceBySlice
from fire_tf.files.errors import InputError
from fire_tf.geometry.images import read_frames, read_image
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.measures.timing import Times
from fire_tf.model.build import build_model, level_strides
from fire_tf.sources import acdc
from fire_tf.sources.find import find_subjects
from fire_tf.training.run import train

SHAPE = (28, 24, 3)
AFFINE = np.diag([1.5, 1.5, 10.0, 1.0])
PHASES, ES = 5, 3  # frame numbers count from 1: ED is frame 1
STRUCTURES = {3: "LV", 2: "Myo"}


def heart(phase: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels of a phase: a cavity 12 voxels long that ends 0, 2, 4, 3, 1 voxels earlier than at ED,
    and 4 voxels of muscle behind it. Nothing moves in the two other directions."""
    end = 16 - (0, 2, 4, 3, 1)[phase]
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:end, 6:18] = 3
    labels[end : end + 4, 6:18] = 2
    slices = np.array([0.0, 40.0, 80.0])  # to be told apart
    image = np.array([100.0, 0.0, 300.0, 700.0])[labels] + slices
    image[0, 0] = 0
    return image.astype(np.int16), labels


def write_patient(
    root: Path, name: str, group: str = "NOR", beat: bool = True, affine: np.ndarray = AFFINE
) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    info = f"ED: 1\nES: {ES}\nGroup: {group}\nHeight: 184.0\nNbFrame: {PHASES}\nWeight: 95.0\n"
    (folder / "Info.cfg").write_text(info)
    images = [heart(phase)[0] for phase in range(PHASES)]
    if beat:
        save(np.stack(images, axis=-1), folder / f"{name}_4d.nii.gz", affine)
    for frame in (1, ES):
        save(images[frame - 1], folder / f"{name}_frame{frame:02d}.nii.gz", affine)
        save(heart(frame - 1)[1], folder / f"{name}_frame{frame:02d}_gt.nii.gz", affine)
    return folder


def save(data: np.ndarray, path: Path, affine: np.ndarray = AFFINE) -> None:
    nib.Nifti1Image(data, affine).to_filename(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The first patient has the whole beat, the second ED and ES alone."""
    write_patient(tmp_path / "training", "patient001")
    write_patient(tmp_path / "training", "patient002", beat=False)
    write_patient(tmp_path / "training", "patient003")
    return tmp_path


@pytest.fixture
def config(root: Path) -> DataConfig:
    return DataConfig(
        source="acdc",
        root=str(root),
        modality_a="ED",
        modality_b="ES",
        structures=STRUCTURES,
        split={"train": ("patient001",), "validate": ("patient002",), "test": ("patient003",)},
        spacing=(1.5,),
        canvas=(28, 24),
        cache=str(root / "cache"),
    )


# --- patients ---------------------------------------------------------------------------------------------


def test_patients_and_their_frames(root: Path, config: DataConfig) -> None:
    found = find_subjects(config)
    (first,), (last,) = found["train"], found["test"]
    folder = root / "training" / "patient001"
    assert (first.a, first.b) == (folder / "patient001_frame01.nii.gz", folder / "patient001_frame03.nii.gz")
    assert [path and path.name for path in first.own_labels] == [
        "patient001_frame01_gt.nii.gz",
        "patient001_frame03_gt.nii.gz",
    ]
    assert first.phases == folder / "patient001_4d.nii.gz"
    assert first.labels is None
    assert last.phases is None  # testing takes ED and ES, though the 4D file is there


@pytest.mark.parametrize("below", ["", "training", "elsewhere"])
def test_the_root_is_the_patients_folder_or_one_above(root: Path, config: DataConfig, below: str) -> None:
    if below == "elsewhere":
        (root / "elsewhere" / "database").mkdir(parents=True)
        (root / "training").rename(root / "elsewhere" / "database" / "training")
    assert len(find_subjects(replace(config, root=str(root / below)))["train"]) == 1


def test_without_a_list_every_group_is_split_alike(tmp_path: Path) -> None:
    """ACDC's 100 training patients: 5 groups of 20 in a row."""
    groups = ("DCM", "HCM", "MINF", "NOR", "RV")
    patients = {f"patient{i + 1:03d}": groups[i // 20] for i in range(100)}
    split = acdc.split_by_group(patients)
    assert [len(split[part]) for part in ("train", "validate", "test")] == [40, 10, 50]
    for index, group in enumerate(groups):
        names = [f"patient{20 * index + i + 1:03d}" for i in range(20)]
        assert [name for name in split["train"] if patients[name] == group] == names[:8]
        assert [name for name in split["validate"] if patients[name] == group] == names[8:10]
        assert [name for name in split["test"] if patients[name] == group] == names[10:]


def test_the_shipped_subset_is_what_the_rule_makes_of_four_patients_a_group() -> None:
    patients = {f"patient{20 * group + i:03d}": str(group) for group in range(5) for i in range(1, 5)}
    assert load_config("cine_2d").data.split == acdc.split_by_group(patients)
    assert not any(load_config("acdc_2d").data.split.values())


def test_the_rule_is_used_where_the_config_has_no_list(root: Path, config: DataConfig) -> None:
    write_patient(root / "training", "patient004", "DCM")
    found = find_subjects(replace(config, split={}))
    assert {part: [files.subject for files in subjects] for part, subjects in found.items()} == {
        "train": ["patient001"],
        "validate": ["patient002", "patient004"],
        "test": ["patient003"],
    }


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("Info.cfg", "Info.cfg: no such file; it says which frames are ED and ES"),
        ("patient001_frame03.nii.gz", "no such file, but Info.cfg says that frame 3 is ES"),
        (
            "patient001_frame01_gt.nii.gz",
            "frame01_gt.nii.gz: no such file, but Info.cfg says that frame 1 is ED",
        ),
    ],
)
def test_what_is_missing_is_named(root: Path, config: DataConfig, missing: str, words: str) -> None:
    (root / "training" / "patient001" / missing).unlink()
    with pytest.raises(InputError) as error:
        find_subjects(config)
    assert words in str(error.value)
    assert str(root / "training" / "patient001") in str(error.value)
    assert "\n" not in str(error.value)


def test_other_mistakes_are_named(root: Path, config: DataConfig) -> None:
    (root / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no folder patientXXX in it, in training or in"):
        find_subjects(replace(config, root=str(root / "empty")))
    with pytest.raises(InputError, match=r"nowhere: no such folder \(data\.root\)"):
        find_subjects(replace(config, root=str(root / "nowhere")))
    with pytest.raises(InputError, match=r"no subject 'patient01', .* nearest found: patient001"):
        find_subjects(replace(config, split={"train": ("patient01",)}))
    with pytest.raises(InputError, match=r"data\.modality_a: expected ED or ES .*, got 'T1'"):
        find_subjects(replace(config, modality_a="T1"))
    (root / "training" / "patient002" / "Info.cfg").write_text("ED: 1\nGroup: NOR\n")
    with pytest.raises(InputError, match=r"patient002/Info\.cfg: has no frame number for ES"):
        find_subjects(config)
    with pytest.raises(ValueError, match="labels: source acdc knows its own"):
        replace(config, labels="gt")


def test_frames_are_read_like_images_and_a_single_one_is_refused(root: Path) -> None:
    folder = root / "training" / "patient001"
    frames = read_frames(folder / "patient001_4d.nii.gz")
    assert len(frames) == PHASES
    still = read_image(folder / "patient001_frame03.nii.gz")
    np.testing.assert_array_equal(frames[ES - 1].data, still.data)
    np.testing.assert_array_equal(frames[ES - 1].affine, still.affine)
    with pytest.raises(InputError, match=r"frame03\.nii\.gz: has shape \(28, 24, 3\), expected a 4D image"):
        read_frames(folder / "patient001_frame03.nii.gz")


# --- the pairs of training --------------------------------------------------------------------------------


def drawn(
    config: DataConfig, count: int, *, aligned: bool, split: str = "train", deform: bool = False
) -> list[dict[str, np.ndarray]]:
    ranges = DeformationConfig(rotation=(2.0, 5.0), peak=(0.5, 1.0), control_points=4) if deform else None
    dataset = build_dataset(
        config,
        ranges,
        None,
        split=split,
        batch_size=1,
        moving="either",
        seed=5,
        repeat=True,
        aligned=aligned,
    )
    return [
        {name: value[0] for name, value in batch.items()} for batch in dataset.take(count).as_numpy_iterator()
    ]


def seen(image: np.ndarray) -> tuple[int, int]:
    """Slice and phase of an image on the canvas, by comparison with what was written."""
    for phase in range(PHASES):
        for index in range(SHAPE[2]):
            original = heart(phase)[0][:, :, index].astype(np.float32)
            # The lowest value becomes -1, the highest 1: nothing in between is interpolated.
            expected = 2 * (original - original.min()) / (original.max() - original.min()) - 1
            if np.abs(image[..., 0] - expected).max() < 2e-3:
                return index, phase
    raise AssertionError("not an image that was written")


def test_pairs_are_two_phases_of_one_slice(config: DataConfig) -> None:
    pairs = [(seen(element["a"]), seen(element["b"])) for element in drawn(config, 200, aligned=False)]
    assert all(a[0] == b[0] and a[1] != b[1] for a, b in pairs)
    phases = {(a[1], b[1]) for a, b in pairs}
    assert len(phases) == PHASES * (PHASES - 1)  # every ordered pair
    assert {a[0] for a, _ in pairs} == {0, 1, 2}


def test_aligned_pairs_are_one_phase_twice(config: DataConfig) -> None:
    pairs = [(seen(element["a"]), seen(element["b"])) for element in drawn(config, 60, aligned=True)]
    assert all(a == b for a, b in pairs)
    assert {a[1] for a, _ in pairs} == set(range(PHASES))


@pytest.mark.parametrize("split", ["train", "validate"])
def test_ed_and_es_are_the_phases_where_there_is_no_beat(config: DataConfig, split: str) -> None:
    alone = replace(config, split={split: ("patient002",)})
    different = [
        (seen(element["a"])[1], seen(element["b"])[1])
        for element in drawn(alone, 20, aligned=False, split=split)
    ]
    assert set(different) == {(0, ES - 1), (ES - 1, 0)}


def test_the_drawn_transform_is_the_truth_of_an_aligned_pair(config: DataConfig) -> None:
    for element in drawn(config, 6, aligned=True, deform=True):
        moved, other = (element["a"], element["b"]) if element["moves_a"] else (element["b"], element["a"])
        warped = vxm.utils.transform(
            tf.constant(other), tf.constant(element["displacement"]), fill_value=-1.0
        ).numpy()
        np.testing.assert_allclose(warped, moved, atol=1e-5)
        assert np.abs(moved - other).max() > 0.1


def test_draws_depend_on_seed_and_number_alone(config: DataConfig) -> None:
    first, again = drawn(config, 5, aligned=False), drawn(config, 5, aligned=False)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one["a"], other["a"])
        np.testing.assert_array_equal(one["b"], other["b"])


def test_a_beat_that_lies_elsewhere_is_refused(root: Path, config: DataConfig) -> None:
    path = root / "training" / "patient001" / "patient001_4d.nii.gz"
    data = np.asarray(nib.load(path).dataobj)
    affine = AFFINE.copy()
    affine[:3, 3] = 1000
    nib.Nifti1Image(data, affine).to_filename(path)
    with pytest.raises(InputError, match=r"patient001_4d\.nii\.gz: nothing of it lies where .*frame01"):
        drawn(config, 1, aligned=True)


# --- the pairs of test ------------------------------------------------------------------------------------


def test_ed_and_es_are_scored_as_acquired(config: DataConfig) -> None:
    """12 rows of cavity at ED and 8 at ES, the latter inside the former; of 4 rows of muscle none in common."""
    (pair,) = acquired_pairs(config, "test", "ED")
    assert (pair.name, pair.subject, pair.level, pair.ndim) == ("patient003", "patient003", "as acquired", 3)
    assert int((pair.moving_labels == 3).sum()) == 12 * 12 * 3
    assert int((pair.fixed_labels == 3).sum()) == 8 * 12 * 3
    scores = evaluate([pair], [Unaligned()], structures=STRUCTURES, directions=("ED onto ES", "ES onto ED"))
    dice = {(row["direction"], row["structure"]): row["dice"] for row in scores.labels}
    for direction in ("ED onto ES", "ES onto ED"):
        assert dice[direction, "LV"] == pytest.approx(2 * 8 / (12 + 8))
        assert dice[direction, "Myo"] == 0
    (back,) = acquired_pairs(config, "test", "ES")
    np.testing.assert_array_equal(back.moving.data, pair.fixed.data)
    np.testing.assert_array_equal(back.moving_labels, pair.fixed_labels)


def test_acquired_pairs_need_a_split_and_labels_on_the_image_grid(root: Path, config: DataConfig) -> None:
    with pytest.raises(InputError, match="split test: the config names no subject"):
        list(acquired_pairs(replace(config, split={"train": ("patient001",)}), "test", "ED"))
    path = root / "training" / "patient003" / "patient003_frame03_gt.nii.gz"
    save(np.zeros((28, 24, 2), np.uint8), path)
    with pytest.raises(InputError, match=r"_gt\.nii\.gz: has shape \(28, 24, 2\), its image \(28, 24, 3\)"):
        list(acquired_pairs(config, "test", "ED"))


class Shift:
    """A method for single slices: it shifts slice z by z + 1 voxels along the first axis, and takes a second."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []

    def __call__(self, pair: Pair) -> list[Result]:
        shift = np.eye(2, 3)
        shift[0, 2] = len(self.pairs) + 1
        self.pairs.append(pair)
        there = AffineMap(shift)
        return [Result("shift", there, there.inverse(), Times(1.0, 2.0))]


def test_slices_are_registered_one_by_one_and_put_together(config: DataConfig) -> None:
    (pair,) = acquired_pairs(config, "test", "ED")
    method = Shift()
    (result,) = SliceBySlice(method, window=(15.0, 1000.0))(pair)
    assert [part.ndim for part in method.pairs] == [2, 2, 2]
    assert (result.method, result.times) == ("shift", Times(3.0, 6.0))
    # 15 mm are 10 of the 28 voxels: from the tenth on.
    for index, part in enumerate(method.pairs):
        np.testing.assert_array_equal(part.moving.data[..., 0], pair.moving.data[9:19, :, index])
        np.testing.assert_array_equal(part.fixed_labels, pair.fixed_labels[9:19, :, index])
        np.testing.assert_allclose(part.fixed.affine[:3, 3], [13.5, 0, 10 * index])
    points = grid_points(SHAPE)
    expected = points + (points[..., 2:] + 1) * np.array([1.0, 0, 0])
    np.testing.assert_allclose(result.to_moving(points), expected)
    np.testing.assert_allclose(result.to_fixed(result.to_moving(points)), points)
    between = result.to_moving(np.array([[3.0, 4.0, 1.4], [3.0, 4.0, 7.0]]))
    np.testing.assert_allclose(between, [[5.0, 4.0, 1.4], [6.0, 4.0, 7.0]])


def test_a_turn_counts_from_the_windows_corner(config: DataConfig) -> None:
    """In-plane maps of a window are maps of its own voxels."""
    (pair,) = acquired_pairs(config, "test", "ED")
    mirror = AffineMap(np.array([[-1.0, 0, 9.0], [0, 1.0, 0]]))  # of a window of 10 voxels
    (result,) = SliceBySlice(lambda part: [Result("mirror", mirror, mirror)], window=(15.0, 1000.0))(pair)
    np.testing.assert_allclose(result.to_moving(np.array([9.0, 5.0, 1.0])), [18.0, 5.0, 1.0])


def test_single_slices_pass_through_and_other_grids_are_refused(config: DataConfig) -> None:
    (pair,) = acquired_pairs(config, "test", "ED")
    method = Shift()
    SliceBySlice(method)(pair)
    single = method.pairs[0]
    assert SliceBySlice(method)(single)
    assert method.pairs[-1] is single
    moved = replace(pair.fixed, affine=pair.fixed.affine + np.eye(4)[:, 3:])
    with pytest.raises(InputError, match=r"frame01\.nii\.gz: lies on another grid than .*frame03"):
        SliceBySlice(method)(replace(pair, fixed=moved))


def squeeze() -> tuple[np.ndarray, np.ndarray]:
    """phi that warps ED onto ES exactly, on the canvas: the cavity's 8 rows are read from 12, the muscle's from 4
    further on."""
    displacement = np.zeros((28, 24, 2))
    rows = np.arange(28)
    displacement[..., 0] = np.interp(rows, [0, 3.5, 11.5, 27], [0, 0, 4, 4])[:, np.newaxis]
    return np.eye(2, 3), displacement


def test_a_2d_model_is_scored_over_the_whole_stack(config: DataConfig) -> None:
    (pair,) = acquired_pairs(config, "test", "ED")
    model = KnownModel((28, 24), (1.5, 1.5), a_to_b=squeeze())
    model.preprocessing = {**model.preprocessing, "modality_a": "ED", "modality_b": "ES"}
    scores = evaluate(
        [pair],
        [SliceBySlice(TrainedModel(model, "ED"), (42.0, 36.0))],
        structures=STRUCTURES,
        directions=("ED onto ES", "ES onto ED"),
    )
    dice = {(row["method"], row["direction"], row["structure"]): row["dice"] for row in scores.labels}
    assert dice["FIRE", "ED onto ES", "LV"] == dice["FIRE", "ED onto ES", "Myo"] == 1
    assert dice["FIRE affine", "ED onto ES", "LV"] == dice["FIRE", "ES onto ED", "LV"] == pytest.approx(0.8)
    onto_es = next(
        row for row in scores.pairs if row["method"] == "FIRE" and "onto ES" in str(row["direction"])
    )
    assert onto_es["folded_everywhere_percent"] == 0
    assert float(onto_es["seconds"]) > 0


def run_config(data: DataConfig, stages: Sequence[Stage] = ()) -> Config:
    return Config("tiny", data, tuple(stages) or (Stage("only", "paper", (("affine",),), 1, 1),))


def test_the_command_scores_hearts_as_they_are(
    root: Path, config: DataConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = KnownModel((28, 24), (1.5, 1.5), a_to_b=squeeze())
    model.preprocessing = {**model.preprocessing, "modality_a": "ED", "modality_b": "ES"}
    monkeypatch.setattr("fire_tf.experiments.experiment.load_model", lambda folder: model)
    (root / "run").mkdir()
    data = replace(config, split={"test": ("patient001", "patient002", "patient003")})
    save_config(run_config(data), root / "run" / "config.yaml")
    main(["--model", str(root / "run"), "--split", "test", "--count", "2"])
    assert "as acquired, ED onto ES" in capsys.readouterr().out
    with open(root / "run" / "evaluation" / "labels.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["subject"] for row in rows} == {"patient001", "patient002"}
    assert {row["structure"] for row in rows} == {"LV", "Myo"}
    found = {row["dice"] for row in rows if row["method"] == "FIRE" and row["direction"] == "ED onto ES"}
    assert found == {"1"}
    with pytest.raises(SystemExit):
        main(["--model", str(root / "run"), "--split", "test", "--synthesis"])
    assert "--synthesis: compares aligned images, and those of tiny are not" in capsys.readouterr().err


# A short axis runs from right to left: the slices are sagittal, in part (rows: world axes; columns: the file's).
TILTED = np.array([[0.0, 0.9, 8.0, 3.0], [-1.2, 0.72, -3.6, 40.0], [-0.9, -0.96, 4.8, 7.0], [0, 0, 0, 1]])


def test_the_slices_of_a_tilted_heart_are_those_of_the_file(root: Path, config: DataConfig) -> None:
    """In RAS order the slices come first: (3, 28, 24), and both in-plane axes are turned round."""
    np.testing.assert_allclose(np.linalg.norm(TILTED[:3, :3], axis=0), [1.5, 1.5, 10.0])
    for name in ("patient001", "patient003"):
        shutil.rmtree(root / "training" / name)
        write_patient(root / "training", name, affine=TILTED)
    assert read_image(root / "training/patient001/patient001_frame01.nii.gz").data.shape == (3, 28, 24)
    for element in drawn(config, 20, aligned=False):
        (index, phase), other = seen(element["a"][::-1, ::-1]), seen(element["b"][::-1, ::-1])
        assert index == other[0]
        assert phase != other[1]
    (pair,) = acquired_pairs(config, "test", "ED")
    np.testing.assert_array_equal(pair.fixed.data, heart(ES - 1)[0][::-1, ::-1])
    np.testing.assert_array_equal(pair.moving_labels, heart(0)[1][::-1, ::-1])
    np.testing.assert_allclose(pair.moving.affine @ [27, 23, 2, 1], TILTED @ [0, 0, 2, 1])
    (as_read,) = acquired_pairs(replace(config, slice_axis="last"), "test", "ED")
    assert as_read.moving.data.shape == as_read.fixed_labels.shape == (3, 28, 24)


# --- strides, and training as a whole ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spacing", "strides"),
    [
        ((1.5, 1.5), [2, 2]),
        ((1.28, 1.28, 1.28), [2, 2, 2]),
        ((1.0, 1.5, 2.0), [2, 2, 2]),
        ((1.5, 1.5, 5.0), [2, 2, 1]),
        ((10.0, 1.5, 1.5), [1, 2, 2]),
    ],
)
def test_no_level_downsamples_along_thick_slices(spacing: tuple[float, ...], strides: list[int]) -> None:
    assert level_strides(spacing) == strides


def stack(config: DataConfig) -> DataConfig:
    return replace(config, ndim=3, spacing=(1.5, 1.5, 5.0), canvas=(28, 24, 8))


def test_the_features_of_a_stack_keep_its_slices(config: DataConfig) -> None:
    settings = run_config(stack(config))
    small = replace(
        settings.network, filters=(2, 2, 2), residual_blocks=0, affine_filters=(2,), nonrigid_filters=2
    )
    model = build_model(replace(settings, network=small))
    assert (model.preprocessing["slice_axis"], model.preprocessing["search"]) == ("thickest", "hearts")
    features = model.encoder(tf.zeros((1, 28, 24, 8, 1)))
    assert features.shape == (1, 7, 6, 8, 2)


@pytest.mark.slow
@pytest.mark.parametrize("solid", [False, True])
def test_training_and_evaluation_run_on_a_heart(root: Path, config: DataConfig, solid: bool) -> None:
    stages = [
        Stage("g", "aligned", (("synthesis",),), 1, 1, deform=False),
        Stage("t", "known", (("affine", "nonrigid"),), 1, 1),
        Stage("all", "paper", (("affine",), ("nonrigid",), ("synthesis",)), 3, 1, deform=False),
    ]
    settings = run_config(stack(config) if solid else config, stages)
    small = replace(
        settings.network, filters=(2, 2, 4), residual_blocks=1, affine_filters=(4,), nonrigid_filters=4
    )
    model = train(replace(settings, network=small), root / "run", quiet=True)
    method = TrainedModel(model, "ED") if solid else SliceBySlice(TrainedModel(model, "ED"))
    scores = evaluate(acquired_pairs(config, "test", "ED"), [method], structures=STRUCTURES)
    assert len(scores.pairs) == 4
    assert all(0 <= float(row["dice"]) <= 1 for row in scores.pairs)
