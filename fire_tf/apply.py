"""Resample further images and label maps with a transform that ``fire_tf.register`` (or ANTs) wrote.

    python -m fire_tf.apply --transform P_CompositeWarp.nii.gz --reference FIXED.nii.gz \\
        --input seg.nii.gz --output seg_on_fixed.nii.gz --interpolation nearest

Several inputs take as many outputs. 4D images are resampled frame by frame. ``nearest`` is for label maps: it
keeps the stored type and makes no new value; ``linear`` writes float32. Outside an input the value is 0,
or what ``--fill`` says.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fire_tf.files.errors import exit_cleanly
from fire_tf.files.paths import user_path
from fire_tf.geometry.names import INTERPOLATIONS, WARP_FORMATS


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--transform", type=user_path, required=True, help="displacement field, or ITK's .mat"
    )
    parser.add_argument("--input", type=user_path, nargs="+", required=True, help="images to resample")
    parser.add_argument(
        "--reference", type=user_path, required=True, help="image whose grid the results lie on"
    )
    parser.add_argument("--output", type=user_path, nargs="+", required=True, help="as many names as inputs")
    parser.add_argument("--interpolation", choices=INTERPOLATIONS, default="linear", help="(default: linear)")
    parser.add_argument("--fill", type=float, default=0.0, help="value outside of an input (default: 0)")
    parser.add_argument(
        "--warp-format",
        choices=WARP_FORMATS,
        help="kind of a field that does not say so itself (default: its intent)",
    )
    return parser


@exit_cleanly
def main(arguments: Sequence[str] | None = None, prog: str = "python -m fire_tf.apply") -> None:
    """The command; see the module's docstring."""
    options = _parser(prog).parse_args(arguments)
    from fire_tf.transforms.resampling import (
        apply_to_files,
    )  # nibabel and scipy, which help need not wait for

    for path in apply_to_files(
        options.transform,
        options.reference,
        options.input,
        options.output,
        options.interpolation,
        options.warp_format,
        options.fill,
    ):
        print(path)


if __name__ == "__main__":
    main()
