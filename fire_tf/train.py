"""Train FIRE: ``python -m fire_tf.train --config configs/t1_flair_2d.yaml [--set key=value] [--resume]``.

A run folder holds ``config.yaml`` (everything resolved), ``metrics.csv``, ``tensorboard/``, ``pictures/`` of validation
pairs, ``checkpoints/`` (model, the three optimizers, phase of the cycle and step) and, at the end, ``model/``, which
`register` and `evaluate` read.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fire_tf.compat.devices import add_device_option, use_device
from fire_tf.files.errors import exit_cleanly
from fire_tf.files.outputs import check_writable
from fire_tf.files.paths import user_path


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Train FIRE on pairs of images.")
    parser.add_argument(
        "--config", required=True, help="a YAML file, or the name of a config that comes along"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument(
        "--output", type=user_path, help="run folder (default: runs/NAME, by the config's name)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    add_device_option(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


@exit_cleanly
def main(arguments: Sequence[str] | None = None, prog: str = "python -m fire_tf.train") -> None:
    """The command; see the module's docstring."""
    options = _parser(prog).parse_args(arguments)
    from fire_tf.config.loading import load_config

    config = load_config(options.config, options.overrides)
    folder = options.output or Path("runs") / config.name
    check_writable(folder)
    # TensorFlow takes seconds to load, which a request for help and a wrong option need not wait for.
    from fire_tf.training.run import train
    from fire_tf.training.workers import is_chief

    use_device(options.device)
    model = train(config, folder, resume=options.resume, quiet=options.quiet)
    if is_chief(model.distribute_strategy):
        print(f"model written to {folder / 'model'}")


if __name__ == "__main__":
    main()
