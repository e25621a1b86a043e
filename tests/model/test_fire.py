"""FIRE itself: what it predicts, the objective, and the three optimizers that take turns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tiny_fire import CANVAS, awaken, equal, images, pairs, smallest_model, tiny_model, values

from fire_tf.model import losses
from fire_tf.model.fire import FIRE, GROUPS
from fire_tf.model.losses import Losses
from fire_tf.model.objectives import ALIGNED_TERMS, KNOWN_TERMS, OBJECTIVES, PAPER_TERMS
from fire_tf.networks.sampling import sample
from fire_tf.networks.spatial import affine_displacement, affine_points, compose_affine, identity_grid, warp
from fire_tf.networks.transformation import Phi

import tensorflow as tf  # isort: skip  (after the package, which quietens it)

# Keras draws its seeds so, on Python 3.11, once a seed was set.
pytestmark = pytest.mark.filterwarnings("ignore:non-integer arguments to randrange:DeprecationWarning")

both_ranks = pytest.mark.parametrize("rank", [2, 3])


@pytest.fixture(autouse=True)
def eager(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tracing the nine terms takes longer than computing them; the tests marked `graph` trace."""
    tf.config.run_functions_eagerly("graph" not in request.fixturenames)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def graph() -> None:
    """Ask for compiled steps."""


class Recorder(tf.keras.optimizers.SGD):
    """Plain gradient descent that remembers the gradients it was given, by the variables' identity."""

    def __init__(self) -> None:
        super().__init__(1e-2)
        self.seen: dict[int, np.ndarray] = {}

    def apply_gradients(self, grads_and_vars: Any, **options: Any) -> Any:
        pairs = list(grads_and_vars)
        self.seen = {id(variable): np.array(gradient) for gradient, variable in pairs}
        return super().apply_gradients(pairs, **options)


def recorders() -> dict[str, Recorder]:
    return {f"{group}_optimizer": Recorder() for group in GROUPS}


# -- the objective, written out pass by pass as the paper has it ------------------------------------------------------


def nine_terms(model: FIRE, data: dict[str, tf.Tensor]) -> Losses:
    """Equations 1 to 4 one pass at a time, with nothing shared."""
    x_a, x_b = data["a"], data["b"]
    g, f_ab, f_ba, grid = model.encoder, model.decoder_ab, model.decoder_ba, model.grid
    ab, ba = model.transformation_ab([g(x_a), g(x_b)]), model.transformation_ba([g(x_b), g(x_a)])
    stride = tf.constant(grid.strides, tf.float32)

    def phi(transform: Phi, points: tf.Tensor) -> tf.Tensor:
        """phi_af(phi_nr(points)) at image coordinates."""
        u = sample(grid.to_image(transform.nonrigid), points)
        return affine_points(transform.affine, points + u, model.canvas)

    def features_through(x: tf.Tensor, transform: Phi, nonrigid: float) -> tf.Tensor:
        """G(x) o phi at G's samples, of the affine part alone where ``nonrigid`` is 0."""
        points = affine_points(
            transform.affine, grid.points() + nonrigid * stride * transform.nonrigid, model.canvas
        )
        return grid.sample(g(x), points)

    def through(x: tf.Tensor, transform: Phi) -> tf.Tensor:
        return warp(x, compose_affine(transform.affine, grid.to_image(transform.nonrigid)))

    def affinely(x: tf.Tensor, transform: Phi) -> tf.Tensor:
        return warp(x, affine_displacement(transform.affine, model.canvas))

    everywhere = identity_grid(model.canvas) + tf.zeros_like(x_a)
    g_a_warped, g_b_warped = features_through(x_a, ab, 1), features_through(x_b, ba, 1)
    x_hat_b, x_hat_a = f_ab(g(x_a)), f_ba(g(x_b))
    return Losses(
        syn_acc=losses.rms(f_ab(g_a_warped), x_b) + losses.rms(f_ba(g_b_warped), x_a),
        syn_fea=losses.rms(g(x_a), g_b_warped) + losses.rms(g(x_b), g_a_warped),
        syn_cyc=losses.rms(f_ba(g(x_hat_b)), x_a) + losses.rms(f_ab(g(x_hat_a)), x_b),
        syn_align=losses.rms(g(x_a), g(x_hat_b)) + losses.rms(g(x_b), g(x_hat_a)),
        reg_acc=losses.rms(f_ab(g(through(x_a, ab))), x_b) + losses.rms(f_ba(g(through(x_b, ba))), x_a),
        reg_ic=losses.rms(x_a, sample(x_a, phi(ab, phi(ba, everywhere))))
        + losses.rms(x_b, sample(x_b, phi(ba, phi(ab, everywhere)))),
        r_syn=losses.rms(x_b, f_ab(features_through(x_a, ab, 0)))
        + losses.rms(x_a, f_ba(features_through(x_b, ba, 0))),
        r_reg=losses.rms(x_b, f_ab(g(affinely(x_a, ab)))) + losses.rms(x_a, f_ba(g(affinely(x_b, ba)))),
        r_smooth=losses.r_smooth(ab.nonrigid, ba.nonrigid),
    )


