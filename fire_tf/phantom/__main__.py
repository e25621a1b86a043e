"""Generate heads or hearts.

python -m fire_tf.phantom heads --output DIR --subjects 8
python -m fire_tf.phantom hearts --output DIR --patients 3
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fire_tf.files.errors import InputError, exit_cleanly
from fire_tf.files.outputs import check_writable
from fire_tf.files.paths import user_path
from fire_tf.phantom.heads import DEFAULT_SHAPE, DEFAULT_SPACING, write_phantom
from fire_tf.phantom.hearts import write_hearts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fire_tf.phantom", description="Generate heads or hearts."
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    heads = kinds.add_parser("heads", help="brain MR images of skull-stripped heads")
    heads.add_argument("--subjects", type=int, required=True)
    heads.add_argument(
        "--shape", type=int, nargs=3, default=DEFAULT_SHAPE, metavar=("R", "A", "S"), help="voxels"
    )
    heads.add_argument("--spacing", type=float, default=DEFAULT_SPACING, help="mm")
    hearts = kinds.add_parser("hearts", help="beating hearts in ACDC's layout")
    hearts.add_argument("--patients", type=int, default=3, help="(default: %(default)s)")
    for kind in (heads, hearts):
        kind.add_argument("--output", type=user_path, required=True, help="new folder")
        kind.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    return parser


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    check_writable(options.output)
    if options.kind == "hearts":
        root = write_hearts(options.output, options.patients, seed=options.seed)
        print(f"{options.patients} patients in {root}")
        return
    grid = {"shape": options.shape, "spacing": options.spacing}
    try:
        root = write_phantom(options.output, options.subjects, seed=options.seed, **grid)
    except ValueError as error:
        raise InputError(str(error)) from error
    print(f"{options.subjects} subjects in {root}")


if __name__ == "__main__":
    main()
