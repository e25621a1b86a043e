"""What ``python -m fire_tf.evaluate`` does: which model is measured, on which pairs, beside which methods."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from fire_tf.baselines import ants, elastix
from fire_tf.config.loading import load_config, recipe_differences
from fire_tf.config.schema import Config, Split
from fire_tf.data.label_maps import LabelMaps, check_labels
from fire_tf.evaluation.drawn_pairs import draw_pairs, label_maps
from fire_tf.evaluation.measure import evaluate, write_scores
from fire_tf.evaluation.methods import Method, TrainedModel, TrueDeformation, Unaligned
from fire_tf.evaluation.pairs import Pair, acquired_pairs, read_pairs
from fire_tf.evaluation.scoring import DEFAULT_STRUCTURES, SMALLEST_STRUCTURE
from fire_tf.evaluation.slicewise import SliceBySlice
from fire_tf.evaluation.summary import differences, format_differences, format_summary, summarise
from fire_tf.evaluation.synthesis import measure_synthesis
from fire_tf.experiments.table import PAIRS_DRAWN, format_table, paper_table
from fire_tf.files.errors import InputError
from fire_tf.files.outputs import check_writable, write_file
from fire_tf.model.fire import FIRE
from fire_tf.model.paths import find_model, run_config
from fire_tf.model.storage import load_model
from fire_tf.registration.pair import modalities
from fire_tf.training.run import train

_PAIRS = 16  # that are drawn unless something else is asked for


@dataclass(frozen=True)
class Experiment:
    """The options of the command, by their names; ``python -m fire_tf.evaluate --help`` says what each means."""

    model: Path | None
    config: str | None
    table: bool
    pairs: Path | None
    split: Split
    subjects: Sequence[str]
    count: int | None
    seed: int
    overrides: Sequence[str]
    moving_modality: str | None
    refine: bool
    baselines: Sequence[str]
    ants_starts: Sequence[int] | None
    synthesis: bool
    output: Path | None


def run_experiment(options: Experiment, *, progress: bool = False) -> Iterator[str]:
    """Measure, write the tables and yield the texts to be printed.

    Raises InputError for options that do not go together, and for a model or pairs that cannot be used.
    """
    config, folder = _subject(options)
    measured = of_subjects(config, options.split, options.subjects)
    output = options.output or folder / "evaluation"
    _check_options(options, output)
    if options.synthesis and config.data.pairing == "unaligned":
        raise InputError(
            f"--synthesis: compares aligned images, and those of {config.name} are not (data.pairing)"
        )
    structures = config.data.structures or DEFAULT_STRUCTURES
    baselines = _baselines(options, config)  # so that a missing package is not found out after the training
    check_labels(_label_maps(options, measured), structures, SMALLEST_STRUCTURE)
    model = _model(options, config, folder)
    moving, fixed = modalities(model, options.moving_modality)
    scores = evaluate(
        _pairs(options, measured, moving),
        _methods(options, config, model, moving, baselines),
        structures=structures,
        directions=(f"{moving} onto {fixed}", f"{fixed} onto {moving}"),
        progress=progress,
        pictures=output / "pictures" if options.table else None,
    )
    write_scores(scores, output)
    yield format_summary(summarise(scores))
    if options.table:
        table = format_table(paper_table(config.data), scores)
        write_file(output / "table.txt", lambda path: path.write_text(table + "\n", encoding="utf-8"))
        yield "\n" + table
    elif options.baselines:
        yield "\n" + format_differences(differences(scores))
    if options.synthesis:
        yield "\n" + measure_synthesis(model, measured, options.split, output)
    yield f"\nwritten to {output}"


def _check_options(options: Experiment, output: Path) -> None:
    """Raise InputError for numbers that cannot be, and where nothing can be written."""
    if options.count is not None and options.count < 1:
        raise InputError(f"--count {options.count}: expected at least 1")
    if options.seed < 0:
        raise InputError(f"--seed {options.seed}: expected a number from 0")
    if options.pairs and options.pairs.resolve() == output.resolve():
        raise InputError(f"--output {output}: its pairs.csv, which lists the pairs, would be overwritten")
    check_writable(output / "pictures" if options.table else output)


def _subject(options: Experiment) -> tuple[Config, Path]:
    """The config and the folder of the model that is measured."""
    if options.config is not None:
        config = load_config(options.config, options.overrides)
        return config, options.model or Path("runs") / config.name
    if options.model is None:
        raise InputError("give --model, a trained model, or --config, an experiment")
    return load_config(run_config(options.model), options.overrides), options.model


def of_subjects(config: Config, split: Split, subjects: Sequence[str]) -> Config:
    """The config, its ``split`` being these subjects where there are any, whichever split they are of."""
    if not subjects:
        return config
    known = [subject for names in config.data.split.values() for subject in names]
    for subject in subjects:
        if subject not in known:
            raise InputError(
                f"--subjects {subject}: config {config.name} has {', '.join(known) or 'none by name'}"
            )
    rest = {
        name: tuple(subject for subject in names if subject not in subjects)
        for name, names in config.data.split.items()
    }
    return replace(config, data=replace(config.data, split={**rest, split: tuple(subjects)}))


def _model(options: Experiment, config: Config, folder: Path) -> FIRE:
    """The model in ``folder``; where it holds none, ``--config`` trains it first."""
    if options.config is not None:
        _train_where_absent(config, folder, options.config)
        others = recipe_differences(load_config(run_config(folder)), config)
        if others:
            print(f"note: {folder} was trained with another {', '.join(others)}", file=sys.stderr)
    return load_model(folder)


def _train_where_absent(config: Config, folder: Path, name: str) -> None:
    try:
        find_model(folder)
    except InputError:
        if (folder / "config.yaml").is_file():
            command = f"python -m fire_tf.train --config {name} --output {folder} --resume"
            raise InputError(f"{folder}: its training was not finished; go on with {command}") from None
        check_writable(folder)
        print(f"{folder}: holds no model yet; training it", file=sys.stderr)
        train(config, folder, quiet=not sys.stderr.isatty())


def _pairs(options: Experiment, config: Config, moving_modality: str) -> Iterable[Pair]:
    """The pairs of a folder; or from a split of the config those that were acquired unaligned, or pairs drawn
    from its subjects."""
    if options.pairs:
        return read_pairs(options.pairs)
    if config.data.pairing == "unaligned":
        return islice(acquired_pairs(config.data, options.split, moving_modality), options.count)
    count = options.count
    if count is None:
        count = PAIRS_DRAWN[config.data.ndim] if options.table else _PAIRS
    return draw_pairs(config, options.split, count, options.seed, moving_modality)


def _label_maps(options: Experiment, config: Config) -> Iterator[LabelMaps]:
    """Those of all pairs, or of all samples that pairs are drawn from."""
    if not options.pairs and config.data.pairing == "registered":
        return label_maps(config, options.split)
    pairs = _pairs(options, config, config.data.modality_a)
    return (LabelMaps(pair.name, pair.moving_labels, pair.fixed_labels) for pair in pairs)


def _baselines(options: Experiment, config: Config) -> list[Method]:
    """The tools that are asked for; a table has ANTs in any case, as the paper's have."""
    methods: list[Method] = []
    if options.table or "ants" in options.baselines:
        settings = ants.SETTINGS[config.ants]
        default = [3, 1] if options.table else [3]
        starts = (options.ants_starts or default) if len(settings.angles) > 1 else [1]
        methods += [ants.Ants(settings, starts=number) for number in starts]
    if "elastix" in options.baselines:
        methods.append(elastix.Elastix(elastix.SETTINGS[config.ants]))
    return methods


def _methods(
    options: Experiment, config: Config, model: FIRE, moving: str, baselines: Sequence[Method]
) -> list[Method]:
    """Everything that is measured; stacks of slices are registered slice by slice beside a 2D model, which sees its
    canvas of them where other tools see them whole."""
    ours: Method = TrainedModel(model, moving, refined=options.refine)
    stacks = config.data.slice_axis == "thickest" or config.data.cine
    if stacks and model.ndim == 2:
        window = [size * step for size, step in zip(config.data.canvas, config.data.spacing, strict=True)]
        ours = SliceBySlice(ours, window)
        baselines = [SliceBySlice(method) for method in baselines]
    return [Unaligned(), ours, *baselines, TrueDeformation()]
