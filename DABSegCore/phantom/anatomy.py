"""Anatomy: a folded brain as implicit solids, in mm from its centre (x to the left, y posterior, z superior)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from DABSegCore.phantom.fields import (
    LATTICE_MM,
    Grid,
    blend,
    ellipsoid,
    generator,
    share,
    tube,
    upsample,
    waves,
)

TISSUES = ("csf", "gm", "wm", "deep")
"""Order T of tissue weights; `deep` is the grey of basal ganglia and thalamus."""

VENTRICLE = (
    (6.0, -31.0, 10.0, 4.6),
    (8.0, -14.0, 17.0, 4.4),
    (12.0, 8.0, 21.0, 4.4),
    (20.0, 27.0, 16.0, 5.4),
    (25.0, 37.0, 8.0, 6.0),
)
OCCIPITAL_HORN = ((25.0, 37.0, 8.0, 5.5), (21.0, 60.0, 4.0, 1.2))
TEMPORAL_HORN = ((25.0, 36.0, 7.0, 5.0), (32.0, 20.0, -10.0, 2.6), (33.0, -4.0, -21.0, 1.2))


@dataclass(frozen=True)
class Build:
    """What differs between two healthy heads (drawn once, then only applied)."""

    scale: tuple[float, float, float]
    rotation: np.ndarray
    ventricle: float
    sulcus_mm: float
    cortex_mm: float
    gyrus_mm: float
    margin_mm: float


def draw_build(seed: int) -> Build:
    """Draw one head: size, pose, atrophy (wide ventricles and sulci go together) and folding."""
    rng = generator(seed, "build")
    size = rng.normal(0.965, 0.025)
    atrophy = rng.beta(1.6, 2.2)
    angles = np.deg2rad(np.clip(rng.normal(0, 2.2, 3), -6, 6))
    return Build(
        scale=tuple(float(np.clip(size * rng.normal(1.0, 0.02), 0.92, 1.08)) for _ in range(3)),
        rotation=_rotation(angles).astype(np.float32),
        ventricle=float(0.65 + 0.85 * atrophy + rng.normal(0, 0.08)),
        sulcus_mm=float(0.25 + 0.6 * atrophy),
        cortex_mm=float(rng.uniform(2.4, 3.2)),
        gyrus_mm=float(rng.uniform(10.5, 13.5)),
        margin_mm=float(rng.uniform(-0.3, 1.1)),
    )


def to_anatomy(points: np.ndarray, build: Build, seed: int) -> np.ndarray:
    """Coordinates in the average head of points of this head [3, ...]: pose, size and a smooth asymmetric warp."""
    rng = generator(seed, "warp")
    turned = np.tensordot(build.rotation, points, axes=1)
    turned /= np.asarray(build.scale, dtype=np.float32).reshape(3, *[1] * (points.ndim - 1))
    warp = np.stack([waves(points, 70.0, rng, 10) for _ in range(3)])
    return turned + np.float32(1.3) * warp


def cerebrum(place: np.ndarray) -> np.ndarray:
    """Depth in mm below the smooth envelope of the cerebrum [...] at places [3, ...] of the average head."""
    y, z = place[1], place[2]
    x = np.abs(place[0]) * (1 - 0.0016 * y)  # narrower in front than behind
    depth = ellipsoid(x, y, z, (15.0, -6.0, 16.0), (50.0, 76.0, 51.0))
    depth = blend(depth, ellipsoid(x, y, z, (17.0, 42.0, 7.0), (44.0, 42.0, 36.0)), 10.0)
    depth = blend(depth, ellipsoid(x, y, z, (42.0, -3.0, -20.0), (21.0, 43.0, 22.0)), 8.0)
    depth = blend(depth, ellipsoid(x, y, z, (18.0, -3.0, -6.0), (24.0, 38.0, 20.0)), 8.0)
    return -blend(-depth, tentorium(place) - z, 4.0)


def tentorium(place: np.ndarray) -> np.ndarray:
    """Height in mm of the sheet between cerebrum and cerebellum; far below wherever there is no cerebellum."""
    x, y = np.abs(place[0]), place[1]
    return -13.0 - 0.22 * x - 0.22 * np.maximum(y - 35.0, 0) - 2.0 * np.maximum(22.0 - y, 0)


def cerebellum(place: np.ndarray) -> np.ndarray:
    """Depth in mm below the surface of the cerebellum."""
    x, y, z = np.abs(place[0]), place[1], place[2]
    half = ellipsoid(x, y, z, (19.0, 45.0, -40.0), (32.0, 29.0, 25.0))
    depth = blend(half, ellipsoid(x, y, z, (0.0, 46.0, -36.0), (14.0, 24.0, 23.0)), 6.0)
    return np.minimum(depth, tentorium(np.stack([x, np.maximum(y, 22.0), z])) - 1.5 - z)


def brainstem(place: np.ndarray) -> np.ndarray:
    """Depth in mm below the surface of midbrain, pons and medulla."""
    x, y, z = np.abs(place[0]), place[1], place[2]
    midbrain = ellipsoid(x, y, z, (7.0, 13.0, -14.0), (11.0, 13.0, 16.0))
    pons = ellipsoid(x, y, z, (0.0, 12.0, -36.0), (18.0, 14.0, 14.0))
    medulla = tube(x, y, z, ((0.0, 16.0, -40.0, 9.0), (0.0, 24.0, -80.0, 7.0)))
    return blend(blend(midbrain, pons, 6.0), medulla, 6.0)


def ventricles(place: np.ndarray, scale: float) -> np.ndarray:
    """Depth in mm below the walls of the lateral, third and fourth ventricles; `scale` multiplies their calibre."""
    x, y, z = np.abs(place[0]), place[1], place[2]
    lean = x - 0.35 * (z - 15.0)
    lateral = tube(0.9 * lean, y, 0.62 * z, tuple((0.9 * k[0], k[1], 0.62 * k[2], k[3]) for k in VENTRICLE), scale)
    for horn in (OCCIPITAL_HORN, TEMPORAL_HORN):
        lateral = np.maximum(lateral, tube(x, y, z, horn, scale))
    lateral = np.minimum(lateral, x - 0.9)  # the septum pellucidum
    third = ellipsoid(x, y, z, (0.0, 3.0, -2.0), (1.6 + 1.5 * (scale - 0.6), 15.0, 11.0))
    fourth = ellipsoid(x, y, z, (0.0, 29.0, -38.0), (6.0, 4.5 * scale, 9.0))
    return np.maximum(np.maximum(lateral, third), fourth)


def deep_grey(place: np.ndarray) -> np.ndarray:
    """Depth in mm below the surfaces of caudate, putamen, thalamus and hippocampus."""
    x, y, z = np.abs(place[0]), place[1], place[2]
    caudate = tube(x, y, z, ((13.0, -26.0, 8.0, 6.5), (15.0, -12.0, 17.0, 4.5), (20.0, 14.0, 22.0, 2.0)))
    putamen = ellipsoid(x - 0.22 * (y + 4.0), y, z, (26.0, -4.0, 2.0), (6.5, 18.0, 11.0))
    thalamus = ellipsoid(x - 0.3 * (y - 8.0), y, z, (11.5, 10.0, 6.0), (8.5, 15.0, 9.5))
    hippocampus = tube(x, y, z, ((23.0, -6.0, -21.0, 5.5), (28.0, 14.0, -17.0, 4.0), (24.0, 28.0, -4.0, 2.5)))
    return np.maximum(np.maximum(caudate, putamen), np.maximum(thalamus, hippocampus))


def callosum(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth below the upper rim of the corpus callosum's arch in the midplane, and depth inside its white bridge."""
    x, y, z = np.abs(place[0]), place[1], place[2]
    arch = ellipsoid(np.zeros_like(x), y * (1 - 0.012 * np.minimum(x, 25)), z, (0.0, 2.0, 5.0), (1e3, 41.0, 26.0))
    bridge = np.minimum(np.minimum(arch, 6.5 - arch), np.minimum(16.0 - x, z + 2.0))
    return arch, bridge


