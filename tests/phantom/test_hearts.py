"""Generated hearts and what is followed over their beat, against their known motion."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel

from fire_tf.config.schema import DataConfig
from fire_tf.files.errors import InputError
from fire_tf.geometry.images import read_frames
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.phantom.__main__ import main
from fire_tf.phantom.hearts import (
    LEFT_CAVITY,
    MUSCLE,
    Heart,
    contraction,
    generate_beat,
    write_hearts,
)
from fire_tf.series.beat import ejection_fraction, follow_beat, volume_curve
from fire_tf.sources import acdc

SHAPE, SPACING, PHASES = (44, 40, 3), (4.0, 4.0, 10.0), 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hearts") / "cine"
    return write_hearts(folder, 2, shape=SHAPE, spacing=SPACING, phases=PHASES)


def beat_of(root: Path, name: str = "patient001") -> tuple[Path, Path]:
    """The 4D file and its labels of every phase."""
    return root / name / f"{name}_4d.nii.gz", root / name / f"{name}_4d_gt.nii.gz"


def test_patients_are_read_as_acdcs(root: Path) -> None:
    split = {"train": ("patient001",), "test": ("patient002",)}
    config = DataConfig("acdc", str(root), modality_a="ED", modality_b="ES", split=split)
    found = acdc.find_subjects(config)
    (first,), (second,) = found["train"], found["test"]
    assert first.phases is not None
    frames = read_frames(first.phases)
    assert len(frames) == PHASES
    labels = np.asarray(nib.load(beat_of(root, "patient002")[1]).dataobj)
    number = int(acdc.read_info(second.a.parent)["ES"])
    assert number - 1 == np.argmin(volume_curve(beat_of(root, "patient002")[1], LEFT_CAVITY))
    for path, frame in zip(second.own_labels, (0, number - 1), strict=True):
        np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), labels[..., frame])


def test_muscle_keeps_its_volume_while_the_cavity_beats() -> None:
    _, labels = generate_beat(1, (120, 120, 4), (1.2, 1.2, 10.0), 6)
    muscle, cavity = (np.count_nonzero(labels == k, axis=(0, 1, 2)) for k in (MUSCLE, LEFT_CAVITY))
    assert np.ptp(muscle) < 0.02 * muscle.mean()
    assert 0.3 < cavity.min() / cavity.max() < 0.55  # (1 - contraction)^2
    assert cavity.argmax() == 0


def test_the_beat_goes_down_faster_than_up_and_starts_at_end_diastole() -> None:
    curve = contraction(20)
    assert curve[0] == 0
    assert curve[7] == pytest.approx(1)
    assert (np.diff(curve[:8]) > 0).all()
    assert (np.diff(curve[7:]) < 0).all()


def test_tissue_that_is_far_away_stays_and_the_wall_moves_with_the_blood() -> None:
    heart = Heart.draw(np.random.default_rng(0))
    depth = np.zeros(3)
    now = heart.cavity_radius(depth[:1], 1.0)[0]
    points = heart.centre + np.array([[now, 0.0], [0.0, now], [0.0, 95.0]])
    then = heart.at_end_diastole(points, depth, 1.0) - heart.centre
    np.testing.assert_allclose(np.linalg.norm(then, axis=1)[:2], heart.radius)
    np.testing.assert_allclose(then[2], [0.0, 95.0])
    np.testing.assert_allclose(heart.at_end_diastole(points, depth, 0.0), points)


def test_hearts_differ_and_depend_on_their_seed_alone(root: Path, tmp_path: Path, capsys) -> None:
    main(["hearts", "--output", str(tmp_path / "again"), "--patients", "1"])
    assert capsys.readouterr().out.startswith("1 patients in ")
    one, other = (nib.load(beat_of(root, name)[0]).get_fdata() for name in ("patient001", "patient002"))
    assert np.abs(one - other).mean() > 10
    again = write_hearts(tmp_path / "small", 1, shape=SHAPE, spacing=SPACING, phases=PHASES)
    np.testing.assert_array_equal(nib.load(beat_of(again)[0]).get_fdata(), one)
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        write_hearts(root, 1)


# --- following a beat ----------------------------------------------------------------------------------------------


class Doubling(KnownModel):
    """Whatever it sees, it takes B for twice as small as A about the middle of the canvas."""

    def __init__(self, canvas: tuple[int, ...], spacing: tuple[float, ...]):
        eye = np.eye(len(canvas), len(canvas) + 1)
        still = np.zeros((*canvas, len(canvas)))
        half = eye.copy()
        half[0, 0] = half[1, 1] = 0.5
        double = eye.copy()
        double[0, 0] = double[1, 1] = 2.0
        super().__init__(canvas, spacing, (double, still), (half, still))
        self.preprocessing = {**self.preprocessing, "slice_axis": "thickest"}


def blobs(shape: tuple[int, int, int], frames: int) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """A beat whose frames are alike, and labels: a box in every slice, of another size each."""
    points = grid_points(shape)
    labels = np.zeros(shape, np.uint8)
    for index in range(shape[2]):
        labels[8 - index : 16 + index, 6:14, index] = 3
    image = np.exp(-((points[..., :2] - 10) ** 2).sum(-1) / 40) * 500 + 10 * points[..., 2]
    affine = np.array([[-2.0, 0, 0, 5], [0, 2.0, 0, -7], [0, 0, 8.0, 1], [0, 0, 0, 1]])
    series = nib.Nifti1Image(np.stack([image] * frames, -1).astype(np.float32), affine)
    series.header.set_zooms((2, 2, 8, 40))
    series.header.set_xyzt_units("mm", "msec")
    return series, nib.Nifti1Image(labels, affine)


@pytest.mark.parametrize("rank", [2, 3])
def test_labels_are_carried_to_every_frame(rank: int) -> None:
    """The reference is B and a frame A, so that labels come to a frame twice as large as they are."""
    beat, labels = blobs((24, 20, 3), 4)
    canvas, spacing = ((24, 20), (2.0, 2.0)) if rank == 2 else ((24, 20, 3), (2.0, 2.0, 8.0))
    followed = follow_beat(Doubling(canvas, spacing), beat, labels, 2)
    assert followed.labels.shape == followed.still.shape == (24, 20, 3, 4)
    assert followed.labels.get_data_dtype() == np.uint8
    assert followed.labels.header.get_zooms() == pytest.approx((2, 2, 8, 40))
    np.testing.assert_array_equal(followed.still.affine, beat.affine)
    carried = np.asarray(followed.labels.dataobj)
    before, after = volume_curve(labels, 3), volume_curve(followed.labels, 3)
    np.testing.assert_allclose(before, [(8 + 10 + 12) * 8 * 0.032])
    np.testing.assert_allclose(after, np.full(4, 4 * before[0]))
    for index in range(3):
        assert np.ptp(carried[..., index, :], axis=-1).max() == 0  # alike in every frame
    # Voxel (6, 5) of the reference is read at 2 p - 11.5 and 2 p - 9.5: in the middle of four voxels.
    frame = beat.get_fdata()[..., 0]
    np.testing.assert_allclose(
        followed.still.get_fdata()[6, 5, :, 0], frame[0:2, 0:2].mean(axis=(0, 1)), rtol=1e-5
    )


def test_a_model_that_sees_no_motion_finds_none(root: Path) -> None:
    beat, truth = beat_of(root)
    ed = nib.load(truth).slicer[..., 0]
    model = KnownModel(SHAPE[:2], SPACING[:2])
    model.preprocessing = {**model.preprocessing, "slice_axis": "thickest"}
    followed = follow_beat(model, beat, ed, 0)
    np.testing.assert_array_equal(
        followed.labels.get_fdata(), np.repeat(ed.get_fdata()[..., np.newaxis], PHASES, axis=-1)
    )
    np.testing.assert_allclose(followed.still.get_fdata(), nib.load(beat).get_fdata(), atol=1e-3)
    assert ejection_fraction(volume_curve(followed.labels, LEFT_CAVITY)) == 0
    assert 40 < ejection_fraction(volume_curve(truth, LEFT_CAVITY)) < 75


def test_labels_must_lie_on_the_grid_of_the_beat() -> None:
    beat, labels = blobs((24, 20, 3), 2)
    moved = nib.Nifti1Image(labels.dataobj, labels.affine + 1.0)
    with pytest.raises(InputError, match="lies on another grid"):
        follow_beat(Doubling((24, 20), (2.0, 2.0)), beat, moved, 0)


def test_slices_are_told_by_their_thickness() -> None:
    """The thick axis comes first in this file: each of its slices is registered on its own."""
    beat, labels = blobs((24, 20, 3), 2)
    turned = [
        nib.Nifti1Image(
            np.moveaxis(image.get_fdata(), 2, 0).astype(np.float32), image.affine[:, [2, 0, 1, 3]]
        )
        for image in (beat, labels)
    ]
    model = Doubling((24, 20), (2.0, 2.0))
    one = follow_beat(model, beat, labels, 0).labels.get_fdata()
    other = follow_beat(model, *turned, 0).labels.get_fdata()
    np.testing.assert_array_equal(np.moveaxis(other, 0, 2), one)


def test_volumes_are_counted_in_ml() -> None:
    labels = np.zeros((10, 10, 2, 2), np.uint8)
    labels[:5, :4, 0, 0] = 3
    labels[:5, :4, :, 1] = 3
    image = nib.Nifti1Image(labels, AffineMap(np.diag([-2.0, 2.0, 10.0, 1.0])).homogeneous)
    np.testing.assert_allclose(volume_curve(image, 3), [0.8, 1.6])
    assert ejection_fraction(volume_curve(image, 3)) == pytest.approx(50)
