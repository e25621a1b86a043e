"""The pairs of a BIDS dataset as a cohort whose results are a derivatives dataset (`fire_tf.bids`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fire_tf.bids.dataset import chosen, find_pairs, participants
from fire_tf.bids.derivatives import PairFiles
from fire_tf.bids.names import read_selector
from fire_tf.bids.output import FIGURES
from fire_tf.cohorts.manifest import Cohort, Row
from fire_tf.files.errors import InputError


def read_dataset(
    root: Path, moving: str, fixed: str, names: Sequence[str], output: Path, modality: str | None = None
) -> Cohort:
    """The pairs of two kinds of images of a dataset; the others are named in doubts.

    Args:
        root: the dataset.
        moving, fixed: which images, as `fire_tf.bids.names.read_selector` reads them.
        names: the participants, with ``sub-`` or without; all where there is none.
        output: the dataset that the results go to.
        modality: the moving image's, where its name is not to say it.

    Raises InputError for what is no dataset, holds no pair or not a participant that is named.
    """
    first, second = read_selector(moving, "--from"), read_selector(fixed, "--to")
    if first.suffix == second.suffix:
        raise InputError(
            f"--from {moving} --to {fixed}: one suffix, by which results could not be told apart"
        )
    root, output = root.absolute(), output.absolute()
    found = participants(root)
    if names:
        found = chosen(found, names, root)
    a, b = (None, None) if modality else (moving, fixed)
    files = [PairFiles(output, pair) for pair in find_pairs(root, found, first, second)]
    rows = [
        Row(one.pair.first.acquisition, one.pair.first.path, one.pair.second.path, a, b, one) for one in files
    ]
    return Cohort(rows, f"{output / FIGURES}/from-{first.suffix}_to-{second.suffix}_")