@pytest.fixture(scope="module", params=[2, 3], ids=["2d", "3d"])
def reference(
    request: pytest.FixtureRequest,
) -> tuple[FIRE, dict[str, tf.Tensor], Losses, dict[int, np.ndarray]]:
    """A model, a batch, its nine terms and the gradient of their weighted sum for every variable."""
    model = awaken(tiny_model(request.param))
    data = pairs(request.param)
    with tf.GradientTape() as tape:
        terms = nine_terms(model, data)
        weighted = [
            value * (0.1 if name == "r_smooth" else 1)
            for name, value in terms._asdict().items()
            if value is not None
        ]
        total = tf.reduce_mean(tf.add_n(weighted))
    gradients = tape.gradient(total, model.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    by_variable = {id(v): np.array(g) for v, g in zip(model.trainable_variables, gradients, strict=True)}
    return model, data, terms, by_variable


def test_the_nine_terms_are_the_papers(reference):
    model, data, expected, _ = reference
    computed = model.compute_losses(data, "paper", PAPER_TERMS)
    for name in PAPER_TERMS:
        assert getattr(expected, name).numpy().min() > 1e-3, name  # none is trivially met
        np.testing.assert_allclose(getattr(computed, name), getattr(expected, name), rtol=1e-4, err_msg=name)
    assert computed.known is None
    assert computed.known_affine is None


@pytest.mark.parametrize("group", GROUPS)
def test_a_step_has_the_gradient_of_the_full_objective_and_changes_its_group_alone(reference, group):
    model, data, _, expected = reference
    before = values(model.trainable_variables)
    model.compile(**recorders(), cycle=[[group]])
    model.train_step(data)

    seen = model.optimizers[group].seen
    own = model.group_variables(group)
    assert set(seen) == {id(variable) for variable in own}
    for variable in own:
        scale = np.abs(expected[id(variable)]).max()
        np.testing.assert_allclose(
            seen[id(variable)],
            expected[id(variable)],
            rtol=1e-3,
            atol=1e-3 * scale + 1e-6,
            err_msg=variable.name,
        )
    for variable, old in zip(model.trainable_variables, before, strict=True):
        if id(variable) not in seen:
            np.testing.assert_array_equal(variable, old, err_msg=variable.name)
        elif np.abs(expected[id(variable)]).max() > 1e-5:
            assert not np.array_equal(variable, old), variable.name
    assert sum(np.abs(expected[key]).max() > 1e-5 for key in seen) > 0.8 * len(seen)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        variable.assign(old)


@both_ranks
def test_the_groups_partition_the_trainable_variables(rank):
    model = tiny_model(rank)
    grouped = [id(variable) for group in GROUPS for variable in model.group_variables(group)]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(variable) for variable in model.trainable_variables}
    assert all(model.group_variables(group) for group in GROUPS)


def test_the_terms_left_out_of_a_step_do_not_depend_on_its_group():
    model, data = awaken(smallest_model()), pairs()
    with tf.GradientTape(persistent=True) as tape:
        computed = model.compute_losses(data, "paper", PAPER_TERMS)
        left_out = {
            group: tf.add_n([getattr(computed, name) for name in PAPER_TERMS - terms])
            for group, terms in OBJECTIVES["paper"].items()
            if terms != PAPER_TERMS
        }
    assert set(left_out) == {"affine", "nonrigid"}
    for group, total in left_out.items():
        for gradient in tape.gradient(total, model.group_variables(group)):
            assert gradient is None or np.abs(gradient).max() == 0, group


def test_a_step_computes_only_the_terms_of_its_group():
    model, data = smallest_model(), pairs()
    for group, terms in OBJECTIVES["paper"].items():
        computed = model.compute_losses(data, "paper", terms)
        assert {name for name, value in computed._asdict().items() if value is not None} == terms, group


