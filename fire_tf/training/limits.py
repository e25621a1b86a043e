"""What `register` warns of, learnt from the validation split: `fire_tf.registration.limits` says what the numbers are.

A training does it at its end. For a model that was trained before, or with other data to learn from:

    python -m fire_tf.training.limits --model runs/t1_flair_2d [--set data.root=FOLDER]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fire_tf.config.loading import load_config
from fire_tf.config.schema import Config
from fire_tf.data.dataset import Pairs
from fire_tf.files.errors import exit_cleanly
from fire_tf.files.outputs import write_file
from fire_tf.geometry.images import Image
from fire_tf.model.fire import FIRE
from fire_tf.model.paths import PREPROCESSING, find_model
from fire_tf.model.storage import load_model
from fire_tf.registration.limits import learnt, measured
from fire_tf.registration.pair import register_pair
from fire_tf.sources.find import find_subjects

PAIRS = {2: 100, 3: 20}
"""How many pairs are drawn, by the number of axes of their images."""

_SEED = 20_011  # added to the config's seed: other draws than those that the training was validated on


def learn_limits(model: FIRE, config: Config) -> dict[str, Any] | None:
    """The limits of pairs that are drawn from the validation split, None where there is no such split."""
    if not find_subjects(config.data)["validate"]:
        return None
    registered = config.data.pairing == "registered"
    pairs = Pairs(
        config.data,
        config.deformation if registered else None,
        None,
        split="validate",
        moving="either",
        seed=config.seed + _SEED,
        aligned=registered,
    )
    rows = []
    for element in pairs.batches(1).take(PAIRS[config.data.ndim]).as_numpy_iterator():
        a, b = (_as_image(element[role][0, ..., 0], config) for role in ("a", "b"))
        rows.append(measured(register_pair(model, a, b)))
    return learnt(rows, images=pairs.count)


def _as_image(data: np.ndarray, config: Config) -> Image:
    affine = np.diag([*(*config.data.spacing, 1.0)[:3], 1.0])
    return Image(data.reshape((*data.shape, 1)[:3]), affine, "a pair of the validation split")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="run folder, or the model folder in it")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the model's config"
    )
    return parser


@exit_cleanly
def main(arguments: Sequence[str] | None = None, prog: str = "python -m fire_tf.training.limits") -> None:
    """The command; see the module's docstring."""
    chosen = _parser(prog).parse_args(arguments)
    folder = find_model(chosen.model)
    config = load_config(folder / "config.yaml", chosen.set)
    limits = learn_limits(load_model(folder, compiled=False), config)
    content = json.loads((folder / PREPROCESSING).read_text()) | {"limits": limits}
    write_file(folder / PREPROCESSING, lambda path: path.write_text(json.dumps(content, indent=2) + "\n"))
    print(json.dumps(limits, indent=2))


if __name__ == "__main__":
    main()
