"""The messages of TensorFlow Serving's PredictionService, as far as FIRE needs them.

They are the same on the wire as those of ``tensorflow-serving-api`` (tensorflow/serving's ``model.proto``,
``predict.proto`` and ``prediction_log.proto``, tensorflow's ``tensor.proto``), so that neither that package nor
TensorFlow has to be installed or loaded where a request is sent. They live in a pool of their own and get on with
the originals in one process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PREDICT = "/tensorflow.serving.PredictionService/Predict"

_FLOAT, _STRING = 1, 7  # TensorProto.dtype
_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "fire_tf.serving"
# Message -> field -> number and type: a scalar type, a message, [repeated], or {a map from strings}.
_MESSAGES: dict[str, dict[str, tuple[int, Any]]] = {
    "Dim": {"size": (1, _Field.TYPE_INT64)},
    "TensorShape": {"dim": (2, ["Dim"])},
    "Tensor": {
        "dtype": (1, _Field.TYPE_INT32),
        "tensor_shape": (2, "TensorShape"),
        "tensor_content": (4, _Field.TYPE_BYTES),
        "float_val": (5, [_Field.TYPE_FLOAT]),
        "string_val": (8, [_Field.TYPE_BYTES]),
    },
    "ModelSpec": {"name": (1, _Field.TYPE_STRING), "signature_name": (3, _Field.TYPE_STRING)},
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, {"Tensor"}),
        "output_filter": (3, [_Field.TYPE_STRING]),
    },
    "PredictResponse": {"outputs": (1, {"Tensor"}), "model_spec": (2, "ModelSpec")},
    "PredictLog": {"request": (1, "PredictRequest"), "response": (2, "PredictResponse")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
}


def _set_type(field: Any, kind: Any) -> None:
    if isinstance(kind, str):
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = kind


def _add_field(message: Any, name: str, number: int, kind: Any) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if isinstance(kind, list | set):
        field.label = _Field.LABEL_REPEATED
        (kind_of_item,) = kind
    if isinstance(kind, set):
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", 1, _Field.TYPE_STRING)
        _add_field(entry, "value", 2, kind_of_item)
        kind_of_item = f"{message.name}.{entry.name}"
    _set_type(field, kind_of_item if isinstance(kind, list | set) else kind)


def _classes() -> dict[str, type]:
    file = descriptor_pb2.FileDescriptorProto(name="fire_tf/serving.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add_field(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _classes()
PredictRequest: Any = _CLASSES["PredictRequest"]
PredictResponse: Any = _CLASSES["PredictResponse"]
PredictionLog: Any = _CLASSES["PredictionLog"]
Tensor: Any = _CLASSES["Tensor"]

Value = np.ndarray | bytes
"""A tensor outside of messages: float32 numbers, or one string."""


def predict_request(
    model: str, signature: str, inputs: Mapping[str, Value], outputs: Sequence[str] = ()
) -> Any:
    """A request to run a signature; ``outputs`` are those wanted, all of them if there are none."""
    request = PredictRequest(output_filter=outputs)
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(to_tensor(value))
    return request


def to_tensor(value: Value) -> Any:
    """Numbers (float32) or one string as a TensorProto."""
    if isinstance(value, bytes):
        return Tensor(dtype=_STRING, tensor_shape={}, string_val=[value])
    numbers = np.ascontiguousarray(value, np.float32)
    shape = {"dim": [{"size": size} for size in np.shape(value)]}
    return Tensor(
        dtype=_FLOAT, tensor_shape=shape, tensor_content=numbers.astype("<f4", copy=False).tobytes()
    )


def from_tensor(message: Any) -> Value:
    """What `to_tensor` was given; also where the server lists numbers one by one.

    Raises ValueError for a tensor of another type than float32 or string, or with too few values for its shape.
    """
    if message.dtype == _STRING and len(message.string_val) == 1:
        return bytes(message.string_val[0])
    if message.dtype != _FLOAT:
        raise ValueError(
            f"a tensor of type {message.dtype}: expected float32 ({_FLOAT}) or one string ({_STRING})"
        )
    shape = [dim.size for dim in message.tensor_shape.dim]
    if message.tensor_content:
        return np.frombuffer(message.tensor_content, "<f4").astype(np.float32).reshape(shape)
    listed = np.array(message.float_val, np.float32)
    # A tensor of equal values may be written as one.
    return np.full(shape, listed[0]) if listed.size == 1 else listed.reshape(shape)
