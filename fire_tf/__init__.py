"""FIRE: multi-modal image registration by cross-modality synthesis (arXiv 1907.05062), in TensorFlow.

Where the paper's symbols are found:

======================================  ==========================================================
the paper                               here
======================================  ==========================================================
G                                       `fire_tf.networks.Encoder`
F_{A→B}, F_{B→A}                        `fire_tf.networks.Decoder`
T_{A→B}, T_{B→A}                        `fire_tf.networks.TransformationNetwork`
T^af (affine part of T)                 `fire_tf.networks.AffineNetwork`
T^nr (non-rigid part of T)              `fire_tf.networks.NonRigidNetwork`
φ_{A→B}, φ_{B→A}                        ``a_to_b``, ``b_to_a``: pull-backs, see `fire_tf.transforms`
φ^af                                    ``affine_a_to_b``: ``(batch, n, n+1)``, centred voxels
φ^nr                                    ``nonrigid_a_to_b``: ``(batch, *spatial, n)``, voxels
x ∘ φ                                   `fire_tf.transforms.warp`
L_syn^acc, L_syn^fea                    `fire_tf.losses.syn_acc`, `fire_tf.losses.syn_fea`
L_syn^cyc, L_syn^align                  `fire_tf.losses.syn_cyc`, `fire_tf.losses.syn_align`
L_reg^acc, L_reg^ic                     `fire_tf.losses.reg_acc`, `fire_tf.losses.reg_ic`
R_syn, R_reg                            `fire_tf.losses.r_syn`, `fire_tf.losses.r_reg`
R_smooth                                `fire_tf.losses.r_smooth`
λ                                       `fire_tf.losses.smoothness_weight`
L and its optimisation                  `fire_tf.model.FIRE`
======================================  ==========================================================

Importing this package prints nothing and does not import TensorFlow: public names are fetched on first use.
"""

from typing import TYPE_CHECKING, Any

from fire_tf import _environment
from fire_tf._version import __version__

_environment.check_environment()
_environment.quieten_tensorflow()

if TYPE_CHECKING:
    from fire_tf.apply import apply_transform
    from fire_tf.config import load_config
    from fire_tf.errors import InputError
    from fire_tf.model import FIRE
    from fire_tf.model_folder import load_model
    from fire_tf.register import Options, register_images

# Public name -> the module that holds it.
_LAZY = {
    "FIRE": "fire_tf.model",
    "InputError": "fire_tf.errors",
    "Options": "fire_tf.register",
    "apply_transform": "fire_tf.apply",
    "load_config": "fire_tf.config",
    "load_model": "fire_tf.model_folder",
    "register_images": "fire_tf.register",
}

__all__ = [
    "FIRE",
    "InputError",
    "Options",
    "__version__",
    "apply_transform",
    "load_config",
    "load_model",
    "register_images",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
