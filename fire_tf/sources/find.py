"""Where subjects come from: a module of this folder for each value of ``data.source``."""

from __future__ import annotations

from fire_tf.config.schema import DataConfig
from fire_tf.sources import acdc, bids, folders, manifest, mrbrains, phantom
from fire_tf.sources.subjects import SubjectFiles

_FINDERS = {
    "acdc": acdc.find_subjects,
    "bids": bids.find_subjects,
    "folders": folders.find_subjects,
    "manifest": manifest.find_subjects,
    "mrbrains": mrbrains.find_subjects,
    "phantom": phantom.find_subjects,
}


def find_subjects(config: DataConfig) -> dict[str, list[SubjectFiles]]:
    """The subjects of every split, in the order of the config, the manifest or the source's own split.

    Raises InputError, naming the file or folder, for what is missing.
    """
    return _FINDERS[config.source](config)
