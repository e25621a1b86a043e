"""List the trained models that come along, with what each is for and was trained on.

    python -m fire_tf.models

``fire_tf.register --model NAME`` takes such a name; the model's card, with its figures and limits, is
``fire_tf/weights/NAME/README.md``.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence

from fire_tf.files.errors import exit_cleanly


@exit_cleanly
def main(arguments: Sequence[str] | None = None, prog: str = "python -m fire_tf.models") -> None:
    """The command; see the module's docstring."""
    argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0]).parse_args(arguments)
    from fire_tf.config.shipped import WEIGHTS, shipped_models

    for model in shipped_models():
        print(model.in_short())
        for line in (f"trained on {model.trained_on}", f"card: {WEIGHTS / model.name / 'README.md'}"):
            print(textwrap.fill(line, 100, initial_indent="    ", subsequent_indent="    "))


if __name__ == "__main__":
    main()
