"""Is a synthesised image more than recoloured? It is compared with the best table from grey value to grey
value.

A table maps every grey value of modality A to one of B. The best one is the conditional mean, which no other
function of the grey value alone can beat; fitted on the measured subject itself it is an oracle, as it has
seen the true image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fire_tf.config.schema import Config, Split
from fire_tf.data.dataset import Sample, load_subjects
from fire_tf.evaluation.scoring import Row
from fire_tf.files.errors import InputError
from fire_tf.files.tables import write_table
from fire_tf.intensities.grey_values import BACKGROUND
from fire_tf.measures.grey_values import GreyValueTable, correlation
from fire_tf.measures.metrics import brain_mask
from fire_tf.pictures.synthesis import draw_synthesis
from fire_tf.registration.pair import PairModel

_BATCH = 8


def measure_synthesis(model: PairModel, config: Config, split: Split, folder: Path) -> str:
    """Correlation of synthesised and true B inside the brain, for each subject over all its slices (or its
    volume).

    Beside it that of the table fitted on the subject itself and of one fitted on the training subjects.
    Writes ``synthesis.csv`` and ``synthesis.png`` into ``folder``; returns the table as text.
    """
    subjects = _stacks(load_subjects(config.data, split))
    if not subjects:
        raise InputError(f"split {split}: the config names no subject for it")
    general = _fit_all(_stacks(load_subjects(config.data, "train")))
    rows: list[Row] = []
    pictures: dict[str, dict[str, np.ndarray]] = {}
    for subject, (a, b) in subjects.items():
        mask = _brains(a) & _brains(b)
        synthesised, own = synthesise(model, a, b), GreyValueTable.fit(a, b, mask)(a)
        rows.append(
            {
                "subject": subject,
                "images": len(a),
                "synthesised": correlation(synthesised, b, mask),
                "table_of_subject": correlation(own, b, mask),
                "table_of_training": correlation(general(a), b, mask),
            }
        )
        middle = int(np.argmax(mask.reshape(len(mask), -1).sum(axis=1)))
        shown = {
            config.data.modality_a: a,
            config.data.modality_b: b,
            "synthesised": synthesised,
            "grey value table": np.where(mask, own, BACKGROUND),
        }
        pictures[subject] = {title: images[middle] for title, images in shown.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "synthesis.csv", rows)
    draw_synthesis(pictures, folder / "synthesis.png")
    return _format(rows, config.data.modality_a, config.data.modality_b)


def synthesise(model: PairModel, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """B made by the model from each of the images ``a`` (images, *canvas); their ``b`` has no influence."""
    parts = [
        model.estimate_pair(
            a[start : start + _BATCH, ..., np.newaxis], b[start : start + _BATCH, ..., np.newaxis]
        )
        for start in range(0, len(a), _BATCH)
    ]
    return np.concatenate([part["synth_b"][..., 0] for part in parts])


def _stacks(samples: Sequence[Sample]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The images of each subject, ``(images, *canvas)``: its slices in 2D, its one volume in 3D."""
    subjects = sorted({sample.subject for sample in samples})
    return {
        subject: (
            np.stack([sample.a for sample in samples if sample.subject == subject]),
            np.stack([sample.b for sample in samples if sample.subject == subject]),
        )
        for subject in subjects
    }


def _brains(images: np.ndarray) -> np.ndarray:
    return np.stack([brain_mask(image, BACKGROUND) for image in images])


def _fit_all(subjects: dict[str, tuple[np.ndarray, np.ndarray]]) -> GreyValueTable:
    pairs = [(a[mask], b[mask]) for a, b in subjects.values() for mask in [_brains(a) & _brains(b)]]
    a, b = (np.concatenate(values) for values in zip(*pairs, strict=True))
    return GreyValueTable.fit(a, b, np.ones(len(a), dtype=bool))


def _format(rows: Sequence[Row], source: str, target: str) -> str:
    lines = [
        f"Correlation with the true {target} inside the brain: {target} synthesised from {source}, "
        "the best grey value table of the subject itself (an oracle), and that of the training subjects"
    ]
    lines += [
        f"{row['subject']}: synthesised {row['synthesised']:.3f}, own table {row['table_of_subject']:.3f}, "
        f"training table {row['table_of_training']:.3f} ({row['images']} images)"
        for row in rows
    ]
    return "\n".join(lines)
