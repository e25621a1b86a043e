"""The shapes of the head phantom that are the same in every subject, before its deformation.

Coordinates are millimetres, RAS+, in a frame close to MNI's: the anterior commissure near the origin. Every
function returns signed distances in mm, negative inside. Shapes that come in pairs are written down for the
right side.
"""

from __future__ import annotations

import numpy as np

from fire_tf.phantom.shapes import Point, Points, ellipsoid, intersection, tube, union

CENTRE: Point = (0.0, -17.0, 8.0)
"""Middle of the head in mm: where a phantom's grid is centred, fixed under its scaling and tilt."""


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
    floor = -13.0 + 4.0 * middle
    main = intersection(main, floor - z, 9.0)
    path = [(34.0, 7.0, -25.0), (46.0, -14.0, -18.0), (47.0, -38.0, -7.0), (40.0, -62.0, 2.0)]
    temporal = tube((x, y, z), path, [14.5, 17.5, 17.5, 17.0], blend=6.0)
    inner = [(23.0, -4.0, -21.0), (25.0, -20.0, -17.0), (25.0, -38.0, -8.0)]
    temporal = union(temporal, tube((x, y, z), inner, [8.5, 10.0, 10.0]), 5.0)
    return union(main, temporal, 7.0)


def callosum_outer(points: Points) -> np.ndarray:
    """Signed distance, in the sagittal plane, of the outline of the corpus callosum and all below it."""
    _, y, z = points
    outline = ellipsoid((np.zeros_like(y), y, z), (0.0, -5.0, 2.0), (1e3, 37.0, 25.0))
    below_genu = np.maximum(z + 6.0, 8.0 - y)
    return np.maximum(outline, -below_genu)


def callosum(points: Points) -> np.ndarray:
    """Signed distance of the corpus callosum, where it crosses the midline."""
    x, y, z = points
    outer = callosum_outer(points)
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
        (0.0, -22.0, -5.0),
        (0.0, -26.0, -14.0),
        (0.0, -26.0, -28.0),
        (0.0, -34.0, -46.0),
        (0.0, -39.0, -60.0),
    ]
    stem = tube(flat, path, [6.5, 8.5, 9.0, 6.3, 4.5], blend=4.0)
    belly = ellipsoid(points, (0.0, -22.0, -29.0), (14.5, 9.5, 11.5))
    peduncles = tube(mirrored(points), [(7.0, -19.0, -13.0), (12.0, -15.0, -5.0)], [5.0, 4.0])
    return np.maximum(union(union(stem, belly, 4.0), peduncles, 3.0), -62.0 - z)


# --- cerebellum -------------------------------------------------------------------------------------------


def cerebellar_hull(points: Points) -> np.ndarray:
    """Signed distance of the cerebellum's smooth outer surface."""
    x, y, z = mirrored(points)
    roof = z + 0.30 * np.maximum(x - 8.0, 0.0) - 3.0
    lobe = ellipsoid((x, y, roof), (24.0, -58.5, -28.0), (26.0, 25.5, 19.5), power=2.2)
    vermis = ellipsoid((x, y, z), (0.0, -60.0, -25.0), (11.0, 23.0, 22.0))
    return union(lobe, vermis, 6.0)


def middle_peduncles(points: Points) -> np.ndarray:
    """Signed distance of the tracts between the pons and the cerebellar white matter."""
    path = [(11.0, -27.0, -31.0), (18.0, -38.0, -34.0), (19.0, -50.0, -35.0)]
    return tube(mirrored(points), path, [7.0, 6.0, 6.0])
