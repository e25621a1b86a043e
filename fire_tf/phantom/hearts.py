"""Generated cine MR of beating hearts in ACDC's layout, for trying things out where no real cine is at hand.

    python -m fire_tf.phantom hearts --output DIR --patients 3

writes DIR/patient001/{Info.cfg,patient001_4d.nii.gz,...} as the data source "acdc" reads it, and beside each 4D file
the labels of every phase, ``patient001_4d_gt.nii.gz``, which ACDC has not got.

The left ventricle is a cup along the third axis whose cavity has the radius r(z, t) in slice z at phase t. Muscle
and blood keep their volume in every slice: what lies rho >= r from the axis lay sqrt(rho^2 + r_ED^2 - r^2) from it at
end-diastole (ED), and the motion fades out away from the heart. So every phase is the image at ED, pulled back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from fire_tf.files.errors import InputError
from fire_tf.phantom.heads import subject_seed
from fire_tf.phantom.mr_signal import rician_noise
from fire_tf.phantom.shapes import WaveField, cover

DEFAULT_SHAPE = (80, 80, 6)
DEFAULT_SPACING = (2.5, 2.5, 10.0)
DEFAULT_PHASES = 10
RIGHT_CAVITY, MUSCLE, LEFT_CAVITY = 1, 2, 3
"""Label values, ACDC's."""

_SYSTOLE = 0.35  # part of the beat after which the heart is smallest
_BEAT = 0.9  # s
# Grey values of balanced steady-state images: blood is bright, muscle and lung are dark.
_LUNG, _BODY, _MUSCLE, _BLOOD = 60.0, 330.0, 190.0, 620.0
_NOISE, _TEXTURE = 14.0, 0.12


@dataclass(frozen=True)
class Heart:
    """One heart on its grid; lengths in mm, measured from the middle of the stack.

    radius, wall: of the cavity at ED in the basal slice, and of the muscle around it. contraction: part of the radius
    that is lost at end-systole (ES). centre (2,): of the left ventricle, in-plane. turn: radians, where the right
    ventricle lies. texture: a field of the tissue, which moves with it.
    """

    radius: float
    wall: float
    contraction: float
    centre: np.ndarray
    turn: float
    texture: WaveField

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Heart:
        """A random heart."""
        return cls(
            radius=rng.uniform(23.0, 28.0),
            wall=rng.uniform(8.0, 11.0),
            contraction=rng.uniform(0.28, 0.42),
            centre=rng.uniform(-6.0, 6.0, 2),
            turn=rng.uniform(-0.4, 0.4),
            texture=WaveField.draw(rng, 14.0, 16, spread=0.4),
        )

    def cavity_radius(self, depth: np.ndarray, contracted: float) -> np.ndarray:
        """r in mm at ``depth``, 0 (base) to 1 (apex), where 0 to 1 is ``contracted`` of what ES is."""
        return self.radius * np.sqrt(1.0 - 0.75 * depth**2) * (1.0 - self.contraction * contracted)

    def at_end_diastole(self, points: np.ndarray, depth: np.ndarray, contracted: float) -> np.ndarray:
        """Where the tissue at ``points`` (..., 2), mm, of a phase lay at ED; ``depth`` (...)."""
        relative = points - self.centre
        rho = np.maximum(np.linalg.norm(relative, axis=-1), 1e-6)
        at_ed, now = self.cavity_radius(depth, 0.0), self.cavity_radius(depth, contracted)
        reach = (rho - at_ed - self.wall) / self.radius  # the motion has faded out after one and a half radii
        gained = (at_ed**2 - now**2) * (1.0 - _smoothstep(reach / 1.5))
        then = np.where(rho < now, rho * at_ed / now, np.sqrt(rho**2 + gained))
        return self.centre + relative * (then / rho)[..., np.newaxis]

    def shapes(self, points: np.ndarray, depth: np.ndarray) -> dict[int, np.ndarray]:
        """Signed distances in mm, negative inside, of the labelled parts at ED; later ones lie over earlier ones."""
        relative = points - self.centre
        rho, cavity = np.linalg.norm(relative, axis=-1), self.cavity_radius(depth, 0.0)
        towards = np.array(
            [-np.cos(self.turn), np.sin(self.turn)]
        )  # from the left ventricle to the right one
        across = relative @ np.array([towards[1], -towards[0]])
        along = relative @ towards - (cavity + self.wall)
        width, height = 0.9 * cavity, 1.25 * cavity
        crescent = (np.hypot(along / width, across / height) - 1.0) * width
        return {RIGHT_CAVITY: crescent, MUSCLE: rho - cavity - self.wall, LEFT_CAVITY: rho - cavity}


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def contraction(phases: int) -> np.ndarray:
    """How far the heart is contracted in each phase of a beat, 0 at ED (the first) to 1 at ES: (phases,)."""
    time = np.arange(phases) / phases
    angle = np.where(time < _SYSTOLE, time / _SYSTOLE, 1.0 + (time - _SYSTOLE) / (1.0 - _SYSTOLE)) * np.pi
    return 0.5 - 0.5 * np.cos(angle)


