"""The section ``data`` of a config: which images, and the grid on which a model sees them."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from fire_tf.config.kinds import Count, Fraction, Number, PerAxis, Positive, UserPath, Voxels, Whole, within
from fire_tf.files.errors import nearest

Split = Literal["train", "validate", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

FROM_SOURCE: Any = None
"""A default that follows from `DataConfig.source`, for __post_init__ to fill in."""


@dataclass(frozen=True)
class DataConfig:
    """Which images, and the grid on which the model sees them.

    A path is relative to the folder that the command is run in. ``spacing`` (mm) and ``canvas`` (voxels) have
    one entry per spatial axis in RAS order; in a file a single number stands for all axes.
    """

    source: Literal["folders", "manifest", "bids", "phantom", "mrbrains", "acdc"]
    # folders: holds one folder per subject; manifest: what its paths are relative to; bids: the dataset; mrbrains,
    # acdc: the challenge's data as they were unpacked
    root: UserPath | None = None
    manifest: UserPath | None = None  # CSV of pairs
    modality_a: str = "T1"  # folders: SUBJECT/T1.nii.gz; bids: T1w; mrbrains: T1, IR or FLAIR; acdc: ED or ES
    modality_b: str = "FLAIR"
    labels: str | None = None  # folders: SUBJECT/seg.nii.gz; bids: dseg; mrbrains and acdc know their own
    labels_a: str | None = None  # of unaligned images, each on its own image's grid; for scores alone
    labels_b: str | None = None
    structures: dict[Whole, str] = field(default_factory=dict)  # label value -> name
    split: dict[str, tuple[str, ...]] = field(default_factory=dict)  # subjects; absent means the source's own
    ndim: Literal[2, 3] = 2
    spacing: PerAxis[Positive] = (1.28,)
    canvas: PerAxis[Voxels] = (192,)
    min_tissue: Fraction = 0.05  # 2D: slices whose tissue fills a smaller fraction of the canvas are left out
    percentile: Annotated[Number, within(50, 100)] = 99.5  # of the tissue, becomes +1
    cache: UserPath = "cache"
    phantom_subjects: Count = 8  # source phantom: how many to generate
    # whether A and B of a subject lie on each other, as they must unless it says unaligned: then each image is placed
    # on the canvas by itself, wherever its header puts it. Those of acdc are two phases of a beat and unaligned
    pairing: Literal["registered", "unaligned"] = FROM_SOURCE
    # the axis of a volume in RAS order that its slices are counted along; by default thickest for acdc, else last
    slice_axis: Literal["last", "thickest"] = FROM_SOURCE

    def __post_init__(self) -> None:
        for name in ("spacing", "canvas"):
            object.__setattr__(self, name, _per_axis(name, getattr(self, name), self.ndim))
        for name in self.split:
            if name not in SPLITS:
                raise ValueError(f"split.{name}: unknown key; nearest known: {nearest(name, SPLITS)}")
        object.__setattr__(self, "split", {name: tuple(self.split.get(name, ())) for name in SPLITS})
        owner: dict[str, str] = {}
        for name, subjects in self.split.items():
            for subject in subjects:
                if owner.setdefault(subject, name) != name:
                    raise ValueError(f"split: {subject!r} is in {owner[subject]} and in {name}")
        needed = {"manifest": "manifest", "phantom": None}.get(self.source, "root")
        if needed and getattr(self, needed) is None:
            raise ValueError(f"{needed}: missing, source {self.source} needs it")
        own = "unaligned" if self.source == "acdc" else "registered"
        if self.source in ("mrbrains", "acdc") and self.pairing not in (None, own):
            raise ValueError(f"pairing: source {self.source} has {own} images, got {self.pairing}")
        fill_absent(self, pairing=own, slice_axis="thickest" if self.source == "acdc" else "last")
        self._check_labels()

    def _check_labels(self) -> None:
        given = [name for name in ("labels", "labels_a", "labels_b") if getattr(self, name) is not None]
        if given and self.source in ("mrbrains", "acdc"):
            raise ValueError(f"{given[0]}: source {self.source} knows its own, leave the key out")
        if self.pairing == "unaligned" and "labels" in given:
            raise ValueError(
                "labels: unaligned images have no map in common; give null, and labels_a and labels_b"
            )
        if self.pairing == "registered" and given not in ([], ["labels"]):
            raise ValueError(f"{given[-1]}: registered images have one map in common (pairing); give labels")

    @property
    def cine(self) -> bool:
        """Whether A and B are phases of one beating heart: unaligned, but on one grid, and of one modality."""
        return self.source == "acdc"


def _per_axis(name: str, values: tuple[float, ...], ndim: int) -> tuple[float, ...]:
    if len(values) == 1:
        return values * ndim
    if len(values) != ndim:
        raise ValueError(f"{name}: expected {ndim} numbers (ndim), got {list(values)}")
    return values


def fill_absent(section: object, **defaults: Any) -> None:
    """Give the keys of a frozen section that are absent a value."""
    for name, value in defaults.items():
        if getattr(section, name) is None:
            object.__setattr__(section, name, value)
