"""How often registering warns: of good pairs, and of pairs that no model of brains can register.

    python benchmarks/doubtful_pairs.py --root t1_flair --subjects sub-02 sub-07 [--good 200 --bad 10 --seed 1]

ROOT/SUBJECT holds T1, FLAIR and T2 on one grid. A pair is a slice of T1, deformed as in the pairs of the level, and
one of FLAIR. Bad are pairs of another modality (T2 for either, twice the same, exchanged), upside down, of another
slice (20 mm away or more), of a whole head (a skull and a scalp painted around one or both brains), and of noise.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy import ndimage

from fire_tf.config.loading import load_config
from fire_tf.config.schema import DataConfig, DeformationConfig
from fire_tf.data.cache import load_subject
from fire_tf.evaluation.drawn_pairs import draw_map
from fire_tf.geometry.images import Image
from fire_tf.geometry.point_maps import grid_points
from fire_tf.geometry.reading import pull
from fire_tf.intensities.grey_values import BACKGROUND
from fire_tf.model.fire import FIRE
from fire_tf.model.paths import find_model
from fire_tf.model.storage import load_model
from fire_tf.registration.limits import doubts
from fire_tf.registration.pair import register_pair
from fire_tf.registration.quality import quality
from fire_tf.sources.subjects import SubjectFiles, nifti_path

_SHAPE = {"scale": (0.85, 1.15), "shear": (-0.08, 0.08), "control_points": 8}
LEVELS = {
    "moderate": DeformationConfig(rotation=(0, 20), translation=(0, 0.1), peak=(3, 6), **_SHAPE),
    "paper": DeformationConfig(rotation=(10, 20), translation=(0.1, 0.2), peak=(6, 10), **_SHAPE),
}
KINDS = ("modality", "upside down", "slice", "head", "noise")
FAR = 20.0  # mm between two slices

Slices = Mapping[int, Mapping[str, np.ndarray]]


def load_slices(data: DataConfig, subject: str) -> Slices:
    """The slices with enough tissue, by their number and the image's name, (*canvas) in [-1, 1]."""
    folder = Path(str(data.root)) / subject
    found: dict[int, dict[str, np.ndarray]] = {}
    for other in ("FLAIR", "T2"):
        files = SubjectFiles(f"{subject}-{other}", nifti_path(folder, "T1"), nifti_path(folder, other))
        arrays = load_subject(data, files)
        for number, t1, image in zip(arrays.slices, arrays.a, arrays.b, strict=True):
            found.setdefault(int(number), {}).update(
                T1=t1.astype(np.float32), **{other: image.astype(np.float32)}
            )
    return {number: images for number, images in found.items() if len(images) == 3}


def draw(
    kind: str, level: str, slices: Slices, number: int, seed: int, spacing: float
) -> tuple[np.ndarray, np.ndarray]:
    """A moving and a fixed slice, the moving one deformed; ``number`` and ``seed`` decide all that is random."""
    random = np.random.default_rng([sum(map(ord, kind + level)), number, seed])
    place = int(random.choice(sorted(slices)))
    moving, fixed = slices[place]["T1"], slices[place]["FLAIR"]
    if kind == "modality":
        t2 = slices[place]["T2"]
        pairs = ((moving, t2), (t2, fixed), (fixed, moving), (fixed, fixed), (moving, moving))
        moving, fixed = pairs[number % len(pairs)]
    if kind == "slice":
        far = [other for other in slices if abs(other - place) * spacing >= FAR]
        moving = slices[int(random.choice(far))]["T1"]
    if kind == "head":
        painted = random.integers(1, 4)  # the moving one, the fixed one, both
        moving = with_skull(moving, random, spacing) if painted & 1 else moving
        fixed = with_skull(fixed, random, spacing) if painted & 2 else fixed
    to_fixed = draw_map(LEVELS[level], moving, (int(random.integers(2**31)), number))
    moving = pull(moving, to_fixed(grid_points(moving.shape)), outside=BACKGROUND)
    if kind == "upside down":
        moving = moving[:, ::-1] if number % 2 else moving[::-1, ::-1]
    if kind == "noise":
        noise = random.uniform(-1, 1, moving.shape).astype(np.float32)
        noise = np.where(moving > BACKGROUND, noise, BACKGROUND) if random.integers(2) else noise
        moving, fixed = (noise, fixed) if random.integers(2) else (moving, noise)
    return np.ascontiguousarray(moving), np.ascontiguousarray(fixed)


def with_skull(brain: np.ndarray, random: np.random.Generator, spacing: float) -> np.ndarray:
    """A slice (*canvas) with fluid, bone and a scalp of drawn thickness and brightness around its brain."""
    inside = ndimage.binary_fill_holes(ndimage.binary_closing(brain > BACKGROUND, iterations=6))
    distance = ndimage.distance_transform_edt(~inside) * spacing
    ends = np.cumsum(random.uniform((3, 5, 5), (5, 8, 9)))
    head = brain.copy()
    for start, end, grey in zip((0, *ends), ends, (0.12, 0.05, random.uniform(0.5, 1)), strict=False):
        layer = (distance > start) & (distance <= end)
        head[layer] = 2 * grey + BACKGROUND + random.normal(0, 0.05, layer.sum())
    return np.clip(head, BACKGROUND, 1).astype(np.float32)


def warnings_of(model: FIRE, moving: np.ndarray, fixed: np.ndarray) -> list[str]:
    affine = np.diag([*model.preprocessing["spacing"], 1.0, 1.0])
    images = [
        Image(image[..., None], affine, name).cleared() for image, name in ((moving, "M"), (fixed, "F"))
    ]
    found = register_pair(model, *images)
    return doubts(found, quality(found), ("M", "F"), model, affine_only=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="t1_flair_2d")
    parser.add_argument("--root", required=True)
    parser.add_argument("--subjects", nargs="+", required=True)
    parser.add_argument("--good", type=int, default=200, help="good pairs of each level")
    parser.add_argument("--bad", type=int, default=10, help="bad pairs of each kind and level")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    model = load_model(chosen.model, compiled=False)
    config = load_config(find_model(chosen.model) / "config.yaml")
    with TemporaryDirectory() as cache:
        data = replace(config.data, root=chosen.root, cache=cache)
        subjects = [load_slices(data, subject) for subject in chosen.subjects]

    def flagged(kind: str, level: str, count: int) -> str:
        lines = Counter[str]()
        doubtful = 0
        for number in range(count):
            pair = draw(
                kind, level, subjects[number % len(subjects)], number, chosen.seed, config.data.spacing[0]
            )
            found = warnings_of(model, *pair)
            doubtful += bool(found)
            lines.update(re.sub(r"-?[0-9.]+", "#", line.split(": ", 1)[1])[:40] for line in found)
        return f"{kind}, {level}: {doubtful} of {count} {dict(lines)}"

    for level in LEVELS:
        print(flagged("good", level, chosen.good), flush=True)
    for kind in KINDS:
        for level in LEVELS:
            print(flagged(kind, level, chosen.bad), flush=True)


if __name__ == "__main__":
    main()
