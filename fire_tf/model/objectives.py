"""What is computed for each objective: the passes through the networks that its loss terms need.

"paper" is FIRE's own (equations 1 to 4). The other two warm the networks up and are not in the paper: "aligned"
trains G and F on pairs that are aligned already, "known" trains T on the random transforms that the data were
deformed by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from fire_tf.intensities.grey_values import BACKGROUND
from fire_tf.model import losses
from fire_tf.model.forward import Batch, ForwardPass, Prediction
from fire_tf.model.losses import Losses
from fire_tf.networks.sampling import sample
from fire_tf.networks.spatial import affine_points, identity_grid
from fire_tf.networks.transformation import Phi

ALIGNED_TERMS = frozenset({"syn_acc", "syn_fea"})
PAPER_TERMS = ALIGNED_TERMS | {"syn_cyc", "syn_align", "reg_acc", "reg_ic", "r_syn", "r_reg", "r_smooth"}
KNOWN_TERMS = frozenset({"known_start", "known_affine", "known", "r_smooth"})
# The terms of each objective whose gradient with respect to a group is not zero by construction.
OBJECTIVES: dict[str, dict[str, frozenset[str]]] = {
    "paper": {
        "affine": PAPER_TERMS - {"syn_cyc", "syn_align"},
        "nonrigid": PAPER_TERMS - {"syn_cyc", "syn_align", "r_syn", "r_reg"},
        "synthesis": PAPER_TERMS,
    },
    "aligned": {"synthesis": ALIGNED_TERMS},
    "known": {
        "affine": frozenset({"known_start", "known_affine"}),
        "nonrigid": frozenset({"known", "r_smooth"}),
    },
}
_TISSUE = BACKGROUND + 0.01  # brighter than this is the object


def check_cycle(objective: str, cycle: Sequence[Sequence[str]]) -> None:
    """Raise ValueError unless every entry of ``cycle`` names groups that ``objective`` trains."""
    if objective not in OBJECTIVES:
        raise ValueError(f"objective is {objective!r}: expected one of {', '.join(OBJECTIVES)}")
    for groups in cycle:
        if not groups or any(group not in OBJECTIVES[objective] for group in groups):
            expected = list(OBJECTIVES[objective])
            raise ValueError(f"cycle has {list(groups)}: objective {objective!r} trains {expected}")


def batched(network: Callable[[tf.Tensor], tf.Tensor], inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """One pass of ``network`` over several equally large batches."""
    outputs = network(tf.concat(list(inputs.values()), axis=0))
    return dict(zip(inputs, tf.split(outputs, len(inputs)), strict=True))


def aligned_losses(model: ForwardPass, data: Batch, g_a: tf.Tensor, g_b: tf.Tensor) -> Losses:
    """What G and F owe to pairs that are aligned already: phi is the identity, T is not used.

    The cycle's two terms of equation 2 cost as much again and hold these two back: they wait for the paper's
    objective.
    """
    x_a, x_b = data["a"], data["b"]
    return Losses(
        syn_acc=losses.syn_acc(model.decoder_ab(g_a), x_b, model.decoder_ba(g_b), x_a),
        syn_fea=losses.syn_fea(g_a, g_b, g_b, g_a),
    )


def paper_losses(model: ForwardPass, data: Batch, prediction: Prediction, terms: frozenset[str]) -> Losses:
    """Equations 1 to 4, those of ``terms``."""
    compared = compared_tensors(model, data, prediction, terms)
    return Losses(**{name: getattr(losses, name)(*tensors) for name, tensors in compared.items()})


def compared_tensors(
    model: ForwardPass, data: Batch, prediction: Prediction, terms: frozenset[str] = PAPER_TERMS
) -> dict[str, tuple[tf.Tensor, ...]]:
    """What each of the paper's terms is a function of: the arguments of the loss of its name.

    Passes that do not wait for each other are one batch, and so are both directions, A's half first.
    """
    g_a, g_b, ab, ba = prediction
    x_a, x_b = data["a"], data["b"]
    x, g = tf.concat([x_a, x_b], axis=0), tf.concat([g_a, g_b], axis=0)
    phi = Phi(*(tf.concat(both, axis=0) for both in zip(ab, ba, strict=True)))
    u, affine, cycle = model.displacement(phi), "r_syn" in terms, "syn_cyc" in terms
    features, images = _warped(model, g, x, phi, u, affine)
    f_g = _decoded(model, features | ({"hat": g} if cycle else {}))
    if cycle:
        images["hat"] = tf.concat(f_g["hat"][::-1], axis=0)  # the first half is A's again
    g_of = batched(model.encoder, images)
    f_g_of = _decoded(model, g_of)
    g_a_warped, g_b_warped = tf.split(features["warped"], 2)
    compared = {
        "syn_acc": (f_g["warped"][0], x_b, f_g["warped"][1], x_a),
        "syn_fea": (g_a, g_b_warped, g_b, g_a_warped),
        "reg_acc": (f_g_of["warped"][0], x_b, f_g_of["warped"][1], x_a),
        "reg_ic": _there_and_back(model, x, phi, u),
        "r_smooth": (ab.nonrigid, ba.nonrigid),
    }
    if affine:
        compared["r_syn"] = (x_b, f_g["affine"][0], x_a, f_g["affine"][1])
        compared["r_reg"] = (x_b, f_g_of["affine"][0], x_a, f_g_of["affine"][1])
    if cycle:
        g_hat_a, g_hat_b = tf.split(g_of["hat"], 2)
        compared["syn_cyc"] = (f_g_of["hat"][1], x_a, f_g_of["hat"][0], x_b)
        compared["syn_align"] = (g_a, g_hat_b, g_b, g_hat_a)
    return compared


def _warped(
    model: ForwardPass, g: tf.Tensor, x: tf.Tensor, phi: Phi, u: tf.Tensor, affine: bool
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Features ``g`` and images ``x`` under phi and, where asked for, under its affine part alone."""
    grid = identity_grid(model.canvas)
    features, images = {"warped": model.grid.sample(g, model.on_grid(phi))}, {"warped": sample(x, grid + u)}
    if affine:
        features["affine"] = model.grid.sample(g, model.transformation_ab.affine_points(phi.affine))
        images["affine"] = sample(x, affine_points(phi.affine, grid, model.canvas))
    return features, images


