"""Layers and networks: where their samples lie, what T starts from, and that their configs say everything."""

import numpy as np
import pytest
from tiny_fire import CANVAS, awaken, pairs, tiny_model

from fire_tf.networks.affine import AffineNetwork, _fit_affine
from fire_tf.networks.layers import ConvolutionUnit, ResidualBlock, StridedConvolution, UpsamplingConvolution
from fire_tf.networks.nonrigid import NonRigidNetwork
from fire_tf.networks.synthesis import Decoder, Encoder
from fire_tf.networks.transformation import _standardise

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

STRIDES = [(2, 2), (1, 2), (2, 2, 2), (1, 2, 2)]
all_strides = pytest.mark.parametrize("strides", STRIDES, ids=lambda strides: "x".join(map(str, strides)))


def strided(strides: tuple[int, ...], kernel: np.ndarray | None = None) -> StridedConvolution:
    """One channel to one; the kernel picks the centre unless another is given."""
    layer = StridedConvolution(1, strides)
    layer.build(tf.TensorShape([None, *(8 for _ in strides), 1]))
    layer.convolution.kernel.assign(centre_kernel(strides) if kernel is None else kernel)
    return layer


def upsampling(strides: tuple[int, ...], kernel: np.ndarray | None = None) -> UpsamplingConvolution:
    layer = UpsamplingConvolution(1, strides)
    layer.build(tf.TensorShape([None, *(8 // stride for stride in strides), 1]))
    layer.convolution.kernel.assign(centre_kernel(strides) if kernel is None else kernel)
    return layer


def centre_kernel(strides: tuple[int, ...]) -> np.ndarray:
    kernel = np.zeros([3] * len(strides) + [1, 1])
    kernel[(1,) * len(strides)] = 1
    return kernel


def every(strides: tuple[int, ...]) -> tuple[slice, ...]:
    return (slice(None), *(slice(None, None, stride) for stride in strides))


@all_strides
def test_strided_convolution_is_centred_on_multiples_of_the_stride(strides):
    image = np.random.default_rng(0).normal(size=(2, *(8 for _ in strides), 1)).astype(np.float32)
    np.testing.assert_allclose(strided(strides)(image), image[every(strides)], atol=1e-6)


@all_strides
def test_upsampling_puts_sample_k_on_voxel_stride_times_k(strides):
    features = np.random.default_rng(0).normal(size=(2, *(8 // s for s in strides), 1)).astype(np.float32)
    result = upsampling(strides)(features).numpy()
    expected = np.zeros((2, *(8 for _ in strides), 1), np.float32)
    expected[every(strides)] = features
    np.testing.assert_allclose(result, expected, atol=1e-6)


@all_strides
def test_upsampling_is_the_transpose_of_the_strided_convolution(strides):
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=[3] * len(strides) + [1, 1])
    image = rng.normal(size=(1, *(8 for _ in strides), 1)).astype(np.float32)
    features = rng.normal(size=(1, *(8 // s for s in strides), 1)).astype(np.float32)
    down = np.sum(strided(strides, kernel)(image).numpy() * features)
    up = np.sum(upsampling(strides, kernel)(features).numpy() * image)
    assert down == pytest.approx(up, rel=1e-4)


def test_convolution_unit_normalises_each_sample_and_channel():
    images = np.random.default_rng(2).normal(3, 5, (2, 8, 8, 1)).astype(np.float32)
    images[1] *= 10
    result = ConvolutionUnit(3, 2, activation=None)(images).numpy()
    np.testing.assert_allclose(result.mean((1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(result.std((1, 2)), 1, atol=1e-2)


def test_residual_block_starts_as_the_identity_and_then_adds_to_its_input():
    block = ResidualBlock(2, 2)
    images = tf.random.stateless_normal([1, 8, 8, 2], [1, 2])
    np.testing.assert_array_equal(block(images), images)
    block.normalization.gamma.assign([2.0, 3.0])
    added = (block(images) - images).numpy()
    np.testing.assert_allclose(added.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(added.std((1, 2)), [[2, 3]], rtol=1e-2)


def test_residual_blocks_see_farther_from_one_to_the_next():
    """The third block adds to a voxel what lies 4 voxels away and nothing from in between."""
    blocks = Encoder((1, 1, 1), [[2, 2], [2, 2]], residual_blocks=3, dilation_growth=2).blocks
    impulse = np.zeros((1, 17, 17, 1), np.float32)
    impulse[0, 8, 8] = 1
    seen = [np.argwhere(block.second(impulse).numpy()[0, ..., 0]) for block in blocks]
    for reach, found in zip((1, 2, 4), seen, strict=True):
        assert {tuple(place) for place in found} == {
            (8 + reach * i, 8 + reach * j) for i in (-1, 0, 1) for j in (-1, 0, 1)
        }


@pytest.mark.parametrize(("resample", "strides"), [("sideways", (2, 2)), ("down", None)])
def test_unknown_resampling_is_refused(resample, strides):
    with pytest.raises(ValueError, match=f"resample is '{resample}' with strides"):
        ConvolutionUnit(4, 2, strides, resample)


def test_encoder_refuses_filters_that_do_not_match_its_strides():
    with pytest.raises(ValueError, match="2 filters for 2 strides"):
        Encoder((2, 3), [[2, 2], [2, 2]])


@all_strides
def test_shortcut_passes_every_voxel_of_a_patch(strides):
    rank, voxels = len(strides), int(np.prod(strides))
    encoder = Encoder((1, voxels), [strides], 0, shortcut=True)
    decoder = Decoder((1, voxels), [strides], 0, shortcut=True)
    image = np.random.default_rng(3).random((2, *(8 for _ in strides), 1)).astype(np.float32)
    decoder(encoder(image))
    identity = np.reshape(np.eye(voxels), [*strides, 1, voxels])
    for network in (encoder, decoder):
        network.shortcut.kernel.assign(identity)
        network.resampling[-1].convolution.convolution.kernel.assign(
            tf.zeros([3] * rank + network.resampling[-1].convolution.convolution.kernel.shape[-2:])
        )
    decoder.last.kernel.assign(centre_kernel(strides))
    np.testing.assert_allclose(np.arctanh(decoder(encoder(image))), image, atol=1e-5)


@pytest.mark.parametrize("shortcut", [False, True])
def test_with_a_shortcut_features_do_not_depend_on_how_much_background_there_is(shortcut):
    image = np.full((1, 24, 24, 1), -1, np.float32)
    image[:, 4:12, 4:12] = np.random.default_rng(4).uniform(-1, 1, (1, 8, 8, 1))
    wider = np.pad(image, ((0, 0), (0, 24), (0, 24), (0, 0)), constant_values=-1)
    encoder = Encoder((2, 3, 4), [(2, 2), (2, 2)], 0, shortcut=shortcut)
    inside = np.abs(encoder(image) - encoder(wider)[:, :6, :6])[:, :4, :4].max()
    assert (inside < 1e-6) == shortcut


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("rank", [2, 3])
def test_shapes_and_ranges(rank, shortcut):
    model = awaken(tiny_model(rank, shortcut=shortcut))
    data = pairs(rank)
    features = model.encoder(data["a"])
    assert features.shape == (2, *model.grid.shape, 4)
    assert model.encoder.total_strides == (4,) * rank
    image = model.decoder_ab(features)
    assert image.shape == data["a"].shape
    assert np.abs(image).max() <= 1
    phi = model.transformation_ab([features, model.encoder(data["b"])])
    assert phi.affine.shape == (2, rank, rank + 1)
    assert phi.nonrigid.shape == (2, *model.grid.shape, rank)


@pytest.mark.parametrize("rank", [2, 3])
def test_steps_improve_the_affine_and_come_before_the_convolutions_of_the_nonrigid_part(rank):
    model, data = tiny_model(rank, steps=1), pairs(rank)
    network, features = model.transformation_ab, [model.encoder(data[name]) for name in "ab"]
    phi = network(features)  # untrained: the dense layers and the convolutions answer with the identity
    moving, fixed = (_standardise(value) for value in features)
    np.testing.assert_array_equal(phi.start, np.broadcast_to(np.eye(rank, rank + 1), phi.start.shape))
    np.testing.assert_allclose(phi.affine, network.affine.alignment([moving, fixed], phi.start), atol=1e-6)
    assert np.abs(phi.affine - phi.start).max() > 1e-3
    warped = model.grid.sample(moving, network.affine_points(phi.affine))
    aligned = network.nonrigid.alignment([warped, fixed])
    assert np.abs(aligned).max() > 1e-3
    np.testing.assert_allclose(phi.nonrigid, aligned, atol=1e-5)
    # One voxel further on along the last axis, by the convolutions: there the steps' field is read.
    last = np.eye(rank)[-1]
    network.nonrigid.last.bias.assign(10 * last * np.arctanh(2 / model.grid.shape[-1]))
    found = network(features).nonrigid
    np.testing.assert_allclose(found[..., :-1, :], aligned[..., 1:, :] + last, atol=1e-4)


@pytest.mark.parametrize("rank", [2, 3])
def test_transformation_hands_the_affinely_warped_features_to_the_nonrigid_part(rank, monkeypatch):
    model = awaken(tiny_model(rank))
    data = pairs(rank)
    network = model.transformation_ab
    affine, nonrigid = network.affine, network.nonrigid
    seen = {}
    affine_call, nonrigid_call = affine.call, nonrigid.call
    monkeypatch.setattr(affine, "call", lambda x: affine_call(seen.setdefault("affine", x)))
    monkeypatch.setattr(nonrigid, "call", lambda x: nonrigid_call(seen.setdefault("nonrigid", x)))
    phi = network([model.encoder(data["a"]), model.encoder(data["b"])])
    moving, fixed = seen["affine"]
    warped = model.grid.sample(moving, network.affine_points(phi.affine))
    assert np.abs(warped - moving).max() > 0.05
    np.testing.assert_allclose(seen["nonrigid"][0], warped, atol=1e-5)
    np.testing.assert_array_equal(seen["nonrigid"][1], fixed)
    np.testing.assert_array_equal(phi.nonrigid, nonrigid_call([warped, fixed]))


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("pooling", ["average", "moments"])
def test_affine_network_starts_at_the_identity(rank, pooling):
    matrix = affine_of(rank, pooling)[1]
    np.testing.assert_array_equal(matrix, np.broadcast_to(np.eye(rank, rank + 1), matrix.shape))


@pytest.mark.parametrize("rank", [2, 3])
def test_keypoints_start_at_the_regularised_fit_of_the_mean_positions(rank):
    network, matrix, features = affine_of(rank, "keypoints")
    maps = tf.concat(features, axis=0)
    for layer in network.chain:
        maps = layer(maps)
    # Mean position of each map's softmax, in half canvas sizes from the centre.
    cells = np.stack(np.meshgrid(*map(np.arange, maps.shape[1:-1]), indexing="ij"), -1)
    grid = cells * float(2 * network.strides[0])
    half = max(network.canvas) / 2
    points = ((grid - (np.array(network.canvas) - 1) / 2) / half).reshape(-1, rank)
    weights = np.exp(maps.numpy().reshape(4, -1, 3).astype(float))
    weights /= weights.sum(1, keepdims=True)
    means = np.einsum("bpm,pn->bmn", weights, points)
    for moving, fixed, fitted in zip(means[:2], means[2:], matrix, strict=True):
        expected = ridge_fit(moving, fixed)
        expected[:, -1] *= half
        np.testing.assert_allclose(fitted, expected, atol=1e-3)


def affine_of(rank: int, pooling: str) -> tuple[AffineNetwork, np.ndarray, list[tf.Tensor]]:
    """A fresh T_af, its answer to two random feature maps, and those."""
    network = AffineNetwork(CANVAS[rank], (4,) * rank, filters=(4,), maps=3, units=5, pooling=pooling)
    shape = [2, *(size // 4 for size in CANVAS[rank]), 4]
    features = [tf.random.stateless_normal(shape, [seed, 0], stddev=3.0) for seed in (1, 2)]
    return network, network(features).numpy(), features


def ridge_fit(moving: np.ndarray, fixed: np.ndarray, ridge: float = 1e-3) -> np.ndarray:
    """argmin over M of mean |M (q, 1) - p|^2 + ridge |M - identity|^2, as stacked least squares."""
    count, n = fixed.shape
    design = np.concatenate([fixed, np.ones((count, 1))], -1) / np.sqrt(count)
    left = np.concatenate([design, np.sqrt(ridge) * np.eye(n + 1)])
    right = np.concatenate([moving / np.sqrt(count), np.sqrt(ridge) * np.eye(n + 1, n)])
    return np.linalg.lstsq(left, right, rcond=None)[0].T


@pytest.mark.parametrize("rank", [2, 3])
def test_fit_recovers_an_affine_from_its_points(rank):
    rng = np.random.default_rng(3)
    matrix = np.eye(rank, rank + 1) + rng.normal(0, 0.1, (rank, rank + 1))
    fixed = rng.uniform(-1, 1, (1, 50, rank))
    moving = fixed @ matrix[:, :-1].T + matrix[:, -1]
    fitted = _fit_affine(tf.constant(moving, tf.float32), tf.constant(fixed, tf.float32), ridge=1e-7)
    np.testing.assert_allclose(fitted[0], matrix, atol=1e-3)


def test_fit_of_coinciding_points_is_the_identity():
    points = tf.zeros([1, 5, 2]) + 0.3  # all in one place: only the ridge decides
    np.testing.assert_allclose(_fit_affine(points, points)[0], np.eye(2, 3), atol=1e-4)


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling is 'maximum': expected one of average, moments, keypoints"):
        AffineNetwork((16, 16), (4, 4), pooling="maximum")


@pytest.mark.parametrize("rank", [2, 3])
def test_nonrigid_network_starts_at_zero_and_stays_within_half_the_grid(rank):
    network = NonRigidNetwork(rank, 4, (1,))
    shape = [2, *(size // 4 for size in CANVAS[rank]), 4]
    features = [tf.random.stateless_normal(shape, [seed, 0]) for seed in (1, 2)]
    np.testing.assert_array_equal(network(features), np.zeros((*shape[:-1], rank)))
    network.last.bias.assign(tf.fill([rank], 1e4))
    limit = np.broadcast_to(np.array(shape[1:-1]) / 2, (*shape[:-1], rank))
    np.testing.assert_allclose(network(features), limit, rtol=1e-5)


@pytest.mark.parametrize("part", ["encoder", "decoder_ab", "transformation_ab"])
def test_a_network_comes_back_from_its_config(part):
    model = awaken(tiny_model())
    network = getattr(model, part)
    features = model.encoder(pairs()["a"])
    inputs = {"encoder": pairs()["a"], "decoder_ab": features, "transformation_ab": [features, -features]}[
        part
    ]
    clone = tf.keras.layers.deserialize(tf.keras.layers.serialize(network))
    expected = tf.nest.flatten(network(inputs))
    tf.nest.flatten(clone(inputs))
    clone.set_weights(network.get_weights())
    for one, other in zip(tf.nest.flatten(clone(inputs)), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert clone.get_config() == network.get_config()


@pytest.mark.parametrize(
    "layer",
    [
        StridedConvolution(2, (1, 2)),
        UpsamplingConvolution(2, (2, 2)),
        ConvolutionUnit(2, 2, (2, 2), "up", None, normalize=False),
        ResidualBlock(2, 3, dilation=2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_comes_back_from_its_config(layer):
    clone = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
    assert type(clone) is type(layer)
    assert clone.get_config() == layer.get_config()


def test_t_holds_no_instance_normalisation():
    names = [v.name for v in tiny_model().transformation_ab.trainable_variables]
    assert not any("normalization" in name for name in names)
