"""The nine terms of FIRE's objective (section 2.2), one function each, in the paper's symbols.

Every term is one number per sample, ``(batch,)``: a root-mean-square error over all voxels and channels of the
sample. Code and paper: ``x_a`` = x^A, ``x_hat_a`` = x^A synthesised from x^B, ``phi_ab`` = phi^{A->B}, which warps A
onto B, ``f_ab`` = F^{A->B}, ``g`` = G. Arguments named ``f_ab_g_...`` are tensors, already computed by the model.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from fire_tf.networks.spatial import laplacian

EPSILON = (
    1e-8  # inside the root: `reg_ic` is exactly 0 at an identity start, where the root's gradient is infinite
)

# The paper writes 2^(2n) / (10 N) times a sum over phi_nr's points (equation 4), N those of an image: G's grid has
# N / 2^(2n) of them, which makes it a tenth of the mean over them, whatever n is.
LAMBDA = 0.1


class Losses(NamedTuple):
    """The nine terms, each ``(batch,)`` and unweighted; None is a term that this step does not need.

    The last three belong to the warm-up on known transforms, which is not in the paper.
    """

    syn_acc: tf.Tensor | None = None
    syn_fea: tf.Tensor | None = None
    syn_cyc: tf.Tensor | None = None
    syn_align: tf.Tensor | None = None
    reg_acc: tf.Tensor | None = None
    reg_ic: tf.Tensor | None = None
    r_syn: tf.Tensor | None = None
    r_reg: tf.Tensor | None = None
    r_smooth: tf.Tensor | None = None
    known_start: tf.Tensor | None = None
    known_affine: tf.Tensor | None = None
    known: tf.Tensor | None = None


def rms(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Root of the mean squared difference over all axes but the batch: (batch, ...) x 2 -> (batch,)."""
    axes = list(range(1, left.shape.rank))
    return tf.sqrt(tf.reduce_mean(tf.math.squared_difference(left, right), axis=axes) + EPSILON)


def syn_acc(
    f_ab_g_a_warped: tf.Tensor, x_b: tf.Tensor, f_ba_g_b_warped: tf.Tensor, x_a: tf.Tensor
) -> tf.Tensor:
    """Synthesis accuracy: RMS(F^{A->B}(G(x^A) o phi^{A->B}), x^B) + RMS(F^{B->A}(G(x^B) o phi^{B->A}), x^A)."""
    return rms(f_ab_g_a_warped, x_b) + rms(f_ba_g_b_warped, x_a)


def syn_fea(g_a: tf.Tensor, g_b_warped: tf.Tensor, g_b: tf.Tensor, g_a_warped: tf.Tensor) -> tf.Tensor:
    """Features of aligned images are equal: RMS(G(x^A), G(x^B) o phi^{B->A}) + RMS(G(x^B), G(x^A) o phi^{A->B})."""
    return rms(g_a, g_b_warped) + rms(g_b, g_a_warped)


def syn_cyc(
    f_ba_g_x_hat_b: tf.Tensor, x_a: tf.Tensor, f_ab_g_x_hat_a: tf.Tensor, x_b: tf.Tensor
) -> tf.Tensor:
    """Cycle consistency: RMS(F^{B->A}(G(x_hat^B)), x^A) + RMS(F^{A->B}(G(x_hat^A)), x^B)."""
    return rms(f_ba_g_x_hat_b, x_a) + rms(f_ab_g_x_hat_a, x_b)


def syn_align(g_a: tf.Tensor, g_x_hat_b: tf.Tensor, g_b: tf.Tensor, g_x_hat_a: tf.Tensor) -> tf.Tensor:
    """An image and its synthesis are aligned: RMS(G(x^A), G(x_hat^B)) + RMS(G(x^B), G(x_hat^A))."""
    return rms(g_a, g_x_hat_b) + rms(g_b, g_x_hat_a)


