"""What a run is made of: the keys of ``configs/*.yaml``, their types, ranges and defaults.

`fire_tf.config.data_section` has those of the section ``data``; `fire_tf.config.loading` reads them all.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field

from fire_tf.config.data_section import FROM_SOURCE, fill_absent
from fire_tf.config.data_section import SPLITS as SPLITS
from fire_tf.config.data_section import DataConfig as DataConfig
from fire_tf.config.data_section import Split as Split
from fire_tf.config.kinds import (
    Count,
    Degrees,
    Flag,
    Fraction,
    Natural,
    NotNegative,
    Positive,
    Range,
    Shear,
    UserPath,
    Whole,
    within,
)
from fire_tf.files.errors import InputError

Group = Literal["affine", "nonrigid", "synthesis"]
Objective = Literal["aligned", "known", "paper"]
Organ = Literal["heads", "hearts"]


@dataclass(frozen=True)
class DeformationConfig:
    """Ranges of a random transform x -> A(x + u(x)); the defaults are the identity.

    A rotation is drawn from its range with a random sign: [10, 20] means 10 to 20 degrees either way.
    """

    rotation: Range[Degrees] = (0.0, 0.0)  # degrees, in each coordinate plane
    # of the canvas, the length of the shift; its direction is random
    translation: Range[Fraction] = (0.0, 0.0)
    scale: Range[Positive] = (1.0, 1.0)  # along each axis
    shear: Range[Shear] = (0.0, 0.0)
    peak: Range[NotNegative] = (0.0, 0.0)  # max |u|, voxels
    control_points: Annotated[Whole, Field(ge=2)] = (
        5  # per axis, of the coarse grid that u is interpolated from
    )


@dataclass(frozen=True)
class ShadingConfig:
    """Ranges of the random shading (`fire_tf.data.shading`) of what G sees while the warm-ups train; default: none."""

    strength: Range[NotNegative] = (0.0, 0.0)  # max |ln gain|
    gamma: Range[Positive] = (1.0, 1.0)  # exponent of grey values in [0, 1]
    # standard deviation of the logarithms of a rising curve's slopes; 0 is a straight line
    curve: Range[NotNegative] = (0.0, 0.0)
    # its standard deviation, part of the range
    noise: Range[Fraction] = (0.0, 0.0)


@dataclass(frozen=True)
class NetworkConfig:
    """Channels and depth of G and F (``filters``, ``residual_blocks``), T_af and T_nr; see `fire_tf.networks`."""

    filters: tuple[Count, Count, Count] = (16, 32, 64)
    residual_blocks: Natural = 4
    dilation_growth: Count = 1  # from one residual block to the next
    shortcut: Flag = True  # G and F pass patches on linearly and normalise in the residual blocks alone
    shared_transformation: Flag = False  # one T for both directions
    affine_pooling: Literal["average", "moments", "keypoints"] = "keypoints"
    affine_filters: tuple[Count, ...] = (64, 64, 64)
    affine_maps: Count = 64
    affine_units: Count = 256
    affine_steps: Natural = 0  # of Gauss-Newton, after T_af's dense layers
    nonrigid_filters: Count = 48
    nonrigid_dilations: tuple[Count, ...] = (1, 2, 4, 8, 4, 2, 1)
    nonrigid_steps: Natural = 0  # and before T_nr's convolutions
    nonrigid_bending: NotNegative = 7.0  # weight of the bending energy in those: more agrees better both ways
    nonrigid_half_wave: Positive = (
        5.0  # of their finest cosine, voxels of G's grid; as far as 1,000 unknowns allow
    )
    output_scale: Positive = 0.1  # of what the last layers of both parts of T give
    standardised: Flag = True  # T sees every channel of G's features at mean 0 and variance 1
    identity_start: Flag = True  # residual blocks and T begin as the identity: their last layers at 0


@dataclass(frozen=True)
class LossWeights:
    """Factor of each term of L; the paper's are 1, and its lambda is 0.1 (`fire_tf.model.losses.LAMBDA`)."""

    syn_acc: NotNegative = 1.0
    syn_fea: NotNegative = 1.0
    syn_cyc: NotNegative = 1.0
    syn_align: NotNegative = 1.0
    reg_acc: NotNegative = 1.0
    reg_ic: NotNegative = 1.0
    r_syn: NotNegative = 1.0
    r_reg: NotNegative = 1.0
    r_smooth: NotNegative = 0.1
    known_start: NotNegative = 1.0  # objective "known" alone
    known_affine: NotNegative = 1.0
    known: NotNegative = 1.0


