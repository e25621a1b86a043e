"""The anatomy of the head phantom: which tissue lies where, as functions of position.

Coordinates are millimetres, RAS+, in a frame close to MNI's: the anterior commissure near the origin, the
middle of the head at `CENTRE`. A subject is a set of random numbers (`Anatomy.draw`); `tissue_fractions` is
deterministic. The cortex is folded by random fields on the surface of each hemisphere: where a field crosses
zero a sulcus cuts in, perpendicular to the surface; grey matter lines whatever cerebrospinal fluid touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fire_tf.shapes import Point, Points, WaveField, cover, ellipsoid, intersection, tube, union

CENTRE: Point = (0.0, -17.0, 8.0)
"""Middle of the head in mm: where a phantom's grid is centred, fixed under its scaling and tilt."""

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
            cortex_thickness=rng.uniform(2.5, 3.1),
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


def mirrored(points: Points) -> Points:
    """Points with both sides folded onto the right one (x >= 0), for shapes that come in pairs."""
    return np.abs(points[0]), points[1], points[2]


# --- cerebrum ---------------------------------------------------------------------------------------------


def cerebral_hull(points: Points) -> np.ndarray:
    """Signed distance of the cerebrum's smooth outer surface, both hemispheres and temporal lobes."""
    x, y, z = mirrored(points)
    narrower = 1.0 + 0.0028 * (y - CENTRE[1])  # the front is narrower than the back
    main = ellipsoid((x * narrower, y, z), (0.0, -17.0, 9.0), (65.0, 82.0, 62.0), power=2.15)
    middle = np.exp(-((x / 24.0) ** 2) - ((y + 20.0) / 24.0) ** 2)
    floor = -13.0 + 10.0 * middle
    main = intersection(main, floor - z, 9.0)
    path = [(34.0, 7.0, -25.0), (46.0, -14.0, -18.0), (47.0, -38.0, -7.0), (40.0, -62.0, 2.0)]
    temporal = tube((x, y, z), path, [14.5, 17.5, 17.5, 17.0], blend=6.0)
    inner = [(23.0, -4.0, -21.0), (25.0, -20.0, -17.0), (25.0, -38.0, -8.0)]
    temporal = union(temporal, tube((x, y, z), inner, [8.5, 10.0, 10.0]), 5.0)
    return union(main, temporal, 7.0)


def _callosum_outer(points: Points) -> np.ndarray:
    """Signed distance, in the sagittal plane, of the outline of the corpus callosum and all below it."""
    _, y, z = points
    outline = ellipsoid((np.zeros_like(y), y, z), (0.0, -5.0, 2.0), (1e3, 37.0, 25.0))
    below_genu = np.maximum(z + 6.0, 8.0 - y)
    return np.maximum(outline, -below_genu)


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
    ridge = 25.0 * np.maximum(0.7 - square, 0.0) * np.clip((depth - 3.0) / 4.0, 0.0, 1.0)
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
    below_callosum = np.maximum(-_callosum_outer(points), 0.0)
    fissure = np.hypot(sheet, below_callosum) - 0.6
    medial = np.hypot(_medial_sulci(points, sheet, steps, anatomy), below_callosum)
    sulci = np.minimum(_outer_sulci(points, -0.9 - hull, steps, anatomy), medial) - anatomy.sulcus_width
    smooth = union(-0.9 - hull, fissure, 5.0)
    lateral = _sylvian_fissure(points, anatomy) - 0.3 - anatomy.sulcus_width
    return union(union(smooth, sulci, 2.0), lateral, 2.0)


def callosum(points: Points) -> np.ndarray:
    """Signed distance of the corpus callosum, where it crosses the midline."""
    x, y, z = points
    outer = _callosum_outer(points)
    thickness = 5.5 + 3.0 * np.clip((np.abs(y + 5.0) - 18.0) / 15.0, 0.0, 1.0)
    arch = np.maximum(outer + 0.3, -outer - thickness)
    return np.maximum(np.maximum(arch, -3.0 - z), np.abs(x) - 16.0)


