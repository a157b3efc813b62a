"""Compartments: volumes that membranes enclose, such as the lumen of a vesicle."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Progress
from cryosam.config import CompartmentConfig, EnclosureSettings
from cryosam.errors import PromptError
from cryosam.masks import InstanceMask, merge_duplicates
from cryosam.missing_wedge import MissingWedge
from cryosam.prompts import spell
from cryosam.structure_query import CompartmentKind
from cryosam.structure_results import Compartment
from cryosam.structures.binned import Binned, BinnedTomogram
from cryosam.structures.enclosure import Enclosure, enclose
from cryosam.structures.ridges import Ridges, membrane_saliency

__all__ = ["CompartmentFinder", "CompartmentSearch", "Judged", "Membranes"]

_AS_GOOD = 0.95
"""The smallest of several surfaces around a click is the answer if as much of it, almost, was seen as of the best."""

_SURE = 0.8
"""Part of a closed surface, seen, from which no other is looked for: of leaks a third or less is seen."""

_LEAST_VOTES = 0.02
"""Part of a sphere's area whose normals must meet in a place for it to be looked at."""


@dataclass(frozen=True)
class CompartmentFinder:
    """Finds volumes that are enclosed by membranes.

    The membranes of the whole tomogram are found first. Around a click, the closed surface that follows membranes best
    is looked for; it is closed where the membrane has gaps. The compartment counts only if a membrane was measured
    over most of the surface: around a click in the open there is none, and the answer is an error that says so.
    Others like it are looked for where the normals of membranes meet.

    Parameters
    ----------
    settings
        How; see there.
    """

    settings: CompartmentConfig = field(default_factory=CompartmentConfig)

    def find(
        self, tomogram: BinnedTomogram, clicks: Points, progress: Progress | None = None
    ) -> tuple[Compartment, ...]:
        """Find the clicked compartments and all others like them; see `cryosam.structures.protocol.StructureFinder`.

        The clicked ones come first, the others by score. An error says if no membrane encloses a click.
        """
        search = CompartmentSearch.of(self.settings, tomogram, progress)
        clicked = [search.around_click(at) for at in clicks]
        return search.compartments(clicked, search.others(clicked, progress))

    def describe(self, tomogram: BinnedTomogram, clicks: Points, progress: Progress | None = None) -> CompartmentKind:
        """Measure the clicked compartments; see `cryosam.structures.protocol.StructureFinder`."""
        search = CompartmentSearch.of(self.settings, tomogram, progress)
        return search.kind_of([search.around_click(at) for at in clicks])

    def search(
        self, tomogram: BinnedTomogram, kind: CompartmentKind, progress: Progress | None = None
    ) -> tuple[Compartment, ...]:
        """Find every compartment of the size of a kind that is as closed; see `StructureFinder`."""
        search = CompartmentSearch.of(self.settings, tomogram, progress)
        return search.compartments([], search.others([], progress, kind)) if search.has_membranes else ()


@dataclass(frozen=True, eq=False)
class Judged:
    """A closed surface with the fractions of it where a membrane was measured.

    Parameters
    ----------
    enclosure
        The surface.
    score, seen
        Fraction of what is in the tomogram, and of that part of it which the missing wedge lets be seen.
    within
        Fraction of the surface that is in the tomogram.
    one_sidedness
        Length of the difference of two mean normals: of what was measured, and of what could have been seen. It is
        near 0 if the membrane was seen on all sides, 0.5 if it was seen on half of a sphere, as of a bulging sheet.
    """

    enclosure: Enclosure
    score: float
    seen: float
    within: float
    one_sidedness: float

    @classmethod
    def of(cls, enclosure: Enclosure, wedge: MissingWedge) -> "Judged":
        """Measure the fractions."""
        normals, areas = enclosure.normals_and_areas()
        visible = wedge.is_sampled(*normals.T)
        measured, within = areas * enclosure.measured, areas * enclosure.within
        seen, could_be = measured * visible, within * visible
        middles = [(each @ normals) / max(each.sum(), 1e-9) for each in (seen, could_be)]
        return cls(
            enclosure,
            float(measured.sum() / max(within.sum(), 1e-9)),
            float(seen.sum() / max(could_be.sum(), 1e-9)),
            float(within.sum() / max(areas.sum(), 1e-9)),
            float(np.linalg.norm(middles[0] - middles[1])),
        )


