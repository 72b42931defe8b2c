"""Tumour: a glioma in an anatomy - core with rim and necrosis, oedema along white matter, pressure on what is near."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from DABSegCore.labels import ENHANCING, NECROSIS, OEDEMA
from DABSegCore.phantom.anatomy import Anatomy, Build, cerebrum, pial_distance, to_anatomy, ventricles
from DABSegCore.phantom.fields import Grid, blend, generator, upsample, waves

KINDS = {"ring": 0.62, "solid": 0.14, "patchy": 0.16, "non-enhancing": 0.08}
"""How often a core has an enhancing ring, enhances almost throughout, in patches, or not at all."""


@dataclass(frozen=True)
class Focus:
    """One tumour focus; lengths in mm, `centre_mm` (x, y, z) from the brain's centre."""

    kind: str
    centre_mm: tuple[float, float, float]
    radius_mm: float
    rim_mm: float
    oedema_mm: float
    pressure: float
    stretch: tuple[float, float, float]
    name: str


def draw_foci(seed: int, build: Build) -> tuple[Focus, ...]:
    """Draw the foci of one patient: one, or in one of eight patients a second, smaller one in the same hemisphere."""
    rng = generator(seed, "tumour")
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    small, large = (12.0, 30.0) if kind == "non-enhancing" else (7.0, 29.0)
    radius = float(small + (large - small) * rng.beta(1.9, 1.9))
    first = Focus(
        kind=kind,
        centre_mm=_site(seed, build, rng, radius, None),
        radius_mm=radius,
        rim_mm=float(rng.uniform(1.8, 6.0) + 0.12 * radius),
        oedema_mm=float(6.0 + 34.0 * rng.beta(1.6, 1.8)),
        pressure=float(rng.uniform(0.15, 0.8)),
        stretch=tuple(float(s) for s in np.exp(rng.normal(0, 0.13, 3))),
        name="first",
    )
    if rng.random() > 0.125:
        return (first,)
    site = _site(seed, build, rng, 8.0, first)
    second = replace(first, centre_mm=site, radius_mm=float(rng.uniform(4.0, 9.0)), name="second")
    return first, replace(second, rim_mm=0.7 * first.rim_mm, oedema_mm=0.6 * first.oedema_mm, pressure=0.2)


def displace(points: np.ndarray, room_mm: np.ndarray, foci: tuple[Focus, ...]) -> np.ndarray:
    """Where tissue now at `points` was before the tumour grew.

    A core that adds volume pushes shells outwards, r_before^3 = r^3 - pressure * radius^3, less with distance and
    not at all at the skull; necrosis and infiltration replace tissue, hence pressure < 1.

    Args:
        points: Coordinates in mm [3, ...].
        room_mm: Depth below the skull [...].
        foci: The tumour.

    Returns:
        Coordinates in mm [3, ...].
    """
    before = points.copy()
    room = np.clip(room_mm / 20.0, 0, 1)
    for focus in foci:
        offset = points - _column(focus.centre_mm, points.ndim)
        distance = np.sqrt((offset**2).sum(0)) + np.float32(1e-3)
        grown = focus.pressure * (1.25 * focus.radius_mm + 0.15 * focus.oedema_mm) ** 3
        reach = np.exp(-((distance / (3.2 * focus.radius_mm + 15.0)) ** 2))
        was = np.cbrt(np.maximum(distance**3 - grown * reach, (0.25 * distance) ** 3))
        before += offset * (was / distance - 1) * room
    return before.astype(np.float32)


@dataclass(frozen=True)
class TumourFields:
    """Smooth fields on the lattice [d, h, w]: depths in mm, positive inside; `rim` is the local rim thickness."""

    core: np.ndarray
    rim: np.ndarray
    oedema: np.ndarray


def grow_tumour(points: np.ndarray, anatomy: Anatomy, build: Build, foci: tuple[Focus, ...], seed: int) -> TumourFields:
    """Core, rim and oedema of all foci.

    Oedema reaches as far as its medium lets it: far in white matter, little in grey matter, not through ventricles,
    and into the other hemisphere only by way of the corpus callosum.

    Args:
        points: Lattice coordinates in mm [3, d, h, w].
        anatomy: The brain around it, already displaced.
        build: The head.
        foci: The tumour.
        seed: The patient's seed.

    Returns:
        The fields.
    """
    from scipy import ndimage

    pial = pial_distance(anatomy.cortex, anatomy.sheet, anatomy.fold, build.sulcus_mm)
    white = np.clip((pial - build.cortex_mm + 1.0) / 2.5, 0, 1) * np.clip(1 - anatomy.deep_grey / 3.0, 0.2, 1)
    white = ndimage.gaussian_filter(np.where(anatomy.cerebellum > 0, 0, white).astype(np.float32), 0.7)
    fields = None
    for focus in foci:
        rng = generator(seed, focus.name)
        core = _core(points, focus, rng)
        core = np.minimum(core, np.minimum(anatomy.brain - 2.0, 1.0 - anatomy.cerebellum))
        rim = _rim(points, focus, rng)
        side = np.sign(focus.centre_mm[0]) * anatomy.midline
        crossing = np.where(anatomy.callosum > -3, 0.75, 0.0).astype(np.float32)
        passage = np.clip((side + 1.0) / 2.0, crossing, 1)
        core = np.minimum(core, np.where(anatomy.callosum > -4, 50.0, side - 1.0))
        finger = 1 + 0.48 * waves(points, 34.0, rng, 16) + 0.3 * waves(points, 13.0, rng, 16)
        reach = focus.oedema_mm * np.clip(finger, 0.1, 2.2) * passage * (0.18 + 0.82 * white)
        oedema = np.minimum(core + reach, -0.5 - anatomy.ventricles)
        one = TumourFields(core.astype(np.float32), rim.astype(np.float32), oedema.astype(np.float32))
        fields = one if fields is None else _merge(fields, one)
    return fields


