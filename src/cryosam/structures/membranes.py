"""Membranes: every membrane like the clicked one, as connected sheets, open or closed."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Progress
from cryosam.errors import PromptError
from cryosam.masks import InstanceMask
from cryosam.structure_results import Membrane, Mesh
from cryosam.structures.binned import Binned, BinnedTomogram
from cryosam.structures.closing import on_one_ball, supporting
from cryosam.structures.crossing import parted
from cryosam.structures.profiles import across, alike, mean_profile, measured_thickness, patch_means, patches
from cryosam.structures.ridges import Ridges, RidgeSettings, membrane_saliency
from cryosam.structures.sheet_masks import sheet_mask, without
from cryosam.structures.sheets import Sheet, are_tubes, bends, link, oriented, thinned
from cryosam.structures.surfaces import Enclosed, Field, area, enclosed_volume, vertex_normals

__all__ = ["MembraneFinder"]


@dataclass(frozen=True, kw_only=True)
class MembraneFinder:
    """Finds all membranes like the clicked ones.

    Parameters
    ----------
    voxel_size_angstrom
        Of the binned tomogram in which sheets are looked for; a bilayer is then two to three voxels thick.
    ridges
        How ridges are found.
    click_angstrom
        Largest distance of a click from a membrane's middle.
    click_patch_angstrom
        Radius around the click in which the membrane is measured.
    link_angstrom, link_degrees
        Neighbouring points of a sheet are at most this far apart, and their normals differ by less than this angle.
        The distance is a little less than two voxels.
    least_edge_angstrom
        A sheet has at least the area of a square with this edge.
    tube_radius_angstrom
        A sheet that bends more than this in one direction and not half as much in the other is a tube's wall: that of a
        microtubule has a radius of 105 angstrom, measured with noise up to 160. Not applied if the clicked one is so.
    profile_angstrom
        Density is compared up to this distance on both sides of the middle.
    patch_angstrom
        Edge of the patches of a sheet whose mean profiles are compared.
    spread
        Share of the clicked membrane's own patches that may resemble its mean less than another membrane must; and
        share of a sheet, or twice that of the clicked one, that may be as strong as gold.
    closed_share
        Part of a closed surface that must be measured, of that which the missing wedge lets one see.
    """

    voxel_size_angstrom: float = 20.0
    ridges: RidgeSettings = field(default_factory=RidgeSettings)
    click_angstrom: float = 60.0
    click_patch_angstrom: float = 150.0
    link_angstrom: float = 35.0
    link_degrees: float = 30.0
    least_edge_angstrom: float = 300.0
    tube_radius_angstrom: float = 180.0
    profile_angstrom: float = 150.0
    patch_angstrom: float = 100.0
    spread: float = 0.05
    closed_share: float = 0.6

    def find(self, tomogram: BinnedTomogram, clicks: Points, progress: Progress | None = None) -> tuple[Membrane, ...]:
        """Find every membrane like the clicked ones; see `cryosam.structures.protocol.StructureFinder`."""
        report = progress or (lambda *_: None)
        volume = tomogram.at(self.voxel_size_angstrom)
        ridges = membrane_saliency(volume, self.ridges, progress=progress)
        at = volume.from_voxels(np.asarray(clicks, dtype=float))
        high = min(self._click_saliency(ridges, click, volume) for click in at) / 2
        low = float(np.clip(ridges.low / 2, ridges.noise, high))
        kept = self._without_tubes(ridges.above(low), at, volume.voxel_size_angstrom)
        sheets = self._sheets(kept, high, volume.voxel_size_angstrom)
        membranes: list[Membrane] = []
        chosen = self._of_the_kind(sheets, volume, at)
        faint = ridges.where(ridges.saliency >= ridges.noise)
        joined = self._joined(chosen, faint, tomogram, volume)
        for number, (sheet, score) in enumerate(joined):
            report("membranes", number, len(joined))
            membranes.extend(self._measured(sheet, score, tomogram, volume))
        report("membranes", len(joined), len(joined))
        return tuple(sorted(membranes, key=lambda each: (-each.score, each.mask.origin)))

    def _click_saliency(self, ridges: Ridges, click: Float[np.ndarray, " 3"], volume: Binned) -> float:
        """Median saliency of the membrane around a click."""
        size = volume.voxel_size_angstrom
        distance = np.linalg.norm(ridges.points - click, axis=1)
        near = np.flatnonzero((distance <= self.click_angstrom / size) & (ridges.saliency >= ridges.noise))
        if not len(near):
            raise PromptError(_nothing_at(volume.to_voxels(click[None])[0], self.click_angstrom))
        best = near[np.argmax(ridges.saliency[near])]
        same = (
            (distance <= self.click_patch_angstrom / size)
            & (np.abs(ridges.normals @ ridges.normals[best]) > _PARALLEL)
            & (np.abs((ridges.points - ridges.points[best]) @ ridges.normals[best]) <= self.click_angstrom / size)
        )
        return float(np.median(ridges.saliency[same]))

    def _sheets(self, ridges: Ridges, high: float, size: float) -> list[Sheet]:
        """Connected sheets with a point above the high level and enough area, the largest first."""
        numbers = link(ridges, size, distance_angstrom=self.link_angstrom, angle=self.link_degrees)
        order = np.argsort(numbers, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(numbers))[:-1]) if len(numbers) else []
        least = (self.least_edge_angstrom / size) ** 2 * _POINTS_PER_AREA
        kept = [p for p in parts if len(p) >= least and ridges.saliency[p].max() >= high]
        sheets: list[Sheet] = []
        for part in sorted(kept, key=lambda p: (-len(p), p[0])):
            points = ridges.points[part]
            normals = oriented(points, ridges.normals[part], self.link_angstrom / size, self.link_degrees)
            sheet = Sheet(points, normals, ridges.saliency[part])
            sheets += parted(sheet, self.least_edge_angstrom / size, self.link_angstrom / size, self.link_degrees)
        return sorted(sheets, key=lambda each: -len(each.points))

    def _without_tubes(self, ridges: Ridges, clicks: Points, size: float) -> Ridges:
        """The ridges that are not on a narrow tube's wall; all of them if a click is on one."""
        is_tube = are_tubes(
            ridges.points, ridges.normals, _bend_reach(self.patch_angstrom / size), self.tube_radius_angstrom / size
        )
        if not is_tube.any() or is_tube[cKDTree(ridges.points).query(clicks)[1]].any():
            return ridges
        return ridges.where(~is_tube)

    def _of_the_kind(self, sheets: list[Sheet], volume: Binned, clicks: Points) -> list[tuple[Sheet, float]]:
        """The sheets that resemble a clicked one as much as it resembles itself, and how much, in [0, 1]."""
        size = volume.voxel_size_angstrom
        reach = round(self.profile_angstrom / _STEP)
        offsets = np.arange(-reach, reach + 1) * _STEP / size
        profiles = [across(volume.data, each.points, each.normals, offsets) for each in sheets]
        means = [
            patch_means(each, patches(sheet.points, self.patch_angstrom / size), _LEAST_IN_PATCH)
            for each, sheet in zip(profiles, sheets, strict=True)
        ]
        strongest = np.array([_share_of_strongest(each.points, volume) for each in sheets])
        scores = np.zeros(len(sheets))
        for click in clicks:
            distances = [np.linalg.norm(each.points - click, axis=1) for each in sheets]
            nearest = [float(each.min()) for each in distances]
            clicked = int(np.argmin(nearest)) if nearest else -1
            if clicked < 0 or nearest[clicked] > self.click_angstrom / size:
                raise PromptError(_too_small(volume.to_voxels(click[None])[0], self.least_edge_angstrom))
            around = distances[clicked] <= max(self.click_patch_angstrom / size, nearest[clicked])
            model = mean_profile(profiles[clicked][around])
            least = float(np.quantile(_likeness(means[clicked], model), self.spread))
            likeness = np.array([float(_likeness(mean_profile(each)[None], model)[0]) for each in profiles])
            saliency = np.array([float(np.median(each.saliency)) for each in sheets])
            score = np.clip(likeness, 0, 1) * np.sqrt(np.minimum(saliency / saliency[clicked], 1))
            score[likeness < least] = 0
            score[strongest > max(self.spread, 2 * strongest[clicked])] = 0
            score[clicked] = max(score[clicked], np.finfo(float).tiny)
            scores = np.maximum(scores, score)
        return [(sheet, float(score)) for sheet, score in zip(sheets, scores, strict=True) if score > 0]

    def _joined(
        self, sheets: list[tuple[Sheet, float]], faint: Ridges, tomogram: BinnedTomogram, volume: Binned
    ) -> list[tuple[Sheet, float]]:
        """The sheets; those that are parts of one closed membrane as one, with the faint ridges on its surface."""
        size = volume.voxel_size_angstrom
        parts = [sheet for sheet, _ in sheets]
        free = np.ones(len(parts), dtype=bool)
        joined = []
        for seed, (sheet, score) in enumerate(sheets):
            if not free[seed]:
                continue
            members, together = on_one_ball(seed, parts, free, max(volume.data.shape))
            surface = Field.of(together.points, together.normals, self.click_angstrom / size)
            keep, normals = supporting(surface, faint)
            points = np.concatenate([together.points, faint.points[keep]])
            filled = Field.of(points, np.concatenate([together.normals, normals[keep]]), self.click_angstrom / size)
            if any(self._is_closed(each) for each in filled.enclosed(tomogram.wedge, volume.data.shape)):
                saliency = np.concatenate([together.saliency, faint.saliency[keep]])
                sheet = Sheet(points, np.concatenate([together.normals, normals[keep]]), saliency)
                weights = [len(parts[i].points) for i in members]
                score = float(np.average([sheets[i][1] for i in members], weights=weights))
                free[members] = False
            free[seed] = False
            joined.append((sheet, score))
        return joined

    def _is_closed(self, enclosed: Enclosed) -> bool:
        return (
            not enclosed.is_cut
            and enclosed.visible_share >= self.closed_share
            and enclosed.share >= self.closed_share / 2
        )

    def _measured(self, sheet: Sheet, score: float, tomogram: BinnedTomogram, volume: Binned) -> list[Membrane]:
        """The membranes of a sheet: each volume that it encloses, and what is left."""
        size = volume.voxel_size_angstrom
        surface = Field.of(sheet.points, sheet.normals, self.click_angstrom / size)
        membranes = []
        least = (self.least_edge_angstrom / size) ** 2 * _POINTS_PER_AREA
        left = np.ones(len(sheet.points), dtype=bool)
        for each in surface.enclosed(tomogram.wedge, volume.data.shape):
            if not self._is_closed(each):
                continue
            mine = left & surface.bounds(each, sheet.points)
            if mine.sum() < least:
                continue
            left &= ~mine
            part = Sheet(sheet.points[mine], sheet.normals[mine] * each.sign, sheet.saliency[mine])
            membranes.append(self._membrane(part, score, surface, tomogram, volume, each))
        if left.all() or left.sum() >= least:
            part = Sheet(sheet.points[left], sheet.normals[left], sheet.saliency[left])
            if not left.all():
                surface = Field.of(part.points, part.normals, self.click_angstrom / size)
            membranes.append(self._membrane(part, score, surface, tomogram, volume))
        return membranes

    def _membrane(
        self,
        sheet: Sheet,
        score: float,
        surface: Field,
        tomogram: BinnedTomogram,
        volume: Binned,
        enclosed: Enclosed | None = None,
    ) -> Membrane:
        """A sheet with its measures; around what it encloses, or open."""
        size, fine = volume.voxel_size_angstrom, tomogram.voxel_size_angstrom
        is_closed = enclosed is not None
        mesh = surface.mesh(enclosed)
        few = thinned(sheet.points)
        _, mean = bends(sheet.points[few], sheet.normals[few], _bend_reach(self.patch_angstrom / size))
        normals = sheet.normals
        if not is_closed and float(np.median(mean)) < 0:
            normals, mesh = -normals, Mesh(mesh.vertices, mesh.faces[:, ::-1])
        bend = float(np.median(np.abs(mean)))
        mesh = Mesh(volume.to_voxels(mesh.vertices), mesh.faces).within(tomogram.shape)
        points = volume.to_voxels(sheet.points)
        thick, width = measured_thickness(tomogram, points, normals, self.profile_angstrom)
        width = (width if np.isfinite(width) else 2 * size) / fine
        spacing = _SPACING * volume.factor
        mask, inferred = sheet_mask(points, normals, width, spacing, tomogram.shape), InstanceMask.empty()
        if is_closed:
            far = cKDTree(points).query(mesh.vertices)[0] > spacing
            spacing *= surface.cell
            filled = sheet_mask(mesh.vertices[far], vertex_normals(mesh)[far], width, spacing, tomogram.shape)
            inferred = without(filled, mask)
        return Membrane(
            mask=mask,
            score=score,
            points=points,
            normals=normals,
            mesh=mesh,
            is_closed=is_closed,
            thickness_angstrom=thick,
            area_angstrom2=area(mesh) * fine**2,
            enclosed_angstrom3=enclosed_volume(mesh) * fine**3 if is_closed else float("nan"),
            curvature_radius_angstrom=size / bend if bend > 0 else float("inf"),
            inferred=inferred,
        )


