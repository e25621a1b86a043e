"""Which of the models that come along fit an image."""

from __future__ import annotations

import numpy as np

from fire_tf.config.shipped import ShippedModel, shipped_models, voxels
from fire_tf.files.errors import InputError
from fire_tf.geometry.images import Image, read_image
from fire_tf.geometry.nifti import Source, open_image, take_frame
from fire_tf.registration.limits import suits_spacing


def fits(model: ShippedModel, image: Image) -> bool:
    """Whether a model takes images of this one's rank (a slice, a volume, a stack) and voxels of this size."""
    rank = 2 if image.data.shape[2] == 1 else 3
    if rank != model.ndim and not (model.stacks and rank == 3):
        return False
    return suits_spacing(image.spacing[: model.ndim], np.asarray(model.spacing))


def ask_for_model(source: Source) -> InputError:
    """What to say where no model was named for this image (of a 4D one the first frame counts)."""
    image = read_image(take_frame(open_image(source), 0))
    rank = 2 if image.data.shape[2] == 1 else 3
    what = (
        f"{image.path}, a {'slice' if rank == 2 else 'volume'} with voxels of {voxels(image.spacing[:rank])}"
    )
    fitting = [model.in_short() for model in shipped_models() if fits(model, image)]
    if fitting:
        return InputError(
            f"give --model: a run folder, or one of those that come along and fit {what}: {'; '.join(fitting)}"
        )
    others = "; ".join(model.in_short() for model in shipped_models())
    return InputError(
        f"give --model, a run folder: none of the models that come along fits {what}; there are {others}"
    )
