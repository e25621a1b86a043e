"""FIRE: the model that `fit` trains, in the symbols of the paper (section 2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from fire_tf import losses
from fire_tf.errors import InputError
from fire_tf.losses import Losses
from fire_tf.networks import Decoder, Encoder, TransformationNetwork
from fire_tf.transforms import (
    FeatureGrid,
    affine_displacement,
    affine_points,
    compose_affine,
    identity_grid,
    transform_points,
    warp,
)
from fire_tf.transforms import sample as sample_at

Batch = Mapping[str, tf.Tensor]
GROUPS = ("affine", "nonrigid", "synthesis")
PAPER_CYCLE = (("affine",), ("nonrigid",), ("synthesis",))
SYNTHESIS_TERMS = frozenset({"syn_acc", "syn_fea", "syn_cyc", "syn_align"})
PAPER_TERMS = SYNTHESIS_TERMS | {"reg_acc", "reg_ic", "r_syn", "r_reg", "r_smooth"}
KNOWN_TERMS = frozenset({"known_affine", "known", "r_smooth"})
# The terms of each objective whose gradient with respect to a group is not zero by construction.
OBJECTIVES: dict[str, dict[str, frozenset[str]]] = {
    "paper": {
        "affine": PAPER_TERMS - {"syn_cyc", "syn_align"},
        "nonrigid": PAPER_TERMS - {"syn_cyc", "syn_align", "r_syn", "r_reg"},
        "synthesis": PAPER_TERMS,
    },
    "aligned": {"synthesis": SYNTHESIS_TERMS},
    "known": {"affine": KNOWN_TERMS, "nonrigid": KNOWN_TERMS - {"known_affine"}},
}


class Phi(NamedTuple):
    """One predicted transform, phi = phi_af o phi_nr: affine (batch, n, n + 1), displacement on G's grid."""

    affine: tf.Tensor
    nonrigid: tf.Tensor


class Prediction(NamedTuple):
    """Features of both images and the transforms between them; ``ab`` warps A onto B."""

    g_a: tf.Tensor
    g_b: tf.Tensor
    ab: Phi
    ba: Phi


