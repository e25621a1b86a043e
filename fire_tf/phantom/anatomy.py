"""The anatomy of the head phantom: which tissue lies where, as functions of position.

Coordinates are millimetres, RAS+, in a frame close to MNI's: the anterior commissure near the origin. A
subject is a set of random numbers (`Anatomy.draw`); `tissue_fractions` is deterministic: the fixed shapes
of `brain_shapes`, scaled, tilted and warped. The cortex is folded by random fields on the surface of each
hemisphere: where a field crosses zero a sulcus cuts in, perpendicular to the surface; grey matter lines
whatever cerebrospinal fluid touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fire_tf.phantom import brain_shapes
from fire_tf.phantom.brain_shapes import CENTRE, callosum_outer, mirrored
from fire_tf.phantom.shapes import Points, WaveField, cover, ellipsoid, intersection, union

TISSUE_NAMES = (
    "background",
    "csf",
    "cortex",
    "white_matter",
    "thalamus",
    "striatum",
    "pallidum",
    "cerebellar_cortex",
    "cerebellar_white_matter",
    "brain_stem",
    "hyperintensity",
)
"""Names of the values of a tissue map, 0 to 10."""

_FOLIA = 20  # cerebellar folds in a full turn about the axis through the fourth ventricle
_FOLIA_AXIS = (-42.0, -30.0)  # y and z of that axis


@dataclass(frozen=True)
class Anatomy:
    """What differs between subjects. Lengths in mm, angles in degrees."""

    scale: np.ndarray  # (3,) size of the head along x, y, z
    tilt: np.ndarray  # (3,) small rotations about x, y, z
    shift: np.ndarray  # (3,)
    warp: tuple[WaveField, WaveField, WaveField]
    warp_size: float  # standard deviation of each component of the smooth deformation
    folds: WaveField  # its zero crossings are the deep sulci
    side_folds: WaveField  # the same for the shallow ones
    sulcal_depth: WaveField
    sway: WaveField  # of the fissures
    bends: tuple[WaveField, WaveField, WaveField]  # of the sulci in their depth
    folia: WaveField
    lesions: WaveField
    cortex_thickness: float
    sulcus_width: float  # half the gap between two banks
    ventricle_size: float  # factor on the radii
    lesion_load: float  # 0 (none) to 1

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Anatomy:
        """A random adult."""
        return cls(
            scale=rng.uniform(0.97, 1.03) * rng.uniform(0.97, 1.03, 3),
            tilt=rng.uniform(-3.0, 3.0, 3),
            shift=rng.uniform(-2.0, 2.0, 3),
            warp=_three(rng, 110.0, 8),
            warp_size=rng.uniform(1.2, 2.4),
            folds=WaveField.draw(rng, rng.uniform(27.0, 31.0), 36, spread=0.25),
            side_folds=WaveField.draw(rng, rng.uniform(21.0, 24.0), 36, spread=0.25),
            sulcal_depth=WaveField.draw(rng, 40.0, 10, spread=0.3),
            sway=WaveField.draw(rng, 45.0, 8, spread=0.3),
            bends=_three(rng, 28.0, 6),
            folia=WaveField.draw(rng, 30.0, 8, spread=0.3),
            lesions=WaveField.draw(rng, 14.0, 16, spread=0.3),
            cortex_thickness=rng.uniform(2.3, 2.9),
            sulcus_width=rng.uniform(0.25, 0.7),
            ventricle_size=rng.uniform(0.75, 1.3),
            lesion_load=rng.uniform(0.0, 1.0),
        )


def _three(rng: np.random.Generator, wavelength: float, waves: int) -> tuple[WaveField, WaveField, WaveField]:
    x, y, z = (WaveField.draw(rng, wavelength, waves, spread=0.3) for _ in range(3))
    return x, y, z


def canonical_points(axes: Sequence[np.ndarray], anatomy: Anatomy) -> Points:
    """Map the grid spanned by `axes` (mm) to the common frame in which the shapes are written down."""
    ax, ay, az = np.deg2rad(anatomy.tilt)
    about_x = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
    about_y = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
    about_z = np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]])
    matrix = np.diag(1.0 / anatomy.scale) @ about_z @ about_y @ about_x
    origin = np.add(CENTRE, anatomy.shift)
    x, y, z = np.meshgrid(
        *(a - o for a, o in zip(axes, origin.astype(np.float32), strict=True)), indexing="ij"
    )
    moved = [
        p + anatomy.warp_size * field.on_grid(axes) for p, field in zip((x, y, z), anatomy.warp, strict=True)
    ]
    a, b, c = (_combine(row, moved) + middle for row, middle in zip(matrix.tolist(), CENTRE, strict=True))
    return a, b, c


def _combine(weights: Sequence[float], arrays: Sequence[np.ndarray]) -> np.ndarray:
    total = weights[0] * arrays[0]
    for weight, array in zip(weights[1:], arrays[1:], strict=True):
        total += weight * array
    return total


def _sylvian_fissure(points: Points, anatomy: Anatomy) -> np.ndarray:
    """Distance from the lateral (Sylvian) fissure and the sheet over the insula that it leads to."""
    x, y, z = mirrored(points)
    level = -5.0 - 0.55 * y + 2.0 * anatomy.sway(points)
    depth = 38.0 - 14.0 * np.clip((y - 2.0) / 14.0, 0.0, 1.0) + 14.0 * np.clip((-16.0 - y) / 22.0, 0.0, 1.0)
    cleft = np.hypot((z - level) / 1.14, np.maximum(depth - x, 0.0))
    cleft = np.hypot(cleft, np.maximum(-38.0 - y, 0.0))
    bulge = 39.5 - 0.010 * (y + 1.0) ** 2 - 0.015 * (z - 3.0) ** 2
    insula = np.hypot(x - bulge, np.maximum(np.abs(y + 1.0) - 22.0, 0.0))
    insula = np.hypot(insula, np.maximum(np.abs(z - 3.0) - 13.0, 0.0))
    return np.minimum(cleft, insula)


def _outer_sulci(points: Points, depth: np.ndarray, steps: Sequence[float], anatomy: Anatomy) -> np.ndarray:
    """Distance from the sulci of the convexity and the base, at `depth` mm below the hull.

    Each point is carried (most of the way) back to the hull, so that the zero crossings of the folding fields
    become sheets that hang from it, slightly slanted. `steps`: the grid's spacing in mm.
    """
    near = (depth > -3.0) & (depth < 30.0)  # beyond, no sheet matters
    normal = np.gradient(depth, *steps)
    square = sum(n * n for n in normal)
    back = 0.85 * np.maximum(depth, -5.0) / np.maximum(square, 0.25)
    surface = [(p - back * n)[near] for p, n in zip(points, normal, strict=True)]
    # Where two sides are equally near, the normal turns round within a voxel: no sulcus reaches there.
    ridge = 25.0 * np.maximum(0.45 - square, 0.0) * np.clip((depth - 3.0) / 4.0, 0.0, 1.0)
    return _sulci(points, surface, near, depth, steps, anatomy) + ridge


def _medial_sulci(points: Points, depth: np.ndarray, steps: Sequence[float], anatomy: Anatomy) -> np.ndarray:
    """Distance from the sulci of the walls of the midline fissure, at `depth` mm beside it."""
    near = depth < 26.0
    x, y, z = (p[near] for p in points)
    surface = [0.15 * x + 50.0 * np.sign(x), y, z]  # far from each other: the two walls differ
    return _sulci(points, surface, near, depth, steps, anatomy)


def _sulci(
    points: Points,
    surface: Sequence[np.ndarray],
    near: np.ndarray,
    depth: np.ndarray,
    steps: Sequence[float],
    anatomy: Anatomy,
) -> np.ndarray:
    """Distance from the sheets through the zero crossings of the folding fields, taken at `surface`.

    surface: three arrays of one value per voxel in the mask `near`. The sheets end at a depth that varies.
    """
    here = [p[near] for p in points]
    bent = [s + 2.2 * bend(here) for s, bend in zip(surface, anatomy.bends, strict=True)]
    variation = _scatter(anatomy.sulcal_depth(bent), near)
    deep = _sheets(_scatter(anatomy.folds(bent), near), steps)
    deep = np.hypot(deep, np.maximum(depth - np.clip(16.0 + 5.0 * variation, 5.0, 24.0), 0.0))
    shallow = _sheets(_scatter(anatomy.side_folds(bent), near), steps)
    shallow = np.hypot(shallow, np.maximum(depth - np.clip(8.0 - 6.0 * variation, 0.0, 15.0), 0.0))
    return np.minimum(deep, shallow)


def _scatter(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    whole = np.zeros(where.shape, np.float32)
    whole[where] = values
    return whole


def _sheets(field: np.ndarray, steps: Sequence[float]) -> np.ndarray:
    """Distance in mm from the zero crossings of `field`, to first order.

    The steepness is bounded on both sides: flat places would get wide sulci, and a jump of the field is no
    crossing.
    """
    steepness = np.sqrt(sum(s * s for s in np.gradient(field, *steps)))
    return np.abs(field) / np.clip(steepness, 0.02, 0.5)


def pial_depth(points: Points, hull: np.ndarray, steps: Sequence[float], anatomy: Anatomy) -> np.ndarray:
    """Distance below the folded surface of the cortex, in mm: negative in cerebrospinal fluid."""
    sheet = np.abs(points[0] - 0.75 * anatomy.sway(points))
    below_callosum = np.maximum(-callosum_outer(points), 0.0)
    fissure = np.hypot(sheet, below_callosum) - 0.6
    medial = np.hypot(_medial_sulci(points, sheet, steps, anatomy), below_callosum)
    sulci = np.minimum(_outer_sulci(points, -0.9 - hull, steps, anatomy), medial) - anatomy.sulcus_width
    smooth = union(-0.9 - hull, fissure, 5.0)
    lateral = _sylvian_fissure(points, anatomy) - 0.3 - anatomy.sulcus_width
    return union(union(smooth, sulci, 2.0), lateral, 2.0)


def cerebellar_depths(points: Points, hull: np.ndarray, anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Depths in mm below the folded cortex of the cerebellum, and below the surface of its white matter core.

    The folds are sheets through one transverse axis, so that a sagittal cut shows the tree of life.
    """
    x, y, z = mirrored(points)
    dy, dz = y - _FOLIA_AXIS[0] + 0.004 * x * x, z - _FOLIA_AXIS[1]
    turn = _FOLIA * np.arctan2(dz, dy) + 1.1 * anatomy.folia(points)
    radius = np.maximum(np.hypot(dy, dz), 4.0)
    sheet = np.abs(np.mod(turn + np.pi, 2.0 * np.pi) - np.pi) * radius / _FOLIA
    fissures = np.hypot(sheet, np.maximum(-hull - 15.0, 0.0)) + 0.1
    folded = union(-0.6 - hull, fissures, 1.5)
    core = ellipsoid((x, y, z), (17.0, -54.0, -34.0), (13.0, 11.0, 8.0))
    middle = ellipsoid((x, y, z), (0.0, -56.0, -29.0), (8.0, 8.0, 8.0))
    return folded, -union(core, middle, 6.0)


