"""Register two images with a model that a TensorFlow Serving server holds; TensorFlow itself is not needed here.

    python -m fire_tf.client --server localhost:8500 --moving T1.nii.gz --fixed FLAIR.nii.gz --output-prefix P_

writes what ``python -m fire_tf.register`` writes, with the same code; the server holds the model alone. ``host:port``
is spoken to by gRPC, ``http://host:port`` (or https) by REST, which sends a third more bytes. The model must have
been written by ``python -m fire_tf.export``.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fire_tf.errors import InputError, exit_cleanly
from fire_tf.images import Image, canvas_grid, open_image, read_image, resample, take_frame
from fire_tf.outputs import check_writable, split_prefix
from fire_tf.pointmaps import AffineMap, grid_points
from fire_tf.predict_messages import (
    PREDICT,
    PredictRequest,
    PredictResponse,
    Tensor,
    Value,
    from_tensor,
    predict_request,
    to_tensor,
)
from fire_tf.quality import provenance
from fire_tf.register import Options, register_images
from fire_tf.registered import write_registration
from fire_tf.registration import as_trained, is_stack, modalities
from fire_tf.warp_formats import FORMATS

# What registering reads; warped images are made here, at the resolution of the files.
_WANTED = (
    *(f"{kind}_{direction}" for kind in ("affine", "flow") for direction in ("forward", "backward")),
    *(f"{kind}_{image}" for kind in ("synth", "grey_range") for image in ("moving", "fixed")),
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
    """A model on a server.

    ``predict`` runs a signature and returns those of its outputs that are wanted, and maybe others; it raises
    InputError where the server cannot be reached or refuses.
    """

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

    address: str
    model: str
    timeout: float

    @cached_property
    def _call(self) -> Any:
        import grpc

        # gRPC takes answers of 4 MiB by default, which is a third of a volume's.
        limits = [(f"grpc.max_{way}_message_length", _LARGEST) for way in ("send", "receive")]
        return grpc.insecure_channel(self.address, options=limits).unary_unary(
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
                f"{self.address}: a message of {size / 2**30:.1f} GiB is too large for gRPC (2 GiB)"
            )
        try:
            answer = self._call(request, timeout=self.timeout)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            raise _refusal(self.address, self.model, signature, code, details) from error
        return {name: from_tensor(tensor) for name, tensor in answer.outputs.items()}


@dataclass(frozen=True)
class RestServer:
    """A model on a server that is spoken to by REST at a URL.

    JSON would spell every voxel out: numbers travel as serialized tensors in base64, through the signature
    ``register_bytes``.
    """

    url: str
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
            f"{self.url}/v1/models/{self.model}:predict", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return json.load(answer)["outputs"]
        except urllib.error.HTTPError as error:
            code = _OF_HTTP.get(error.code, f"HTTP status {error.code}")
            raise _refusal(self.url, self.model, signature, code, _error_of(error.read())) from error
        except TimeoutError as error:
            raise _refusal(self.url, self.model, signature, "DEADLINE_EXCEEDED", str(error)) from error
        except (
            OSError,
            ValueError,
            KeyError,
        ) as error:  # nobody there; an answer that is not TensorFlow Serving's
            known = isinstance(error, OSError)
            code = "UNAVAILABLE" if known else "UNIMPLEMENTED"
            raise _refusal(self.url, self.model, signature, code, str(error)) from error


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else str(value).encode()


def _error_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:300].decode(errors="replace")


class ServedModel:
    """A model on a server for one pair of images (of modality A, of B), as `fire_tf.registration` asks a model.

    The server normalises grey values itself, so it is sent the images as they are on the canvas, not the normalised
    ones that ``estimate_pair`` is called with. ``description`` is the server's, see `describe`. Raises InputError for
    stacks of slices: each slice would be a pair of its own.
    """

    def __init__(self, server: Server, description: Mapping[str, Any], pair: tuple[Image, Image]):
        self.canvas: tuple[int, ...] = tuple(description["canvas"])
        self.ndim = len(self.canvas)
        self.preprocessing: Mapping[str, Any] = description["preprocessing"]
        self._server, self._pair = server, [as_trained(self, image) for image in pair]
        for image in self._pair:
            if is_stack(self, image):
                raise InputError(f"{image.path}: is a stack, and a server takes single slices")

    def estimate_pair(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        """As `fire_tf.model.FIRE.estimate_pair`."""
        sent = dict(zip(("moving", "fixed"), map(self._on_canvas, self._pair), strict=True))
        answer = self._server.predict("serving_default", sent, _WANTED)
        out = {
            "synth_b": _normalised(answer, "moving", "fixed"),
            "synth_a": _normalised(answer, "fixed", "moving"),
        }
        for direction, name in (("forward", "a_to_b"), ("backward", "b_to_a")):
            affine, flow = (
                np.asarray(answer[f"{kind}_{direction}"][0], np.float64) for kind in ("affine", "flow")
            )
            out[f"affine_{name}"], out[f"nonrigid_{name}"] = self._parts(AffineMap(affine), flow)
        return out

    def _on_canvas(self, image: Image) -> np.ndarray:
        """As `fire_tf.images.prepare` lays an image, with its own grey values: (1, *canvas, 1)."""
        affine, shape = canvas_grid(image, self.preprocessing["spacing"], self.canvas)
        return resample(image, affine, shape).reshape((1, *self.canvas, 1))

    def _parts(self, affine: AffineMap, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The affine part about the canvas' centre (1, n, n + 1), and u (1, *canvas, n) of ``flow = A(p + u) - p``."""
        centre, points = (np.asarray(self.canvas) - 1) / 2, grid_points(self.canvas)
        translation = affine(centre) - centre
        centred = np.concatenate([affine.matrix[:, :-1], translation[:, np.newaxis]], axis=1)
        return centred[np.newaxis], (affine.inverse()(points + flow) - points)[np.newaxis]