def generate_beat(
    seed: int,
    shape: Sequence[int] = DEFAULT_SHAPE,
    spacing: Sequence[float] = DEFAULT_SPACING,
    phases: int = DEFAULT_PHASES,
) -> tuple[np.ndarray, np.ndarray]:
    """The images (*shape, phases) int16 and labels (*shape, phases) uint8 of one heart, its base in the last slice."""
    rng = np.random.default_rng(seed)
    heart = Heart.draw(rng)
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    points, depth = np.stack([x, y], axis=-1), 1.0 - (z - z.min()) / max(np.ptp(z), 1.0)
    images, labels = [], []
    for contracted in contraction(phases):
        then = heart.at_end_diastole(points, depth, contracted)
        shapes = heart.shapes(then, depth)
        clean = _signal(heart, shapes, then, z, points, spacing[0])
        images.append(np.rint(rician_noise(clean, _NOISE, rng)).astype(np.int16))
        labels.append(np.select([shapes[k] < 0 for k in reversed(shapes)], list(reversed(shapes)), 0))
    return np.stack(images, axis=-1), np.stack(labels, axis=-1).astype(np.uint8)


def _signal(
    heart: Heart,
    shapes: dict[int, np.ndarray],
    then: np.ndarray,
    z: np.ndarray,
    points: np.ndarray,
    width: float,
) -> np.ndarray:
    """Grey values of a phase: what is labelled over lung over the body, which does not move."""
    body = np.hypot(points[..., 0], points[..., 1] * 1.25) - 88.0
    lung = np.hypot((np.abs(points[..., 0]) - 48.0) * 1.1, points[..., 1] * 0.8) - 30.0
    grey = _BODY * cover(body, width)
    for distance, value in (
        (lung, _LUNG),
        (shapes[RIGHT_CAVITY], _BLOOD),
        (shapes[MUSCLE], _MUSCLE),
        (shapes[LEFT_CAVITY], _BLOOD),
    ):
        part = cover(distance, width)
        grey = grey * (1.0 - part) + value * part
    return grey * np.exp(_TEXTURE * heart.texture([then[..., 0], then[..., 1], z]))


def write_hearts(
    root: str | Path,
    patients: int,
    *,
    shape: Sequence[int] = DEFAULT_SHAPE,
    spacing: Sequence[float] = DEFAULT_SPACING,
    phases: int = DEFAULT_PHASES,
    seed: int = 0,
) -> Path:
    """Write generated patients in ACDC's layout into ``root`` and return it; patient i depends on (seed, i) alone.

    Raises InputError where ``root`` holds something already.
    """
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root}: exists and is not an empty folder")
    for number in range(1, patients + 1):
        images, labels = generate_beat(subject_seed(seed, number), shape, spacing, phases)
        _write_patient(root / f"patient{number:03d}", images, labels, spacing)
    return root


def _write_patient(folder: Path, images: np.ndarray, labels: np.ndarray, spacing: Sequence[float]) -> None:
    folder.mkdir(parents=True)
    phases = images.shape[-1]
    frames = {"ED": 0, "ES": int(np.argmax(contraction(phases)))}
    entries = {phase: frame + 1 for phase, frame in frames.items()}
    info = {**entries, "Group": "NOR", "NbFrame": phases}
    (folder / "Info.cfg").write_text("".join(f"{key}: {value}\n" for key, value in info.items()))
    name = folder.name
    _save(images, folder / f"{name}_4d.nii.gz", spacing)
    _save(labels, folder / f"{name}_4d_gt.nii.gz", spacing)
    for frame in frames.values():
        stem = f"{name}_frame{frame + 1:02d}"
        _save(images[..., frame], folder / f"{stem}.nii.gz", spacing)
        _save(labels[..., frame], folder / f"{stem}_gt.nii.gz", spacing)


def _save(data: np.ndarray, path: Path, spacing: Sequence[float]) -> None:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * step for n, step in zip(data.shape, spacing, strict=False)]
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    if data.ndim == 4:
        image.header.set_zooms((*spacing, _BEAT / data.shape[3]))
    nib.save(image, path)