# --- deep structures --------------------------------------------------------------------------------------


def thalamus(points: Points) -> np.ndarray:
    """Signed distance of both thalami."""
    x, y, z = mirrored(points)
    return ellipsoid((x + 0.25 * (y + 18.0), y, z), (11.0, -18.0, 7.0), (8.5, 14.0, 8.5))


def striatum(points: Points) -> np.ndarray:
    """Signed distance of the caudate nuclei and putamina."""
    side = mirrored(points)
    x, y, z = side
    path = [(13.5, 19.0, 3.0), (13.5, 11.0, 12.0), (16.5, -6.0, 20.0), (21.0, -24.0, 20.0)]
    caudate = tube(side, path, [6.0, 5.5, 3.5, 2.0], blend=3.0)
    putamen = ellipsoid(
        (x + 0.22 * (y - 2.0) - 0.1 * z, y, z), (27.0, 2.0, 1.0), (5.0, 16.0, 10.5), power=2.3
    )
    return np.minimum(caudate, putamen)


def pallidum(points: Points) -> np.ndarray:
    """Signed distance of both globi pallidi."""
    x, y, z = mirrored(points)
    return ellipsoid((x + 0.4 * (y + 4.0) - 0.1 * z, y, z), (20.0, -4.0, 0.0), (4.0, 10.0, 6.5))


def hippocampus(points: Points) -> np.ndarray:
    """Signed distance of the hippocampi and amygdalae."""
    path = [(21.0, -3.0, -19.0), (26.0, -14.0, -19.0), (30.0, -26.0, -13.0), (28.0, -36.0, -4.0)]
    return tube(mirrored(points), path, [6.0, 4.0, 3.5, 2.5], blend=3.0)


def lateral_ventricles(points: Points, size: float) -> np.ndarray:
    """Signed distance of the lateral ventricles; `size` is a factor on their radii."""
    x, y, z = mirrored(points)
    body = [(9.0, 29.0, 2.0), (6.8, 14.0, 10.0), (7.5, -8.0, 17.0), (14.0, -27.0, 19.0), (24.0, -41.0, 12.0)]
    main = tube((x, y, z), body, [size * r for r in (2.3, 4.5, 3.8, 3.5, 4.5)], blend=3.0)
    horns = [
        (22.0, -76.0, 4.0),
        (24.0, -60.0, 6.0),
        (24.0, -41.0, 12.0),
        (33.0, -35.0, -4.0),
        (33.0, -15.0, -15.0),
    ]
    back = tube((x, y, z), horns, [size * r for r in (0.8, 1.5, 4.5, 2.3, 1.5)], blend=3.0)
    septum = 0.8 - x  # what keeps the two sides apart
    return np.maximum(union(main, back, 2.0), septum)


def midline_ventricles(points: Points, size: float) -> np.ndarray:
    """Signed distance of the third ventricle, the aqueduct and the fourth ventricle."""
    x, y, z = points
    third = ellipsoid(points, (0.0, -11.0, -1.0), (2.0 * size, 12.0, 8.5))
    aqueduct = tube(points, [(0.0, -24.0, -4.0), (0.0, -36.0, -20.0)], [1.0, 1.2])
    tent = y + 0.25 * (z + 34.0)
    fourth = ellipsoid((x, tent, z), (0.0, -42.5, -32.0), (6.5 * size, 4.5, 11.5))
    return np.minimum(np.minimum(third, aqueduct), fourth)


def brain_stem(points: Points) -> np.ndarray:
    """Signed distance of midbrain, pons and medulla."""
    x, y, z = points
    flat = (x / 1.22, y, z)
    path = [
        (0.0, -21.0, -6.0),
        (0.0, -26.0, -14.0),
        (0.0, -26.0, -28.0),
        (0.0, -34.0, -46.0),
        (0.0, -39.0, -60.0),
    ]
    stem = tube(flat, path, [5.0, 8.0, 9.0, 6.3, 4.5], blend=4.0)
    belly = ellipsoid(points, (0.0, -22.0, -29.0), (14.5, 9.5, 11.5))
    peduncles = tube(mirrored(points), [(7.0, -19.0, -13.0), (12.0, -15.0, -5.0)], [5.0, 4.0])
    return np.maximum(union(union(stem, belly, 4.0), peduncles, 3.0), -62.0 - z)


