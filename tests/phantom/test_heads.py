"""The head phantom: shapes and signals against known values, the brains against adult anatomy, the files."""

import csv
import itertools

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from fire_tf.files.errors import InputError
from fire_tf.phantom import heads as phantom_module
from fire_tf.phantom.__main__ import main
from fire_tf.phantom.anatomy import TISSUE_NAMES
from fire_tf.phantom.brain_shapes import CENTRE
from fire_tf.phantom.heads import STRUCTURES, Phantom, generate_subject, write_phantom
from fire_tf.phantom.mr_signal import SEQUENCES, TISSUES, InversionRecovery, Tissue, rician_noise
from fire_tf.phantom.shapes import WaveField, cover, ellipsoid, intersection, tube, union

COARSE = {"shape": (64, 80, 72), "spacing": 2.56}
TINY = {"shape": (12, 14, 10), "spacing": 1.5}  # the middle of the head: quick


@pytest.fixture(scope="module")
def brains() -> list[Phantom]:
    return [generate_subject(seed, **COARSE) for seed in (11, 12)]


def tissue(phantom: Phantom, name: str) -> np.ndarray:
    return phantom.tissues == TISSUE_NAMES.index(name)


# --- shapes -----------------------------------------------------------------------------------------------


def points_at(*positions):
    return tuple(np.array(axis, np.float32) for axis in zip(*positions, strict=True))


def test_distances_of_a_sphere_and_of_a_tube_are_exact():
    points = points_at((5, 0, 0), (1, 2, 2), (0, 0, -9))
    np.testing.assert_allclose(ellipsoid(points, (0, 0, 0), (4, 4, 4)), [1, -1, 5], atol=1e-5)
    path = [(0.0, 0.0, -4.0), (0.0, 0.0, 4.0)]
    np.testing.assert_allclose(tube(points, path, [1.0, 3.0]), [3.0, np.sqrt(5) - 2.5, 4.0], atol=1e-5)


def test_ellipsoid_distance_is_zero_on_its_surface_and_has_unit_slope_there():
    step = 1e-2
    points = points_at((3 - step, 0, 0), (3 + step, 0, 0), (0, -8, 0), (0, -8 - step, 0))
    distance = ellipsoid(points, (0, 0, 0), (3, 8, 5), power=2.5)
    np.testing.assert_allclose(distance, [-step, step, 0, step], atol=2e-4)


def test_union_and_intersection_round_the_joint_only_within_the_blend():
    a, b = np.array([0.0, 0.0, 1.0]), np.array([0.0, 5.0, 2.0])
    np.testing.assert_allclose(union(a, b, 2.0), [-0.5, 0.0, 1.0 - 0.125])
    np.testing.assert_allclose(intersection(a, b, 2.0), [0.5, 5.0, 2.0 + 0.125])


def test_cover_is_the_part_of_a_voxel_on_the_inner_side():
    np.testing.assert_allclose(cover(np.array([-2.0, -0.5, 0.0, 0.5, 2.0]), 2.0), [1, 0.75, 0.5, 0.25, 0])


def test_wave_field_is_standardised_and_the_same_on_a_grid_as_at_points():
    field = WaveField.draw(np.random.default_rng(5), 20.0, 30)
    axes = [np.linspace(start, start + 150, 31, dtype=np.float32) for start in (-80, -110, -60)]
    grid = field.on_grid(axes)
    np.testing.assert_allclose(grid, field(np.meshgrid(*axes, indexing="ij")), atol=2e-3)
    assert abs(grid.mean()) < 0.1
    assert 0.9 < grid.std() < 1.1


# --- signals ----------------------------------------------------------------------------------------------


def test_inversion_recovery_by_hand():
    # T1 1000, TI 1000, TR 3000: 1 - 2/e + 1/e^3 = 0.314028; T2 50, TE 25: e^-0.5 = 0.606531
    assert InversionRecovery(3000, 25, 1000).signal(Tissue(0.5, 1000, 50)) == pytest.approx(
        0.0952338, rel=1e-5
    )
    # White matter in T1: 0.7 (1 - 2 x 0.236382 + 0.049548) 0.950750
    assert SEQUENCES["T1"].signal(TISSUES["white_matter"]) == pytest.approx(0.383868, rel=1e-4)


def test_inversion_recovery_is_a_magnitude_and_vanishes_at_its_null():
    tissue = Tissue(1.0, 800.0, 100.0)
    null = 800.0 * np.log(2.0)
    assert InversionRecovery(1e6, 0.0, null).signal(tissue) == pytest.approx(0.0, abs=1e-12)
    assert InversionRecovery(1e6, 0.0, 0.0).signal(tissue) == pytest.approx(1.0)


def test_contrast_order_of_the_sequences():
    signal = {name: {t: s.signal(values) for t, values in TISSUES.items()} for name, s in SEQUENCES.items()}
    t1, flair, ir = signal["T1"], signal["FLAIR"], signal["IR"]
    assert t1["white_matter"] > t1["thalamus"] > t1["cortex"] > 3 * t1["csf"]
    assert flair["hyperintensity"] > flair["cortex"] > flair["white_matter"] > 5 * flair["csf"]
    assert ir["csf"] > ir["cortex"] > ir["white_matter"]


