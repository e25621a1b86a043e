"""The evaluation as a whole, on made-up pairs whose true deformation is known."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel, brain_like, inverse_affine, labels_of, turned

from fire_tf.config.schema import DataConfig, DeformationConfig
from fire_tf.data.dataset import Sample
from fire_tf.data.deformations import draw_map
from fire_tf.evaluate import main
from fire_tf.evaluation.measure import evaluate, write_scores
from fire_tf.evaluation.methods import Result, TrainedModel, TrueDeformation, Unaligned
from fire_tf.evaluation.pairs import read_pairs
from fire_tf.evaluation.scoring import Scores
from fire_tf.evaluation.summary import differences, format_differences, format_summary, summarise
from fire_tf.files.doubts import Doubt
from fire_tf.files.errors import InputError
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.geometry.reading import pull

SIZE, SPACING = (48, 40), (2.0, 2.0)
TRUE = turned(12, (3.0, -2.0))  # voxels of the moving grid -> voxels of the fixed one, centred
STRUCTURES = {1: "BS", 2: "CE", 3: "WM"}
NAMES = ("T1 onto FLAIR", "FLAIR onto T1")
# ITK's modules warn as they are loaded; where that is an error, the process ends.
SWIG_TYPES = pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")


@pytest.fixture
def pair_folder(tmp_path: Path) -> Path:
    """One pair at one level: the moving image is the fixed one pulled through TRUE."""
    folder = tmp_path / "pairs"
    (folder / "easy" / "p00").mkdir(parents=True)
    (folder / "pairs.csv").write_text("folder,level,subject,slice\neasy/p00,easy,sub-09,3\n")
    fixed = brain_like(SIZE)
    labels = labels_of(fixed)
    to_fixed = AffineMap.centred(TRUE, SIZE)
    positions = to_fixed(grid_points(SIZE))
    arrays = {
        "fixed": fixed,
        "moving": pull(fixed, positions),
        "fixed_seg": labels,
        "moving_seg": pull(labels, positions, nearest=True),
        "gt": ((positions - grid_points(SIZE)) * SPACING).astype(np.float32),
    }
    for name, array in arrays.items():
        nib.save(
            nib.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0])), folder / "easy" / "p00" / f"{name}.nii.gz"
        )
    return folder


def perfect_model() -> KnownModel:
    still = np.zeros((*SIZE, 2))
    return KnownModel(SIZE, SPACING, a_to_b=(inverse_affine(TRUE), still), b_to_a=(TRUE, still))


def rows_of(scores, method: str, direction: str) -> dict[str, float]:
    (row,) = (row for row in scores.pairs if row["method"] == method and row["direction"] == direction)
    return row


def test_true_deformation_is_the_upper_bound_and_unaligned_is_not(pair_folder: Path) -> None:
    scores = evaluate(
        read_pairs(pair_folder), [Unaligned(), TrueDeformation()], structures=STRUCTURES, directions=NAMES
    )
    onto_moving = rows_of(scores, "true deformation", NAMES[1])
    assert onto_moving["dice"] == 1.0  # the moving labels were made so
    assert (
        rows_of(scores, "true deformation", NAMES[0])["dice"] > 0.93
    )  # less two nearest-neighbour roundings
    for direction in NAMES:
        assert rows_of(scores, "unaligned", direction)["dice"] < 0.8
        assert rows_of(scores, "true deformation", direction)["distance_mm"] == pytest.approx(0, abs=1e-3)
        assert rows_of(scores, "true deformation", direction)["consistency_mm"] == pytest.approx(0, abs=1e-3)


def test_unaligned_distance_is_the_length_of_the_deformation(pair_folder: Path) -> None:
    (pair,) = read_pairs(pair_folder)
    scores = evaluate([pair], [Unaligned()], structures=STRUCTURES, directions=NAMES)
    points = grid_points(SIZE)[pair.fixed_labels > 0]
    moved = (AffineMap.centred(TRUE, SIZE)(points) - points) * SPACING
    expected = np.linalg.norm(moved, axis=-1).mean()
    assert rows_of(scores, "unaligned", NAMES[0])["distance_mm"] == pytest.approx(expected, rel=1e-4)


def test_a_model_that_knows_the_truth_scores_like_the_truth(pair_folder: Path) -> None:
    scores = evaluate(
        read_pairs(pair_folder),
        [TrainedModel(perfect_model()), TrueDeformation()],
        structures=STRUCTURES,
        directions=NAMES,
    )
    for direction in NAMES:
        for method in ("FIRE", "FIRE affine"):
            row = rows_of(scores, method, direction)
            assert row["dice"] == pytest.approx(rows_of(scores, "true deformation", direction)["dice"])
            assert row["folded_percent"] == 0
            assert row["seconds"] > 0


def test_the_moving_modality_swaps_the_roles(pair_folder: Path) -> None:
    swapped = perfect_model()
    swapped.phis = {"a_to_b": swapped.phis["b_to_a"], "b_to_a": swapped.phis["a_to_b"]}
    scores = evaluate(
        read_pairs(pair_folder), [TrainedModel(swapped, "FLAIR")], structures=STRUCTURES, directions=NAMES
    )
    assert rows_of(scores, "FIRE", NAMES[1])["dice"] == 1.0


def test_structures_too_small_in_the_target_are_not_scored(pair_folder: Path) -> None:
    (pair,) = read_pairs(pair_folder)
    small = np.where(pair.fixed_labels == 1, 0, pair.fixed_labels)
    small[:7, :7] = 1  # 49 voxels
    pair = type(pair)(**{**vars(pair), "fixed_labels": small})
    scores = evaluate([pair], [Unaligned()], structures=STRUCTURES, directions=NAMES)
    scored = {
        direction: [row["structure"] for row in scores.labels if row["direction"] == direction]
        for direction in NAMES
    }
    assert scored == {NAMES[0]: ["CE", "WM"], NAMES[1]: ["BS", "CE", "WM"]}


def test_tables_and_differences(pair_folder: Path, tmp_path: Path) -> None:
    scores = evaluate(
        list(read_pairs(pair_folder)) * 2,
        [Unaligned(), TrainedModel(perfect_model())],
        structures=STRUCTURES,
        directions=NAMES,
    )
    for number, row in enumerate(scores.labels):
        row["pair"] = f"p{number // (len(scores.labels) // 2)}"
    summary = summarise(scores)
    means = {
        (row["method"], row["structure"]): row["mean"]
        for row in summary
        if row["measure"] == "dice" and row["direction"] == NAMES[0]
    }
    assert means["FIRE", "mean"] == pytest.approx(
        np.mean([means["FIRE", name] for name in STRUCTURES.values()])
    )
    compared = differences(scores, baselines=("unaligned",), ours=("FIRE",))
    by_structure = {row["structure"]: row for row in compared if row["direction"] == NAMES[0]}
    for name in (*STRUCTURES.values(), "mean"):
        assert by_structure[name]["difference"] == pytest.approx(
            means["FIRE", name] - means["unaligned", name]
        )
        assert by_structure[name]["low"] == pytest.approx(by_structure[name]["high"])  # two equal pairs
    assert "FIRE affine" in format_summary(summary)
    assert "FIRE - unaligned" in format_differences(compared)
    write_scores(scores, tmp_path / "out")
    with open(tmp_path / "out" / "pairs.csv", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 2 * 2 * 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "labels.csv",
        "pairs.csv",
        "summary.csv",
    ]


def test_a_difference_is_as_uncertain_as_its_pairs() -> None:
    gains = np.linspace(-0.1, 0.3, 16)
    scores = Scores(
        labels=[
            {
                "level": "l",
                "direction": "d",
                "pair": f"p{i}",
                "subject": "",
                "structure": "WM",
                "method": method,
                "dice": dice,
            }
            for i, gain in enumerate(gains)
            for method, dice in (("FIRE", 0.5 + gain), ("ANTs SyN", 0.5))
        ]
    )
    row = next(row for row in differences(scores) if row["structure"] == "WM")
    assert row["difference"] == pytest.approx(gains.mean())
    error = gains.std(ddof=1) / np.sqrt(16)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_intervals_are_over_subjects_and_say_where_they_are_not() -> None:
    def compared(subjects: int) -> tuple[list[dict], str]:
        gains = np.repeat(np.linspace(-0.1, 0.3, subjects), 32 // subjects)
        labels = [
            {"level": "l", "direction": "d", "pair": f"p{i}", "subject": f"s{i * subjects // 32}"}
            | {"structure": "WM", "method": method, "dice": dice}
            for i, gain in enumerate(gains)
            for method, dice in (("FIRE", 0.5 + gain), ("ANTs SyN", 0.5))
        ]
        rows = differences(Scores(labels=labels))
        return rows, format_differences(rows)

    rows, text = compared(16)
    assert {(row["count"], row["resampled"]) for row in rows} == {(32, "subjects")}
    assert "(32), mean +10.0 [" in text
    assert text.endswith("(32); over subjects")
    wide = rows[0]["high"] - rows[0]["low"]
    error = np.linspace(-0.1, 0.3, 16).std() / np.sqrt(16)
    assert wide == pytest.approx(2 * 1.96 * error, rel=0.15)
    rows, text = compared(2)
    assert {row["resampled"] for row in rows} == {"pairs"}
    assert text.endswith("(32); over pairs, as there are fewer than 3 subjects")


def test_a_structure_that_is_gone_has_the_worst_distance(pair_folder: Path) -> None:
    """Everything is moved out of the field of view: the diagonal of 48 x 40 voxels of 2 mm."""
    (pair,) = read_pairs(pair_folder)
    away = AffineMap(np.array([[1.0, 0.0, 500.0], [0.0, 1.0, 0.0]]))
    scores = evaluate(
        [pair], [lambda pair: [Result("lost", away, away)]], structures=STRUCTURES, directions=NAMES
    )
    assert {row["dice"] for row in scores.labels} == {0.0}
    assert {row["hd95_mm"] for row in scores.labels} == {np.hypot(96, 80)}
    near = evaluate([pair], [Unaligned()], structures=STRUCTURES, directions=NAMES)
    assert max(row["hd95_mm"] for row in near.labels) < 60


def test_every_mean_says_how_many_values_it_rests_on(pair_folder: Path) -> None:
    (pair,) = read_pairs(pair_folder)
    small = np.where(pair.fixed_labels == 1, 0, pair.fixed_labels)
    pairs = [pair, replace(pair, name="other", fixed_labels=small, true_to_fixed=None)]
    methods = [Unaligned(), TrueDeformation()]
    scores = evaluate(pairs, methods, structures=STRUCTURES, directions=NAMES)
    onto_fixed = format_summary(summarise(scores)).split("\n\n")[0].splitlines()
    assert onto_fixed[1].split()[:5] == ["BS", "CE", "WM", "mean", "HD95"]
    counts = {line[:22].strip(): re.findall(r"\((\d+)\)", line) for line in onto_fixed[2:]}
    # One of two has the first structure and a known truth; the other methods were not timed.
    assert counts == {
        "unaligned": ["1", "2", "2", "2", "2", "1", "2", "2", "2", "0"],
        "true deformation": ["1", "1", "1", "1", "1", "1", "1", "1", "1", "0"],
    }


def test_a_level_without_any_structure_stays_in_the_summary(pair_folder: Path) -> None:
    (pair,) = read_pairs(pair_folder)
    nothing = np.zeros_like(pair.fixed_labels)
    blank = replace(pair, level="blank", fixed_labels=nothing, moving_labels=nothing)
    scores = evaluate([pair, blank], [Unaligned()], structures=STRUCTURES, directions=NAMES)
    text = format_summary(summarise(scores))
    assert "blank, T1 onto FLAIR" in text
    assert "- (0)" in text


def relabel(folder: Path, name: str, change) -> None:
    path = folder / "easy" / "p00" / f"{name}.nii.gz"
    image = nib.load(path)
    data, affine = change(np.asarray(image.dataobj), image.affine.copy())
    nib.save(nib.Nifti1Image(data, affine), path)


def shifted(data: np.ndarray, affine: np.ndarray, mm: float) -> tuple[np.ndarray, np.ndarray]:
    affine[1, 3] += mm
    return data, affine


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        (
            {"moving_seg": lambda d, a: (d * 10, a), "fixed_seg": lambda d, a: (d * 10, a)},
            r"hold the values 10, 20, 30, and none of them 50 voxels of one of the structures 1 \(BS\), 2 \(CE\), 3",
        ),
        (
            {"moving_seg": lambda d, a: (d * 10, a)},
            r"easy/p00: its moving label map holds the values 10, 20, 30, none of the structures",
        ),
        ({"fixed_seg": lambda d, a: (d * 0, a), "moving_seg": lambda d, a: (d * 0, a)}, "hold nothing but 0"),
        ({"fixed_seg": lambda d, a: shifted(d, a, 1.0)}, r"fixed_seg\.nii\.gz: lies on another grid"),
        ({"moving_seg": lambda d, a: (d, np.eye(4))}, r"moving_seg\.nii\.gz: lies on another grid"),
        ({"moving_seg": lambda d, a: (d[:-1], a)}, r"moving_seg\.nii\.gz: has shape"),
        ({"gt": lambda d, a: shifted(d, a, 30.0)}, r"gt\.nii\.gz: lies on another grid"),
    ],
)
def test_labels_that_do_not_fit_are_named_before_the_model_is_read(
    pair_folder: Path, tmp_path: Path, monkeypatch, capsys, changes, cause: str
) -> None:
    monkeypatch.setattr("fire_tf.experiments.experiment.load_model", lambda folder: pytest.fail("read"))
    for name, change in changes.items():
        relabel(pair_folder, name, change)
    run = write_run(tmp_path / "run")
    with pytest.raises(SystemExit) as stopped:
        main(["--model", str(run), "--pairs", str(pair_folder), "--output", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert re.match(rf"error: .*{cause}", error)
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_headers_may_be_rounded_and_single_slices_lie_at_any_height(pair_folder: Path) -> None:
    relabel(pair_folder, "fixed_seg", lambda data, affine: shifted(data, affine, 0.1))  # of voxels of 2 mm
    relabel(
        pair_folder, "moving_seg", lambda data, affine: (data, affine + np.eye(4)[2][:, None] * [0, 0, 0, 9])
    )
    assert len(list(read_pairs(pair_folder))) == 1


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--output", "taken"], "taken: cannot be written to"),
        (["--output", "taken/out"], "taken/out: cannot be written to"),
        (["--count", "0"], "--count 0: expected at least 1"),
        (["--seed", "-1"], "--seed -1: expected a number from 0"),
        (["--pairs", "run/../pairs", "--output", "pairs"], "--output pairs: its pairs.csv"),
    ],
)
def test_what_cannot_be_done_is_named_before_anything_is_read(
    tmp_path: Path, monkeypatch, capsys, arguments: list[str], cause: str
) -> None:
    monkeypatch.setattr("fire_tf.evaluation.drawn_pairs.load_subjects", lambda *_: pytest.fail("read"))
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("")
    write_run(tmp_path / "run")
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "run", *arguments])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {cause}")


def test_a_pair_that_is_listed_twice_or_without_a_folder_is_named(pair_folder: Path) -> None:
    for row, line in (("easy/p00,easy,sub-09,3", 3), (",easy,sub-09,3", 3)):
        (pair_folder / "pairs.csv").write_text(f"folder,level,subject,slice\neasy/p00,easy,sub-09,3\n{row}\n")
        with pytest.raises(InputError, match=rf"pairs\.csv: line {line} names no folder, or the same"):
            list(read_pairs(pair_folder))


def test_missing_files_are_named(pair_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pairs\.csv"):
        list(read_pairs(tmp_path / "nowhere"))
    (pair_folder / "easy" / "p00" / "fixed_seg.nii.gz").unlink()
    with pytest.raises(InputError, match="fixed_seg"):
        list(read_pairs(pair_folder))


@pytest.mark.parametrize("shape", [(64, 48), (24, 20, 28)])
def test_drawn_maps_repeat_and_keep_the_brain_inside(shape: tuple[int, ...]) -> None:
    ranges = DeformationConfig(
        rotation=(10, 20), translation=(0.1, 0.2), scale=(0.9, 1.1), peak=(1, 2), control_points=4
    )
    image = np.where(brain_like(shape) > 0, 0.5, -1.0)
    first, again, other = (draw_map(ranges, image, seed) for seed in ((1, 4), (1, 4), (1, 5)))
    points = grid_points(shape)
    np.testing.assert_array_equal(first(points), again(points))
    assert np.abs(first(points) - other(points)).max() > 1
    moved = pull(image, first(points), outside=-1.0) > 0
    border = np.ones(shape, bool)
    border[(slice(1, -1),) * len(shape)] = False
    assert moved.sum() > 0.6 * (image > 0).sum()
    assert not (moved & border).any()
    noise_in_air = np.where(image > 0, image, image + np.random.default_rng(0).uniform(0, 0.05, shape))
    np.testing.assert_array_equal(draw_map(ranges, noise_in_air, (1, 4))(points), first(points))


def write_run(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "name: tiny\n"
        f"data: {{source: folders, root: {folder}, labels: seg, structures: {{1: BS, 2: CE, 3: WM}}, "
        f"split: {{train: [sub-1], test: [sub-2]}}, ndim: 2, spacing: 2.0, canvas: [{SIZE[0]}, {SIZE[1]}], "
        f"cache: {folder / 'cache'}}}\n"
        "deformation: {rotation: [5, 10], translation: [0, 0.05]}\n"
        "stages: [{name: s, objective: aligned, cycle: [[synthesis]], steps: 1, batch_size: 1}]\n"
    )
    return folder


def test_command_on_pairs(pair_folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("fire_tf.experiments.experiment.load_model", lambda folder: perfect_model())
    run = write_run(tmp_path / "run")
    main(["--model", str(run), "--pairs", str(pair_folder), "--output", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "easy, T1 onto FLAIR" in printed
    assert (tmp_path / "out" / "summary.csv").is_file()
    with pytest.raises(SystemExit) as stopped:
        main(["--model", str(run), "--pairs", str(tmp_path)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_command_on_drawn_pairs_and_synthesis(tmp_path: Path, monkeypatch, capsys) -> None:
    samples = [
        Sample(f"sub-{i}", f"sub-{i}_z{z}", image, -image, labels_of(image + 2), SPACING)
        for i in (1, 2)
        for z in (3, 4)
        for image in [
            np.where(brain_like(SIZE, z) > 0, brain_like(SIZE, z) / 500 - 1, -1.0).astype(np.float32)
        ]
    ]

    def load(config: DataConfig, split: str) -> list[Sample]:
        return [sample for sample in samples if sample.subject in config.split[split]]

    monkeypatch.setattr("fire_tf.experiments.experiment.load_model", lambda folder: KnownModel(SIZE, SPACING))
    monkeypatch.setattr("fire_tf.evaluation.drawn_pairs.load_subjects", load)
    monkeypatch.setattr("fire_tf.evaluation.synthesis.load_subjects", load)
    run = write_run(tmp_path / "run")
    main(
        [
            "--model",
            str(run),
            "--split",
            "test",
            "--count",
            "2",
            "--synthesis",
            "--set",
            "deformation.rotation=[8,10]",
        ]
    )
    printed = capsys.readouterr().out
    assert "drawn, T1 onto FLAIR" in printed
    assert "sub-2: synthesised" in printed
    assert (run / "evaluation" / "synthesis.png").stat().st_size > 1000
    with open(run / "evaluation" / "pairs.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["subject"] for row in rows} == {"sub-2"}
    assert len({row["pair"] for row in rows}) == 2
    main(["--model", str(run), "--count", "1", "--subjects", "sub-1"])
    with open(run / "evaluation" / "pairs.csv", newline="") as stream:
        assert {row["subject"] for row in csv.DictReader(stream)} == {"sub-1"}
    with pytest.raises(SystemExit) as stopped:
        main(["--model", str(run), "--count", "1", "--subjects", "sub-9"])
    assert stopped.value.code == 2
    assert "--subjects sub-9: config" in capsys.readouterr().err


def test_ants_finds_the_rotation_both_ways(pair_folder: Path) -> None:
    pytest.importorskip("ants")
    from fire_tf.baselines.ants import Ants

    scores = evaluate(
        read_pairs(pair_folder), [Unaligned(), Ants(starts=1)], structures=STRUCTURES, directions=NAMES
    )
    for direction in NAMES:
        for method in ("ANTs affine, 1 start", "ANTs SyN, 1 start"):
            row = rows_of(scores, method, direction)
            assert row["dice"] > rows_of(scores, "unaligned", direction)["dice"] + 0.1
            assert row["distance_mm"] < 1.5
            assert row["consistency_mm"] < 0.2
    assert {row["baseline"] for row in differences(scores, ours=("unaligned",))} == {
        "ANTs affine, 1 start",
        "ANTs SyN, 1 start",
    }


def test_ants_on_hearts_starts_where_the_patient_lies(pair_folder: Path) -> None:
    pytest.importorskip("ants")
    from fire_tf.baselines.ants import SETTINGS, Ants

    (pair,) = read_pairs(pair_folder)
    for kind, moved in (("hearts", 0.0), ("heads", 1.0)):
        settings = SETTINGS[kind]
        ants = Ants(settings)
        images = [ants._image(pair, which) for which in ("fixed", "moving")]
        start = ants._start(*images, 0.0, pair_folder)
        shift = ants._voxel_affine(start, pair)(np.zeros((1, 2)))
        assert (np.abs(shift).max() > 0.5) == bool(moved)
        briefly = settings._replace(syn={**settings.syn, "reg_iterations": (1,)})
        affine, syn = Ants(briefly, starts=1)(pair)
        before_syn = affine.to_moving if moved else AffineMap.identity(2)
        np.testing.assert_allclose(syn.to_moving.affine.matrix, before_syn.matrix, atol=1e-5)
    assert Ants(SETTINGS["heads"], starts=2)._suffix == ", 2 starts"
    assert [Ants(SETTINGS[kind])._suffix for kind in ("heads", "hearts")] == ["", ""]
    with pytest.raises(ValueError, match="1 to 1, got 3"):
        Ants(SETTINGS["hearts"], starts=3)


@pytest.mark.slow  # ITK takes ten seconds to load
@SWIG_TYPES
def test_elastix_finds_the_rotation_both_ways(pair_folder: Path) -> None:
    pytest.importorskip("itk")
    from fire_tf.baselines.elastix import SETTINGS, Elastix

    settings = SETTINGS["heads"]._replace(angles=(0.0,), iterations=128)
    methods = [Unaligned(), Elastix(settings)]
    scores = evaluate(read_pairs(pair_folder), methods, structures=STRUCTURES, directions=NAMES)
    for direction in NAMES:
        for method in ("elastix affine", "elastix B-spline"):
            row = rows_of(scores, method, direction)
            assert row["dice"] > rows_of(scores, "unaligned", direction)["dice"] + 0.1
            assert row["distance_mm"] < 1.5
            assert row["consistency_mm"] < 0.01  # one is the other's inverse
    baselines = {row["baseline"] for row in differences(scores, ours=("unaligned",))}
    assert baselines == {"elastix affine", "elastix B-spline"}


@pytest.mark.slow  # ITK takes ten seconds to load
@SWIG_TYPES
def test_elastix_that_gives_up_leaves_its_start(pair_folder: Path) -> None:
    pytest.importorskip("itk")
    from fire_tf.baselines.elastix import SETTINGS, Elastix

    (pair,) = read_pairs(pair_folder)
    pair = replace(pair, moving=replace(pair.moving, data=np.arange(4, dtype=np.float32).reshape(2, 2, 1)))
    with pytest.warns(Doubt, match="easy/p00: elastix .* gave up"):
        affine, spline = Elastix(SETTINGS["hearts"])(pair)
    for found in (affine, spline):  # hearts start where they lie
        np.testing.assert_allclose(found.to_moving(np.ones((1, 2))), [[1.0, 1.0]], atol=1e-6)