def _batched(network: Callable[[tf.Tensor], tf.Tensor], inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """One pass of ``network`` over several equally large batches."""
    if not inputs:
        return {}
    outputs = network(tf.concat(list(inputs.values()), axis=0))
    return dict(zip(inputs, tf.split(outputs, len(inputs)), strict=True))


@tf.keras.utils.register_keras_serializable("fire_tf")
class FIRE(tf.keras.Model):
    """Bidirectional registration of two modalities (arXiv 1907.05062).

    Inputs are dicts with ``a`` and ``b``, (batch, *canvas, 1) float32 in [-1, 1], background -1. Training batches
    may also hold ``displacement``, ``affine`` and ``moves_a``, the drawn transform (see `fire_tf.dataset`); only
    the objective "known" reads them.

    Args:
        encoder: G. decoder_ab, decoder_ba: F^{A->B}, F^{B->A}. transformation_ab, transformation_ba: T.
        canvas: spatial size of the images; every network is built for it.
        weights: factor of each loss term; missing terms have 1, and ``r_smooth`` has lambda.

    Raises:
        ValueError: unknown loss term, or a canvas that the encoder's strides do not divide.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder_ab: Decoder,
        decoder_ba: Decoder,
        transformation_ab: TransformationNetwork,
        transformation_ba: TransformationNetwork,
        canvas: Sequence[int],
        weights: Mapping[str, float] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder_ab, self.decoder_ba = decoder_ab, decoder_ba
        self.transformation_ab, self.transformation_ba = transformation_ab, transformation_ba
        self.canvas = tuple(int(size) for size in canvas)
        self.ndim = len(self.canvas)
        if any(size % stride for size, stride in zip(self.canvas, encoder.total_strides, strict=True)):
            raise ValueError(f"canvas {self.canvas} is not a multiple of the encoder's strides {encoder.total_strides}")
        self.grid = FeatureGrid(self.canvas, encoder.total_strides)
        self.loss_weights = {name: 1.0 for name in Losses._fields} | {"r_smooth": losses.smoothness_weight(self.ndim)}
        unknown = set(weights or {}) - set(self.loss_weights)
        if unknown:
            raise ValueError(f"unknown loss terms {sorted(unknown)}: expected some of {list(Losses._fields)}")
        self.loss_weights |= dict(weights or {})
        self.preprocessing: dict[str, Any] = {}
        self._build_networks()
        self.phase = tf.Variable(0, trainable=False, dtype=tf.int64, name="phase")
        self.term_means = {name: tf.keras.metrics.Mean(name) for name in Losses._fields}

    def _build_networks(self) -> None:
        image = tf.TensorShape([None, *self.canvas, 1])
        features = tf.TensorShape([None, *self.grid.shape, self.encoder.filters[-1]])
        self.encoder.build(image)
        for decoder in (self.decoder_ab, self.decoder_ba):
            decoder.build(features)
        for transformation in (self.transformation_ab, self.transformation_ba):
            transformation.build([features, features])
        self.built = True

    # -- the forward pass ---------------------------------------------------------------------------------------

    def features(self, x_a: tf.Tensor, x_b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """G(x^A), G(x^B) in one pass."""
        g_a, g_b = tf.split(self.encoder(tf.concat([x_a, x_b], axis=0)), 2)
        return g_a, g_b

    def transforms(self, g_a: tf.Tensor, g_b: tf.Tensor) -> Prediction:
        """phi^{A->B} = T_AB(G(x^A), G(x^B)) and phi^{B->A} = T_BA(G(x^B), G(x^A))."""
        ab = Phi(*self.transformation_ab([g_a, g_b]))
        ba = Phi(*self.transformation_ba([g_b, g_a]))
        return Prediction(g_a, g_b, ab, ba)

    def displacement(self, phi: Phi) -> tf.Tensor:
        """phi as a dense displacement on the image grid, (batch, *canvas, n), in voxels."""
        return compose_affine(phi.affine, self.grid.to_image(phi.nonrigid))

    def at(self, phi: Phi, points: tf.Tensor) -> tf.Tensor:
        """phi at the samples of G's grid moved to ``points`` (batch, *grid, n), image coordinates."""
        strides = tf.constant(self.grid.strides, tf.float32)
        return affine_points(phi.affine, points + strides * self.grid.sample(phi.nonrigid, points), self.canvas)

    def call(self, inputs: Batch, training: bool | None = None) -> dict[str, tf.Tensor]:
        """Register and synthesise: see `predict_pair` for what the outputs are."""
        x_a, x_b = inputs["a"], inputs["b"]
        prediction = self.transforms(*self.features(x_a, x_b))
        outputs: dict[str, tf.Tensor] = {}
        for direction, phi in (("a_to_b", prediction.ab), ("b_to_a", prediction.ba)):
            outputs[f"affine_{direction}"] = phi.affine
            outputs[f"nonrigid_{direction}"] = self.grid.to_image(phi.nonrigid)
            outputs[f"flow_{direction}"] = self.displacement(phi)
        outputs["warped_a"] = warp(x_a, outputs["flow_a_to_b"], fill=-1.0)
        outputs["warped_b"] = warp(x_b, outputs["flow_b_to_a"], fill=-1.0)
        g_warped_a, g_warped_b = self.features(outputs["warped_a"], outputs["warped_b"])
        f_ab = _batched(self.decoder_ab, {"synth_b": prediction.g_a, "synth_b_warped": g_warped_a})
        f_ba = _batched(self.decoder_ba, {"synth_a": prediction.g_b, "synth_a_warped": g_warped_b})
        return {**outputs, **f_ab, **f_ba}

    def predict_pair(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        """Register pairs of prepared images, (batch, *canvas, 1) each.

        Returns:
            ``affine_a_to_b``, ``affine_b_to_a`` (batch, n, n + 1); ``nonrigid_*`` and ``flow_*`` (batch, *canvas, n):
            u_nr and the whole phi as displacements in voxels; ``warped_a`` = x^A o phi^{A->B}, ``warped_b``;
            ``synth_b`` = F^{A->B}(G(x^A)), aligned with A, and ``synth_b_warped`` = F^{A->B}(G(x^A o phi^{A->B})),
            aligned with B; ``synth_a``, ``synth_a_warped``.
        """
        expected = (*self.canvas, 1)
        for name, image in (("a", a), ("b", b)):
            if tuple(image.shape[1:]) != expected:
                raise ValueError(f"image {name} has shape {tuple(image.shape)}: expected (batch, *{expected})")
        outputs = self.predict_on_batch({"a": tf.cast(a, tf.float32), "b": tf.cast(b, tf.float32)})
        return dict(outputs)

    # -- the objective --------------------------------------------------------------------------------------------

    def compute_losses(self, data: Batch, objective: str, terms: frozenset[str]) -> Losses:
        """The loss terms named in ``terms``, each (batch,); what they do not need is not computed."""
        x_a, x_b = data["a"], data["b"]
        g_a, g_b = self.features(x_a, x_b)
        if objective == "aligned":
            return self._aligned_losses(x_a, x_b, g_a, g_b)
        prediction = self.transforms(g_a, g_b)
        if objective == "known":
            return self._known_losses(data, prediction)
        return self._paper_losses(x_a, x_b, prediction, terms)

    def _aligned_losses(self, x_a: tf.Tensor, x_b: tf.Tensor, g_a: tf.Tensor, g_b: tf.Tensor) -> Losses:
        """The synthesis loss of pairs that are aligned already: phi is the identity, T is not used."""
        x_hat_b, x_hat_a = self.decoder_ab(g_a), self.decoder_ba(g_b)
        g_x_hat_a, g_x_hat_b = self.features(x_hat_a, x_hat_b)
        return Losses(
            syn_acc=losses.syn_acc(x_hat_b, x_b, x_hat_a, x_a),
            syn_fea=losses.syn_fea(g_a, g_b, g_b, g_a),
            syn_cyc=losses.syn_cyc(self.decoder_ba(g_x_hat_b), x_a, self.decoder_ab(g_x_hat_a), x_b),
            syn_align=losses.syn_align(g_a, g_x_hat_b, g_b, g_x_hat_a),
        )

    def _paper_losses(self, x_a: tf.Tensor, x_b: tf.Tensor, prediction: Prediction, terms: frozenset[str]) -> Losses:
        """Equations 1 to 4. Passes through the same network that do not wait for each other run as one batch."""
        g_a, g_b, ab, ba = prediction
        u_ab, u_ba = self.displacement(ab), self.displacement(ba)
        points = self.grid.points()
        g_a_warped = self.grid.sample(g_a, self.at(ab, points[tf.newaxis] + tf.zeros_like(ab.nonrigid)))
        g_b_warped = self.grid.sample(g_b, self.at(ba, points[tf.newaxis] + tf.zeros_like(ba.nonrigid)))
        from_a, from_b = {"warped": g_a_warped}, {"warped": g_b_warped}
        images = {"a": warp(x_a, u_ab), "b": warp(x_b, u_ba)}
        if "r_syn" in terms:
            from_a["affine"] = self.grid.sample(g_a, self.transformation_ab.affine_points(ab.affine))
            from_b["affine"] = self.grid.sample(g_b, self.transformation_ba.affine_points(ba.affine))
            images["affine_a"] = warp(x_a, affine_displacement(ab.affine, self.canvas))
            images["affine_b"] = warp(x_b, affine_displacement(ba.affine, self.canvas))
        if "syn_cyc" in terms:
            from_a["hat"], from_b["hat"] = g_a, g_b
        synthesised_b, synthesised_a = _batched(self.decoder_ab, from_a), _batched(self.decoder_ba, from_b)
        if "syn_cyc" in terms:
            images["hat_a"], images["hat_b"] = synthesised_a["hat"], synthesised_b["hat"]
        encoded = _batched(self.encoder, images)
        to_b = {name: encoded[name] for name in ("a", "affine_a", "hat_a") if name in encoded}
        to_a = {name: encoded[name] for name in ("b", "affine_b", "hat_b") if name in encoded}
        decoded_b, decoded_a = _batched(self.decoder_ab, to_b), _batched(self.decoder_ba, to_a)
        computed = Losses(
            syn_acc=losses.syn_acc(synthesised_b["warped"], x_b, synthesised_a["warped"], x_a),
            syn_fea=losses.syn_fea(g_a, g_b_warped, g_b, g_a_warped),
            reg_acc=losses.reg_acc(decoded_b["a"], x_b, decoded_a["b"], x_a),
            reg_ic=self._inverse_consistency(x_a, x_b, ab, ba, u_ab, u_ba),
            r_smooth=losses.r_smooth(ab.nonrigid, ba.nonrigid),
        )
        if "r_syn" in terms:
            computed = computed._replace(
                r_syn=losses.r_syn(x_b, synthesised_b["affine"], x_a, synthesised_a["affine"]),
                r_reg=losses.r_reg(x_b, decoded_b["affine_a"], x_a, decoded_a["affine_b"]),
            )
        if "syn_cyc" in terms:
            computed = computed._replace(
                syn_cyc=losses.syn_cyc(decoded_a["hat_b"], x_a, decoded_b["hat_a"], x_b),
                syn_align=losses.syn_align(g_a, encoded["hat_b"], g_b, encoded["hat_a"]),
            )
        return computed

    def _inverse_consistency(
        self, x_a: tf.Tensor, x_b: tf.Tensor, ab: Phi, ba: Phi, u_ab: tf.Tensor, u_ba: tf.Tensor
    ) -> tf.Tensor:
        """`losses.reg_ic`; the outer transform is evaluated at the inner one's points, its affine analytically."""
        grid = identity_grid(self.canvas)
        there_and_back_a = transform_points(ab.affine, self.grid.to_image(ab.nonrigid), grid + u_ba)
        there_and_back_b = transform_points(ba.affine, self.grid.to_image(ba.nonrigid), grid + u_ab)
        return losses.reg_ic(x_a, sample_at(x_a, there_and_back_a), x_b, sample_at(x_b, there_and_back_b))

    def _known_losses(self, data: Batch, prediction: Prediction) -> Losses:
        """Distance to the drawn transform at G's samples, of the affine part alone and of the whole (not in the paper)."""
        moves_a = data["moves_a"] > 0.5
        n = self.ndim

        def choose(if_a: tf.Tensor, if_b: tf.Tensor) -> tf.Tensor:
            return tf.where(tf.reshape(moves_a, [-1] + [1] * (if_a.shape.rank - 1)), if_a, if_b)

        towards = Phi(*(choose(x, y) for x, y in zip(prediction.ba, prediction.ab, strict=True)))
        back = Phi(*(choose(x, y) for x, y in zip(prediction.ab, prediction.ba, strict=True)))
        every = (slice(None), *(slice(None, None, stride) for stride in self.grid.strides))
        points = self.grid.points()[tf.newaxis] + tf.zeros_like(towards.nonrigid)
        target = points + data["displacement"][every]
        tissue = tf.cast(choose(data["a"], data["b"])[every] > -0.99, tf.float32)
        mask = tissue + 0.02  # the little outside keeps the transform sensible there
        scale = float(np.prod(self.grid.strides)) ** (1.0 / n)
        affine = affine_points(towards.affine, points, self.canvas), affine_points(back.affine, target, self.canvas)
        whole = self.at(towards, points), self.at(back, target)
        return Losses(
            known_affine=losses.known(affine[0], target, affine[1], points, mask, scale),
            known=losses.known(whole[0], target, whole[1], points, mask, scale),
            r_smooth=losses.r_smooth(prediction.ab.nonrigid, prediction.ba.nonrigid),
        )

    def total(self, computed: Losses) -> tf.Tensor:
        """L of the terms present: the weighted sum, averaged over the global batch (one replica's share of it)."""
        present = {name: value for name, value in computed._asdict().items() if value is not None}
        per_sample = tf.add_n([self.loss_weights[name] * value for name, value in present.items()])
        return tf.reduce_mean(per_sample) / tf.distribute.get_strategy().num_replicas_in_sync

    # -- training -------------------------------------------------------------------------------------------------

    def group_variables(self, group: str) -> list[tf.Variable]:
        """Trainable variables of one optimizer's group: "affine", "nonrigid" or "synthesis"."""
        both = (self.transformation_ab, self.transformation_ba)
        layers = {
            "affine": [t.affine for t in both],
            "nonrigid": [t.nonrigid for t in both],
            "synthesis": [self.encoder, self.decoder_ab, self.decoder_ba],
        }[group]
        return [variable for layer in layers for variable in layer.trainable_variables]

    def compile(
        self,
        affine_optimizer: tf.keras.optimizers.Optimizer | None = None,
        nonrigid_optimizer: tf.keras.optimizers.Optimizer | None = None,
        synthesis_optimizer: tf.keras.optimizers.Optimizer | None = None,
        objective: str = "paper",
        cycle: Sequence[Sequence[str]] = PAPER_CYCLE,
        **kwargs: Any,
    ) -> None:
        """Set the three optimizers (section 2.2, "Optimization": Adam at 5e-5, 5e-5 and 1e-4 by default).

        ``model.optimizer`` is the optimizer of {G, F}: Keras' callbacks read and change its learning rate, and the
        other two follow in proportion (see `_follow_learning_rate`).

        Args:
            objective: "paper" (the nine terms), "aligned" (G and F on aligned pairs) or "known" (T on drawn transforms).
            cycle: the groups updated in each iteration, in turn; the paper's is one group per iteration.
        """
        if objective not in OBJECTIVES:
            raise ValueError(f"objective is {objective!r}: expected one of {', '.join(OBJECTIVES)}")
        for groups in cycle:
            wrong = [group for group in groups if group not in OBJECTIVES[objective]]
            if wrong or not groups:
                raise ValueError(f"cycle has {list(groups)}: objective {objective!r} trains {list(OBJECTIVES[objective])}")
        adam = tf.keras.optimizers.Adam
        self.optimizers = {
            "affine": affine_optimizer or adam(5e-5),
            "nonrigid": nonrigid_optimizer or adam(5e-5),
            "synthesis": synthesis_optimizer or adam(1e-4),
        }
        super().compile(optimizer=self.optimizers["synthesis"], **kwargs)
        self.objective = objective
        self.cycle = tuple(tuple(groups) for groups in cycle)
        self._rate_ratios = self._learning_rate_ratios()
        for group, optimizer in self.optimizers.items():
            optimizer.build(self.group_variables(group))
        self._steps = [self._compiled_step(groups) for groups in self.cycle]

    def _learning_rate_ratios(self) -> dict[str, float]:
        """Learning rates relative to the {G, F} optimizer's; empty for optimizers that follow schedules of their own."""
        schedule = tf.keras.optimizers.schedules.LearningRateSchedule
        if any(isinstance(getattr(o, "_learning_rate", None), schedule) for o in self.optimizers.values()):
            return {}
        leader = float(self.optimizers["synthesis"].learning_rate)
        return {group: float(self.optimizers[group].learning_rate) / leader for group in ("affine", "nonrigid")}

    def _follow_learning_rate(self) -> None:
        for group, ratio in self._rate_ratios.items():
            self.optimizers[group].learning_rate.assign(ratio * self.optimizers["synthesis"].learning_rate)

    def get_compile_config(self) -> dict[str, Any]:
        serialize = tf.keras.optimizers.serialize
        optimizers = {f"{group}_optimizer": serialize(self.optimizers[group]) for group in GROUPS}
        return {**optimizers, "objective": self.objective, "cycle": self.cycle}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        deserialize = tf.keras.optimizers.deserialize
        self.compile(**{name: deserialize(v) if name.endswith("_optimizer") else v for name, v in config.items()})

    def _compiled_step(self, groups: tuple[str, ...]) -> Callable[[Batch], None]:
        def step(data: Batch) -> None:
            self.distribute_strategy.run(self._update, args=(data, groups))

        return step if self.run_eagerly else tf.function(step, autograph=False)

    def _update(self, data: Batch, groups: tuple[str, ...]) -> None:
        """One iteration: the gradient of L with respect to ``groups``, from the terms that depend on them."""
        terms = frozenset().union(*(OBJECTIVES[self.objective][group] for group in groups))
        variables = {group: self.group_variables(group) for group in groups}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(variables.values()))
            computed = self.compute_losses(data, self.objective, terms)
            loss = self.total(computed)
            if hasattr(self.optimizer, "get_scaled_loss"):  # mixed precision: three LossScaleOptimizers
                loss = self.optimizers[groups[0]].get_scaled_loss(loss)
        gradients = tape.gradient(loss, variables)
        for group in groups:
            if hasattr(self.optimizer, "get_unscaled_gradients"):
                gradients[group] = self.optimizers[groups[0]].get_unscaled_gradients(gradients[group])
            self.optimizers[group].apply_gradients(zip(gradients[group], variables[group], strict=True))
        self._track(computed)

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """One iteration of the cycle. Runs in Python: the phase picks one of the compiled steps.

        A tf.switch_case inside one graph would do as well on one device, but an optimizer cannot apply gradients
        inside a branch under tf.distribute.
        """
        self._follow_learning_rate()
        self._steps[int(self.phase) % len(self._steps)](data)
        self.phase.assign_add(1)
        return self._results()

    def make_train_function(self, force: bool = False) -> Callable[[Any], dict[str, tf.Tensor]]:
        self.train_function = lambda iterator: self.train_step(next(iterator))
        return self.train_function

    def test_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """All terms of the objective; for "known", the paper's nine are not computed."""
        terms = frozenset().union(*OBJECTIVES[self.objective].values())
        self._track(self.compute_losses(data, self.objective, terms))
        return self._results()

    def _track(self, computed: Losses) -> None:
        for name, value in computed._asdict().items():
            if value is not None:
                self.term_means[name].update_state(value)

    def _results(self) -> dict[str, tf.Tensor]:
        """Mean of each term over the steps that computed it, and ``loss``, the weighted sum of those means."""
        terms = frozenset().union(*OBJECTIVES[self.objective].values())
        means = {name: mean.result() for name, mean in self.term_means.items() if name in terms}
        return {"loss": tf.add_n([self.loss_weights[name] * value for name, value in means.items()]), **means}

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        return list(self.term_means.values())

    # -- configuration --------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        serialize = tf.keras.layers.serialize
        names = ("encoder", "decoder_ab", "decoder_ba", "transformation_ab", "transformation_ba")
        networks = {name: serialize(getattr(self, name)) for name in names}
        return {"name": self.name, **networks, "canvas": self.canvas, "weights": self.loss_weights}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FIRE:
        deserialize = tf.keras.layers.deserialize
        return cls(**{key: deserialize(v) if isinstance(v, dict) and "class_name" in v else v for key, v in config.items()})


def save_model(model: FIRE, folder: Path) -> None:
    """Write ``fire.keras`` and ``preprocessing.json`` (what the images must look like) into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "fire.keras")
    (folder / "preprocessing.json").write_text(json.dumps(model.preprocessing, indent=2))


def load_model(folder: str | Path) -> FIRE:
    """Load a model from its folder, or from the run folder that holds it; compiled as it was saved.

    Raises:
        InputError: the folder holds no model of this package.
    """
    folder = Path(folder)
    for candidate in (folder, folder / "model"):
        if (candidate / "fire.keras").is_file() and (candidate / "preprocessing.json").is_file():
            model = tf.keras.models.load_model(candidate / "fire.keras")
            model.preprocessing = json.loads((candidate / "preprocessing.json").read_text())
            return model
    raise InputError(f"{folder}: not a fire_tf model (no fire.keras and preprocessing.json in it or in its model/)")