def test_rician_noise_has_the_moments_of_the_distribution():
    zero = rician_noise(np.zeros(200_000, np.float32), 2.0, np.random.default_rng(1))
    assert zero.mean() == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.01)
    bright = rician_noise(np.full(200_000, 5.0, np.float32), 2.0, np.random.default_rng(2))
    assert np.mean(bright.astype(float) ** 2) == pytest.approx(5.0**2 + 2 * 2.0**2, rel=0.01)


# --- brains -----------------------------------------------------------------------------------------------


def test_arrays_share_the_grid_and_are_zero_outside_the_brain(brains):
    for brain in brains:
        inside = brain.tissues > 0
        assert set(brain.images) == {"T1", "FLAIR", "IR"}
        for image in brain.images.values():
            assert image.shape == COARSE["shape"]
            assert image.dtype == np.uint16
            np.testing.assert_array_equal(image > 0, inside)
            assert np.percentile(image[inside], 99.9) == pytest.approx(1000, abs=1)


def test_labels_are_valid_and_follow_the_tissues(brains):
    for brain in brains:
        assert brain.seg.dtype == brain.tissues.dtype == np.uint8
        assert set(np.unique(brain.seg)) == {0, *STRUCTURES}
        assert set(np.unique(brain.tissues)) <= set(range(len(TISSUE_NAMES)))
        np.testing.assert_array_equal(brain.seg == 1, tissue(brain, "brain_stem"))
        np.testing.assert_array_equal(
            brain.seg == 2, tissue(brain, "cerebellar_cortex") | tissue(brain, "cerebellar_white_matter")
        )
        np.testing.assert_array_equal(
            brain.seg == 3, tissue(brain, "white_matter") | tissue(brain, "hyperintensity")
        )


def test_volumes_are_those_of_adults(brains):
    ranges = {"brain": (1100, 1800), "BS": (13, 33), "CE": (90, 170), "WM": (300, 600)}
    for brain in brains:
        volumes = brain.volumes()
        assert volumes.keys() == ranges.keys()
        for name, (low, high) in ranges.items():
            assert low < volumes[name] < high, name
        cortex = np.count_nonzero(tissue(brain, "cortex")) * 2.56**3 / 1000
        assert 350 < cortex < 800


def test_structures_lie_where_they_belong(brains):
    for brain in brains:
        centre = {
            name: nib.affines.apply_affine(brain.affine, np.argwhere(brain.seg == value).mean(0))
            for value, name in STRUCTURES.items()
        }
        assert abs(centre["BS"][0]) < 6
        assert centre["CE"][1] < centre["BS"][1] - 15 < centre["WM"][1]
        assert centre["WM"][2] > max(centre["BS"][2], centre["CE"][2]) + 25
        per_slice = {value: np.any(brain.seg == value, axis=(0, 1)).sum() for value in STRUCTURES}
        assert all(count > 10 for count in per_slice.values())


def test_brain_is_one_piece_with_two_hemispheres(brains):
    for brain in brains:
        parts, _ = ndimage.label(brain.tissues > 0)
        assert np.bincount(parts.ravel())[1:].max() > 0.99 * np.count_nonzero(brain.tissues)
        white = np.argwhere(brain.seg == 3) @ brain.affine[:3, :3] + brain.affine[:3, 3]
        assert 0.4 < np.mean(white[:, 0] > 0) < 0.6


def test_images_have_the_contrasts_of_their_sequences(brains):
    names = ("csf", "cortex", "white_matter")
    order = {"T1": ("csf", "cortex", "white_matter"), "FLAIR": ("csf", "white_matter", "cortex")}
    order["IR"] = ("white_matter", "cortex", "csf")
    for brain, (modality, expected) in itertools.product(brains, order.items()):
        median = {name: np.median(brain.images[modality][tissue(brain, name)]) for name in names}
        assert sorted(names, key=median.__getitem__) == list(expected)


def test_flair_is_no_monotone_function_of_t1(brains):
    """Between CSF and cortex FLAIR rises with T1, beyond it falls; and grey values leave FLAIR undecided."""
    brain = brains[0]
    inside = brain.tissues > 0
    t1, flair = (brain.images[name][inside].astype(float) for name in ("T1", "FLAIR"))
    bins = np.digitize(t1, np.percentile(t1, np.arange(5, 100, 5)))
    table = np.array([flair[bins == b].mean() for b in range(bins.max() + 1)])
    peak = table.argmax()
    assert 3 < peak < len(table) - 3
    assert table[-1] < 0.9 * table[peak]
    explained = 1 - np.var(flair - table[bins]) / np.var(flair)
    assert explained < 0.9


