"""A model on a TensorFlow Serving server, spoken to by gRPC or by REST; TensorFlow itself is not needed here."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from fire_tf.files.errors import InputError
from fire_tf.serving.messages import (
    PREDICT,
    PredictRequest,
    PredictResponse,
    Tensor,
    Value,
    from_tensor,
    predict_request,
    to_tensor,
)

_LARGEST = 2**31 - 1  # bytes in a message, of gRPC and of protocol buffers
_EXPLAINED = {
    "UNAVAILABLE": "cannot be reached",
    "DEADLINE_EXCEEDED": "gave no answer in time, see --timeout",
    "NOT_FOUND": "has no such model",
    "RESOURCE_EXHAUSTED": "takes no message of this size",
    "UNIMPLEMENTED": "is no PredictionService of TensorFlow Serving",
    "INVALID_ARGUMENT": "refused the images",
}
_OF_HTTP = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 413: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}


class Server(Protocol):
    """A model on a server: ``model`` is its name, ``place`` where the server is.

    ``predict`` runs a signature and returns those of its outputs that are wanted, and maybe others; it raises
    InputError where the server cannot be reached or refuses.
    """

    @property
    def model(self) -> str: ...

    @property
    def place(self) -> str: ...

    def predict(
        self, signature: str, inputs: Mapping[str, Value], wanted: Sequence[str]
    ) -> dict[str, Value]: ...


def connect(address: str, model: str, timeout: float) -> Server:
    """The server at ``host:port`` (gRPC) or at a URL (REST); ``timeout`` is in seconds."""
    if address.startswith(("http://", "https://")):
        return RestServer(address.rstrip("/"), model, timeout)
    if "://" in address or ":" not in address:
        raise InputError(f"--server {address}: expected host:port, or http://host:port")
    return GrpcServer(address, model, timeout)


def _refusal(server: str, model: str, signature: str, code: str, details: str) -> InputError:
    details = " ".join(details.split())[:300]
    unknown = "signature" in details.lower() and "not found" in details.lower()
    cause = (
        f"its model has no signature {signature!r}: was it written by fire_tf.export?"
        if unknown
        else _EXPLAINED.get(code, f"failed with {code}")
    )
    return InputError(f"{server}, model {model!r}: {cause} ({details})")


@dataclass(frozen=True)
class GrpcServer:
    """A model on a server that is spoken to by gRPC at ``host:port``."""

    place: str
    model: str
    timeout: float

    @cached_property
    def _call(self) -> Any:
        import grpc

        # gRPC takes answers of 4 MiB by default, which is a third of a volume's.
        limits = [(f"grpc.max_{way}_message_length", _LARGEST) for way in ("send", "receive")]
        return grpc.insecure_channel(self.place, options=limits).unary_unary(
            PREDICT,
            request_serializer=PredictRequest.SerializeToString,
            response_deserializer=PredictResponse.FromString,
        )

    def predict(self, signature: str, inputs: Mapping[str, Value], wanted: Sequence[str]) -> dict[str, Value]:
        """See `Server`."""
        import grpc

        request = predict_request(self.model, signature, inputs, wanted)
        size = request.ByteSize()
        if size > _LARGEST:
            raise InputError(
                f"{self.place}: a message of {size / 2**30:.1f} GiB is too large for gRPC (2 GiB)"
            )
        try:
            answer = self._call(request, timeout=self.timeout)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            raise _refusal(self.place, self.model, signature, code, details) from error
        return {name: from_tensor(tensor) for name, tensor in answer.outputs.items()}


@dataclass(frozen=True)
class RestServer:
    """A model on a server that is spoken to by REST at a URL.

    JSON would spell every voxel out: numbers travel as serialized tensors in base64, through the signature
    ``register_bytes``.
    """

    place: str
    model: str
    timeout: float

    def predict(self, signature: str, inputs: Mapping[str, Value], wanted: Sequence[str]) -> dict[str, Value]:
        """See `Server`."""
        if signature == "serving_default":
            encoded = {
                f"{name}_bytes": to_tensor(value).SerializeToString() for name, value in inputs.items()
            }
            answer = self._post("register_bytes", encoded)
            return {name: from_tensor(Tensor.FromString(_bytes(answer[f"{name}_bytes"]))) for name in wanted}
        answer = self._post(signature, inputs)
        # A single output is not named.
        return {name: _bytes(answer[name] if isinstance(answer, dict) else answer) for name in wanted}

    def _post(self, signature: str, inputs: Mapping[str, Any]) -> Any:
        fields = {name: {"b64": base64.b64encode(value).decode()} for name, value in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": fields}).encode()
        request = urllib.request.Request(
            f"{self.place}/v1/models/{self.model}:predict", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return json.load(answer)["outputs"]
        except urllib.error.HTTPError as error:
            code = _OF_HTTP.get(error.code, f"HTTP status {error.code}")
            raise _refusal(self.place, self.model, signature, code, _error_of(error.read())) from error
        except TimeoutError as error:
            raise _refusal(self.place, self.model, signature, "DEADLINE_EXCEEDED", str(error)) from error
        except (
            OSError,
            ValueError,
            KeyError,
        ) as error:  # nobody there; an answer that is not TensorFlow Serving's
            known = isinstance(error, OSError)
            code = "UNAVAILABLE" if known else "UNIMPLEMENTED"
            raise _refusal(self.place, self.model, signature, code, str(error)) from error


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else str(value).encode()


def _error_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:300].decode(errors="replace")


def describe(server: Server) -> dict[str, Any]:
    """What the signature ``describe`` says: canvas, preprocessing, and the hash of the model's file."""
    described: Any = server.predict("describe", {"about": b""}, ("description",))["description"]
    return json.loads(described)