TRAINED: dict[Objective, tuple[Group, ...]] = {
    "aligned": ("synthesis",),
    "known": ("affine", "nonrigid"),
    "paper": ("affine", "nonrigid", "synthesis"),
}
"""The groups of variables that each objective has a gradient for."""


@dataclass(frozen=True)
class LearningRates:
    """One rate per group of variables; the defaults are the paper's."""

    affine: NotNegative = 5e-5
    nonrigid: NotNegative = 5e-5
    synthesis: NotNegative = 1e-4


@dataclass(frozen=True)
class Stage:
    """A stretch of training with one objective: ``steps`` iterations, the groups of ``cycle`` in turn."""

    name: str
    objective: Objective
    cycle: tuple[tuple[Group, ...], ...]
    steps: Count
    batch_size: Count
    learning_rate: LearningRates = LearningRates()
    deform: Flag = True  # apply `Config.deformation` to the moving image
    schedule: Literal["constant", "cosine"] = "constant"
    clip_norm: Positive | None = None  # largest global norm of a group's gradient

    def __post_init__(self) -> None:
        for groups in self.cycle:
            if not groups or len(set(groups)) != len(groups):
                raise ValueError(
                    f"cycle: expected lists of {', '.join(get_args(Group))}, each at most once, got {list(groups)}"
                )
            if untrained := sorted(set(groups) - set(TRAINED[self.objective])):
                raise ValueError(
                    f"cycle: objective {self.objective} does not train {', '.join(untrained)}, "
                    f"it trains {', '.join(TRAINED[self.objective])}"
                )
        if not self.cycle:
            raise ValueError("cycle: expected at least one list of groups")


@dataclass(frozen=True)
class ValidationConfig:
    """``batches`` fixed batches of the validation split, scored every ``every`` steps."""

    batch_size: Count = 4
    batches: Count = 4
    every: Count = 500


@dataclass(frozen=True)
class Config:
    """A whole run."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)  # of its sections too

    name: str
    data: DataConfig
    stages: tuple[Stage, ...]
    seed: Natural = 1
    init: UserPath | None = None  # a trained model, or its run folder, whose weights the networks start from
    deformation: DeformationConfig = DeformationConfig()
    common: DeformationConfig = DeformationConfig()
    # axes of the canvas along which half of the draws are mirrored
    mirror: tuple[Annotated[Whole, within(0, 2)], ...] = ()
    shading: ShadingConfig | None = None
    network: NetworkConfig = NetworkConfig()
    weights: LossWeights = LossWeights()
    validation: ValidationConfig = ValidationConfig()
    threads: Count | None = None  # None: TensorFlow chooses
    # devices and machines that share each batch
    distribute: Literal["none", "mirrored", "multi_worker"] = "none"
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"  # of the convolutions
    # activations of G and F for the gradient, instead of keeping them: less memory, more time
    recompute: Flag = False
    deterministic: Flag = False  # two runs end in the same weights, bit for bit; slower
    search: Organ = FROM_SOURCE  # that refines what the model finds; by default hearts for acdc, else heads
    ants: Organ = FROM_SOURCE  # the settings of ANTs and elastix, the baselines; likewise

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name:
            raise ValueError(f"name: expected the name of a folder under runs/, got {self.name!r}")
        if any(axis >= self.data.ndim for axis in self.mirror):
            raise ValueError(f"mirror: expected axes from 0 to {self.data.ndim - 1}, got {list(self.mirror)}")
        if not self.stages:
            raise ValueError("stages: expected at least one stage")
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages: expected different names, got {', '.join(names)}")
        organ: Organ = "hearts" if self.data.source == "acdc" else "heads"
        fill_absent(self, search=organ, ants=organ)

    def check_trainable(self) -> None:
        """Raise InputError for a stage whose objective goes together neither with the pairs nor with the deformation.

        Not at reading: a trained model is measured with deformations of any kind.
        """
        for place, stage in enumerate(self.stages):
            if fault := self._fault(stage):
                raise InputError(f"config {self.name}: stages[{place}].{fault}")

    def _fault(self, stage: Stage) -> str:
        """The key of a stage that cannot train, and why; nothing where it can."""
        deformed = stage.deform and self.deformation != DeformationConfig()
        if stage.objective == "aligned" and self.data.pairing == "unaligned" and not self.data.cine:
            return (
                "objective: aligned compares A with B where they lie, and these pairs are unaligned (data.pairing); "
                "paper needs no alignment"
            )
        if stage.objective == "aligned" and deformed:
            return "deform: objective aligned compares images that lie on each other, give deform: false"
        if stage.objective == "known" and not deformed:
            cause = "deformation draws none" if stage.deform else "deform is false"
            return f"deform: objective known learns the drawn deformation, and {cause}"
        return ""
