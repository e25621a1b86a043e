"""Registering without a model's name: those that fit the image are named."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import brain_like

from fire_tf.config.shipped import ShippedModel
from fire_tf.geometry.images import Image
from fire_tf.register import main
from fire_tf.registration.choice import fits


def image(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Image:
    return Image(np.zeros(shape, np.float32), np.diag([*spacing, 1.0]), "image")


@pytest.mark.parametrize(
    ("spacing", "stacks", "shape", "sizes", "expected"),
    [
        ((1.0, 1.0), False, (8, 8, 1), (1.0, 1.0, 5.0), True),  # a slice's thickness does not count
        ((1.0, 1.0), False, (8, 8, 1), (2.1, 1.0, 1.0), False),
        ((1.0, 1.0), False, (8, 8, 8), (1.0, 1.0, 1.0), False),
        ((1.0, 1.0), True, (8, 8, 8), (1.0, 1.0, 9.0), True),
        ((2.0, 2.0, 2.0), False, (8, 8, 8), (1.0, 1.0, 3.9), True),
        ((2.0, 2.0, 2.0), False, (8, 8, 1), (2.0, 2.0, 2.0), False),
        ((2.0, 2.0, 2.0), False, (8, 8, 8), (0.2, 1.0, 1.0), False),
    ],
)
def test_a_model_fits_by_rank_and_voxel_sizes(
    spacing: tuple[float, ...],
    stacks: bool,
    shape: tuple[int, int, int],
    sizes: tuple[float, float, float],
    expected: bool,
) -> None:
    assert fits(ShippedModel("m", ("T1", "T2"), spacing, stacks, ""), image(shape, sizes)) is expected


@pytest.mark.parametrize("batch", [False, True])
def test_without_a_model_the_command_names_those_that_fit(
    batch: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nib.save(nib.Nifti1Image(brain_like((40, 40)), np.diag([1.28, 1.28, 1, 1])), tmp_path / "slice.nii.gz")
    nib.save(nib.Nifti1Image(brain_like((30, 30, 30)), np.diag([40, 40, 40, 1])), tmp_path / "volume.nii.gz")
    (tmp_path / "pairs.csv").write_text("moving,fixed\nslice.nii.gz,slice.nii.gz\n")
    slices = ["--moving", str(tmp_path / "slice.nii.gz"), "--fixed", str(tmp_path / "slice.nii.gz")]
    arguments = ["--batch", str(tmp_path / "pairs.csv")] if batch else slices
    error = _fails([*arguments, "--output-prefix", str(tmp_path / "p_")], capsys)
    assert "come along and fit" in error
    assert "slice with voxels of 1.28 x 1.28 mm: t1_flair_2d (T1 and FLAIR" in error
    volumes = ["--moving", str(tmp_path / "volume.nii.gz"), "--fixed", str(tmp_path / "volume.nii.gz")]
    error = _fails([*volumes, "--output-prefix", str(tmp_path / "p_")], capsys)
    assert "none of the models that come along fits" in error
    assert "t1_flair_2d (T1 and FLAIR" in error


def _fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error
