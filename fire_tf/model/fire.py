"""FIRE: the model that `fit` trains, in the symbols of the paper (section 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from fire_tf.model.adam import Adam
from fire_tf.model.forward import Batch, ForwardPass
from fire_tf.model.gradients import gradients_of
from fire_tf.model.losses import LAMBDA, Losses
from fire_tf.model.objectives import OBJECTIVES, aligned_losses, check_cycle, known_losses, paper_losses
from fire_tf.model.precision import loss_scaled, scaled, unscaled
from fire_tf.model.term_means import TermMean
from fire_tf.networks.compiled import as_traced
from fire_tf.networks.spatial import FeatureGrid
from fire_tf.networks.synthesis import Decoder, Encoder
from fire_tf.networks.transformation import TransformationNetwork

GROUPS = ("affine", "nonrigid", "synthesis")
PAPER_CYCLE = (("affine",), ("nonrigid",), ("synthesis",))


@tf.keras.utils.register_keras_serializable("fire_tf")
class FIRE(ForwardPass, tf.keras.Model):
    """Bidirectional registration of two modalities (arXiv 1907.05062).

    Inputs are dicts with ``a`` and ``b``, (batch, *canvas, 1) float32 in [-1, 1], background -1. Training batches
    may also hold ``displacement``, ``affine`` and ``moves_a``, the drawn transform (see `fire_tf.data.dataset`); only
    the objective "known" reads them.

    Args:
        encoder: G. decoder_ab, decoder_ba: F^{A->B}, F^{B->A}. transformation_ab, transformation_ba: T; without the
            second the first serves both directions.
        canvas: spatial size of the images; every network is built for it.
        weights: factor of each loss term; missing terms have 1, and ``r_smooth`` has lambda.

    Raises:
        ValueError: unknown loss term, or a canvas that the encoder's strides do not divide.
    """

    test_function: Any  # Keras'

    def __init__(
        self,
        encoder: Encoder,
        decoder_ab: Decoder,
        decoder_ba: Decoder,
        transformation_ab: TransformationNetwork,
        transformation_ba: TransformationNetwork | None,
        canvas: Sequence[int],
        weights: Mapping[str, float] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})  # outside the networks, whatever the policy
        self.encoder = encoder
        self.decoder_ab, self.decoder_ba = decoder_ab, decoder_ba
        self.transformation_ab = transformation_ab
        self.transformation_ba = transformation_ba or transformation_ab
        self.canvas = tuple(int(size) for size in canvas)
        self.ndim = len(self.canvas)
        if any(size % stride for size, stride in zip(self.canvas, encoder.total_strides, strict=True)):
            raise ValueError(
                f"canvas {self.canvas} is not a multiple of the encoder's strides {encoder.total_strides}"
            )
        self.grid = FeatureGrid(self.canvas, encoder.total_strides)
        defaults = dict.fromkeys(Losses._fields, 1.0) | {"r_smooth": LAMBDA}
        unknown = set(weights or {}) - set(defaults)
        if unknown:
            raise ValueError(f"unknown loss terms {sorted(unknown)}: expected some of {list(Losses._fields)}")
        # Assigned once: Keras tracks the dictionary, and refuses to checkpoint one that changed since.
        self.loss_weights = defaults | dict(weights or {})
        self.preprocessing = {}
        self._build_networks()
        self.phase = tf.Variable(0, trainable=False, dtype=tf.int64, name="phase")
        self.term_means = {name: TermMean(name) for name in Losses._fields}

    def _build_networks(self) -> None:
        image = tf.TensorShape([None, *self.canvas, 1])
        features = tf.TensorShape([None, *self.grid.shape, self.encoder.filters[-1]])
        shapes: dict[tf.keras.layers.Layer, Any] = {
            self.encoder: image,
            self.decoder_ab: features,
            self.decoder_ba: features,
        }
        shapes |= {t: [features, features] for t in (self.transformation_ab, self.transformation_ba)}
        for network, shape in shapes.items():
            if not network.built:  # Keras builds what it loads
                network.build(shape)
        self.built = True

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """What the images must look like, and what `register` warns of; set it whole."""
        return self._preprocessing

    @preprocessing.setter
    def preprocessing(self, settings: Mapping[str, Any]) -> None:
        # Read only, because Keras would track a plain dictionary, in a wrapper that is no JSON.
        self._preprocessing = MappingProxyType(dict(settings))

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Refused: Keras' endpoint would take prepared images on the canvas and answer wrongly on any others."""
        raise NotImplementedError("a SavedModel is written by fire_tf.export_model(model, folder)")

    # -- the objective --------------------------------------------------------------------------------------------

    def compute_losses(self, data: Batch, objective: str, terms: frozenset[str]) -> Losses:
        """The loss terms named in ``terms``, each (batch,); what they do not need is not computed."""
        g_a, g_b = self.features(data.get("shaded_a", data["a"]), data.get("shaded_b", data["b"]))
        if objective == "aligned":
            return aligned_losses(self, data, g_a, g_b)
        if objective == "known":
            return known_losses(self, data, self.transforms(g_a, g_b, detach=True))
        return paper_losses(self, data, self.transforms(g_a, g_b), terms)

    def total(self, computed: Losses) -> tf.Tensor:
        """L of the terms present: the weighted sum, averaged over the global batch (one replica's share of it)."""
        present = {name: value for name, value in computed._asdict().items() if value is not None}
        per_sample = sum(self.loss_weights[name] * value for name, value in present.items())
        return tf.reduce_mean(per_sample) / tf.distribute.get_strategy().num_replicas_in_sync

    # -- training -------------------------------------------------------------------------------------------------

    def group_variables(self, group: str) -> list[tf.Variable]:
        """Trainable variables of one optimizer's group: "affine", "nonrigid" or "synthesis"."""
        both = dict.fromkeys((self.transformation_ab, self.transformation_ba))  # one where they are shared
        layers: dict[str, Sequence[tf.keras.layers.Layer]] = {
            "affine": [t.affine for t in both],
            "nonrigid": [t.nonrigid for t in both],
            "synthesis": [self.encoder, self.decoder_ab, self.decoder_ba],
        }
        return [variable for layer in layers[group] for variable in layer.trainable_variables]

    def compile(
        self,
        affine_optimizer: tf.keras.optimizers.Optimizer | None = None,
        nonrigid_optimizer: tf.keras.optimizers.Optimizer | None = None,
        synthesis_optimizer: tf.keras.optimizers.Optimizer | None = None,
        objective: str = "paper",
        cycle: Sequence[Sequence[str]] = PAPER_CYCLE,
        loss_scaling: bool = True,
        **kwargs: Any,
    ) -> None:
        """Set the three optimizers (section 2.2, "Optimization": Adam at 5e-5, 5e-5 and 1e-4 by default).

        ``model.optimizer`` is the optimizer of {G, F}: Keras' callbacks read and change its learning rate, and the
        other two follow in proportion (see `_follow_learning_rate`).

        Args:
            objective: "paper" (the nine terms), "aligned" (G and F on aligned pairs) or "known" (T on drawn ones).
            cycle: the groups updated in each iteration, in turn; the paper's is one group per iteration.
            loss_scaling: give every optimizer a loss scale where the networks compute in float16.
        """
        check_cycle(objective, cycle)
        optimizers = {
            "affine": affine_optimizer or Adam(5e-5),
            "nonrigid": nonrigid_optimizer or Adam(5e-5),
            "synthesis": synthesis_optimizer or Adam(1e-4),
        }
        half = self.encoder.compute_dtype == "float16"
        self.optimizers = loss_scaled(optimizers) if half and loss_scaling else optimizers
        super().compile(optimizer=self.optimizers["synthesis"], **kwargs)
        self.objective = objective
        self.cycle = tuple(tuple(groups) for groups in cycle)
        self._rate_ratios = self._learning_rate_ratios()
        for group, optimizer in self.optimizers.items():
            optimizer.build(self.group_variables(group))
        self._steps = [self._compiled_step(groups) for groups in self.cycle]

    def _learning_rate_ratios(self) -> dict[str, float]:
        """Learning rates relative to the {G, F} optimizer's.

        Empty where optimizers follow schedules of their own, or where the {G, F} optimizer rests at rate 0.
        """
        schedule = tf.keras.optimizers.schedules.LearningRateSchedule
        inner = [getattr(o, "inner_optimizer", o) for o in self.optimizers.values()]
        if any(isinstance(getattr(o, "_learning_rate", None), schedule) for o in inner):
            return {}
        # .numpy(): under tf.distribute these are mirrored variables, which have no float() and no int().
        rates = {
            group: float(optimizer.learning_rate.numpy()) for group, optimizer in self.optimizers.items()
        }
        leader = rates.pop("synthesis")
        return {group: rate / leader for group, rate in rates.items()} if leader else {}

    def _follow_learning_rate(self) -> None:
        for group, ratio in self._rate_ratios.items():
            self.optimizers[group].learning_rate.assign(ratio * self.optimizers["synthesis"].learning_rate)

    def get_compile_config(self) -> dict[str, Any] | None:
        if not self._is_compiled:
            return None
        serialize = tf.keras.optimizers.serialize
        optimizers = {f"{group}_optimizer": serialize(self.optimizers[group]) for group in GROUPS}
        return {**optimizers, "objective": self.objective, "cycle": self.cycle}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        deserialize = tf.keras.optimizers.deserialize
        settings = {name: deserialize(v) if name.endswith("_optimizer") else v for name, v in config.items()}
        self.compile(**settings, loss_scaling=False)  # the optimizers as they were saved

    def _terms_of(self, groups: Iterable[str]) -> frozenset[str]:
        """The terms of the objective that any of ``groups`` depends on."""
        return frozenset().union(*(OBJECTIVES[self.objective][group] for group in groups))

    def _compiled_step(self, groups: tuple[str, ...]) -> Callable[[Batch], dict[str, tf.Tensor]]:
        def step(data: Batch) -> dict[str, tf.Tensor]:
            self._follow_learning_rate()
            self.distribute_strategy.run(self._update, args=(data, groups))
            self.phase.assign_add(1)
            self._train_counter.assign_add(1)  # Keras' own; TensorBoard writes batches against it
            return self._results()

        return step if self.run_eagerly else as_traced(tf.function(step, autograph=False))

    def _update(self, data: Batch, groups: tuple[str, ...]) -> None:
        """One iteration: the gradient of L with respect to ``groups``, from the terms that depend on them."""
        terms = self._terms_of(groups)
        variables = {group: self.group_variables(group) for group in groups}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(variables.values()))
            computed = self.compute_losses(data, self.objective, terms)
            optimizers = [self.optimizers[group] for group in groups]
            loss = scaled(optimizers, self.total(computed))
        gradients = unscaled(optimizers, gradients_of(tape, loss, variables))
        for group in groups:
            self.optimizers[group].apply_gradients(zip(gradients[group], variables[group], strict=True))
        self._track(computed)

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """One iteration of the cycle. Runs in Python: the phase picks one of the compiled steps.

        A tf.switch_case inside one graph would do as well on one device, but an optimizer cannot apply gradients
        inside a branch under tf.distribute.
        """
        return self._steps[int(self.phase.numpy()) % len(self._steps)](data)

    def make_train_function(self, force: bool = False) -> Callable[[Any], dict[str, tf.Tensor]]:
        turns: list[Callable[[Batch], dict[str, tf.Tensor]]] = []

        def train_function(iterator: Any) -> dict[str, tf.Tensor]:
            if not turns:  # asked for once, behind the callbacks that restore a checkpoint when `fit` begins
                turn = int(self.phase.numpy()) % len(self._steps)
                turns.extend(self._steps[turn:] + self._steps[:turn])
            turns.append(turns.pop(0))
            return turns[-1](next(iterator))

        self.train_function = train_function
        return train_function

    def make_test_function(self, force: bool = False) -> Callable[[Any], dict[str, tf.Tensor]]:
        before, made = self.test_function, super().make_test_function(force)
        self.test_function = made if made is before else as_traced(made)
        return self.test_function

    def test_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """All terms of the objective; for "known", the paper's nine are not computed."""
        terms = self._terms_of(OBJECTIVES[self.objective])
        self._track(self.compute_losses(data, self.objective, terms))
        return self._results()

    def _track(self, computed: Losses) -> None:
        for name, value in computed._asdict().items():
            if value is not None:
                self.term_means[name].update_state(value)

    def _results(self) -> dict[str, tf.Tensor]:
        """Mean of each term over the steps that computed it, and ``loss``, the weighted sum of those means."""
        terms = self._terms_of(OBJECTIVES[self.objective])
        means = {name: mean.result() for name, mean in self.term_means.items() if name in terms}
        return {"loss": sum(self.loss_weights[name] * value for name, value in means.items()), **means}

    def get_metrics_result(self) -> dict[str, tf.Tensor]:
        """What Keras shows in the end: over all replicas, whose means it would add up otherwise."""
        return self._results()

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        return list(self.term_means.values())

    # -- configuration --------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        serialize = tf.keras.layers.serialize
        names = ("encoder", "decoder_ab", "decoder_ba", "transformation_ab", "transformation_ba")
        networks = {name: serialize(getattr(self, name)) for name in names}
        if self.transformation_ba is self.transformation_ab:
            networks["transformation_ba"] = None
        return {"name": self.name, **networks, "canvas": self.canvas, "weights": self.loss_weights}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FIRE:
        deserialize = tf.keras.layers.deserialize
        networks = {k: deserialize(v) for k, v in config.items() if isinstance(v, dict) and "class_name" in v}
        return cls(**{**config, **networks})