def _normalised(answer: Mapping[str, Value], image: str, other: str) -> np.ndarray:
    """A synthesised image, which comes in the other one's grey values, in [-1, 1]."""
    low, high = np.asarray(answer[f"grey_range_{other}"])[0]
    return 2 * (np.asarray(answer[f"synth_{image}"]) - low) / (high - low) - 1


def describe(server: Server) -> dict[str, Any]:
    """What the signature ``describe`` says: canvas, preprocessing, and the hash of the model's file."""
    described: Any = server.predict("describe", {"about": b""}, ("description",))["description"]
    return json.loads(described)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fire_tf.client", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--server", required=True, help="host:port for gRPC, http://host:port for REST")
    parser.add_argument(
        "--model-name", default="fire", help="name of the model on the server (default: fire)"
    )
    parser.add_argument("--moving", type=Path, required=True, help="image to be warped")
    parser.add_argument("--fixed", type=Path, required=True, help="image that it is warped onto")
    parser.add_argument("--output-prefix", required=True, help="what the names of all files begin with")
    parser.add_argument("--moving-modality", help="modality of the moving image (default: the model's A)")
    parser.add_argument("--frame", type=int, help="frame of 4D images, from 0")
    parser.add_argument(
        "--warp-format",
        choices=FORMATS,
        default="itk",
        help="convention of the written fields (default: itk)",
    )
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="seconds to wait for an answer (default: 120)"
    )
    return parser


@exit_cleanly
def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's docstring."""
    chosen = _parser().parse_args(arguments)
    check_writable(split_prefix(chosen.output_prefix)[0])
    images = [
        read_image(take_frame(open_image(path), chosen.frame)) for path in (chosen.moving, chosen.fixed)
    ]
    server = connect(chosen.server, chosen.model_name, chosen.timeout)
    description = describe(server)
    model = ServedModel(server, description, (images[0], images[1]))
    if modalities(model, chosen.moving_modality)[0] != model.preprocessing["modality_a"]:
        model = ServedModel(server, description, (images[1], images[0]))
    options = Options(moving_modality=chosen.moving_modality, frame=chosen.frame)
    result = register_images(model, chosen.moving, chosen.fixed, options)
    made_with = {
        **provenance(
            ["python", "-m", "fire_tf.client", *(arguments or sys.argv[1:])], Path(chosen.model_name)
        ),
        "model": f"{chosen.server}/{chosen.model_name}",
        "model_sha256": description.get("model_sha256"),
    }
    for path in write_registration(result, chosen.output_prefix, chosen.warp_format, made_with):
        print(path)


if __name__ == "__main__":
    main()