@dataclass(frozen=True, eq=False)
class Membranes:
    """The membranes of a binned volume, and the closed surfaces that they form.

    Parameters
    ----------
    settings
        What counts as closed.
    ridges
        What counts as membrane, in voxels of the binned volume.
    voxel_size_angstrom
        Edge of its voxels.
    wedge
        The missing wedge.
    """

    settings: CompartmentConfig
    ridges: Ridges
    voxel_size_angstrom: float
    wedge: MissingWedge

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.ridges.points)

    def enclose(self, point: Float[np.ndarray, " 3"], limits: EnclosureSettings) -> Judged:
        """The closed surface around a point, z, y, x in binned voxels."""
        return Judged.of(enclose(self.ridges, self.voxel_size_angstrom, point, limits, tree=self._tree), self.wedge)

    def is_closed(self, judged: Judged) -> bool:
        """Whether enough of the surface was measured, on all sides, and lies in the tomogram."""
        return (
            judged.seen >= self.settings.closed
            and judged.within >= self.settings.inside
            and judged.one_sidedness <= self.settings.one_sided
        )

    def lacks(self, judged: Judged) -> str:
        """Why a surface is not closed, as the end of a sentence."""
        if judged.seen < self.settings.closed:
            needed = f"{self.settings.closed:.0%}"
            return f"membrane was seen over {judged.seen:.0%} of a closed surface, and {needed} are needed"
        if judged.within < self.settings.inside:
            return (
                f"only {judged.within:.0%} of a closed surface lie in the tomogram, and {self.settings.inside:.0%} are "
                "needed"
            )
        return f"membrane was seen over {judged.seen:.0%} of a closed surface, but on one side of the click only"

    def around(self, point: Float[np.ndarray, " 3"]) -> Judged:
        """The smallest closed surface around a point, z, y, x in binned voxels; the best one if none is closed.

        From near a wall, and beside something else, a surface may be closed that takes in more than the compartment:
        so if not nearly all of it was seen, the surfaces from points farther away are compared.
        """
        tried: list[Judged] = []
        for start in self._starts(point):
            tried += [each for each in self._around(start) if each.enclosure.holds(point)]
            if any(self.is_closed(each) and each.seen >= _SURE for each in tried):
                break
        closed = [each for each in tried if self.is_closed(each)]
        if not closed:
            return max(tried, key=lambda each: each.seen) if tried else replace(self._around(point)[0], seen=0.0)
        good = _AS_GOOD * max(each.seen for each in closed)
        return min((each for each in closed if each.seen >= good), key=lambda each: each.enclosure.radius)

    def _around(self, start: Float[np.ndarray, " 3"]) -> list[Judged]:
        """The surfaces of several sizes around a start, from small to large."""
        limits = self.settings.enclosure
        sizes = limits.most_angstrom / 1.6 ** np.arange(3, -1, -1)
        return [self.enclose(start, replace(limits, most_angstrom=float(size))) for size in sizes]

    def _starts(self, point: Float[np.ndarray, " 3"]) -> list[Float[np.ndarray, " 3"]]:
        """The point, and points farther away from the nearest membrane: from near a wall a surface is hard to see."""
        _, nearest = self._tree.query(point)
        away = point - self.ridges.points[int(nearest)]
        away /= max(float(np.linalg.norm(away)), 1e-6)
        starts = [point]
        for angstrom in (100, 200, 400, 800):
            start = point + away * angstrom / self.voxel_size_angstrom
            if ((start >= 0) & (start <= np.array(self.ridges.shape) - 1)).all():
                starts.append(start)
        return starts


