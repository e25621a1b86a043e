"""From a config to an untrained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fire_tf.config.schema import Config
from fire_tf.model.fire import FIRE
from fire_tf.model.precision import policy
from fire_tf.networks.affine import AffineNetwork
from fire_tf.networks.nonrigid import NonRigidNetwork
from fire_tf.networks.synthesis import Decoder, Encoder
from fire_tf.networks.transformation import TransformationNetwork


def level_strides(spacing: Sequence[float]) -> list[int]:
    """By what a level of G downsamples along each axis: 2, but 1 where voxels are more than twice as long as the
    shortest. Such slices are few, and G's other axes come to about their thickness in its two levels.
    """
    return [1 if size > 2 * min(spacing) else 2 for size in spacing]


def build_model(config: Config) -> FIRE:
    """The networks of ``config.network`` on the canvas of ``config.data``, weights drawn from Keras' seed."""
    with policy(config.precision):
        model = _networks(config)
    of_images = model.encoder, model.decoder_ab, model.decoder_ba
    for network in (*of_images, model.transformation_ab, model.transformation_ba):
        network.recompute = config.recompute
    model.preprocessing = {
        "modality_a": config.data.modality_a,
        "modality_b": config.data.modality_b,
        "spacing": list(config.data.spacing),
        "percentile": config.data.percentile,
        "slice_axis": config.data.slice_axis,
        "search": config.search,
    }
    return model


def _networks(config: Config) -> FIRE:
    network = config.network
    strides = [level_strides(config.data.spacing)] * (len(network.filters) - 1)
    synthesis: dict[str, Any] = {
        "filters": network.filters,
        "strides": strides,
        "residual_blocks": network.residual_blocks,
        "shortcut": network.shortcut,
        "dilation_growth": network.dilation_growth,
        "identity_start": network.identity_start,
    }
    encoder = Encoder(**synthesis, name="g")
    shared = network.shared_transformation
    return FIRE(
        encoder,
        Decoder(**synthesis, name="f_ab"),
        Decoder(**synthesis, name="f_ba"),
        _transformation(config, encoder.total_strides, "t" if shared else "t_ab"),
        None if shared else _transformation(config, encoder.total_strides, "t_ba"),
        config.data.canvas,
        weights=asdict(config.weights),
    )


def _transformation(config: Config, strides: Sequence[int], name: str) -> TransformationNetwork:
    """T on G's grid, whose samples lie ``strides`` image voxels apart."""
    network = config.network
    affine = AffineNetwork(
        config.data.canvas,
        strides,
        filters=network.affine_filters,
        maps=network.affine_maps,
        units=network.affine_units,
        pooling=network.affine_pooling,
        output_scale=network.output_scale,
        identity_start=network.identity_start,
        steps=network.affine_steps,
    )
    nonrigid = NonRigidNetwork(
        config.data.ndim,
        network.nonrigid_filters,
        network.nonrigid_dilations,
        output_scale=network.output_scale,
        identity_start=network.identity_start,
        steps=network.nonrigid_steps,
        bending=network.nonrigid_bending,
        half_wave=network.nonrigid_half_wave,
    )
    return TransformationNetwork(affine, nonrigid, network.standardised, name=name)
