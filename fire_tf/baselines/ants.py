"""ANTs, the reference that a learnt registration is measured against (needs ``antspyx``).

Settings as well as we could find, for each kind of images (docs/tables.md says how):

- Heads, T1 and FLAIR slices at 1.28 mm: the affine by Mattes mutual information (32 bins, every voxel sampled)
  as rigid, similarity, affine, each over the pyramid 6-4-2-1, the best of three starts turned by 0 and +-20
  degrees about the centres of mass; SyN from there with mutual information (16 bins), step 0.1, field
  smoothing 9 (its default, 3, is weaker: the heads are deformed smoothly).
- Hearts, short-axis slices of two phases: SyN from where the patient lies, with mutual information (32 bins),
  step 1.0 (ANTs' own 0.2 is far weaker here), field smoothing 3. The affine starts there too, but SyN does not go
  on from it: a slice that contracts leads it astray.

The seed and the number of threads are fixed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from fire_tf.evaluation.methods import Result
from fire_tf.evaluation.pairs import Pair
from fire_tf.files.errors import InputError
from fire_tf.geometry.point_maps import AffineAfterDisplacement, AffineMap, Chain, DisplacementMap
from fire_tf.measures.timing import Stopwatch
from fire_tf.transforms.itk import about_centre

AFFINE = {
    "aff_metric": "mattes",
    "aff_sampling": 32,
    "aff_random_sampling_rate": 1.0,
    "aff_iterations": (2100, 1200, 1200, 100),
    "aff_shrink_factors": (6, 4, 2, 1),
    "aff_smoothing_sigmas": (3, 2, 1, 0),
}


class AntsSettings(NamedTuple):
    """What depends on the images.

    angles: turns in degrees, in the first two axes, that the affine is started from, the best end being kept; the
    first is what ANTs does by default. centred: whether a start brings the centres of mass together, or leaves
    the images where they lie. onward: whether SyN goes on from the affine, or begins at the first start itself.
    syn: what ``ants.registration`` is told of SyN.
    """

    angles: tuple[float, ...]
    centred: bool
    onward: bool
    syn: Mapping[str, Any]


_MUTUAL_INFORMATION = {"syn_metric": "mattes", "total_sigma": 0}
SETTINGS: Mapping[str, AntsSettings] = {
    "heads": AntsSettings(
        angles=(0.0, -20.0, 20.0),
        centred=True,
        onward=True,
        syn=_MUTUAL_INFORMATION
        | {"syn_sampling": 16, "flow_sigma": 9, "grad_step": 0.1, "reg_iterations": (100, 70, 20)},
    ),
    "hearts": AntsSettings(
        angles=(0.0,),
        centred=False,
        onward=False,
        syn=_MUTUAL_INFORMATION
        | {"syn_sampling": 32, "flow_sigma": 3, "grad_step": 1.0, "reg_iterations": (100, 100, 100, 50)},
    ),
}


class Ants:
    """ANTs affine and SyN, from all starts of the settings (harder to beat) or ``starts`` of them.

    Fewer starts than the settings have are named with the results: "ANTs SyN, 1 start".
    """

    def __init__(
        self,
        settings: AntsSettings = SETTINGS["heads"],
        *,
        starts: int | None = None,
        seed: int = 1,
        threads: int = 1,
    ) -> None:
        self._settings, self._angles = settings, settings.angles[:starts]
        if starts is not None and not 1 <= starts <= len(settings.angles):
            raise ValueError(f"starts: expected 1 to {len(settings.angles)}, got {starts}")
        fewer = len(self._angles) < len(settings.angles)
        self._suffix = f", {starts} start{'s' * (starts != 1)}" if fewer else ""
        self._ants = _import_ants(seed, threads)

    def __call__(self, pair: Pair) -> list[Result]:
        moving, fixed = (self._image(pair, which) for which in ("moving", "fixed"))
        with tempfile.TemporaryDirectory(prefix="ants_") as folder:
            watch = Stopwatch()
            affine = self._best_affine(fixed, moving, Path(folder))
            affine_times = watch.read()
            start = affine
            if not self._settings.onward:
                start, watch = self._start(fixed, moving, self._angles[0], Path(folder)), Stopwatch()
            syn = self._ants.registration(
                fixed,
                moving,
                "SyNOnly",
                initial_transform=[str(start)],
                outprefix=f"{folder}/syn_",
                **self._settings.syn,
            )
            syn_times = watch.read()
            linear, before_syn = self._voxel_affine(affine, pair), self._voxel_affine(start, pair)
            outward = self._displacement(_warp_file(syn["fwdtransforms"]), pair.spacing("fixed"))
            back = self._displacement(_warp_file(syn["invtransforms"]), pair.spacing("fixed"))
        return [
            Result(f"ANTs affine{self._suffix}", linear, linear.inverse(), affine_times),
            Result(
                f"ANTs SyN{self._suffix}",
                AffineAfterDisplacement(outward, before_syn),
                Chain((before_syn.inverse(), back)),
                syn_times,
            ),
        ]

    def _image(self, pair: Pair, which: str) -> Any:
        """The image on its own axes: ANTs' physical points are then voxel indices times the spacing."""
        return self._ants.from_numpy(pair.array(which).astype(np.float32), spacing=list(pair.spacing(which)))

    def _best_affine(self, fixed: Any, moving: Any, folder: Path) -> Path:
        """The affine's file with the best mutual information over all starts."""
        found: list[tuple[float, Path]] = []
        for angle in self._angles:
            file = self._start(fixed, moving, angle, folder)
            for kind in ("Rigid", "Similarity", "Affine"):
                result = self._ants.registration(
                    fixed,
                    moving,
                    kind,
                    initial_transform=[str(file)],
                    outprefix=f"{folder}/{angle:+.0f}_{kind}_",
                    **AFFINE,
                )
                file = Path(result["fwdtransforms"][0])
            # ITK's metric is to be minimised: minus the mutual information.
            cost = self._ants.image_similarity(
                fixed,
                result["warpedmovout"],
                metric_type="MattesMutualInformation",
                sampling_strategy="regular",
                sampling_percentage=1.0,
            )
            found.append((float(cost), file))
        return min(found)[1]

    def _start(self, fixed: Any, moving: Any, angle: float, folder: Path) -> Path:
        """A turn by ``angle`` degrees in the first two axes about the centre of mass of ``fixed``, which goes to
        that of ``moving`` where the settings say so."""
        centres = [np.asarray(self._ants.get_center_of_mass(image)) for image in (fixed, moving)]
        shift = centres[1] - centres[0] if self._settings.centred else np.zeros(fixed.dimension)
        linear = np.eye(fixed.dimension)
        cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        linear[:2, :2] = [[cosine, -sine], [sine, cosine]]
        transform = self._ants.create_ants_transform(
            transform_type="AffineTransform",
            dimension=fixed.dimension,
            precision="float",
            matrix=linear,
            center=list(centres[0]),
            translation=list(shift),
        )
        path = folder / f"start_{angle:+.0f}.mat"
        self._ants.write_transform(transform, str(path))
        return path

    def _voxel_affine(self, path: Path, pair: Pair) -> AffineMap:
        """An ITK affine on physical points as a map from fixed to moving voxels."""
        transform = self._ants.read_transform(str(path))
        physical = about_centre(np.asarray(transform.parameters), np.asarray(transform.fixed_parameters))
        moving, fixed = (AffineMap(np.diag([*pair.spacing(which), 1.0])) for which in ("moving", "fixed"))
        return moving.inverse().after(physical).after(fixed)

    def _displacement(self, path: str, spacing: tuple[float, ...]) -> DisplacementMap:
        return DisplacementMap(self._ants.image_read(path).numpy().astype(np.float64) / spacing)


def _import_ants(seed: int, threads: int) -> ModuleType:
    # ITK reads the number of threads once, when it is first used.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    try:
        import ants
        import ants.config
    except ImportError:
        raise InputError("baselines ants: needs antspyx; pip install 'fire_tf[ants]'") from None
    # registration(random_seed=...) is ignored, and set_ants_deterministic allows only its own recipes.
    ants.config._random_seed = seed
    return ants


def _warp_file(transforms: list[str]) -> str:
    return next(path for path in transforms if path.endswith(".nii.gz"))
