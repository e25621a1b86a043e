"""Whether a cohort's memory stays flat: the resident memory of one process over thousands of small pairs.

    python benchmarks/cohort_memory.py [--pairs 10000] [--pictures] [--canvas 24 20]

Twenty made-up slices, paired over and over, and the untrained networks of the demo on a smaller canvas. Matplotlib's
pictures, which take most of a small pair's time, are drawn with ``--pictures`` alone; otherwise an empty one is written
in their place.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from fire_tf import load_config
from fire_tf.cohorts.attending import Outcome, Work
from fire_tf.cohorts.cohort import register_cohort
from fire_tf.cohorts.manifest import Cohort, Row, read_manifest
from fire_tf.cohorts.overlap import attend_side_by_side
from fire_tf.model.build import build_model
from fire_tf.registration import results, start
from fire_tf.registration.user_images import Options

IMAGES, POINTS = 20, 20


def make_up(folder: Path, pairs: int, canvas: Sequence[int], spacing: Sequence[float]) -> None:
    """Images that fill most of the canvas, and a manifest of pairs of them."""
    random = np.random.default_rng(0)
    size = [int(0.8 * length) for length in canvas]
    affine = np.diag([*spacing, 1.0, 1.0])
    for number in range(IMAGES):
        image = gaussian_filter(random.uniform(0, 1, size), 2)
        image[gaussian_filter(random.uniform(0, 1, size), 5) < 0.48] = 0
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), folder / f"{number}.nii.gz")
    draws = random.integers(0, IMAGES, (pairs, 2))
    lines = [f"{one}.nii.gz,{other}.nii.gz,p{number:05d}" for number, (one, other) in enumerate(draws)]
    (folder / "pairs.csv").write_text("\n".join(["moving,fixed,name", *lines, ""]))


def no_picture(found: object, path: Path, warnings: object = ()) -> None:
    Image.new("L", (8, 8)).save(path)


def resident() -> float:
    """MiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--canvas", type=int, nargs=2, default=(24, 20))
    chosen = parser.parse_args()
    start._LEAST = math.inf  # made-up images look turned against each other: twice the time, and a doubt each
    if not chosen.pictures:
        results.draw_alignment = no_picture
    config = load_config("demo")
    model = build_model(replace(config, data=replace(config.data, canvas=tuple(chosen.canvas))))
    every = max(1, chosen.pairs // POINTS)
    started = time.perf_counter()

    def watched(work: Work, rows: Sequence[Row]) -> Iterator[Outcome]:
        for count, outcome in enumerate(attend_side_by_side(work, rows, model=model), start=1):
            if count % every == 0 or count == 10:
                print(
                    f"{count:6d} pairs {time.perf_counter() - started:7.0f} s {resident():6.0f} MiB",
                    flush=True,
                )
            yield outcome

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        make_up(folder, chosen.pairs, model.canvas, config.data.spacing)
        cohort = Cohort(read_manifest(folder / "pairs.csv"), f"{folder}/out/P_")
        if not register_cohort(watched, cohort, Options(), {}):
            sys.exit("some pairs failed")


if __name__ == "__main__":
    main()