@dataclass(frozen=True, eq=False)
class CompartmentSearch:
    """A tomogram with its membranes; made once, it answers for any number of clicks.

    Parameters
    ----------
    settings
        Of the search.
    tomogram, binned
        The tomogram, and how membranes were looked for in it.
    membranes
        Its membranes, in voxels of the binned tomogram.
    """

    settings: CompartmentConfig
    tomogram: BinnedTomogram
    binned: Binned
    membranes: Membranes

    @classmethod
    def of(
        cls, settings: CompartmentConfig, tomogram: BinnedTomogram, progress: Progress | None = None
    ) -> "CompartmentSearch":
        """Find the membranes of a tomogram."""
        binned = tomogram.at(settings.voxel_size_angstrom)
        ridges = membrane_saliency(
            binned, settings.ridges, progress=lambda _, done, total: progress and progress("membranes", done, total)
        )
        ridges = ridges.above(ridges.noise)
        return cls(settings, tomogram, binned, Membranes(settings, ridges, binned.voxel_size_angstrom, tomogram.wedge))

    @property
    def has_membranes(self) -> bool:
        """Whether there is any membrane."""
        return len(self.membranes.ridges.points) > 0

    def around_click(self, click: Float[np.ndarray, " 3"]) -> Judged:
        """The smallest closed surface around a click, z, y, x in voxels of the tomogram.

        Raises
        ------
        PromptError
            If there is none.
        """
        if not self.has_membranes:
            raise PromptError("no membrane was found in the tomogram, so that nothing is enclosed by one")
        found = self.membranes.around(self.binned.from_voxels(click[None])[0])
        if not self.membranes.is_closed(found):
            raise PromptError(
                f"open compartment: no membrane encloses the click at {spell(click)}; around it "
                f"{self.membranes.lacks(found)}; click into a vesicle or an organelle that is in the tomogram, or on "
                "its membrane with --structure membrane"
            )
        return found

    def kind_of(self, clicked: list[Judged]) -> CompartmentKind:
        """What tells the kind of the clicked ones."""
        radii = [each.enclosure.radius * self.binned.voxel_size_angstrom for each in clicked]
        seen = min(each.seen for each in clicked)
        return CompartmentKind(least_radius_angstrom=min(radii), most_radius_angstrom=max(radii), seen=seen)

    def others(
        self, clicked: list[Judged], progress: Progress | None = None, kind: CompartmentKind | None = None
    ) -> list[Judged]:
        """Compartments like the clicked ones, or of a kind, best first."""
        kind = kind or self.kind_of(clicked)
        ratio, size = self.settings.size_ratio, self.binned.voxel_size_angstrom
        least, most = kind.least_radius_angstrom / size / ratio, kind.most_radius_angstrom / size * ratio
        enough = self.settings.alike * kind.seen
        found: list[Judged] = []
        n_failed = 0
        places, distances = _where_normals_meet(self.membranes.ridges, least, most)
        places = places[: self.settings.most_candidates]
        for done, (place, distance) in enumerate(zip(places, distances * size, strict=False)):
            if progress:
                progress("compartments", done, len(places))
            if any(each.enclosure.holds(place) for each in clicked + found):
                continue
            limits = replace(self.settings.enclosure, least_angstrom=distance / 2, most_angstrom=distance * 1.5)
            judged = self.membranes.enclose(place, limits)
            is_like = judged.seen >= enough and least <= judged.enclosure.radius <= most
            if is_like and self.membranes.is_closed(judged):
                found.append(judged)
                n_failed = 0
            else:
                n_failed += 1
            if n_failed >= self.settings.patience:
                break
        if progress:
            progress("compartments", len(places), len(places))
        return sorted(found, key=lambda each: -each.score)

    def compartments(self, clicked: list[Judged], others: list[Judged]) -> tuple[Compartment, ...]:
        """Their lumina in the tomogram; one that overlaps a better one is dropped."""
        found = [self.compartment(each) for each in clicked + others]
        kept = merge_duplicates([each.mask for each in found], max_overlap=0.3)
        return tuple(found[int(k)] for k in kept if found[int(k)].mask.n_voxels)

    def compartment(self, judged: Judged) -> Compartment:
        """The lumen within a closed surface: without the inner half of the membrane."""
        lumen = judged.enclosure.moved_inwards(_half_thickness(self.binned, judged.enclosure))
        mask = self._in_tomogram(lumen)
        return Compartment(
            mask,
            min(judged.score, 1.0),
            mask.n_voxels * self.tomogram.voxel_size_angstrom**3,
            is_cut=not bool(lumen.within.all()),
        )

    def _in_tomogram(self, enclosure: Enclosure) -> InstanceMask:
        """The voxels of the tomogram inside a surface."""
        origin, depth = enclosure.depth(self.binned.data.shape)
        factor = self.binned.factor
        last = np.array(origin) + depth.shape == np.array(self.binned.data.shape)  # voxels that filled no cube
        low = np.floor(np.array(origin) * factor).astype(int)
        end = np.ceil((np.array(origin) + depth.shape) * factor).astype(int)
        high = np.where(last, self.tomogram.shape, np.minimum(end, self.tomogram.shape))
        axes = [(np.arange(a, b) - (factor - 1) / 2) / factor - o for a, b, o in zip(low, high, origin, strict=True)]
        data = np.empty([len(each) for each in axes], dtype=bool)
        for k, z in enumerate(axes[0]):  # plane by plane: the box may be as large as the tomogram
            plane = np.stack([each.ravel() for each in np.meshgrid([z], axes[1], axes[2], indexing="ij")])
            inside = ndimage.map_coordinates(depth, plane, order=1, mode="nearest") > 0
            data[k] = inside.reshape(data.shape[1:])
        z, y, x = (int(c) for c in low)
        return InstanceMask.crop(data, (z, y, x))


