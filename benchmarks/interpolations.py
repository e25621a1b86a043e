"""How `apply` reads between voxels, beside ANTs, through the same transforms.

    python benchmarks/interpolations.py --transform WARP.nii.gz AFFINE.mat --moving M.nii.gz --labels SEG.nii.gz \\
        --fixed F.nii.gz

Printed are, of grey values, the largest difference off the outermost voxels as a part of their range; of labels the
part of all voxels, and of those with another label beside them, where both agree.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import ants
import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from fire_tf.applying.images import apply_transform
from fire_tf.files.errors import exit_cleanly
from fire_tf.geometry.grids import read_grid
from fire_tf.transforms.readers import read_chain

GREY_VALUES = {"linear": "linear", "cubic": "bSpline"}
LABELS = {"nearest": "nearestNeighbor", "label-gaussian": "genericLabel", "nearest ": "genericLabel"}


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--transform", nargs="+", required=True, help="as for apply; no inverses")
    parser.add_argument("--moving", required=True, help="image of grey values that they warp")
    parser.add_argument("--labels", required=True, help="label map that they warp")
    parser.add_argument("--fixed", required=True, help="image whose grid the results lie on")
    chosen = parser.parse_args(arguments)
    grid, chain, fixed = read_grid(chosen.fixed), read_chain(chosen.transform), ants.image_read(chosen.fixed)
    for ours, theirs in {**GREY_VALUES, **LABELS}.items():
        path = chosen.moving if ours in GREY_VALUES else chosen.labels
        given = ants.image_read(path)
        answer = ants.apply_transforms(fixed, given, chosen.transform, interpolator=theirs).numpy()
        found = np.asarray(apply_transform(chain, path, grid, ours.strip()).dataobj)
        if ours in GREY_VALUES:
            inner = tuple(slice(1, -1) for _ in answer.shape)
            print(
                f"{ours} and {theirs}: {np.abs(found - answer)[inner].max() / np.ptp(answer):.1e} of the range"
            )
        else:
            border = maximum_filter(answer, 3) != minimum_filter(answer, 3)
            same = found == answer
            print(
                f"{ours.strip()} and {theirs}: {100 * same.mean():.2f} %, {100 * same[border].mean():.2f} % of "
                f"{border.sum()} at borders"
            )


if __name__ == "__main__":
    main()
