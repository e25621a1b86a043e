"""A PredictionService on this machine that runs an exported model, for tests and benchmarks.

    python serving/loopback.py --model served/fire [--name fire]

It stands in where no ``tensorflow_model_server`` is installed and does what that does: loads the newest version in
the folder as a TensorFlow 1 session, runs the warm-up requests, and answers Predict by gRPC and by REST with the same
status codes. When it is ready it prints the port of either. It listens on 127.0.0.1 alone and is not for production.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from fire_tf.serving.messages import PREDICT, PredictionLog, PredictRequest, PredictResponse, Tensor
from fire_tf.serving.saved_model.export import WARMUP

import tensorflow as tf  # isort: skip  (after the package, which quietens it)
from tensorflow.core.framework.tensor_pb2 import TensorProto  # isort: skip
from tensorflow.core.protobuf.config_pb2 import CallableOptions  # isort: skip

_UNLIMITED = 2**31 - 1
_HTTP_STATUS = {grpc.StatusCode.INVALID_ARGUMENT: 400, grpc.StatusCode.NOT_FOUND: 404}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RefusedError(Exception):
    """A request that is answered with a status code and a message."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code


class Servable:
    """A version of a SavedModel in a TensorFlow 1 session, which is how the C++ server runs it."""

    def __init__(self, folder: Path):
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            self._meta = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        self._runs: dict[tuple[str, tuple[str, ...]], Callable[..., list[np.ndarray]]] = {}
        if (folder / WARMUP).is_file():
            for record in tf.compat.v1.io.tf_record_iterator(str(folder / WARMUP)):
                request = PredictionLog.FromString(record).predict_log.request
                self.predict(request.model_spec.signature_name, decoded(request.inputs))

    def signature(self, name: str) -> Any:
        """The signature's definition; raises RefusedError where there is none."""
        name = name or "serving_default"
        if name not in self._meta.signature_def:
            raise RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f'Serving signature name: "{name}" not found in signature def',
            )
        return self._meta.signature_def[name]

    def predict(
        self, name: str, inputs: Mapping[str, np.ndarray], wanted: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Run a signature; raises RefusedError."""
        signature = self.signature(name)
        outputs = tuple(wanted) or tuple(sorted(signature.outputs))
        if set(inputs) != set(signature.inputs) or not set(outputs) <= set(signature.outputs):
            expected = f"inputs {sorted(signature.inputs)}, outputs {sorted(signature.outputs)}"
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"expected {expected}")
        try:
            values = self._run(signature, name, outputs)(*(inputs[key] for key in sorted(inputs)))
        except tf.errors.OpError as error:
            raise RefusedError(_CODES[error.error_code], error.message) from error
        return dict(zip(outputs, values, strict=True))

    def _run(self, signature: Any, name: str, outputs: tuple[str, ...]) -> Callable[..., list[np.ndarray]]:
        if (name, outputs) not in self._runs:
            options = CallableOptions()
            options.feed.extend(signature.inputs[key].name for key in sorted(signature.inputs))
            options.fetch.extend(signature.outputs[key].name for key in outputs)
            # Session.run() would compare shapes in Python, which the C++ server does not.
            self._runs[name, outputs] = self._session._make_callable_from_options(options)
        return self._runs[name, outputs]


def decoded(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays from TensorProtos, through TensorFlow's own message."""
    try:
        return {k: tf.make_ndarray(TensorProto.FromString(v.SerializeToString())) for k, v in tensors.items()}
    except (TypeError, ValueError) as error:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"a tensor cannot be read: {error}") from error


def encoded(value: np.ndarray) -> Any:
    """An array as a TensorProto, through TensorFlow's own message."""
    return Tensor.FromString(tf.make_tensor_proto(value).SerializeToString())


def grpc_server(
    models: Mapping[str, Servable],
    workers: int = 4,
    largest: int = _UNLIMITED,
    credentials: grpc.ServerCredentials | None = None,
) -> tuple[grpc.Server, int]:
    """A started server of ``models`` and its port; ``largest`` is the limit of a request in bytes, with
    ``credentials`` it speaks TLS."""

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        spec = request.model_spec
        try:
            outputs = named(models, spec.name).predict(
                spec.signature_name, decoded(request.inputs), request.output_filter
            )
        except RefusedError as refused:
            context.abort(refused.code, str(refused))
        return PredictResponse(
            outputs={key: encoded(value) for key, value in outputs.items()}, model_spec=spec
        )

    service, method = PREDICT[1:].split("/")
    handler = grpc.unary_unary_rpc_method_handler(
        predict,
        request_deserializer=PredictRequest.FromString,
        response_serializer=PredictResponse.SerializeToString,
    )
    options = [("grpc.max_receive_message_length", largest), ("grpc.max_send_message_length", _UNLIMITED)]
    server = grpc.server(ThreadPoolExecutor(workers), options=options)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])
    place = "127.0.0.1:0"
    port = server.add_secure_port(place, credentials) if credentials else server.add_insecure_port(place)
    server.start()
    return server, port


def named(models: Mapping[str, Servable], name: str) -> Servable:
    """The model of this name; raises RefusedError where there is none."""
    if name not in models:
        raise RefusedError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({name})")
    return models[name]


def rest_server(
    models: Mapping[str, Servable], context: ssl.SSLContext | None = None
) -> tuple[ThreadingHTTPServer, int]:
    """A started server of ``models`` by REST, columns only (``inputs``), and its port; TLS with a ``context``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            path = re.fullmatch(r"/v1/models/([^/:]+):predict", self.path)
            try:
                if path is None:
                    raise RefusedError(grpc.StatusCode.NOT_FOUND, f"Malformed request: POST {self.path}")
                self._answer(200, {"outputs": _predict_json(named(models, path[1]), json.loads(body))})
            except RefusedError as refused:
                self._answer(_HTTP_STATUS.get(refused.code, 500), {"error": str(refused)})
            except (ValueError, KeyError, TypeError) as error:
                self._answer(400, {"error": f"JSON Parse error: {error}"})

        def _answer(self, status: int, content: Any) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.server_address[1]


def _predict_json(servable: Servable, request: Mapping[str, Any]) -> Any:
    name = request.get("signature_name", "")
    inputs = {
        key: _from_json(value, servable.signature(name).inputs[key].dtype)
        for key, value in request["inputs"].items()
    }
    outputs = {key: _to_json(key, value) for key, value in servable.predict(name, inputs).items()}
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def _from_json(value: Any, dtype: int) -> np.ndarray:
    if isinstance(value, dict):
        value = base64.b64decode(value["b64"])
    return np.array(value, tf.dtypes.as_dtype(dtype).as_numpy_dtype)


def _to_json(name: str, value: Any) -> Any:
    """Strings of outputs called ``*_bytes`` in base64, as TensorFlow Serving does it."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.item()
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()} if name.endswith("_bytes") else value.decode()
    return value.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the versions")
    parser.add_argument("--name", default="fire")
    options = parser.parse_args()
    # That the TensorFlow 1 loader is old is known, and the reason to use it.
    tf.get_logger().setLevel("ERROR")
    newest = max(int(path.name) for path in options.model.iterdir() if path.name.isdecimal())
    models = {options.name: Servable(options.model / str(newest))}
    (by_grpc, grpc_port), (_, rest_port) = grpc_server(models), rest_server(models)
    print(f"ready: gRPC on {grpc_port}, REST on {rest_port}", flush=True)
    by_grpc.wait_for_termination()


if __name__ == "__main__":
    main()