# --- all together -----------------------------------------------------------------------------------------


class _Canvas:
    """Fractions of the tissues in every voxel, painted one over the other: later ones cover earlier ones."""

    def __init__(self, shape: tuple[int, ...], width: float) -> None:
        self.width = width
        self.fractions = np.zeros((len(TISSUE_NAMES), *shape), np.float32)
        self.fractions[0] = 1.0

    def paint(self, tissue: str, distance: np.ndarray, within: np.ndarray | None = None) -> None:
        """Cover what lies inside the signed `distance` (and inside the fraction `within`) with `tissue`."""
        share = cover(distance, self.width)
        if within is not None:
            share = share * within
        touched = share > 0.0
        share = share[touched]
        for fraction in self.fractions:
            fraction[touched] *= 1.0 - share
        self.fractions[TISSUE_NAMES.index(tissue)][touched] += share


def tissue_fractions(axes: Sequence[np.ndarray], anatomy: Anatomy) -> np.ndarray:
    """Fractions (tissue, X, Y, Z), float32 and of sum 1, of `TISSUE_NAMES` in the voxels of a regular grid.

    axes: three float32 arrays of at least 2 equidistant voxel centres, in the subject's mm.
    """
    steps = [float(axis[1] - axis[0]) for axis in axes]
    frame = canonical_points(axes, anatomy)
    cerebrum, cerebellum, stem = (
        brain_shapes.cerebral_hull(frame),
        brain_shapes.cerebellar_hull(frame),
        brain_shapes.brain_stem(frame),
    )
    below = np.minimum(cerebellum, np.where(frame[2] < -5.0, stem - 1.0, stem + 6.0))
    cerebrum = intersection(cerebrum, 0.4 - below, 2.0)  # the tentorium and the cisterns round the stem
    canvas = _Canvas(frame[0].shape, max(steps))
    brain = union(union(cerebrum, cerebellum, 8.0), stem - 1.0, 10.0)
    canvas.paint("csf", brain)
    _paint_cerebrum(canvas, frame, cerebrum, steps, anatomy)
    _paint_cerebellum(canvas, frame, cerebellum, anatomy)
    canvas.paint("brain_stem", stem)
    canvas.paint("csf", brain_shapes.midline_ventricles(frame, anatomy.ventricle_size))
    return canvas.fractions


