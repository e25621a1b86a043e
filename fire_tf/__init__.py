"""FIRE: multi-modal image registration by cross-modality synthesis (arXiv 1907.05062), in TensorFlow.

Where the paper's symbols are found:

======================================  ==========================================================
the paper                               here
======================================  ==========================================================
G                                       `fire_tf.networks.synthesis.Encoder`
F_{A→B}, F_{B→A}                        `fire_tf.networks.synthesis.Decoder`
T_{A→B}, T_{B→A}                        `fire_tf.networks.transformation.TransformationNetwork`
T^af (affine part of T)                 `fire_tf.networks.affine.AffineNetwork`
T^nr (non-rigid part of T)              `fire_tf.networks.nonrigid.NonRigidNetwork`
φ_{A→B}, φ_{B→A}                        ``a_to_b``, ``b_to_a``: pull-backs, see `fire_tf.networks.spatial`
φ^af                                    ``affine_a_to_b``: ``(batch, n, n+1)``, centred voxels
φ^nr                                    ``nonrigid_a_to_b``: ``(batch, *spatial, n)``, voxels
x ∘ φ                                   `fire_tf.networks.spatial.warp`
L_syn^acc, L_syn^fea                    `fire_tf.model.losses.syn_acc`, `fire_tf.model.losses.syn_fea`
L_syn^cyc, L_syn^align                  `fire_tf.model.losses.syn_cyc`, `fire_tf.model.losses.syn_align`
L_reg^acc, L_reg^ic                     `fire_tf.model.losses.reg_acc`, `fire_tf.model.losses.reg_ic`
R_syn, R_reg                            `fire_tf.model.losses.r_syn`, `fire_tf.model.losses.r_reg`
R_smooth                                `fire_tf.model.losses.r_smooth`
λ                                       `fire_tf.model.losses.LAMBDA`
L and its optimisation                  `fire_tf.model.fire.FIRE`
======================================  ==========================================================

Importing this package prints nothing and does not import TensorFlow: public names are fetched on first use.
"""

from typing import TYPE_CHECKING, Any

from fire_tf.compat import environment as _environment
from fire_tf.compat.version import __version__

_environment.prepare()

if TYPE_CHECKING:
    from fire_tf.applying.images import apply_transform
    from fire_tf.config.loading import load_config
    from fire_tf.files.errors import InputError
    from fire_tf.model.fire import FIRE
    from fire_tf.model.storage import load_model
    from fire_tf.registration.user_images import Options, register_images
    from fire_tf.serving.saved_model.export import export_model

# Public name -> the module that holds it.
_LAZY = {
    "FIRE": "fire_tf.model.fire",
    "InputError": "fire_tf.files.errors",
    "Options": "fire_tf.registration.user_images",
    "apply_transform": "fire_tf.applying.images",
    "export_model": "fire_tf.serving.saved_model.export",
    "load_config": "fire_tf.config.loading",
    "load_model": "fire_tf.model.storage",
    "register_images": "fire_tf.registration.user_images",
}

__all__ = [
    "FIRE",
    "InputError",
    "Options",
    "__version__",
    "apply_transform",
    "export_model",
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