def test_a_compiled_step_does_what_an_eager_one_does(graph):
    results = []
    for run_eagerly in (True, False):
        tf.keras.utils.set_random_seed(3)
        model = awaken(smallest_model())
        adam = {f"{group}_optimizer": tf.keras.optimizers.SGD(1e-2) for group in GROUPS}
        model.compile(**adam, cycle=[GROUPS], run_eagerly=run_eagerly)
        tf.config.run_functions_eagerly(run_eagerly)
        logs = model.train_step(pairs())
        results.append((values(model.trainable_variables), {name: float(v) for name, v in logs.items()}))
    (eager_values, eager_logs), (graph_values, graph_logs) = results
    assert graph_logs == pytest.approx(eager_logs, rel=1e-4)
    for one, other in zip(graph_values, eager_values, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# -- the other two objectives -----------------------------------------------------------------------------------------


def test_aligned_terms_are_the_papers_with_an_identity_transform():
    model, data = tiny_model(), pairs()  # T starts at the identity, but for the resampling
    aligned = model.compute_losses(data, "aligned", ALIGNED_TERMS)
    paper = nine_terms(model, data)
    for name in ALIGNED_TERMS:
        np.testing.assert_allclose(getattr(aligned, name), getattr(paper, name), rtol=1e-4, err_msg=name)
    assert {name for name, value in aligned._asdict().items() if value is not None} == ALIGNED_TERMS


def test_aligned_training_leaves_t_alone():
    model = smallest_model()
    model.compile(objective="aligned", cycle=[["synthesis"]])
    before = {group: values(model.group_variables(group)) for group in GROUPS}
    logs = model.train_step(pairs())
    assert [equal(values(model.group_variables(group)), before[group]) for group in GROUPS] == [
        True,
        True,
        False,
    ]
    assert set(logs) == {"loss", *ALIGNED_TERMS}


@both_ranks
def test_known_terms_vanish_at_the_drawn_transform(rank):
    # D(p) = A(p): the direction that warps the moved image's partner onto it is D, the other its inverse.
    model, data = tiny_model(rank), pairs(rank)
    n = rank
    matrix = np.eye(n, n + 1) + np.random.default_rng(0).normal(0, 0.05, (n, n + 1))
    square = np.vstack([matrix, np.eye(n + 1)[-1:]])
    inverse = np.linalg.inv(square)[:n]
    drawn, undone = (tf.constant(one[np.newaxis], tf.float32) for one in (matrix, inverse))
    displacement = affine_displacement(tf.repeat(drawn, 2, axis=0), model.canvas)
    still = tf.zeros([1, *model.grid.shape, n])

    def terms(ab: list[tf.Tensor], ba: list[tf.Tensor]) -> Losses:
        moved = {**data, "displacement": displacement, "moves_a": tf.constant([0.0, 1.0])}
        prediction = model.transforms(*model.features(data["a"], data["b"]))
        affines = [tf.concat(matrices, 0) for matrices in (ab, ba)]
        phis = [Phi(affine, tf.repeat(still, 2, axis=0), affine) for affine in affines]
        model.transforms = lambda *_, **__: prediction._replace(ab=phis[0], ba=phis[1])
        return model.compute_losses(moved, "known", KNOWN_TERMS)

    # In the first sample B was deformed (B = original(D)), so phi_ab = D; in the second A was.
    right = terms([drawn, undone], [undone, drawn])
    np.testing.assert_allclose(right.known, 0.02, atol=2e-3)  # twice the root of 1e-4
    np.testing.assert_allclose(right.known_affine, 0.02, atol=2e-3)
    np.testing.assert_allclose(right.known_start, 0.02, atol=2e-3)
    wrong = terms([undone, drawn], [drawn, undone])
    assert wrong.known.numpy().min() > 0.05


@pytest.mark.parametrize("options", [{}, {"steps": 2, "shared": True}], ids=["paper", "steps, one T"])
def test_known_training_leaves_g_and_f_alone_and_gives_every_gradient(options):
    model = awaken(smallest_model(**options))
    model.compile(**recorders(), objective="known", cycle=[["affine", "nonrigid"]])
    before = values(model.group_variables("synthesis"))
    logs = model.train_step(pairs())
    assert equal(values(model.group_variables("synthesis")), before)
    assert set(logs) == {"loss", *KNOWN_TERMS}
    for group in ("affine", "nonrigid"):
        assert len(model.optimizers[group].seen) == len(model.group_variables(group))


# -- what is reported -------------------------------------------------------------------------------------------------


def test_losses_are_tracked_means_and_the_total_is_their_weighted_sum():
    model = awaken(smallest_model(weights={"syn_cyc": 0.5, "reg_ic": 0.0}))
    model.compile()
    data = pairs(batch=4)
    batches = [{name: value[i : i + 2] for name, value in data.items()} for i in (0, 2)]
    dataset = tf.data.Dataset.from_tensor_slices({name: data[name] for name in "ab"}).batch(2)
    each = [model.compute_losses(batch, "paper", PAPER_TERMS) for batch in batches]
    logs = model.evaluate(dataset, return_dict=True, verbose=0)
    assert set(logs) == {"loss", *PAPER_TERMS}
    for name in PAPER_TERMS:
        expected = np.mean([getattr(terms, name) for terms in each])
        assert logs[name] == pytest.approx(expected, rel=1e-4)
    weights = dict.fromkeys(PAPER_TERMS, 1.0) | {"syn_cyc": 0.5, "reg_ic": 0.0, "r_smooth": 0.1}
    assert logs["loss"] == pytest.approx(sum(weights[name] * logs[name] for name in PAPER_TERMS), rel=1e-4)


def test_fit_reports_every_term_of_both_splits():
    model = awaken(smallest_model())
    model.compile()
    history = model.fit(images(count=2), validation_data=images(count=2), epochs=2, verbose=0).history
    terms = {"loss", *PAPER_TERMS}
    assert set(history) == terms | {f"val_{name}" for name in terms}
    assert all(np.isfinite(series).all() and len(series) == 2 for series in history.values())
    assert [metric.name for metric in model.metrics] == list(Losses._fields)


@both_ranks
def test_default_weights_are_the_papers(rank):
    weights = tiny_model(rank).loss_weights
    assert weights.pop("r_smooth") == pytest.approx(0.1)
    assert set(weights.values()) == {1.0}


# -- the forward pass -------------------------------------------------------------------------------------------------


@both_ranks
def test_predict_pair(rank):
    model, data = awaken(tiny_model(rank)), pairs(rank)
    out = model.predict_pair(data["a"].numpy(), data["b"].numpy())
    image, field = (2, *CANVAS[rank], 1), (2, *CANVAS[rank], rank)
    assert {name: value.shape for name, value in out.items()} == {
        **{f"affine_{way}": (2, rank, rank + 1) for way in ("a_to_b", "b_to_a")},
        **{f"{kind}_{way}": field for kind in ("nonrigid", "flow") for way in ("a_to_b", "b_to_a")},
        **dict.fromkeys(("warped_a", "warped_b"), image),
        **dict.fromkeys(("synth_a", "synth_b", "synth_a_warped", "synth_b_warped"), image),
    }
    assert all(isinstance(value, np.ndarray) for value in out.values())

    g = model.encoder
    np.testing.assert_allclose(out["synth_b"], model.decoder_ab(g(data["a"])), atol=1e-4)
    np.testing.assert_allclose(out["synth_a"], model.decoder_ba(g(data["b"])), atol=1e-4)
    np.testing.assert_allclose(out["synth_b_warped"], model.decoder_ab(g(out["warped_a"])), atol=1e-4)
    np.testing.assert_allclose(out["synth_a_warped"], model.decoder_ba(g(out["warped_b"])), atol=1e-4)
    for way, moving, x in (("a_to_b", "warped_a", "a"), ("b_to_a", "warped_b", "b")):
        flow = compose_affine(out[f"affine_{way}"], tf.constant(out[f"nonrigid_{way}"]))
        np.testing.assert_allclose(out[f"flow_{way}"], flow, atol=1e-4)
        np.testing.assert_allclose(out[moving], warp(data[x], flow, fill=-1.0), atol=1e-4)
    assert np.abs(out["flow_a_to_b"]).max() > 0.1


@pytest.mark.parametrize("eagerly", [False, True])
def test_estimating_gives_what_predicting_does_but_for_the_second_pass(eagerly, monkeypatch):
    """Of several pairs, too; G runs once and not again on the warped images."""
    model, data = awaken(tiny_model()), pairs()
    expected = model.predict_pair(data["a"], data["b"])
    model.run_eagerly = eagerly
    passes = []
    features = model.features
    monkeypatch.setattr(model, "features", lambda *images: passes.append(len(images)) or features(*images))
    out = model.estimate_pair(data["a"].numpy(), data["b"].numpy())
    assert passes == [2]
    warped = {"warped_a", "warped_b", "synth_a_warped", "synth_b_warped", "flow_a_to_b", "flow_b_to_a"}
    assert set(out) == set(expected) - warped
    for name, value in out.items():
        assert isinstance(value, np.ndarray)
        np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)
    with pytest.raises(ValueError, match=r"image a has shape \(1, 8, 8, 1\)"):
        model.estimate_pair(np.zeros((1, 8, 8, 1)), data["b"].numpy())


