"""Running means of the loss terms, which `fit` shows and writes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class TermMean(tf.keras.metrics.Mean):
    """The running mean of a loss term, which is no part of a model: what Keras saved of it, a later version with
    another term could not read."""

    def save_own_variables(self, store: Any) -> None:
        """Nothing is kept."""

    def load_own_variables(self, store: Any) -> None:
        """Nothing was kept, or is left where it is (format 1)."""
