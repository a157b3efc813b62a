"""The axis at a click and the radial profile around it."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage, special

from cryosam.arrays import Images, Points, Scores, Volume
from cryosam.geometry import half_sphere, normals_of
from cryosam.structures.cross_sections import PlaneImaging, cut_across, rings

__all__ = ["Axis", "RadialProfile", "Vector", "axis_at", "cone"]

Vector = Float[np.ndarray, " 3"]

_RIDGE = 0.05  # of the mean power of a ring: keeps the profile smooth where the wedge leaves rings undetermined
_AXIS_AREA = 0.25  # of the innermost voxel, where a ring at a distance of r voxels has r + 0.25
_CANDIDATES = 3  # axes that are looked at over twice the length
_APART = np.cos(np.radians(20))  # candidates at a smaller angle are the same
_PLACES = 5  # places of an image, best first, that may be refused before the direction is


@dataclass(frozen=True, eq=False)
class RadialProfile:
    """Density around an axis as a function of the distance from it.

    Parameters
    ----------
    density
        ``(n,)`` at distances of 0, 1, 2, ... voxels.
    """

    density: Scores

    @property
    def _steady(self) -> Scores:
        """The density; on the axis itself, where one voxel tells it, the mean over the innermost two rings."""
        steady = self.density.astype(float)
        steady[:2] = np.average(steady[:2], weights=np.arange(len(steady[:2])) + _AXIS_AREA)
        return steady

    @property
    def wall(self) -> int:
        """Distance of the ring with the most energy, in voxels; 0 or 1 for something solid."""
        area = np.arange(len(self.density)) + _AXIS_AREA
        return int(np.argmax(area * np.maximum(self.density, 0) ** 2))

    @property
    def is_filament(self) -> bool:
        """Whether this is the profile of something dense that ends, and not of the fringes of what is beside it.

        There is more energy above than below the background, the brightest ring stands out at least as much as the
        darkest one within the outer radius, and beyond the brightest one the density falls to half of it.
        """
        steady = self._steady
        energy = (np.arange(len(steady)) + _AXIS_AREA) * self.density * np.abs(self.density)
        bright, inside = float(steady.max()), steady[: int(np.ceil(self.outer_radius)) + 1]
        ends = bool((steady[self.wall :] < steady[self.wall] / 2).any())
        return bool(energy.sum() > 0) and ends and bright >= -float(inside.min())

    @property
    def outer_radius(self) -> float:
        """Distance in voxels at which the density has fallen to half of that of the wall."""
        wall, half = self.wall, self.density[self.wall] / 2
        below = np.flatnonzero(self.density[wall:] < half)
        if not len(below) or half <= 0:
            return float(len(self.density) - 1)
        after = wall + int(below[0])
        before = self.density[after - 1]
        return float(after - 1 + (before - half) / max(before - self.density[after], 1e-9))

    def tapered(self, margin: float) -> "RadialProfile":
        """The profile up to ``margin`` voxels beyond the outer radius, where it ends softly."""
        distance = np.arange(len(self.density)) - self.outer_radius
        return RadialProfile(self.density * np.clip((margin - distance) / max(margin, 1) * 2, 0, 1))

    def spectrum(self, frequencies: Scores) -> Scores:
        """Hankel transform: the spectrum of the cross-section at frequencies in cycles per voxel."""
        radius = np.linspace(0, len(self.density), 8 * len(self.density))
        density = np.interp(radius, np.arange(len(self.density)), self.density, right=0.0)
        waves = special.j0(2 * np.pi * frequencies[:, None] * radius[None])
        return np.asarray(2 * np.pi * (waves * density * radius).sum(axis=1) * (radius[1] - radius[0]), dtype=float)


@dataclass(frozen=True, eq=False)
class Axis:
    """A straight piece of a filament.

    Parameters
    ----------
    centre, tangent
        Point on the axis, z, y, x in voxels of the volume that was searched, and unit vector.
    profile
        Radial profile, in units of the noise of the volume.
    evidence
        How much of the squared deviation around it the profile explains, in units of white noise.
    explained
        The same as a fraction of what there is within the outer radius.
    """

    centre: Vector
    tangent: Vector
    profile: RadialProfile
    evidence: float
    explained: float


def cone(tangent: Vector, angles: Float[np.ndarray, " k"], n: int) -> Points:
    """The tangent, and unit vectors at each angle (radians) around it, ``n`` for the first, ``2 n`` for the second."""
    u, v = (each[0] for each in normals_of(tangent[None]))
    rings = [tangent[None]]
    for ring, angle in enumerate(angles, start=1):
        turn = 2 * np.pi * np.arange(ring * n)[:, None] / (ring * n)
        rings.append(np.cos(angle) * tangent + np.sin(angle) * (np.cos(turn) * u + np.sin(turn) * v))
    return np.concatenate(rings)


def axis_at(
    white: Volume,
    imaging: PlaneImaging,
    click: Vector,
    *,
    reach: int,
    most_offset: int,
    offset_scale: float,
    n_directions: int,
) -> Axis | None:
    """The axis near a click around which the tomogram is most like something round.

    The sum along each direction is an image. At each place in it, a radial profile is fitted, with each ring as the
    wedge and the whitening leave it. The best places and directions are looked at again over twice the length: what
    is as long as a filament then stands out more, and its direction is known better.

    Parameters
    ----------
    white
        Whitened volume.
    imaging
        Of the whitened volume.
    click
        z, y, x in its voxels; on the filament's wall, or inside of it.
    reach
        Largest radius of the profile, voxels.
    most_offset, offset_scale
        Largest distance of the axis from the click, and distance at which it costs one unit of evidence, voxels.
    n_directions
        Number of directions that are compared; each of the best is refined.

    Returns
    -------
    axis
        None if there is nothing round and dense whose radius reaches the click.
    """
    scan = _Scan(white, imaging, click, reach, most_offset, offset_scale)
    candidates = scan.best(half_sphere(n_directions), _CANDIDATES)
    long = replace(scan, imaging=replace(imaging, half_length=2 * imaging.half_length))
    spread = np.sqrt(2 * np.pi / n_directions)
    refined: list[tuple[float, Axis]] = []
    for _, axis in candidates:
        for width in (spread, spread / 3):
            found = long.best(cone(axis.tangent, np.array([width, 2 * width]) / 2, 6), 1)
            axis = found[0][1] if found else axis
        refined += found
    return max(refined, key=lambda pair: pair[0])[1] if refined else None


@dataclass(frozen=True, eq=False)
class _Scan:
    """Places and directions around a click."""

    white: Volume
    imaging: PlaneImaging
    click: Vector
    reach: int
    most_offset: int
    offset_scale: float

    def best(self, tangents: Points, n: int) -> list[tuple[float, Axis]]:
        """Up to ``n`` axes of different direction, by their evidence less what the distance from the click costs."""
        found = [axis for tangent in tangents for axis in self._along(tangent)]
        chosen: list[tuple[float, Axis]] = []
        for value, axis in sorted(found, key=lambda pair: -pair[0]):
            if len(chosen) < n and all(abs(float(axis.tangent @ other.tangent)) < _APART for _, other in chosen):
                chosen.append((value, axis))
        return chosen

    def _along(self, tangent: Vector) -> list[tuple[float, Axis]]:
        """What is acceptable along one direction, each with its value."""
        wide = self.reach + self.most_offset
        image = cut_across(self.white, self.click[None], tangent[None], wide, self.imaging.half_length)[0]
        shapes = self.imaging.image(rings(self.reach), tangent)
        evidence = _explained(image, shapes, self.most_offset)
        offsets = np.arange(-self.most_offset, self.most_offset + 1.0)
        distance = np.hypot(offsets[:, None], offsets[None, :])
        likely = np.where(distance <= self.most_offset, evidence - (distance / self.offset_scale) ** 2, -np.inf)
        u, v = (each[0] for each in normals_of(tangent[None]))
        n_summed = 2 * self.imaging.half_length + 1
        solve = _solver(shapes)
        radius = np.hypot(*(np.indices((2 * self.reach + 1,) * 2) - self.reach))
        found = []
        peaks = np.argwhere((ndimage.maximum_filter(likely, 3) == likely) & np.isfinite(likely))
        for i, j in sorted(peaks.tolist(), key=lambda place: -likely[place[0], place[1]])[:_PLACES]:
            part = image[i : i + 2 * self.reach + 1, j : j + 2 * self.reach + 1]
            weights = solve @ part.ravel()
            profile = RadialProfile(weights / np.sqrt(n_summed))
            outer = profile.outer_radius
            if profile.is_filament and distance[i, j] <= outer + 1:
                near = radius <= outer + 1
                rest = (part - np.tensordot(weights, shapes, 1))[near]
                explained = 1 - float((rest**2).sum() / max((part[near] ** 2).sum(), 1e-9))
                value = float(evidence[i, j]) * explained - (distance[i, j] / self.offset_scale) ** 2
                centre = self.click + u * offsets[i] + v * offsets[j]
                found.append((value, Axis(centre, tangent, profile, float(evidence[i, j]), explained)))
        return found


def _explained(image: Float[np.ndarray, "height width"], shapes: Images, most_offset: int) -> Float[np.ndarray, "a b"]:
    """Squared length of the projection onto the span of the shapes, for each offset."""
    basis, _ = np.linalg.qr(shapes.reshape(len(shapes), -1).T)
    basis = basis.T.reshape(shapes.shape)
    size, n = image.shape, 2 * most_offset + 1
    spectra = np.fft.rfft2(image)[None] * np.conj(np.fft.rfft2(basis, size))
    return np.asarray((np.fft.irfft2(spectra, size)[:, :n, :n] ** 2).sum(axis=0), dtype=float)


def _solver(shapes: Images) -> Float[np.ndarray, "n pixels"]:
    """Matrix that gives the least-squares weights of the shapes in an image."""
    flat = shapes.reshape(len(shapes), -1)
    normal = flat @ flat.T
    ridge = _RIDGE * np.trace(normal) / len(normal) * np.eye(len(normal))
    return np.asarray(np.linalg.solve(normal + ridge, flat), dtype=float)