def _paint_cerebrum(
    canvas: _Canvas, frame: Points, hull: np.ndarray, steps: Sequence[float], anatomy: Anatomy
) -> None:
    depth = pial_depth(frame, hull, steps, anatomy)
    inside = cover(hull + 0.5, canvas.width)
    canvas.paint("cortex", -depth)
    canvas.paint("white_matter", anatomy.cortex_thickness - depth)
    canvas.paint("white_matter", brain_shapes.callosum(frame), inside)
    canvas.paint("cortex", brain_shapes.hippocampus(frame), inside)
    ventricles = brain_shapes.lateral_ventricles(frame, anatomy.ventricle_size)
    white = canvas.fractions[TISSUE_NAMES.index("white_matter")].copy()
    threshold = 2.2 - 1.0 * anatomy.lesion_load + 0.12 * np.maximum(ventricles, 0.0)
    canvas.paint("hyperintensity", 4.0 * (threshold - anatomy.lesions(frame)), white)
    canvas.paint("striatum", brain_shapes.striatum(frame))
    canvas.paint("pallidum", brain_shapes.pallidum(frame))
    canvas.paint("thalamus", brain_shapes.thalamus(frame))
    canvas.paint("csf", ventricles)


def _paint_cerebellum(canvas: _Canvas, frame: Points, hull: np.ndarray, anatomy: Anatomy) -> None:
    folded, core = cerebellar_depths(frame, hull, anatomy)
    inside = cover(hull + 2.5, canvas.width)
    canvas.paint("csf", hull)
    canvas.paint("cerebellar_cortex", -folded)
    canvas.paint("cerebellar_white_matter", 2.3 - folded)
    canvas.paint("cerebellar_white_matter", -core, inside)
    canvas.paint("cerebellar_white_matter", brain_shapes.middle_peduncles(frame))
