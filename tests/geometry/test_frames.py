"""Volumes one at a time: in the order of the file, and written as nibabel writes them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volumes import OBLIQUE, SHAPE, save, volume

from fire_tf.files.errors import InputError
from fire_tf.geometry.frames import frames_of, places, save_frames


@pytest.mark.parametrize("shape", [SHAPE[:2], SHAPE, (*SHAPE, 5), (*SHAPE, 3, 2)])
@pytest.mark.parametrize("name", ["s.nii", "s.nii.gz"])
def test_frames_come_and_go_as_they_lie_in_the_file(
    shape: tuple[int, ...], name: str, tmp_path: Path
) -> None:
    path = save(tmp_path / name, volume(shape), OBLIQUE)
    image = nib.load(path)
    frames = list(frames_of(image))
    for place, frame in zip(places(shape), frames, strict=True):
        np.testing.assert_array_equal(frame, image.get_fdata()[place])
    image.header.set_slope_inter(1, 0)
    save_frames(image.header, frames, tmp_path / f"again_{name}")
    again = nib.load(tmp_path / f"again_{name}")
    np.testing.assert_array_equal(again.get_fdata(), image.get_fdata())
    np.testing.assert_array_equal(again.affine, image.affine)
    nib.save(again, tmp_path / f"theirs_{name}")
    if not name.endswith("gz"):
        assert (tmp_path / f"theirs_{name}").read_bytes() == (tmp_path / f"again_{name}").read_bytes()


def test_scaling_is_left_out_where_it_is_asked_for(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 2, 2), np.eye(4))
    image.header.set_slope_inter(0.5, 7)
    nib.save(image, tmp_path / "s.nii.gz")
    opened = nib.load(tmp_path / "s.nii.gz")
    stored = np.stack(list(frames_of(opened, as_stored=True)), axis=-1)
    np.testing.assert_array_equal(stored, opened.dataobj.get_unscaled())
    assert stored.dtype == np.int16
    np.testing.assert_array_equal(np.stack(list(frames_of(opened)), axis=-1), opened.get_fdata())


def test_a_series_that_breaks_off_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "s.nii.gz", volume((*SHAPE, 5)))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(InputError, match=r"s.nii.gz: its data cannot be read, it may be truncated"):
        list(frames_of(nib.load(path)))