def label_of(tumour: TumourFields, tissue: np.ndarray) -> np.ndarray:
    """Exact labels on the image grid; oedema that has lost touch with every core does not count.

    Args:
        tumour: Fields on the image grid.
        tissue: Share of each voxel that is brain tissue, not fluid or outside [D, H, W].

    Returns:
        Canonical labels, uint8 [D, H, W].
    """
    from scipy import ndimage

    inside = tumour.core > 0
    wet = ndimage.binary_opening((tumour.oedema > 0) & (tissue > 0.5) | inside) | inside
    parts, _ = ndimage.label(wet)
    touching = np.zeros(parts.max() + 1, dtype=bool)
    touching[parts[inside]] = True
    label = np.where(touching[parts] & wet, OEDEMA, 0).astype(np.uint8)
    label[inside] = NECROSIS
    label[inside & (tumour.core < tumour.rim)] = ENHANCING
    return label


def on_grid(fields: TumourFields, source: Grid, target: Grid) -> TumourFields:
    """The same fields on the image grid [D, H, W]."""
    return TumourFields(*(upsample(f, source, target) for f in (fields.core, fields.rim, fields.oedema)))


def effacement(core: np.ndarray, foci: tuple[Focus, ...]) -> np.ndarray:
    """How far pressure has closed the sulci near the core, 0 to 1 [D, H, W]."""
    return np.float32(0.4 + 0.6 * foci[0].pressure) * np.exp(np.minimum(core, 0) / np.float32(14.0))


def _core(points: np.ndarray, focus: Focus, rng: np.random.Generator) -> np.ndarray:
    """Depth in mm below the lobulated surface of the core."""
    x, y, z = points
    radii = tuple(focus.radius_mm * s for s in focus.stretch)
    depth = ellipsoid_at(x, y, z, focus.centre_mm, radii)
    lobes = 0.26 * waves(points, 2.2 * focus.radius_mm, rng, 14) + 0.10 * waves(points, 0.9 * focus.radius_mm, rng, 14)
    return depth + focus.radius_mm * lobes + 0.5 * waves(points, 6.0, rng, 14)


def ellipsoid_at(x: np.ndarray, y: np.ndarray, z: np.ndarray, centre: tuple, radii: tuple) -> np.ndarray:
    """Depth below an ellipsoid, linear in the scaled radius so that it stays smooth in the middle."""
    scaled = sum(((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre, radii, strict=True))
    return float(np.mean(radii)) * (1 - np.sqrt(scaled))


def _rim(points: np.ndarray, focus: Focus, rng: np.random.Generator) -> np.ndarray:
    """Local thickness of the enhancing rim in mm; below 0 the rim is missing there."""
    coarse, fine = waves(points, 26.0, rng, 14), waves(points, 9.0, rng, 16)
    if focus.kind == "non-enhancing":
        return np.full_like(coarse, -1.0)
    if focus.kind == "solid":
        return focus.radius_mm * (0.75 + 0.35 * fine)
    if focus.kind == "patchy":
        return focus.rim_mm * (0.15 + 1.1 * coarse + 0.8 * fine)
    return focus.rim_mm * (1 + 0.45 * coarse + 0.35 * fine)


def _merge(a: TumourFields, b: TumourFields) -> TumourFields:
    """Union of two foci; the rim thickness of the nearer core counts."""
    rim = np.where(a.core > b.core, a.rim, b.rim)
    return TumourFields(blend(a.core, b.core, 2.0), rim, np.maximum(a.oedema, b.oedema))


def _site(seed: int, build: Build, rng: np.random.Generator, radius: float, first: Focus | None) -> tuple:
    """Draw a centre in the cerebrum: away from the midplane, at a depth that suits the radius, near a first focus."""
    for _ in range(400):
        centre = rng.uniform((-60.0, -68.0, -38.0), (60.0, 66.0, 55.0))
        place = to_anatomy(centre.reshape(3, 1).astype(np.float32), build, seed)
        depth, lateral = float(cerebrum(place)[0]), abs(float(place[0, 0]))
        fits = max(8.0, 0.55 * radius) < depth < 36.0 and lateral > 10.0 + 0.35 * radius
        fits = fits and float(ventricles(place, build.ventricle)[0]) < -2.0
        if first is not None:
            gap = float(np.linalg.norm(centre - np.asarray(first.centre_mm)))
            fits = fits and centre[0] * first.centre_mm[0] > 0 and 12.0 < gap - first.radius_mm < 40.0
        if fits:
            return tuple(float(c) for c in centre)
    return (30.0, 0.0, 25.0) if first is None else first.centre_mm


def _column(values: tuple, ndim: int) -> np.ndarray:
    """Three numbers as float32 [3, 1, ...] for arrays of `ndim` dimensions."""
    return np.asarray(values, dtype=np.float32).reshape(3, *[1] * (ndim - 1))