def clefts(place: np.ndarray, width_mm: float) -> np.ndarray:
    """Distance in mm to the interhemispheric and Sylvian fissures and the insular cistern (negative inside)."""
    x, y, z = np.abs(place[0]), place[1], place[2]
    arch, _ = callosum(place)
    midplane = np.maximum(np.maximum(x - width_mm, arch), -10.0 - z - np.maximum(-22.0 - y, 0))
    roof = -9.0 + 0.33 * (y + 20.0) - 0.012 * (x - 40.0) ** 2
    sylvian = np.maximum(np.abs(z - roof) - 1.2 * width_mm, np.maximum(36.0 - x, np.abs(y + 3.0) - 36.0))
    wall = np.abs(x - 37.0 + 0.012 * (y + 4.0) ** 2) - width_mm
    insula = np.maximum(wall, np.hypot((z - roof) * 1.7, y + 4.0) - 23.0)
    return np.minimum(midplane, np.minimum(sylvian, insula))


@dataclass(frozen=True)
class Anatomy:
    """Smooth fields on the lattice [d, h, w], depths in mm, positive inside."""

    brain: np.ndarray
    cortex: np.ndarray
    sheet: np.ndarray
    fold: np.ndarray
    callosum: np.ndarray
    cerebellum: np.ndarray
    folia: np.ndarray
    brainstem: np.ndarray
    ventricles: np.ndarray
    deep_grey: np.ndarray
    midline: np.ndarray


