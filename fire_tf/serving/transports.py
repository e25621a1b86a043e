"""A model on a TensorFlow Serving server, spoken to by gRPC or by REST; TensorFlow itself is not needed here."""

from __future__ import annotations

import base64
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

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
from fire_tf.serving.refusals import MISREAD, read_answer, refusal

_LARGEST = 2**31 - 1  # bytes in a message, of gRPC and of protocol buffers
_LONGEST = 1e6  # seconds to wait, 11 days; sockets cannot wait for any number of them
_PART = 2**20  # bytes of an answer that are read at a time
_OF_HTTP = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 413: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}


class Server(Protocol):
    """A model on a server: ``model`` is its name, ``place`` where the server is.

    ``predict`` runs a signature and returns those of its outputs that are wanted, and maybe others; it raises
    InputError where the server cannot be reached, refuses, or is none of TensorFlow Serving's. ``close`` ends the
    connection.
    """

    @property
    def model(self) -> str: ...

    @property
    def place(self) -> str: ...

    def predict(
        self, signature: str, inputs: Mapping[str, Value], wanted: Sequence[str]
    ) -> dict[str, Value]: ...

    def close(self) -> None: ...


def connect(address: str, model: str, timeout: float, *, tls: bool = False, ca: Path | None = None) -> Server:
    """The server at ``host:port`` (gRPC) or at a URL (REST); ``timeout`` is in seconds.

    ``tls`` encrypts, as https does. ``ca`` is a PEM file of the certificates to trust in the place of the usual ones,
    and encrypts too. Raises InputError for an address, a timeout or a file that cannot be; connects to nothing yet.
    """
    if not 0 < timeout <= _LONGEST:
        raise InputError(f"--timeout {timeout:g}: expected seconds above 0 and up to {_LONGEST:g}")
    if not model or not model.isprintable():
        raise InputError(f"--model-name {model!r}: expected a name")
    parts = _parts(address)
    if parts is None:
        raise InputError(f"--server {address}: expected host:port, or http://host:port")
    scheme, path = parts
    encrypted = tls or ca is not None or scheme == "https"
    trusted = _trusted(ca) if encrypted else None
    if not scheme:
        return GrpcServer(path, model, timeout, encrypted, ca.read_bytes() if ca else None)
    return RestServer(f"{'https' if encrypted else 'http'}://{path.rstrip('/')}", model, timeout, trusted)


def _parts(address: str) -> tuple[str, str] | None:
    """``http``, ``https`` or nothing, and what follows it in a sound address; None for any other."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        port = parts.port
    except ValueError:  # of a port or an IPv6 address that is none
        return None
    beyond = parts.username is not None or parts.query or parts.fragment
    if not parts.hostname or beyond or not address.isprintable() or " " in address or port == 0:
        return None
    if parts.scheme not in ("", "http", "https") or (not parts.scheme and (port is None or parts.path)):
        return None
    return parts.scheme, parts.netloc + parts.path


def _trusted(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # an SSLError, too
        raise InputError(
            f"--ca {ca}: cannot be used as certificates in PEM ({error.strerror or error})"
        ) from error


@dataclass(frozen=True)
class GrpcServer:
    """A model on a server that is spoken to by gRPC at ``host:port``, with TLS where ``tls`` says so.

    ``ca`` holds the certificates to trust (PEM), by default those that gRPC brings.
    """

    place: str
    model: str
    timeout: float
    tls: bool = False
    ca: bytes | None = None

    @cached_property
    def _channel(self) -> Any:
        os.environ.setdefault(
            "GRPC_VERBOSITY", "NONE"
        )  # errors reach Python; its log would say them once more
        import grpc

        # gRPC takes answers of 4 MiB by default, which is a third of a volume's.
        limits = [(f"grpc.max_{way}_message_length", _LARGEST) for way in ("send", "receive")]
        if not self.tls:
            return grpc.insecure_channel(self.place, options=limits)
        return grpc.secure_channel(self.place, grpc.ssl_channel_credentials(self.ca), options=limits)

    @cached_property
    def _call(self) -> Any:
        # Answers are read below: gRPC would log what it cannot read.
        return self._channel.unary_unary(PREDICT, request_serializer=PredictRequest.SerializeToString)

    def predict(self, signature: str, inputs: Mapping[str, Value], wanted: Sequence[str]) -> dict[str, Value]:
        """See `Server`."""
        call = self._call
        import grpc

        request = predict_request(self.model, signature, inputs, wanted)
        size = request.ByteSize()
        if size > _LARGEST:
            raise InputError(
                f"{self.place}: a message of {size / 2**30:.1f} GiB is too large for gRPC (2 GiB)"
            )
        try:
            answer = call(request, timeout=self.timeout)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            raise refusal(self.place, self.model, signature, code, details) from error

        def read() -> dict[str, Value]:
            outputs = PredictResponse.FromString(answer).outputs
            return {name: from_tensor(tensor) for name, tensor in outputs.items()}

        return read_answer(self.place, self.model, signature, wanted, read)

    def close(self) -> None:
        """See `Server`."""
        if "_channel" in vars(self):
            self._channel.close()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """TensorFlow Serving sends nobody elsewhere, and images are not for whoever is there."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


