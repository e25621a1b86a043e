"""The pairs of a BIDS dataset; ``data.modality_a`` and the like are suffixes, or ``desc-brain_T1w``.

Which images are a pair: `fire_tf.bids.dataset.find_pairs`. All pairs of a participant, of several sessions say, are in
one split; each is a subject of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from fire_tf.bids.dataset import Pair, find_pairs, labels_of, participant, participants
from fire_tf.bids.names import Selector, read_selector
from fire_tf.config.schema import SPLITS, DataConfig
from fire_tf.files.errors import InputError
from fire_tf.files.tables import read_table
from fire_tf.sources.subjects import Splits, SubjectFiles, split_by_order, split_found


def find_subjects(config: DataConfig) -> dict[str, list[SubjectFiles]]:
    """The subjects of every split of the config, of the column ``split`` of participants.tsv, or else in order.

    Raises InputError for what is no dataset, and for a participant of the split that has no pair.
    """
    root = Path(str(config.root))
    a, b = _selector(config, "modality_a"), _selector(config, "modality_b")
    folders = participants(root)
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in find_pairs(root, folders, a, b):
        found[participant(pair.first.entities["sub"])].append(pair)
    split: Splits = {part: [participant(name) for name in names] for part, names in config.split.items()}
    if not any(split.values()):
        split = _own_split(root / "participants.tsv", found)
    if not any(split.values()):
        split = split_by_order(list(found), root)
    maps = {
        key: labels_of(root, folders, image, _selector(config, key)) if getattr(config, key) else {}
        for key, image in {"labels": a, "labels_a": a, "labels_b": b}.items()
    }
    return {
        part: [_subject(pair, maps, config) for pairs in named.values() for pair in pairs]
        for part, named in split_found(found, split, root).items()
    }


def _selector(config: DataConfig, key: str) -> Selector:
    return read_selector(getattr(config, key), f"data.{key}:")


def _own_split(table: Path, found: Mapping[str, object]) -> Splits:
    """What participants.tsv says that those who were found are for; nothing where it says nothing."""
    if not table.is_file():
        return {}
    columns, rows = read_table(table)
    if not {"participant_id", "split"} <= set(columns):
        return {}
    split: dict[str, list[str]] = {part: [] for part in SPLITS}
    for number, cells in rows:
        name, part = participant(cells["participant_id"]), cells["split"]
        if part in ("", "n/a") or name not in found:
            continue
        if part not in split:
            raise InputError(
                f"{table}: line {number}: split is {part!r}, expected one of {', '.join(SPLITS)} or n/a"
            )
        split[part].append(name)
    return split


def _subject(pair: Pair, maps: Mapping[str, Mapping[Path, Path]], config: DataConfig) -> SubjectFiles:
    first, second = pair.first.path, pair.second.path
    if config.labels and first not in maps["labels"]:
        raise InputError(f"{first}: has no {config.labels} beside it (data.labels)")
    own = maps["labels_a"].get(first), maps["labels_b"].get(second)
    return SubjectFiles(pair.first.acquisition, first, second, maps["labels"].get(first), own)
