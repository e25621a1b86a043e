"""Measure a trained model, and baselines beside it, on pairs with labels.

    python -m fire_tf.evaluate --model runs/t1_flair_2d --pairs DIR [--baselines ants elastix] [--output DIR]
    python -m fire_tf.evaluate --model runs/t1_flair_2d --split test --count 16 [--set deformation.peak=[0,6]]
    python -m fire_tf.evaluate --config configs/t1_flair_2d.yaml --table

The pairs are read from a folder (``fire_tf.evaluation.pairs`` says in which form) or drawn: subjects of a split, their
modality A moved by seeded random deformations. Unaligned subjects (``data.pairing``) are pairs as they are, scored by
the label map of either image; so are the phases of a heart, both stacks of each patient, registered slice by slice by a
2D model and scored as volumes. Written are
``pairs.csv`` (a row per pair, direction and method), ``labels.csv`` (the same per structure), ``summary.csv``
(mean and sd) and ``differences.csv`` (FIRE less each baseline, with 95 % intervals); the table is printed.

``--table`` is one of the paper's tables in one command: the model is trained where the run folder holds none, ANTs
registers the same pairs from one start and from several, ``table.txt`` has the paper's figures beside ours, and
``pictures/`` the outlines of the labels before and after for every pair (docs/tables.md).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fire_tf.compat.devices import add_device_option, use_device
from fire_tf.files.errors import exit_cleanly
from fire_tf.files.paths import user_path


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=user_path, help="run folder, or the model folder in it")
    parser.add_argument(
        "--config",
        help="an experiment: the model of its run folder (runs/NAME, or --model), trained first where there is none",
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="the paper's table of this experiment: ours beside the paper's figures, ANTs on the same pairs, pictures",
    )
    _add_pairs(parser)
    _add_measures(parser)
    parser.add_argument(
        "--output", type=user_path, help="folder for what is written (default: evaluation/ beside the model)"
    )
    return parser


def _add_pairs(parser: argparse.ArgumentParser) -> None:
    """The options that say which pairs are measured."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--pairs", type=user_path, help="folder of pairs that come already deformed, with its pairs.csv"
    )
    parser.add_argument(
        "--subjects",
        nargs="+",
        default=(),
        metavar="SUBJECT",
        help="with --split: these subjects take its place, whichever split they are of",
    )
    source.add_argument(
        "--split",
        choices=("train", "validate", "test"),
        default="test",
        help="deform the subjects of this split; unaligned ones are taken as they are (default: %(default)s)",
    )
    parser.add_argument(
        "--count",
        type=int,
        help="with --split: pairs to draw (default: 16; of a table 48, in 3D 24), or unaligned ones to take (all)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="with --split: seed of the draws (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change the config of the run, e.g. deformation.rotation=[0,20]",
    )
    parser.add_argument(
        "--moving-modality", help="modality of the moving images (default: the model's modality A)"
    )


def _add_measures(parser: argparse.ArgumentParser) -> None:
    """The options that say what is measured on them besides the model."""
    parser.add_argument(
        "--refine",
        action="store_true",
        help="also measure FIRE refined: what optimising phi on the pair itself makes of the model's answer",
    )
    parser.add_argument(
        "--baselines",
        choices=("ants", "elastix"),
        nargs="+",
        default=(),
        help="measure these on the same pairs (need antspyx, itk-elastix)",
    )
    parser.add_argument(
        "--ants-starts",
        type=int,
        nargs="+",
        choices=(1, 3),
        help="starts of ANTs' affine search, the best of which is kept; hearts have one (default: 3, of a table 3 1)",
    )
    parser.add_argument(
        "--synthesis",
        action="store_true",
        help="also compare the synthesised images of the split's subjects with a grey value table",
    )
    add_device_option(parser)


@exit_cleanly
def main(arguments: Sequence[str] | None = None, prog: str = "python -m fire_tf.evaluate") -> None:
    """The command; see the module's docstring."""
    options = vars(_parser(prog).parse_args(arguments))
    device = options.pop("device")
    # TensorFlow takes seconds to load, which a request for help and a wrong option need not wait for.
    from fire_tf.experiments.experiment import Experiment, run_experiment

    use_device(device)
    for part in run_experiment(Experiment(**options), progress=sys.stderr.isatty()):
        print(part)


if __name__ == "__main__":
    main()
