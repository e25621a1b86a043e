"""Pictures made small."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fire_tf.pictures.thumbnail import LARGEST, write_thumbnail


@pytest.mark.parametrize("size", [(1430, 770), (2860, 1100), (300, 200)])
def test_a_picture_keeps_its_shape_and_what_it_shows(size: tuple[int, int], tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, size[0]).astype(np.uint8)
    Image.fromarray(np.tile(ramp, (size[1], 1))).save(tmp_path / "p.png")
    write_thumbnail(tmp_path / "p.png", tmp_path / "p.webp")
    with Image.open(tmp_path / "p.webp") as small:
        assert small.width == min(size[0], 720)
        assert small.height == pytest.approx(size[1] * small.width / size[0], abs=1)
        shown = np.asarray(small.convert("L"))[small.height // 2].astype(float)
    assert np.abs(shown - np.linspace(0, 255, small.width)).max() < 8


def test_what_does_not_shrink_well_becomes_smaller(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (770, 1430, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "p.png")
    write_thumbnail(tmp_path / "p.png", tmp_path / "p.webp")
    assert 1_000 < (tmp_path / "p.webp").stat().st_size <= LARGEST == 20_000