def _half_thickness(binned: Binned, enclosure: Enclosure) -> float:
    """Distance in voxels from the membrane's middle to its inner edge, from the mean profile across the membrane.

    The edge is where the profile has fallen half way from the innermost maximum to the lumen.
    """
    size = binned.voxel_size_angstrom
    normals, _ = enclosure.normals_and_areas()
    where = enclosure.measured
    inwards = np.arange(0.0, 151.0, 5.0)  # angstrom
    points = enclosure.points[where][:, None] - normals[where][:, None] * (inwards / size)[None, :, None]
    profile = ndimage.map_coordinates(binned.data, points.reshape(-1, 3).T, order=1, mode="nearest")
    profile = np.median(profile.reshape(-1, len(inwards)), axis=0)
    lumen = float(np.median(profile[inwards >= 90]))
    peak = int(profile[inwards <= 40].argmax())
    below = np.flatnonzero(profile[peak:] < (profile[peak] + lumen) / 2)
    return float(inwards[peak + below[0]] if len(below) else 40.0) / size


def _where_normals_meet(ridges: Ridges, least: float, most: float) -> tuple[Points, Float[np.ndarray, " k"]]:
    """Points at which the normals of membranes meet, and the distances, the most complete spheres first.

    Each ridge votes for the two points at each distance along its normal; votes count as the part of the sphere's area
    that a ridge covers.
    """
    full = ridges.low if np.isfinite(ridges.low) else float(ridges.saliency.max())
    weight = np.minimum(ridges.saliency / max(full, 1e-9), 1).astype(np.float32)
    step = max(least / 4, 2.0)
    shape = [int(n / step) + 1 for n in ridges.shape]
    best, distance = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    for radius in np.geomspace(least, most, 9):
        votes = np.zeros(shape, dtype=np.float32)
        for side in (-radius, radius):
            at = np.round((ridges.points + side * ridges.normals) / step).astype(int)
            inside = ((at >= 0) & (at < shape)).all(axis=1)
            np.add.at(votes, tuple(at[inside].T), weight[inside] / np.float32(4 * np.pi * radius**2))
        width = max(0.2 * radius / step, 0.5)
        # a Gaussian's peak is raised to 1: what meets within its width counts in full
        smooth = ndimage.gaussian_filter(votes, width, mode="constant") * (np.sqrt(2 * np.pi) * width) ** 3
        distance[smooth > best] = radius
        np.maximum(best, smooth, out=best)
    size = max(2 * int(0.5 * least / step) + 1, 3)
    is_peak = (best == ndimage.maximum_filter(best, size, mode="constant")) & (best > _LEAST_VOTES)
    peaks = np.argwhere(is_peak)
    peaks = peaks[np.argsort(-best[tuple(peaks.T)], kind="stable")]
    return np.asarray(peaks * step, dtype=float), distance[tuple(peaks.T)].astype(float)
