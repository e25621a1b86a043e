"""A model on a server in the place of one in memory: what is registered and written is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.geometry.canvas import canvas_grid, resample
from fire_tf.geometry.images import Image, read_image
from fire_tf.geometry.nifti import open_image, take_frames
from fire_tf.geometry.point_maps import AffineMap, grid_points
from fire_tf.registration.pair import as_trained, is_stack, modalities
from fire_tf.registration.quality import provenance
from fire_tf.registration.results import write_registration
from fire_tf.registration.user_images import Options, register_images
from fire_tf.serving.messages import Value
from fire_tf.serving.transports import Server, describe

# What registering reads; warped images are made here, at the resolution of the files.
_WANTED = (
    *(f"{kind}_{direction}" for kind in ("affine", "flow") for direction in ("forward", "backward")),
    *(f"{kind}_{image}" for kind in ("synth", "grey_range") for image in ("moving", "fixed")),
)


class ServedModel:
    """A model on a server for one pair of images (of modality A, of B), as `fire_tf.registration.pair` asks a model.

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
        """As `fire_tf.model.fire.FIRE.estimate_pair`."""
        sent = dict(zip(("moving", "fixed"), map(self._on_canvas, self._pair), strict=True))
        answer = self._checked(self._server.predict("serving_default", sent, _WANTED))
        out = {
            "synth_b": _normalised(answer, "moving", "fixed"),
            "synth_a": _normalised(answer, "fixed", "moving"),
        }
        for direction, name in (("forward", "a_to_b"), ("backward", "b_to_a")):
            affine, flow = (
                answer[f"{kind}_{direction}"][0].astype(np.float64) for kind in ("affine", "flow")
            )
            out[f"affine_{name}"], out[f"nonrigid_{name}"] = self._parts(AffineMap(affine), flow)
        return out

    def _checked(self, answer: Mapping[str, Value]) -> dict[str, np.ndarray]:
        """The answer as arrays; raises InputError for shapes that are not the model's, NaN and infinite numbers."""
        n = self.ndim
        shapes = {
            "affine": (1, n, n + 1),
            "flow": (1, *self.canvas, n),
            "synth": (1, *self.canvas, 1),
            "grey": (1, 2),
        }
        found: dict[str, np.ndarray] = {}
        for name in _WANTED:
            value, shape = answer[name], shapes[name.split("_")[0]]
            if not isinstance(value, np.ndarray) or value.shape != shape or not np.isfinite(value).all():
                raise InputError(
                    f"{self._server.place}, model {self._server.model!r}: its answer {name} is not one of finite "
                    f"numbers of shape {shape}"
                )
            found[name] = value
        return found

    def _on_canvas(self, image: Image) -> np.ndarray:
        """As `fire_tf.geometry.canvas.prepare` lays an image, with its own grey values: (1, *canvas, 1)."""
        affine, shape = canvas_grid(image, self.preprocessing["spacing"], self.canvas)
        return resample(image, affine, shape).reshape((1, *self.canvas, 1))

    def _parts(self, affine: AffineMap, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The affine part about the canvas' centre (1, n, n + 1), and u (1, *canvas, n) of ``flow = A(p + u) - p``."""
        centre, points = (np.asarray(self.canvas) - 1) / 2, grid_points(self.canvas)
        translation = affine(centre) - centre
        centred = np.concatenate([affine.matrix[:, :-1], translation[:, np.newaxis]], axis=1)
        return centred[np.newaxis], (affine.inverse()(points + flow) - points)[np.newaxis]


def _normalised(answer: Mapping[str, np.ndarray], image: str, other: str) -> np.ndarray:
    """A synthesised image, which comes in the other one's grey values, in [-1, 1]."""
    low, high = answer[f"grey_range_{other}"][0]
    return 2 * (answer[f"synth_{image}"] - low) / (high - low) - 1


def register_through(
    server: Server, moving: Path, fixed: Path, prefix: str, options: Options, command: Sequence[str]
) -> list[Path]:
    """Register two files with a server's model and write what `fire_tf.register` writes.

    Raises InputError for files that cannot be registered, and where the server cannot be reached or refuses.
    """
    opened = take_frames([open_image(path) for path in (moving, fixed)], options.frame)
    pair = [read_image(image).cleared() for image in opened]
    description = describe(server)
    model = ServedModel(server, description, (pair[0], pair[1]))
    if modalities(model, options.moving_modality)[0] != model.preprocessing["modality_a"]:
        model = ServedModel(server, description, (pair[1], pair[0]))
    result = register_images(model, moving, fixed, options)
    made_with = {
        **provenance(command, Path(server.model)),
        "model": f"{server.place}/{server.model}",
        "model_sha256": description.get("model_sha256"),
    }
    return write_registration(result, prefix, options.warp_format, made_with)