@both_ranks
def test_a_new_model_predicts_the_identity(rank):
    model, data = tiny_model(rank), pairs(rank)
    out = model.predict_pair(data["a"], data["b"])
    np.testing.assert_allclose(out["flow_a_to_b"], 0, atol=1e-5)
    np.testing.assert_allclose(out["flow_b_to_a"], 0, atol=1e-5)
    np.testing.assert_allclose(out["warped_a"], data["a"], atol=1e-4)


@both_ranks
def test_phi_is_the_same_transform_on_gs_grid_and_on_the_images(rank):
    model, data = awaken(tiny_model(rank)), pairs(rank)
    phi = model.transforms(*model.features(data["a"], data["b"])).ab
    every = (slice(None), *(slice(None, None, 4) for _ in range(rank)))
    dense = (identity_grid(model.canvas) + model.displacement(phi))[every]
    np.testing.assert_allclose(model.on_grid(phi), dense, atol=1e-4)
    points = model.grid.points() + tf.zeros_like(phi.nonrigid)
    np.testing.assert_allclose(model.at(phi, points), dense, atol=1e-4)
    # Between the samples too, where both interpolate linearly.
    between = points[(slice(None), *(slice(None, -1) for _ in range(rank)))] + 1.0
    shifted = (slice(None), *(slice(1, -3, 4) for _ in range(rank)))
    np.testing.assert_allclose(
        model.at(phi, between), (identity_grid(model.canvas) + model.displacement(phi))[shifted], atol=1e-4
    )


