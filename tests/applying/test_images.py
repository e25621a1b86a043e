"""Many frames and channels: each for itself, in memory for one."""

import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volumes import OBLIQUE, SHAPE, save, volume

from fire_tf.apply import main
from fire_tf.applying.images import apply_transform
from fire_tf.geometry.grids import read_grid
from fire_tf.geometry.point_maps import AffineMap
from fire_tf.transforms.fields import AffineTransform
from fire_tf.transforms.itk import write_affine

TURN = AffineMap(np.array([[0.95, -0.3, 0.05, 0.3], [0.28, 0.96, -0.1, -1.2], [0.02, 0.12, 0.99, 0.7]]))


def apply(folder: Path, *options: str) -> None:
    write_affine(TURN, folder / "turn.mat", 3)
    files = [
        f"--input={folder}/in.nii.gz",
        f"--reference={folder}/in.nii.gz",
        f"--output={folder}/out.nii.gz",
    ]
    main([f"--transform={folder}/turn.mat", *files, *options])


@pytest.mark.parametrize("tail", [(3,), (1, 4), (2, 4)])
def test_every_frame_and_channel_is_resampled_for_itself(tail: tuple[int, ...], tmp_path: Path) -> None:
    data = volume((*SHAPE, *tail))
    save(tmp_path / "in.nii.gz", data, OBLIQUE)
    apply(tmp_path)
    found = nib.load(tmp_path / "out.nii.gz").get_fdata()
    assert found.shape == data.shape
    grid = read_grid(tmp_path / "in.nii.gz")
    for place in np.ndindex(tail):
        one = nib.Nifti1Image(data[(..., *place)], OBLIQUE)
        expected = apply_transform(AffineTransform(TURN), one, grid).get_fdata()
        np.testing.assert_allclose(found[(..., *place)], expected, atol=1e-4)


def test_three_channels_have_to_be_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = nib.Nifti1Image(volume((*SHAPE, 1, 3)), OBLIQUE)
    image.header.set_intent("vector")  # as ITK writes colours, and fields
    nib.save(image, tmp_path / "in.nii.gz")
    with pytest.raises(SystemExit):
        apply(tmp_path)
    assert "which would have to turn; if these are channels, say --channels" in capsys.readouterr().err
    apply(tmp_path, "--channels")
    assert nib.load(tmp_path / "out.nii.gz").shape == (*SHAPE, 1, 3)


def test_a_long_series_takes_the_memory_of_a_few_frames(tmp_path: Path) -> None:
    shape = (40, 40, 30, 60)
    frame = 4 * 40 * 40 * 30  # bytes
    save(tmp_path / "in.nii.gz", np.zeros(shape, np.float32) + np.arange(60, dtype=np.float32), OBLIQUE)
    tracemalloc.start()
    apply(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * frame  # places to read from are 6 frames; the series is 60, and as many come out
    found = nib.load(tmp_path / "out.nii.gz").get_fdata()
    np.testing.assert_allclose(found[20, 20, 15], np.arange(60), atol=1e-3)
