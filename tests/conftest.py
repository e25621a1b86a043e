"""Settings that must be in place before TensorFlow and matplotlib are imported."""

import math
import os

os.environ.setdefault("MPLBACKEND", "Agg")
# Workers run beside each other, one core each.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Read when grpc is loaded, which tests do before the client would say so.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import pytest

import fire_tf  # noqa: F401 - chooses the Keras of newer TensorFlows, which a test may import first

LONGEST = "test_notebooks.py", "test_train.py", "test_export.py", "test_workers.py", "test_table.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: one that began last would run beside an idle worker."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture
def no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """`register` without its own search for turns, which the graph of a served model has not (docs/serving.md)."""
    monkeypatch.setattr("fire_tf.registration.start._LEAST", math.inf)