def test_a_wrong_image_size_is_refused_with_both_shapes():
    model = smallest_model()
    with pytest.raises(
        ValueError, match=r"image b has shape \(1, 16, 16, 1\): expected \(batch, .*16, 12, 1"
    ):
        model.predict_pair(np.zeros((1, 16, 12, 1)), np.zeros((1, 16, 16, 1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "papers"}, "objective is 'papers': expected one of paper, aligned, known"),
        ({"cycle": [["affine"], ["rigid"]]}, "cycle has .'rigid'.: objective 'paper' trains"),
        ({"cycle": [[]]}, "cycle has .*: objective 'paper' trains"),
        ({"objective": "aligned"}, "cycle has .'affine'.: objective 'aligned' trains .'synthesis'"),
        ({"objective": "known", "cycle": [["synthesis"]]}, "objective 'known' trains .'affine', 'nonrigid'"),
    ],
)
def test_compile_refuses_what_it_does_not_know(options, message):
    with pytest.raises(ValueError, match=message):
        smallest_model().compile(**options)


def test_a_model_with_weights_of_its_own_can_be_checkpointed(tmp_path):
    model = smallest_model(weights={"syn_fea": 0.5})
    tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    assert model.loss_weights["syn_fea"] == 0.5


def test_unknown_weights_and_undivided_canvases_are_refused():
    with pytest.raises(ValueError, match=r"unknown loss terms \['r_smoth'\]: expected some of .*'r_smooth'"):
        smallest_model(weights={"r_smoth": 1.0})
    model = smallest_model()
    networks = {name: getattr(model, name) for name in ("encoder", "decoder_ab", "decoder_ba")}
    t = {name: getattr(model, name) for name in ("transformation_ab", "transformation_ba")}
    with pytest.raises(ValueError, match=r"canvas \(15, 12\) is not a multiple of .* \(2, 2\)"):
        FIRE(**networks, **t, canvas=(15, 12))


@pytest.mark.parametrize("shared", [False, True], ids=["two T", "one T"])
def test_config_round_trip(shared):
    model = awaken(tiny_model(pooling="keypoints", steps=1, shared=shared, weights={"reg_acc": 2.0}))
    clone = FIRE.from_config(model.get_config())
    assert (clone.transformation_ba is clone.transformation_ab) == shared
    assert clone.get_config() == model.get_config()
    assert clone.loss_weights["reg_acc"] == 2.0
    clone.set_weights(model.get_weights())
    data = pairs()
    expected = model.predict_pair(data["a"], data["b"])
    for name, value in clone.predict_pair(data["a"], data["b"]).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
