"""The whole way in minutes, on generated heads: ``python -m fire_tf.demo``.

Generates the data, trains a small 2D model, registers pairs of heads that the training never saw, prints Dice before
and after, and draws one of the pairs. Everything goes into ``runs/demo``, or ``runs/demo-2`` and so on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fire_tf.files.errors import exit_cleanly
from fire_tf.files.outputs import check_writable, unused_folder
from fire_tf.files.paths import user_path


@exit_cleanly
def main(arguments: Sequence[str] | None = None, prog: str = "python -m fire_tf.demo") -> None:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog=prog, description="FIRE on generated heads.")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--output", type=user_path, default=Path("runs/demo"), help="default: %(default)s")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    folder = unused_folder(options.output)
    check_writable(folder)
    # TensorFlow takes seconds to load, which a request for help and a wrong option need not wait for.
    from fire_tf.config.loading import load_config
    from fire_tf.experiments.demonstration import demonstrate

    demonstrate(load_config("demo", options.overrides), folder, quiet=options.quiet)


if __name__ == "__main__":
    main()