# --- cerebellum -------------------------------------------------------------------------------------------


def cerebellar_hull(points: Points) -> np.ndarray:
    """Signed distance of the cerebellum's smooth outer surface."""
    x, y, z = mirrored(points)
    roof = z + 0.30 * np.maximum(x - 8.0, 0.0) - 3.0
    lobe = ellipsoid((x, y, roof), (24.0, -61.0, -28.0), (26.0, 25.5, 19.0), power=2.2)
    vermis = ellipsoid((x, y, z), (0.0, -61.0, -25.0), (11.0, 23.0, 22.0))
    return union(lobe, vermis, 6.0)


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


def middle_peduncles(points: Points) -> np.ndarray:
    """Signed distance of the tracts between the pons and the cerebellar white matter."""
    path = [(11.0, -27.0, -31.0), (18.0, -38.0, -34.0), (19.0, -50.0, -35.0)]
    return tube(mirrored(points), path, [7.0, 6.0, 6.0])


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
    cerebrum, cerebellum, stem = cerebral_hull(frame), cerebellar_hull(frame), brain_stem(frame)
    below = np.minimum(cerebellum, np.where(frame[2] < -5.0, stem - 1.0, stem + 6.0))
    cerebrum = intersection(cerebrum, 0.8 - below, 2.0)  # the tentorium and the cisterns round the stem
    canvas = _Canvas(frame[0].shape, max(steps))
    brain = union(union(cerebrum, cerebellum, 5.0), stem - 1.0, 5.0)
    canvas.paint("csf", brain)
    _paint_cerebrum(canvas, frame, cerebrum, steps, anatomy)
    _paint_cerebellum(canvas, frame, cerebellum, anatomy)
    canvas.paint("brain_stem", stem)
    canvas.paint("csf", midline_ventricles(frame, anatomy.ventricle_size))
    return canvas.fractions


def _paint_cerebrum(
    canvas: _Canvas, frame: Points, hull: np.ndarray, steps: Sequence[float], anatomy: Anatomy
) -> None:
    depth = pial_depth(frame, hull, steps, anatomy)
    inside = cover(hull + 0.5, canvas.width)
    canvas.paint("cortex", -depth)
    canvas.paint("white_matter", anatomy.cortex_thickness - depth)
    canvas.paint("white_matter", callosum(frame), inside)
    canvas.paint("cortex", hippocampus(frame), inside)
    ventricles = lateral_ventricles(frame, anatomy.ventricle_size)
    white = canvas.fractions[TISSUE_NAMES.index("white_matter")].copy()
    threshold = 2.2 - 1.0 * anatomy.lesion_load + 0.12 * np.maximum(ventricles, 0.0)
    canvas.paint("hyperintensity", 4.0 * (threshold - anatomy.lesions(frame)), white)
    canvas.paint("striatum", striatum(frame))
    canvas.paint("pallidum", pallidum(frame))
    canvas.paint("thalamus", thalamus(frame))
    canvas.paint("csf", ventricles)


def _paint_cerebellum(canvas: _Canvas, frame: Points, hull: np.ndarray, anatomy: Anatomy) -> None:
    folded, core = cerebellar_depths(frame, hull, anatomy)
    inside = cover(hull + 2.5, canvas.width)
    canvas.paint("csf", hull)
    canvas.paint("cerebellar_cortex", -folded)
    canvas.paint("cerebellar_white_matter", 2.3 - folded)
    canvas.paint("cerebellar_white_matter", -core, inside)
    canvas.paint("cerebellar_white_matter", middle_peduncles(frame))
