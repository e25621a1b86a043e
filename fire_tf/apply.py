"""Resample further images and label maps, or move points, with transforms of ``fire_tf.register`` or other tools.

    python -m fire_tf.apply --transform P_CompositeWarp.nii.gz --reference FIXED.nii.gz \\
        --input seg.nii.gz --output seg_on_fixed.nii.gz --interpolation nearest
    python -m fire_tf.apply --registration P_ --points landmarks.fcsv --from moving --output on_fixed.fcsv

Several inputs take as many outputs. Frames and channels are resampled one by one. ``nearest`` and ``label-gaussian``
are for label maps: they keep the stored type and make no new value; ``linear`` and ``cubic`` write float32. Outside an
input the value is 0, or what ``--fill`` says.

Several transforms are composed in ANTs' order, the last one named being applied to the image first; ``"[FILE,1]"`` is
the inverse of FILE's. ``--composite`` writes the whole as one file, ``--jacobian`` the determinant of its Jacobian.

Points (ANTs' .csv, Slicer's .fcsv and .mrk.json) go the way that images do with ``--registration``: ``--from moving``
takes them to the fixed image. With ``--transform`` they are pulled back, from the fixed image to the moving one, as in
ANTs. ``--targets`` prints how far from given points they end.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from fire_tf.files.errors import InputError, exit_cleanly
from fire_tf.files.paths import check_apart, user_path
from fire_tf.geometry.names import INTERPOLATIONS, WARP_FORMATS


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--transform",
        nargs="+",
        action="extend",
        help='fields or affines, in ANTs\' order; "[FILE,1]" for the inverse of one',
    )
    parser.add_argument(
        "--warp-format",
        choices=WARP_FORMATS,
        help="kind of a field that does not say so itself (default: its intent)",
    )
    parser.add_argument("--output", type=user_path, nargs="+", default=[], help="as many names as inputs")
    parser.add_argument(
        "--source",
        type=user_path,
        help="image that is warped, for transforms that count on its grid where no --input is given (fsl, voxel)",
    )
    _add_images(parser.add_argument_group("images"))
    _add_points(parser.add_argument_group("points"))
    return parser


def _add_images(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--input", type=user_path, nargs="+", default=[], help="images to resample")
    group.add_argument("--reference", type=user_path, help="image whose grid the results lie on")
    group.add_argument("--interpolation", choices=INTERPOLATIONS, default="linear", help="(default: linear)")
    group.add_argument("--fill", type=float, default=0.0, help="value outside of an input (default: 0)")
    group.add_argument(
        "--channels",
        action="store_true",
        help="the two or three numbers of a voxel are channels and no vector in space",
    )
    group.add_argument(
        "--composite",
        type=user_path,
        nargs="+",
        default=[],
        help="files for the whole transform on the grid of --reference: .nii.gz (ITK's field), .h5 (ITK), .x5",
    )
    group.add_argument("--jacobian", type=user_path, help="file for the determinant of the Jacobian")
    group.add_argument("--log-jacobian", type=user_path, help="file for its natural logarithm")


def _add_points(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--points", type=user_path, help="file to move: .csv (ANTs), .fcsv or .mrk.json (Slicer)"
    )
    group.add_argument(
        "--registration", metavar="P_", help="prefix of a registration, whose fields move them"
    )
    group.add_argument(
        "--from",
        choices=("moving", "fixed"),
        dest="given_in",
        help="image of the registration that they are of",
    )
    group.add_argument(
        "--targets", type=user_path, help="file of where they should come to lie: prints the TRE"
    )


@exit_cleanly
def main(arguments: Sequence[str] | None = None, prog: str = "python -m fire_tf.apply") -> None:
    """The command; see the module's docstring."""
    chosen = _parser(prog).parse_args(arguments)
    for line in _move_points(chosen) if chosen.points else _resample(chosen):
        print(line)


def _move_points(chosen: argparse.Namespace) -> Iterable[object]:
    of_images = (chosen.input, chosen.composite, chosen.jacobian, chosen.log_jacobian)
    if any(of_images) or len(chosen.output) != 1:
        raise InputError("--points takes one --output, and no --input, --composite or --jacobian")
    if chosen.channels or chosen.fill or chosen.interpolation != "linear":
        raise InputError("--interpolation, --fill and --channels are of images, not of --points")
    if bool(chosen.transform) == bool(chosen.registration):
        raise InputError("give --registration P_ or --transform with --points")
    if bool(chosen.registration) != bool(chosen.given_in):
        raise InputError(
            "--from moving or --from fixed goes with --registration; --transform pulls points back, from the fixed "
            "image to the moving one"
        )
    from fire_tf.applying.points import move_point_file, movement_by, movement_of
    from fire_tf.geometry.grids import read_grid

    if chosen.registration:
        movement = movement_of(chosen.registration, chosen.given_in, chosen.warp_format)
    else:
        grids = (read_grid(path) if path else None for path in (chosen.source, chosen.reference))
        movement = movement_by(chosen.transform, chosen.warp_format, *grids)
    return move_point_file(chosen.points, chosen.output[0], movement, chosen.targets)


def _resample(chosen: argparse.Namespace) -> Iterable[object]:
    if not (chosen.transform and chosen.reference):
        raise InputError("give --transform and --reference, or --points")
    if chosen.registration or chosen.given_in or chosen.targets:
        raise InputError("--registration, --from and --targets go with --points")
    if len(chosen.input) != len(chosen.output):
        raise InputError(f"{len(chosen.input)} inputs and {len(chosen.output)} outputs: expected as many")
    check_apart(chosen.output, [])
    # nibabel and scipy, which help need not wait for
    from fire_tf.applying.files import Task, apply_to_files

    return apply_to_files(
        Task(
            transforms=chosen.transform,
            reference=chosen.reference,
            kind=chosen.warp_format,
            source=chosen.source,
            images=dict(zip(chosen.output, chosen.input, strict=True)),
            interpolation=chosen.interpolation,
            fill=chosen.fill,
            channels=chosen.channels,
            composite=chosen.composite,
            jacobian=chosen.jacobian,
            log_jacobian=chosen.log_jacobian,
        )
    )


if __name__ == "__main__":
    main()
