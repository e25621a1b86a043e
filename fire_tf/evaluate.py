"""Measure a trained model, and baselines beside it, on pairs with labels.

    python -m fire_tf.evaluate --model runs/t1_flair_2d --pairs DIR [--baselines ants] [--output DIR]
    python -m fire_tf.evaluate --model runs/t1_flair_2d --split test --count 16 [--set deformation.peak=[0,6]]
    python -m fire_tf.evaluate --config configs/t1_flair_2d.yaml --table

The pairs are read from a folder (``fire_tf.pairs`` says in which form) or drawn: subjects of a split, their
modality A moved by seeded random deformations. The phases of a heart (source acdc) are pairs as they are: both
labelled stacks of each patient, registered slice by slice by a 2D model and scored as volumes. Written are
``pairs.csv`` (a row per pair, direction and method), ``labels.csv`` (the same per structure), ``summary.csv``
(mean and sd) and ``differences.csv`` (FIRE less each baseline, with 95 % intervals); the table is printed.

``--table`` is one of the paper's tables in one command: the model is trained where the run folder holds none, ANTs
registers the same pairs from one start and from several, ``table.txt`` has the paper's figures beside ours, and
``pictures/`` the outlines of the labels before and after for every pair (docs/tables.md).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from fire_tf.baselines import BRAINS, HEARTS, Ants
from fire_tf.config import Config, Split, load_config, recipe_differences
from fire_tf.drawn_pairs import draw_pairs
from fire_tf.errors import InputError, exit_cleanly
from fire_tf.figures import draw_outlines
from fire_tf.grey_values import measure_synthesis
from fire_tf.methods import Fire, Method, TrueDeformation, Unaligned
from fire_tf.model_paths import find_model, run_config
from fire_tf.pairs import Pair, acquired_pairs, read_pairs
from fire_tf.registration import modalities
from fire_tf.scoring import DEFAULT_STRUCTURES, Scores, score
from fire_tf.slicewise import SliceBySlice
from fire_tf.summary import differences, format_differences, format_summary, summarise, write_rows
from fire_tf.table import PAIRS_DRAWN, format_table, paper_table

if TYPE_CHECKING:
    from fire_tf.model import FIRE


def evaluate(
    pairs: Iterable[Pair],
    methods: Sequence[Method],
    *,
    structures: dict[int, str] = DEFAULT_STRUCTURES,
    directions: tuple[str, str] = ("moving onto fixed", "fixed onto moving"),
    progress: bool = False,
    pictures: Path | None = None,
) -> Scores:
    """Score every method on every pair in both directions, but for methods that do not apply to the pair.

    ``pictures`` is a folder to draw the outlines of every pair's labels into.
    """
    scores = Scores()
    for count, pair in enumerate(pairs, start=1):
        results = [result for method in methods for result in method(pair)]
        for result in results:
            scores.extend(score(pair, result, structures, directions))
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"[^\w.-]+", "_", pair.name)
            draw_outlines(pair, results, structures, directions, pictures / f"{name}.png")
        if progress:
            print(f"\r{count} pairs measured", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)
    if not scores.pairs:
        raise InputError("there is no pair to measure")
    return scores


def split_pairs(
    config: Config, split: Split, count: int | None, seed: int, moving_modality: str
) -> Iterator[Pair]:
    """Pairs from a split of the config: the phases of its hearts, or ``count`` (16) pairs drawn from its
    subjects."""
    if config.data.cine:
        return islice(acquired_pairs(config.data, split, moving_modality), count)
    return draw_pairs(config, split, 16 if count is None else count, seed, moving_modality)


def write_scores(scores: Scores, folder: Path) -> None:
    """Write the four tables of the module's docstring into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "pairs.csv", scores.pairs)
    write_rows(folder / "labels.csv", scores.labels)
    write_rows(folder / "summary.csv", summarise(scores))
    compared = differences(scores)
    if compared:
        write_rows(folder / "differences.csv", compared)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fire_tf.evaluate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--model", type=Path, help="run folder, or the model folder in it")
    parser.add_argument(
        "--config",
        help="an experiment: the model of its run folder (runs/NAME, or --model), trained first where there is none",
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="the paper's table of this experiment: ours beside the paper's figures, ANTs on the same pairs, pictures",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--pairs", type=Path, help="folder of pairs that come already deformed, with its pairs.csv"
    )
    source.add_argument(
        "--split",
        choices=("train", "validate", "test"),
        default="test",
        help="deform the subjects of this split; the phases of a heart are taken as they are (default: %(default)s)",
    )
    parser.add_argument(
        "--count",
        type=int,
        help="with --split: pairs to draw (default: 16; of a table 48, in 3D 24), or hearts (default: all)",
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
    parser.add_argument(
        "--refine",
        action="store_true",
        help="also measure FIRE refined: what optimising phi on the pair itself makes of the model's answer",
    )
    parser.add_argument(
        "--baselines", choices=("ants",), help="measure these on the same pairs (needs antspyx)"
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
    parser.add_argument(
        "--output", type=Path, help="folder for what is written (default: evaluation/ beside the model)"
    )
    return parser


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    config, folder = _experiment(options)
    if options.synthesis and config.data.cine:
        raise InputError("--synthesis: compares aligned images, and the phases of a heart are not aligned")
    ants = _ants(options, config)  # so that a missing package is not found out after the training
    model = _model(options, config, folder)
    output = options.output or folder / "evaluation"
    moving, fixed = modalities(model, options.moving_modality)
    count = options.count
    if count is None and options.table and not config.data.cine:
        count = PAIRS_DRAWN[config.data.ndim]
    pairs: Iterable[Pair] = (
        read_pairs(options.pairs)
        if options.pairs
        else split_pairs(config, options.split, count, options.seed, moving)
    )
    scores = evaluate(
        pairs,
        _methods(options, config, model, moving, ants),
        structures=config.data.structures or DEFAULT_STRUCTURES,
        directions=(f"{moving} onto {fixed}", f"{fixed} onto {moving}"),
        progress=sys.stderr.isatty(),
        pictures=output / "pictures" if options.table else None,
    )
    write_scores(scores, output)
    print(format_summary(summarise(scores)))
    if options.table:
        table = format_table(paper_table(config.data), scores)
        (output / "table.txt").write_text(table + "\n")
        print("\n" + table)
    elif options.baselines:
        print("\n" + format_differences(differences(scores)))
    if options.synthesis:
        print("\n" + measure_synthesis(model, config, options.split, output))
    print(f"\nwritten to {output}")


def _experiment(options: argparse.Namespace) -> tuple[Config, Path]:
    """The config and the folder of the model that is measured."""
    if options.config is not None:
        config = load_config(options.config, options.overrides)
        return config, options.model or Path("runs") / config.name
    if options.model is None:
        raise InputError("give --model, a trained model, or --config, an experiment")
    return load_config(run_config(options.model), options.overrides), options.model


def _model(options: argparse.Namespace, config: Config, folder: Path) -> FIRE:
    """The model in ``folder``; where it holds none, ``--config`` trains it first."""
    # TensorFlow takes seconds to load, which a request for help need not wait for.
    from fire_tf.model_folder import load_model

    if options.config is not None:
        _train_where_absent(config, folder, options.config)
        others = recipe_differences(load_config(run_config(folder)), config)
        if others:
            print(f"note: {folder} was trained with another {', '.join(others)}", file=sys.stderr)
    return load_model(folder)


def _train_where_absent(config: Config, folder: Path, name: str) -> None:
    from fire_tf.train import train

    try:
        find_model(folder)
    except InputError:
        if (folder / "config.yaml").is_file():
            command = f"python -m fire_tf.train --config {name} --output {folder} --resume"
            raise InputError(f"{folder}: its training was not finished; go on with {command}") from None
        print(f"{folder}: holds no model yet; training it", file=sys.stderr)
        train(config, folder, quiet=not sys.stderr.isatty())


def _ants(options: argparse.Namespace, config: Config) -> list[Method]:
    if not options.table and options.baselines != "ants":
        return []
    if config.data.cine:
        return [Ants(HEARTS)]
    starts = options.ants_starts or ([3, 1] if options.table else [3])
    return [Ants(BRAINS, starts=number) for number in starts]


def _methods(
    options: argparse.Namespace, config: Config, model: FIRE, moving: str, ants: Sequence[Method]
) -> list[Method]:
    """Everything that is measured; stacks of slices are registered slice by slice beside a 2D model, which sees its
    canvas of them where ANTs sees them whole."""
    fire: Method = Fire(model, moving, refined=options.refine)
    if config.data.cine and model.ndim == 2:
        window = [size * step for size, step in zip(config.data.canvas, config.data.spacing, strict=True)]
        fire, ants = SliceBySlice(fire, window), [SliceBySlice(method) for method in ants]
    return [Unaligned(), fire, *ants, TrueDeformation()]


if __name__ == "__main__":
    main()