def grow(skull_place: np.ndarray, place: np.ndarray, build: Build, seed: int) -> Anatomy:
    """All fields of one head.

    Args:
        skull_place: Places of the lattice points in the average head, by the skull [3, d, h, w].
        place: The same after a mass has pushed the brain inside the skull [3, d, h, w].
        build: The head.
        seed: The patient's seed.

    Returns:
        The fields.
    """
    from scipy import ndimage

    rng = generator(seed, "folding")
    hull, hind, stem = cerebrum(skull_place), cerebellum(skull_place), brainstem(place)
    inside = ndimage.distance_transform_edt(hull > 0, sampling=LATTICE_MM).astype(np.float32)
    cortex = np.maximum(hull, inside - 0.7 * LATTICE_MM) - build.sulcus_mm
    wavy = place + np.float32(2.2) * np.stack([waves(place, 32.0, rng, 12) * w for w in (0.5, 1.0, 1.3)])
    cortex = np.minimum(cortex, clefts(wavy, 0.6 + 0.4 * build.sulcus_mm))
    sheet, fold = _fold(place, cortex, build, rng)
    whole = blend(blend(hull, hind, 12.0), brainstem(skull_place), 8.0)
    brain = whole + np.float32(build.margin_mm) + np.float32(0.6) * waves(skull_place, 24.0, rng, 12)
    folia = _folia(place, rng)
    return Anatomy(
        brain=brain,
        cortex=cortex,
        sheet=sheet,
        fold=fold,
        callosum=callosum(wavy)[1],
        cerebellum=hind - np.float32(0.6),
        folia=folia,
        brainstem=stem,
        ventricles=ventricles(place, build.ventricle),
        deep_grey=deep_grey(place),
        midline=place[0],
    )