def test_subjects_differ_in_shape_and_folding(brains):
    first, second = brains
    both = np.count_nonzero((first.seg == 3) & (second.seg == 3))
    dice = 2 * both / (np.count_nonzero(first.seg == 3) + np.count_nonzero(second.seg == 3))
    assert 0.3 < dice < 0.8  # brains, but not the same
    assert abs(first.volumes()["WM"] - second.volumes()["WM"]) > 1


def test_a_seed_decides_everything_and_another_seed_another_brain():
    one, again, other = (generate_subject(seed, **TINY) for seed in (3, 3, 4))
    for name in one.images:
        np.testing.assert_array_equal(one.images[name], again.images[name])
        assert np.any(one.images[name] != other.images[name])
    np.testing.assert_array_equal(one.tissues, again.tissues)
    assert np.any(one.tissues != other.tissues)


def test_a_seed_gives_the_same_anatomy_on_every_grid():
    # The voxels of the odd, finer grid at every third place are the voxels of the coarser one.
    coarse = generate_subject(6, (9, 11, 13), 3.0)
    fine = generate_subject(6, (27, 33, 39), 1.0)
    centres = fine.tissues[1::3, 1::3, 1::3]
    assert np.mean(coarse.tissues == centres) > 0.8
    np.testing.assert_allclose(coarse.affine[:3, 3], fine.affine[:3, 3] + 1.0)


def test_grid_is_centred_on_the_head_and_may_be_anisotropic():
    brain = generate_subject(1, (11, 13, 1), (1.0, 2.0, 5.0))
    np.testing.assert_allclose(brain.affine, [[1, 0, 0, -5], [0, 2, 0, -29], [0, 0, 5, 8], [0, 0, 0, 1]])
    np.testing.assert_allclose(nib.affines.apply_affine(brain.affine, [5, 6, 0]), CENTRE)


@pytest.mark.parametrize(
    ("shape", "spacing", "message"),
    [
        ((8, 8), 1.0, "three positive integers"),
        ((8, 0, 8), 1.0, "three positive"),
        ((8, 8, 8), 0.0, "spacing"),
    ],
)
def test_bad_grids_are_refused(shape, spacing, message):
    with pytest.raises(ValueError, match=message):
        generate_subject(0, shape, spacing)


# --- files ------------------------------------------------------------------------------------------------


def test_written_files_hold_the_phantom_and_its_geometry(tmp_path):
    root = write_phantom(tmp_path / "new" / "data", 2, **TINY, seed=5)
    assert sorted(path.name for path in root.iterdir()) == ["participants.tsv", "sub-01", "sub-02"]
    brain = generate_subject(phantom_module.subject_seed(5, 2), **TINY)
    expected = {**brain.images, "seg": brain.seg, "tissues": brain.tissues}
    assert sorted(p.name for p in (root / "sub-02").iterdir()) == sorted(
        f"{name}.nii.gz" for name in expected
    )
    for name, array in expected.items():
        image = nib.load(root / "sub-02" / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj), array)
        assert image.get_data_dtype() == array.dtype
        np.testing.assert_allclose(image.affine, brain.affine, atol=1e-5)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(image.header.get_zooms(), 1.5)


def test_participants_list_the_volumes(tmp_path):
    root = write_phantom(tmp_path / "data", 2, **TINY)
    with open(root / "participants.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["participant_id"] for row in rows] == ["sub-01", "sub-02"]
    tissues = np.asarray(nib.load(root / "sub-01" / "tissues.nii.gz").dataobj)
    assert float(rows[0]["brain_ml"]) == pytest.approx(np.count_nonzero(tissues) * 1.5**3 / 1000, abs=0.06)


def test_a_subject_does_not_depend_on_how_many_are_written(tmp_path):
    few, many = (write_phantom(tmp_path / str(count), count, **TINY, seed=9) for count in (1, 2))
    first, same = (np.asarray(nib.load(root / "sub-01" / "T1.nii.gz").dataobj) for root in (few, many))
    np.testing.assert_array_equal(first, same)


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(InputError, match="mine"):
        write_phantom(tmp_path / "mine", 1, **TINY)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]


def test_nothing_is_left_behind_after_a_failure(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(phantom_module, "_write_subject", fail)
    with pytest.raises(InputError, match="disk full"):
        write_phantom(tmp_path / "data", 1, **TINY)
    assert list(tmp_path.iterdir()) == []


def test_command_writes_and_reports(tmp_path, capsys):
    arguments = [
        "heads",
        "--output",
        str(tmp_path / "out"),
        "--subjects",
        "1",
        "--shape",
        "6",
        "7",
        "8",
        "--spacing",
        "2",
    ]
    main(arguments)
    assert nib.load(tmp_path / "out" / "sub-01" / "FLAIR.nii.gz").shape == (6, 7, 8)
    assert "1 subjects" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("bad", [["--subjects", "0"], ["--subjects", "1", "--spacing", "-1"]])
def test_command_names_a_bad_value_in_one_line(tmp_path, capsys, bad):
    with pytest.raises(SystemExit) as stop:
        main(["heads", "--output", str(tmp_path / "out"), *bad])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