@dataclass(frozen=True)
class RestServer:
    """A model on a server that is spoken to by REST at a URL; ``trusted`` is what https goes by.

    JSON would spell every voxel out: numbers travel as serialized tensors in base64, through the signature
    ``register_bytes``.
    """

    place: str
    model: str
    timeout: float
    trusted: ssl.SSLContext | None = None

    def predict(self, signature: str, inputs: Mapping[str, Value], wanted: Sequence[str]) -> dict[str, Value]:
        """See `Server`."""
        if signature == "serving_default":
            encoded = {
                f"{name}_bytes": to_tensor(value).SerializeToString() for name, value in inputs.items()
            }
            body = self._post("register_bytes", encoded)

            def read() -> dict[str, Value]:
                answer = json.loads(body)["outputs"]
                return {
                    name: from_tensor(Tensor.FromString(_bytes(answer[f"{name}_bytes"]))) for name in wanted
                }

        else:
            body = self._post(signature, inputs)

            def read() -> dict[str, Value]:
                answer = json.loads(body)["outputs"]
                # A single output is not named.
                return {name: _bytes(answer[name] if isinstance(answer, dict) else answer) for name in wanted}

        return read_answer(self.place, self.model, signature, wanted, read)

    def _post(self, signature: str, inputs: Mapping[str, Any]) -> bytes:
        fields = {name: {"b64": base64.b64encode(value).decode()} for name, value in inputs.items()}
        content = json.dumps({"signature_name": signature, "inputs": fields}).encode()
        url = f"{self.place}/v1/models/{quote(self.model, safe='')}:predict"
        request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
        handlers = [_NoRedirect(), urllib.request.HTTPSHandler(context=self.trusted)]
        try:
            deadline = time.monotonic() + self.timeout
            with urllib.request.build_opener(*handlers).open(request, timeout=self.timeout) as answer:
                return _body(answer, deadline)
        except urllib.error.HTTPError as error:
            code = _OF_HTTP.get(error.code, f"HTTP status {error.code}")
            raise refusal(self.place, self.model, signature, code, _error_of(error)) from error
        except (OSError, HTTPException, ValueError) as error:
            said = str(getattr(error, "reason", "") or error) or type(error).__name__
            raise refusal(self.place, self.model, signature, _code_of(error), said) from error

    def close(self) -> None:
        """See `Server`; every request has a connection of its own."""


def _body(answer: Any, deadline: float) -> bytes:
    """All of an answer; a socket's own timeout begins anew with every byte that trickles in."""
    parts = []
    while part := answer.read1(_PART):
        parts.append(part)
        if time.monotonic() > deadline:
            raise TimeoutError("timed out amid the answer")
    if answer.length:  # bytes that were announced, unless the answer comes in chunks
        raise IncompleteRead(b"", answer.length)
    return b"".join(parts)


def _code_of(error: Exception) -> str:
    """gRPC's word for what went wrong with a connection."""
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return "DEADLINE_EXCEEDED"
    # Nobody there, or an answer that breaks off; what is left speaks something else than HTTP.
    return "UNAVAILABLE" if isinstance(error, OSError | IncompleteRead) else "UNIMPLEMENTED"


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else str(value).encode()


def _error_of(answer: urllib.error.HTTPError) -> str:
    """What the body of a refusal says, so far as it can be read."""
    try:
        body = answer.read()
    except (OSError, HTTPException):
        return str(answer.reason)
    try:
        return str(json.loads(body)["error"])
    except MISREAD:
        return body[:300].decode(errors="replace") or str(answer.reason)


def describe(server: Server) -> dict[str, Any]:
    """What the signature ``describe`` says: canvas, preprocessing, and the hash of the model's file.

    Raises InputError for the description of a model that `fire_tf.serving.saved_model.export` has not written.
    """
    described: Any = server.predict("describe", {"about": b""}, ("description",))["description"]
    try:
        found = json.loads(described)
        sound = _is_sound(found["canvas"], found["preprocessing"])
    except MISREAD:
        sound = False
    if not sound:
        raise InputError(
            f"{server.place}, model {server.model!r}: does not say what images it takes: was it written by "
            "fire_tf.export?"
        )
    return found


def _is_sound(canvas: Any, preprocessing: Any) -> bool:
    """Whether a description has what registering asks for."""
    sizes = [int(size) == size > 0 for size in canvas]
    steps = [0 < float(step) < float("inf") for step in preprocessing["spacing"]]
    names = [isinstance(preprocessing[f"modality_{which}"], str) for which in "ab"]
    percentile = 0 < float(preprocessing["percentile"]) <= 100
    return len(sizes) == len(steps) in (2, 3) and all([*sizes, *steps, *names, percentile])
