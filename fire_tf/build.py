"""From a config to an untrained model."""

from __future__ import annotations

from dataclasses import asdict

from fire_tf.config import Config
from fire_tf.model import FIRE
from fire_tf.networks import AffineNetwork, Decoder, Encoder, NonRigidNetwork, TransformationNetwork


def build_model(config: Config) -> FIRE:
    """The networks of ``config.network`` on the canvas of ``config.data``, weights drawn from Keras' seed."""
    network, canvas = config.network, config.data.canvas
    strides = [[2] * config.data.ndim] * (len(network.filters) - 1)

    def transformation(name: str) -> TransformationNetwork:
        affine = AffineNetwork(
            canvas,
            encoder.total_strides,
            filters=network.affine_filters,
            maps=network.affine_maps,
            units=network.affine_units,
            pooling=network.affine_pooling,
        )
        nonrigid = NonRigidNetwork(config.data.ndim, network.nonrigid_filters, network.nonrigid_dilations)
        return TransformationNetwork(affine, nonrigid, name=name)

    encoder = Encoder(network.filters, strides, network.residual_blocks, name="g")
    model = FIRE(
        encoder,
        Decoder(network.filters, strides, network.residual_blocks, name="f_ab"),
        Decoder(network.filters, strides, network.residual_blocks, name="f_ba"),
        transformation("t_ab"),
        transformation("t_ba"),
        canvas,
        weights={name: weight for name, weight in asdict(config.weights).items() if weight is not None},
    )
    model.preprocessing = {
        "modality_a": config.data.modality_a,
        "modality_b": config.data.modality_b,
        "spacing": list(config.data.spacing),
        "percentile": config.data.percentile,
    }
    return model
