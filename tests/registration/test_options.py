"""Many frames, and the options of a single run."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import SLICE_AFFINE, SLICE_SIZE, SLICE_TURN, KnownModel, brain_like, two_slices

import fire_tf.model.storage
from fire_tf.files.errors import InputError
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.geometry.reading import pull
from fire_tf.register import main
from fire_tf.registration.pair import Registration
from fire_tf.registration.refine import Search
from fire_tf.registration.user_images import Options, register_images
from fire_tf.series.beat import register_frames

SIZE, AFFINE, THERE = SLICE_SIZE, SLICE_AFFINE, SLICE_TURN


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return two_slices(monkeypatch, tmp_path)


def test_affine_only_leaves_the_rest_out(commands: Path) -> None:
    main(
        [
            "--model",
            "m",
            "--moving",
            "a.nii.gz",
            "--fixed",
            "b.nii.gz",
            "--output-prefix",
            "p_",
            "--affine-only",
        ]
    )
    expected = pull(brain_like(SIZE, 0), AffineMap.centred(THERE, SIZE)(grid_points(SIZE)))
    np.testing.assert_allclose(nib.load("p_Warped.nii.gz").get_fdata(), expected, atol=0.05)
    field = np.asarray(nib.load("p_CompositeWarp.nii.gz").dataobj)[..., 0, 0, :]
    np.testing.assert_allclose(np.diff(field, 2, axis=0), 0, atol=1e-4)  # linear in the position


def test_refining_is_left_to_refine_and_its_answer_is_written(commands: Path, monkeypatch) -> None:
    def still(found: Registration, search: Search) -> Registration:
        return replace(found, to_moving=AffineMap.identity(3), refined=True)

    monkeypatch.setattr("fire_tf.registration.refine.refine", still)
    main(["--model", "m", "--moving", "a.nii.gz", "--fixed", "b.nii.gz", "--output-prefix", "p_", "--refine"])
    np.testing.assert_allclose(nib.load("p_Warped.nii.gz").get_fdata(), brain_like(SIZE, 0), atol=1e-3)
    numbers = json.loads(Path("p_qc.json").read_text())
    assert numbers["refined"]
    assert numbers["warnings"] == []


def test_the_networks_own_answer_is_said_to_be_theirs(
    commands: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("fire_tf.registration.refine.refine", lambda found, search: found)
    main(["--model", "m", "--moving", "a.nii.gz", "--fixed", "b.nii.gz", "--output-prefix", "p_", "--refine"])
    numbers = json.loads(Path("p_qc.json").read_text())
    assert not numbers["refined"]
    assert "a.nii.gz and b.nii.gz: nothing was found by refining" in numbers["warnings"][0]
    assert "warning: a.nii.gz and b.nii.gz: nothing was found" in capsys.readouterr().err


def test_what_a_result_was_made_with_is_written_down(commands: Path, monkeypatch) -> None:
    main(["--model", "m", "--moving", "a.nii.gz", "--fixed", "b.nii.gz", "--output-prefix", "p_"])
    numbers = json.loads(Path("p_qc.json").read_text())
    assert numbers["command"] == (
        "python -m fire_tf.register --model m --moving a.nii.gz --fixed b.nii.gz --output-prefix p_"
    )
    assert numbers["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert len(numbers["moving_sha256"]) == len(numbers["fixed_sha256"]) == 64
    assert numbers["moving_sha256"] != numbers["fixed_sha256"]
    percentiles = list(numbers["jacobian_percentiles"].values())
    assert percentiles == sorted(percentiles)
    assert numbers["jacobian_percentiles"]["50"] == numbers["volume_ratio"]


def test_overlap_is_the_part_of_the_fixed_image_that_the_moving_one_covers() -> None:
    shifted = AFFINE.copy()
    shifted[0, 3] = 20.0  # half of the 20 voxels of 2 mm
    fixed = nib.Nifti1Image(brain_like(SIZE, 1), AFFINE)
    still = (np.eye(2, 3), np.zeros((*SIZE, 2)))
    model = KnownModel(SIZE, (2.0, 2.0), still, still)
    result = register_images(model, nib.Nifti1Image(brain_like(SIZE, 0), shifted), fixed)
    assert result.quality["field_of_view_overlap_before"] == pytest.approx(0.5, abs=0.03)
    assert result.quality["field_of_view_overlap"] == 1.0  # the canvases are centred


# -- frames ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cine(commands: Path) -> np.ndarray:
    """Three frames of a single slice, written to cine.nii.gz with a step of 40 ms."""
    frames = np.stack([brain_like((*SIZE, 1), seed) for seed in range(3)], axis=-1)
    image = nib.Nifti1Image(frames, AFFINE)
    image.header.set_zooms((2, 2, 2, 40))
    image.header.set_xyzt_units("mm", "msec")
    nib.save(image, commands / "cine.nii.gz")
    return frames


def test_one_frame_of_a_series_is_registered_alone(cine: np.ndarray, commands: Path) -> None:
    model = fire_tf.model.storage.load_model("m", compiled=False)
    result = register_images(model, "cine.nii.gz", "cine.nii.gz", Options(frame=2))
    alone = nib.Nifti1Image(cine[..., 2], AFFINE)
    expected = register_images(model, alone, alone).warped.get_fdata()
    assert result.warped.shape == (*SIZE, 1)
    np.testing.assert_allclose(result.warped.get_fdata(), expected, atol=1e-4)
    with pytest.raises(InputError, match=r"cine\.nii\.gz: has frames 0 to 2, frame 3"):
        register_images(model, "cine.nii.gz", "cine.nii.gz", Options(frame=3))
    with pytest.raises(InputError, match=r"cine\.nii\.gz: .*must be named"):
        register_images(model, "cine.nii.gz", "cine.nii.gz")


def test_every_frame_goes_to_the_reference_and_keeps_its_time(cine: np.ndarray, commands: Path) -> None:
    series = ["--moving", "cine.nii.gz", "--fixed", "cine.nii.gz", "--frame", "1", "--all-frames"]
    main(["--model", "m", *series, "--output-prefix", "out/p_"])
    warped = nib.load("out/p_Warped.nii.gz")
    assert warped.shape == (*SIZE, 1, 3)
    assert warped.header.get_zooms() == pytest.approx((2, 2, 2, 40))
    assert warped.header.get_xyzt_units() == ("mm", "msec")
    model = fire_tf.model.storage.load_model("m", compiled=False)
    for index, result in enumerate(register_frames(model, "cine.nii.gz", "cine.nii.gz", Options(frame=1))):
        np.testing.assert_allclose(
            warped.get_fdata()[..., index], result.warped.get_fdata().reshape(*SIZE, 1), atol=1e-4
        )
        assert Path(f"out/p_frame{index:03d}_CompositeWarp.nii.gz").is_file()
    numbers = json.loads(Path("out/p_qc.json").read_text())
    assert len(numbers["frames"]) == 3
    assert numbers["frames"][1]["similarity_before"] == pytest.approx(-1, abs=1e-3)  # the fake one inverts


def test_frames_onto_an_image_without_frames(commands: Path) -> None:
    frames = np.stack([brain_like(SIZE, seed) for seed in range(2)], axis=-1)[:, :, np.newaxis]
    nib.save(nib.Nifti1Image(frames, AFFINE), "series.nii.gz")
    nib.save(nib.Nifti1Image(brain_like(SIZE, 1)[..., np.newaxis], AFFINE), "still.nii.gz")
    pair = ["--model", "m", "--moving", "series.nii.gz", "--fixed", "still.nii.gz"]
    main([*pair, "--all-frames", "--output-prefix", "f_"])
    assert nib.load("f_Warped.nii.gz").shape == (*SIZE, 1, 2)
    main([*pair, "--frame", "1", "--output-prefix", "g_"])
    one = nib.load("g_Warped.nii.gz").get_fdata()
    np.testing.assert_array_equal(one, nib.load("f_Warped.nii.gz").get_fdata()[..., 1])