def reg_acc(
    f_ab_g_warped_a: tf.Tensor, x_b: tf.Tensor, f_ba_g_warped_b: tf.Tensor, x_a: tf.Tensor
) -> tf.Tensor:
    """Registration accuracy: RMS(F^{A->B}(G(x^A o phi^{A->B})), x^B) + RMS(F^{B->A}(G(x^B o phi^{B->A})), x^A).

    The paper prints the second RMS without its target, which can only be x^A.
    """
    return rms(f_ab_g_warped_a, x_b) + rms(f_ba_g_warped_b, x_a)


def reg_ic(
    x_a: tf.Tensor, x_a_there_and_back: tf.Tensor, x_b: tf.Tensor, x_b_there_and_back: tf.Tensor
) -> tf.Tensor:
    """Inverse consistency: RMS(x^A, x^A o phi^{A->B} o phi^{B->A}) + RMS(x^B, x^B o phi^{B->A} o phi^{A->B})."""
    return rms(x_a, x_a_there_and_back) + rms(x_b, x_b_there_and_back)


def r_syn(
    x_b: tf.Tensor, f_ab_g_a_affine: tf.Tensor, x_a: tf.Tensor, f_ba_g_b_affine: tf.Tensor
) -> tf.Tensor:
    """The affine part alone, on features: RMS(x^B, F^{A->B}(G(x^A) o phi_af^{A->B})) + the same from B to A."""
    return rms(x_b, f_ab_g_a_affine) + rms(x_a, f_ba_g_b_affine)


def r_reg(
    x_b: tf.Tensor, f_ab_g_affine_a: tf.Tensor, x_a: tf.Tensor, f_ba_g_affine_b: tf.Tensor
) -> tf.Tensor:
    """The affine part alone, on images: RMS(x^B, F^{A->B}(G(x^A o phi_af^{A->B}))) + the same from B to A."""
    return rms(x_b, f_ab_g_affine_a) + rms(x_a, f_ba_g_affine_b)


def r_smooth(u_ab: tf.Tensor, u_ba: tf.Tensor) -> tf.Tensor:
    """||Laplacian phi_nr^{A->B}||^2 + ||Laplacian phi_nr^{B->A}||^2, before lambda.

    ``u`` (batch, *grid, n) is the displacement of phi_nr on G's grid in that grid's voxels; the norm is taken as
    the mean over interior points of the squared Laplacian summed over components. The paper's weight is `LAMBDA`.
    """
    axes = list(range(1, u_ab.shape.rank - 1))

    def energy(u: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.reduce_sum(laplacian(u) ** 2, axis=-1), axis=axes)

    return energy(u_ab) + energy(u_ba)


def known(
    phi_moved: tf.Tensor,
    target: tf.Tensor,
    phi_other_at_target: tf.Tensor,
    points: tf.Tensor,
    mask: tf.Tensor,
    scale: float,
) -> tf.Tensor:
    """Distance between predicted and drawn transform, in voxels of G's grid; not in the paper.

    One image was deformed by a drawn D, ``deformed(p) = original(D(p))``. Then the transform that warps the other
    image onto the deformed one is D, and the other transform takes D(p) back to p:
    ``mean |phi_moved(p) - D(p)| + mean |phi_other(D(p)) - p|`` over the points p where ``mask`` (batch, *grid, 1) is 1.

    Args:
        phi_moved, target, phi_other_at_target: (batch, *grid, n) image coordinates.
        points: (*grid, n) or (batch, *grid, n), the points p.
        scale: image voxels per voxel of G's grid.
    """
    axes = list(range(1, mask.shape.rank))
    weight = mask / (tf.reduce_sum(mask, axis=axes, keepdims=True) + EPSILON)

    def distance(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        squared = tf.reduce_sum(((left - right) / scale) ** 2, axis=-1, keepdims=True)
        return tf.reduce_sum(weight * tf.sqrt(squared + 1e-4), axis=axes)

    return distance(phi_moved, target) + distance(phi_other_at_target, points)