def tissue_weights(anatomy: Anatomy, source: Grid, target: Grid, build: Build, effaced: np.ndarray) -> np.ndarray:
    """Partial volumes of the tissues on the image grid.

    Args:
        anatomy: Fields on `source`.
        source: The lattice.
        target: The image grid (evenly spaced).
        build: The head.
        effaced: How far a mass has closed the sulci, 0 to 1, on `target` [D, H, W].

    Returns:
        Weights that sum to 1, float32 [T, D, H, W], T as in `TISSUES`.
    """
    voxel = target.spacing_mm
    fields = {n: upsample(getattr(anatomy, n), source, target) for n in Anatomy.__dataclass_fields__ if n != "brain"}
    pial = pial_distance(fields["cortex"], fields["sheet"], fields["fold"], build.sulcus_mm * (1 - effaced))
    weights = np.zeros((len(TISSUES), *pial.shape), dtype=np.float32)
    weights[0] = 1

    def paint(tissue: str, alpha: np.ndarray) -> None:
        np.multiply(weights, 1 - alpha, out=weights)
        weights[TISSUES.index(tissue)] += alpha

    paint("gm", share(pial, voxel))
    paint("wm", share(pial - np.float32(build.cortex_mm), voxel + 0.6))
    paint("wm", share(fields["callosum"], voxel))
    paint("deep", share(fields["deep_grey"], voxel + 1.0) * (fields["cortex"] > 2))
    hind, leaf = fields["cerebellum"], np.abs(fields["folia"])
    paint("gm", share(np.minimum(hind, leaf - 0.25 + 0.08 * hind), voxel))
    paint("wm", share(np.minimum(hind - 6.0, np.maximum(leaf - 1.2, hind - 13.0)), voxel + 0.5))
    paint("wm", share(fields["brainstem"], voxel) * np.float32(0.75))
    paint("csf", share(fields["ventricles"], voxel))
    return weights


def pial_distance(cortex: np.ndarray, sheet: np.ndarray, fold: np.ndarray, sulcus_mm: np.ndarray) -> np.ndarray:
    """Distance in mm below the folded surface: the smooth depth, cut by sulci that taper to their bottoms."""
    taper = np.clip(1 - cortex / np.maximum(fold, 1), 0, 1)
    wall = np.abs(sheet) - sulcus_mm * (np.float32(0.3) + np.float32(1.3) * taper)
    return np.minimum(cortex, np.maximum(wall, cortex - fold))


def _fold(place: np.ndarray, cortex: np.ndarray, build: Build, rng: np.random.Generator) -> tuple:
    """Sulci: signed distance to their sheets and how deep they reach, both [d, h, w] in mm.

    The zero set of band-limited noise is a labyrinth; carried inwards along the normal of the envelope, it becomes
    sheets that stand on the surface, as sulci do.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(cortex, 1.5)
    normal = np.stack([-np.gradient(smooth, LATTICE_MM, axis=axis) for axis in (2, 1, 0)])
    normal /= np.sqrt((normal**2).sum(0)) + np.float32(1e-3)
    foot = place + normal * np.clip(cortex, 0, 30)
    foot += np.float32(2.0) * np.stack([waves(place, 26.0, rng, 10) for _ in range(3)])
    wavelength = 2 * build.gyrus_mm
    noise = waves(foot, wavelength, rng, 32)
    slope = np.sqrt(sum(g**2 for g in np.gradient(noise, LATTICE_MM)))
    rate = np.float32(2 * np.pi / wavelength)
    sheet = np.arctan2(noise, slope / rate) / rate
    fold = np.float32(12.0) + np.float32(5.0) * waves(foot, 45.0, rng, 12)
    return sheet, np.clip(fold, 2, 22)


def _folia(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Signed distance in mm to the fissures between cerebellar folia, which fan out from the fourth ventricle."""
    fan = np.arctan2(place[2] + 40.0, place[1] - 22.0)
    phase = 22.0 * fan + np.float32(0.9) * waves(place, 22.0, rng, 12)
    return (np.float32(2.2) * np.arcsin(np.sin(phase))).astype(np.float32)


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix of three small angles in radians about x, y and z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z