def _there_and_back(model: ForwardPass, x: tf.Tensor, phi: Phi, u: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Both images before and after both transforms; the outer one is evaluated at the inner one's points, its affine
    analytically, its displacement on G's grid: on the image grid that is linear between the same samples."""
    inner = tf.concat(tf.split(u, 2)[::-1], axis=0)
    back = sample(x, model.at(phi, identity_grid(model.canvas) + inner))
    (x_a, x_b), (back_a, back_b) = tf.split(x, 2), tf.split(back, 2)
    return x_a, back_a, x_b, back_b


def _decoded(model: ForwardPass, features: dict[str, tf.Tensor]) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
    """F^{A->B} of the first half of each batch, which is A's, and F^{B->A} of the second."""
    halves = {name: tf.split(value, 2) for name, value in features.items()}
    of_a = batched(model.decoder_ab, {name: half for name, (half, _) in halves.items()})
    of_b = batched(model.decoder_ba, {name: half for name, (_, half) in halves.items()})
    return {name: (of_a[name], of_b[name]) for name in features}


def known_losses(model: ForwardPass, data: Batch, prediction: Prediction) -> Losses:
    """Distance to the drawn transform at G's samples: of T_af before and after its steps, and of the whole.

    The affine part learns from its own distances alone: what reaches it through a non-rigid part that is still
    untrained only disturbs it.
    """
    moves_a = data["moves_a"] > 0.5

    def choose(if_a: tf.Tensor, if_b: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.reshape(moves_a, [-1] + [1] * (if_a.shape.rank - 1)), if_a, if_b)

    towards = Phi(*(choose(x, y) for x, y in zip(prediction.ba, prediction.ab, strict=True)))
    back = Phi(*(choose(x, y) for x, y in zip(prediction.ab, prediction.ba, strict=True)))
    every = (slice(None), *(slice(None, None, stride) for stride in model.grid.strides))
    points = model.grid.points()[tf.newaxis] + tf.zeros_like(towards.nonrigid)
    target = points + data["displacement"][every]
    tissue = tf.cast(choose(data["a"], data["b"])[every] > _TISSUE, tf.float32)
    mask = tissue + 0.02  # the little outside keeps the transform sensible there
    scale = float(np.prod(model.grid.strides)) ** (1.0 / model.ndim)

    def distance(forward: tf.Tensor, backward: tf.Tensor) -> tf.Tensor:
        return losses.known(forward, target, backward, points, mask, scale)

    def affine_distance(forward: tf.Tensor, backward: tf.Tensor) -> tf.Tensor:
        canvas = model.canvas
        return distance(affine_points(forward, points, canvas), affine_points(backward, target, canvas))

    whole = [phi._replace(affine=tf.stop_gradient(phi.affine)) for phi in (towards, back)]
    return Losses(
        known_start=affine_distance(towards.start, back.start),
        known_affine=affine_distance(towards.affine, back.affine),
        known=distance(model.on_grid(whole[0]), model.at(whole[1], target)),
        r_smooth=losses.r_smooth(prediction.ab.nonrigid, prediction.ba.nonrigid),
    )
