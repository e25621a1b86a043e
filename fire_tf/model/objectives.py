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
from fire_tf.networks.transformation import Phi, TransformationNetwork

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

    Passes that do not wait for each other are one batch.
    """
    g_a, g_b, ab, ba = prediction
    x_a, x_b = data["a"], data["b"]
    u_ab, u_ba = model.displacement(ab), model.displacement(ba)
    g_a_warped = model.grid.sample(g_a, model.on_grid(ab))
    g_b_warped = model.grid.sample(g_b, model.on_grid(ba))
    with_affine, with_cycle = "r_syn" in terms, "syn_cyc" in terms
    from_a, from_b = {"warped": g_a_warped}, {"warped": g_b_warped}
    grid = identity_grid(model.canvas)
    images = {"a": sample(x_a, grid + u_ab), "b": sample(x_b, grid + u_ba)}
    if with_affine:
        from_a["affine"], images["affine_a"] = _affine_alone(model, model.transformation_ab, ab, g_a, x_a)
        from_b["affine"], images["affine_b"] = _affine_alone(model, model.transformation_ba, ba, g_b, x_b)
    if with_cycle:
        from_a["hat"], from_b["hat"] = g_a, g_b
    f_ab_g, f_ba_g = batched(model.decoder_ab, from_a), batched(model.decoder_ba, from_b)
    if with_cycle:
        images["hat_a"], images["hat_b"] = f_ba_g["hat"], f_ab_g["hat"]
    g_of, f_ab_g_of, f_ba_g_of = _seen_again(model, images)
    compared = {
        "syn_acc": (f_ab_g["warped"], x_b, f_ba_g["warped"], x_a),
        "syn_fea": (g_a, g_b_warped, g_b, g_a_warped),
        "reg_acc": (f_ab_g_of["a"], x_b, f_ba_g_of["b"], x_a),
        "reg_ic": _there_and_back(model, data, prediction, u_ab, u_ba),
        "r_smooth": (ab.nonrigid, ba.nonrigid),
    }
    if with_affine:
        compared["r_syn"] = (x_b, f_ab_g["affine"], x_a, f_ba_g["affine"])
        compared["r_reg"] = (x_b, f_ab_g_of["affine_a"], x_a, f_ba_g_of["affine_b"])
    if with_cycle:
        compared["syn_cyc"] = (f_ba_g_of["hat_b"], x_a, f_ab_g_of["hat_a"], x_b)
        compared["syn_align"] = (g_a, g_of["hat_b"], g_b, g_of["hat_a"])
    return compared


def _affine_alone(
    model: ForwardPass, transformation: TransformationNetwork, phi: Phi, g: tf.Tensor, x: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Features ``g`` and image ``x`` under the affine part of ``phi``."""
    features = model.grid.sample(g, transformation.affine_points(phi.affine))
    return features, sample(x, affine_points(phi.affine, identity_grid(model.canvas), model.canvas))


def _seen_again(
    model: ForwardPass, images: dict[str, tf.Tensor]
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """G of all images, F^{A->B}(G) of those whose name ends in "a" and F^{B->A}(G) of those that end in "b"."""
    g_of = batched(model.encoder, images)
    of_a = {name: features for name, features in g_of.items() if name.endswith("a")}
    of_b = {name: features for name, features in g_of.items() if name.endswith("b")}
    return g_of, batched(model.decoder_ab, of_a), batched(model.decoder_ba, of_b)


def _there_and_back(
    model: ForwardPass, data: Batch, prediction: Prediction, u_ab: tf.Tensor, u_ba: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Both images after both transforms; the outer one is evaluated at the inner one's points, its affine
    analytically, its displacement on G's grid: on the image grid that is linear between the same samples."""
    x_a, x_b, grid = data["a"], data["b"], identity_grid(model.canvas)
    there_and_back_a = sample(x_a, model.at(prediction.ab, grid + u_ba))
    there_and_back_b = sample(x_b, model.at(prediction.ba, grid + u_ab))
    return x_a, there_and_back_a, x_b, there_and_back_b


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