_STEP = 10.0
"""Angstrom, step of the profiles that are compared."""

_STRONGEST = 0.98
"""Of the largest value, which many voxels have: a binned volume is clipped at four robust standard deviations."""

_SPACING = 1.5
"""Binned voxels between neighbouring points of a sheet, a little more than the least, so that masks have no holes."""

_LEAST_IN_PATCH = 6
"""Points of a patch; fewer are a corner of the sheet."""

_LEAST_BEND_REACH = 5.0
"""Voxels: of points two voxels apart, some twenty lie within."""

_PARALLEL = 0.7
"""Cosine of 45 degrees: normals of one membrane within a patch differ less."""

_POINTS_PER_AREA = 0.7
"""Ridges for each square voxel of a sheet: between 0.6 and 0.9 on membranes of simulated and real tomograms."""


def _likeness(profiles: Float[np.ndarray, "m k"], model: Float[np.ndarray, " k"]) -> Float[np.ndarray, " m"]:
    """Correlations with a model, in the orientation in which they are larger; 0 alone if there is no profile."""
    if not len(profiles):
        return np.zeros(1)
    return max(alike(profiles, model), alike(profiles[:, ::-1], model), key=lambda each: float(np.median(each)))


def _share_of_strongest(points: Points, volume: Binned) -> float:
    """Share of a sheet's points that are as strong as the strongest voxels: gold, where membranes are weaker."""
    at = np.clip(np.round(points).astype(int), 0, np.array(volume.data.shape) - 1)
    return float((volume.data[tuple(at.T)] >= _STRONGEST * volume.data.max()).mean())


def _bend_reach(patch: float) -> float:
    """Voxels within which curvature is measured: a patch, and in a coarse tomogram as much as a paraboloid needs."""
    return max(patch, _LEAST_BEND_REACH)


def _too_small(click: Float[np.ndarray, " 3"], edge: float) -> str:
    z, y, x = (f"{c:.0f}" for c in click)
    return (
        f"what is at the click at z {z}, y {y}, x {x} is no sheet of {edge:.0f} x {edge:.0f} angstrom: click on a "
        "larger or clearer part of a membrane, or choose another structure"
    )


def _nothing_at(click: Float[np.ndarray, " 3"], reach: float) -> str:
    z, y, x = (f"{c:.0f}" for c in click)
    return (
        f"no membrane within {reach:.0f} angstrom of the click at z {z}, y {y}, x {x}: click on the line of "
        "a membrane that is seen on edge, or choose another structure"
    )
