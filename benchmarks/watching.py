"""What watching validation pairs (`fire_tf.training.callbacks.Watch`) costs beside the steps between two validations.

python benchmarks/watching.py --config t1_flair_2d --set data.root=FOLDER
"""

import argparse
import tempfile
from pathlib import Path

from fire_tf.config.loading import load_config
from fire_tf.measures.timing import Stopwatch
from fire_tf.model.build import build_model
from fire_tf.training.callbacks import Watch
from fire_tf.training.progress import Run, compile_for
from fire_tf.training.stages import _pairs, _validation


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--cycles", type=int, default=4, help="turns of a stage's cycle that are timed")
    chosen = parser.parse_args()
    config = load_config(chosen.config, chosen.set)
    model = build_model(config)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), config, model)
        for stage in config.stages:
            compile_for(model, stage)
            model.phase.assign(0)
            validation = _validation(config, stage)
            if validation is None:
                raise SystemExit("no validation split: nothing is watched")
            watch, costs = Watch(run, stage, validation), []
            watch.on_train_begin()
            for epoch in range(2):  # the first one of a run traces what the others run
                clock = Stopwatch()
                watch.on_epoch_end(epoch, {})
                costs.append(clock.read().cpu_seconds)
            watch.on_train_end()
            batches = _pairs(config, stage, "train", config.seed).batches(stage.batch_size)
            model.fit(batches, steps_per_epoch=len(stage.cycle), verbose=0)
            steps, clock = chosen.cycles * len(stage.cycle), Stopwatch()
            model.fit(batches, steps_per_epoch=steps, verbose=0)
            every = config.validation.every
            between = clock.read().cpu_seconds / steps * every
            print(
                f"{stage.name}: watching {costs[1]:.1f} CPU s (the first time {costs[0]:.1f}), {every} steps "
                f"{between:.0f} CPU s: {100 * costs[1] / between:.1f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
