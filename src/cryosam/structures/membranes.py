"""Membranes: every membrane like the clicked one, as connected sheets, open or closed."""

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Progress, Scores
from cryosam.config import MembraneConfig
from cryosam.errors import PromptError
from cryosam.masks import InstanceMask
from cryosam.structure_query import MembraneKind
from cryosam.structure_results import Membrane, Mesh
from cryosam.structures.binned import Binned, BinnedTomogram
from cryosam.structures.closing import on_one_ball, supporting
from cryosam.structures.crossing import parted
from cryosam.structures.profiles import across, alike, mean_profile, measured_thickness, patch_means, patches
from cryosam.structures.ridges import Ridges, membrane_saliency
from cryosam.structures.sheet_masks import sheet_mask, without
from cryosam.structures.sheets import Sheet, are_tubes, bends, link, oriented, thinned
from cryosam.structures.surfaces import Enclosed, Field, area, enclosed_volume, vertex_normals

__all__ = ["MembraneFinder"]


@dataclass(frozen=True)
class MembraneFinder:
    """Finds all membranes like the clicked ones.

    Parameters
    ----------
    settings
        How; see there.
    """

    settings: MembraneConfig = field(default_factory=MembraneConfig)

    def find(self, tomogram: BinnedTomogram, clicks: Points, progress: Progress | None = None) -> tuple[Membrane, ...]:
        """Find every membrane like the clicked ones; see `cryosam.structures.protocol.StructureFinder`."""
        looked = self._looked_at(tomogram, progress)
        clicked = self._clicked(looked, clicks)
        scores = self._scores(clicked.sheets, clicked.kind, clicked.saliency)
        scores[clicked.rows] = np.maximum(scores[clicked.rows], np.finfo(float).tiny)
        return self._measured_all(clicked.sheets, scores, looked, progress)

    def describe(self, tomogram: BinnedTomogram, clicks: Points, progress: Progress | None = None) -> MembraneKind:
        """Measure the profile across the membrane at each click; see `StructureFinder`."""
        return self._clicked(self._looked_at(tomogram, progress), clicks).kind

    def search(
        self, tomogram: BinnedTomogram, kind: MembraneKind, progress: Progress | None = None
    ) -> tuple[Membrane, ...]:
        """Find every membrane with the profile of a kind; see `StructureFinder`.

        In place of the click, all sheets with the profile tell how salient a membrane is in this tomogram, and what
        share of it is as strong as gold, which depends on the noise: medians over their points.
        """
        looked, kind = self._looked_at(tomogram, progress), self._in_own_steps(kind)
        kept = looked.ridges.above(max(looked.ridges.low / 2, looked.ridges.noise))
        if not kind.is_tube:
            kept = kept.where(~self._are_tubes(kept, looked.size))
        sheets = self._profiled(kept, looked.ridges.low, looked.volume)
        like = [each for each in sheets if self._is_like(each, kind)]
        if not like:
            return ()
        level = float(np.median(np.concatenate([each.sheet.saliency for each in like])))
        gold = np.concatenate([np.full(len(each.sheet.points), each.gold_share) for each in like])
        kind = replace(kind, gold_share=float(np.median(gold)))
        sheets = [each for each in sheets if each.sheet.saliency.max() >= level / 2]
        scores = self._scores(sheets, kind, np.full(len(kind.profiles), level))
        return self._measured_all(sheets, scores, looked, progress)

    def _in_own_steps(self, kind: MembraneKind) -> MembraneKind:
        """The kind with its profiles at the offsets of this finder; NaN where they do not reach."""
        n = kind.profiles.shape[1]
        known, wanted = (np.arange(-(n // 2), n - n // 2) * kind.step_angstrom, self._offsets_angstrom)
        profiles = [np.interp(wanted, known, each, np.nan, np.nan) for each in kind.profiles]
        return replace(kind, profiles=np.array(profiles), step_angstrom=_STEP)

    @property
    def _offsets_angstrom(self) -> Float[np.ndarray, " n"]:
        reach = round(self.settings.profile_angstrom / _STEP)
        return np.arange(-reach, reach + 1) * _STEP

    def _looked_at(self, tomogram: BinnedTomogram, progress: Progress | None) -> "_Looked":
        volume = tomogram.at(self.settings.voxel_size_angstrom)
        return _Looked(tomogram, volume, membrane_saliency(volume, self.settings.ridges, progress=progress))

    def _clicked(self, looked: "_Looked", clicks: Points) -> "_Clicked":
        """The sheets of a tomogram with clicks, those that were clicked, and their kind."""
        ridges, volume = looked.ridges, looked.volume
        at = volume.from_voxels(np.asarray(clicks, dtype=float))
        high = min(self._click_saliency(ridges, click, volume) for click in at) / 2
        low = float(np.clip(ridges.low / 2, ridges.noise, high))
        kept = ridges.above(low)
        is_tube = self._are_tubes(kept, looked.size)
        is_clicked = bool(is_tube[cKDTree(kept.points).query(at)[1]].any())
        sheets = self._profiled(kept if is_clicked else kept.where(~is_tube), high, volume)
        rows, models, least = [], [], []
        for click in at:
            distances = [np.linalg.norm(each.sheet.points - click, axis=1) for each in sheets]
            nearest = [float(each.min()) for each in distances]
            row = int(np.argmin(nearest)) if nearest else -1
            if row < 0 or nearest[row] > self.settings.click_angstrom / looked.size:
                raise PromptError(_too_small(volume.to_voxels(click[None])[0], self.settings.least_edge_angstrom))
            around = distances[row] <= max(self.settings.click_patch_angstrom / looked.size, nearest[row])
            models.append(mean_profile(sheets[row].profiles[around]))
            numbers = patches(sheets[row].sheet.points, self.settings.patch_angstrom / looked.size)
            means = patch_means(sheets[row].profiles, numbers, _LEAST_IN_PATCH)
            least.append(float(np.quantile(_likeness(means, models[-1]), self.settings.spread)))
            rows.append(row)
        kind = MembraneKind(
            profiles=np.array(models),
            step_angstrom=_STEP,
            least_likeness=np.array(least),
            gold_share=max(sheets[row].gold_share for row in rows),
            is_tube=is_clicked,
        )
        return _Clicked(sheets, rows, np.array([np.median(sheets[row].sheet.saliency) for row in rows]), kind)

    def _click_saliency(self, ridges: Ridges, click: Float[np.ndarray, " 3"], volume: Binned) -> float:
        """Median saliency of the membrane around a click."""
        size = volume.voxel_size_angstrom
        distance = np.linalg.norm(ridges.points - click, axis=1)
        near = np.flatnonzero((distance <= self.settings.click_angstrom / size) & (ridges.saliency >= ridges.noise))
        if not len(near):
            raise PromptError(_nothing_at(volume.to_voxels(click[None])[0], self.settings.click_angstrom))
        best = near[np.argmax(ridges.saliency[near])]
        same = (
            (distance <= self.settings.click_patch_angstrom / size)
            & (np.abs(ridges.normals @ ridges.normals[best]) > _PARALLEL)
            & (
                np.abs((ridges.points - ridges.points[best]) @ ridges.normals[best])
                <= self.settings.click_angstrom / size
            )
        )
        return float(np.median(ridges.saliency[same]))

    def _profiled(self, ridges: Ridges, high: float, volume: Binned) -> list["_Profiled"]:
        """Connected sheets with a point above the high level and enough area, the largest first, and profiles."""
        size = volume.voxel_size_angstrom
        numbers = link(ridges, size, distance_angstrom=self.settings.link_angstrom, angle=self.settings.link_degrees)
        order = np.argsort(numbers, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(numbers))[:-1]) if len(numbers) else []
        least = (self.settings.least_edge_angstrom / size) ** 2 * _POINTS_PER_AREA
        kept = [p for p in parts if len(p) >= least and ridges.saliency[p].max() >= high]
        offsets = self._offsets_angstrom / size
        sheets: list[Sheet] = []
        for part in sorted(kept, key=lambda p: (-len(p), p[0])):
            points = ridges.points[part]
            normals = oriented(
                points, ridges.normals[part], self.settings.link_angstrom / size, self.settings.link_degrees
            )
            pieces = parted(
                Sheet(points, normals, ridges.saliency[part]),
                self.settings.least_edge_angstrom / size,
                self.settings.link_angstrom / size,
                self.settings.link_degrees,
            )
            sheets += [each for each in pieces if len(each.points) >= least and each.saliency.max() >= high]
        sheets.sort(key=lambda each: -len(each.points))
        return [_Profiled.of(each, volume, offsets) for each in sheets]

    def _are_tubes(self, ridges: Ridges, size: float) -> Bool[np.ndarray, " n"]:
        """Which ridges are on a narrow tube's wall."""
        reach, radius = _bend_reach(self.settings.patch_angstrom / size), self.settings.tube_radius_angstrom / size
        return are_tubes(ridges.points, ridges.normals, reach, radius)

    def _is_like(self, sheet: "_Profiled", kind: MembraneKind) -> bool:
        """Whether a sheet has a profile of a kind, as much as the clicked membrane resembles itself."""
        pairs = zip(kind.profiles, kind.least_likeness, strict=True)
        return any(sheet.likeness(model) >= least for model, least in pairs)

    def _scores(self, sheets: list["_Profiled"], kind: MembraneKind, saliency: Float[np.ndarray, " k"]) -> Scores:
        """How much each sheet resembles a kind, whose membranes have such a saliency; 0 if it is not of the kind."""
        scores = np.zeros(len(sheets))
        mine = np.array([float(np.median(each.sheet.saliency)) for each in sheets])
        for model, least, typical in zip(kind.profiles, kind.least_likeness, saliency, strict=True):
            likeness = np.array([each.likeness(model) for each in sheets])
            score = np.clip(likeness, 0, 1) * np.sqrt(np.minimum(mine / typical, 1))
            scores = np.maximum(scores, np.where(likeness < least, 0, score))
        gold = np.array([each.gold_share for each in sheets])
        return np.where(gold > max(self.settings.spread, 2 * kind.gold_share), 0, scores)

    def _measured_all(
        self, sheets: list["_Profiled"], scores: Scores, looked: "_Looked", progress: Progress | None
    ) -> tuple[Membrane, ...]:
        """The membranes of all sheets with a score, best first."""
        report = progress or (lambda *_: None)
        tomogram, volume, ridges = looked.tomogram, looked.volume, looked.ridges
        chosen = [(each.sheet, float(score)) for each, score in zip(sheets, scores, strict=True) if score > 0]
        joined = self._joined(chosen, ridges.where(ridges.saliency >= ridges.noise), tomogram, volume)
        membranes: list[Membrane] = []
        for number, (sheet, score) in enumerate(joined):
            report("membranes", number, len(joined))
            membranes.extend(self._measured(sheet, score, tomogram, volume))
        report("membranes", len(joined), len(joined))
        return tuple(sorted(membranes, key=lambda each: (-each.score, each.mask.origin)))

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
            surface = Field.of(together.points, together.normals, self.settings.click_angstrom / size)
            keep, normals = supporting(surface, faint)
            points = np.concatenate([together.points, faint.points[keep]])
            filled = Field.of(
                points, np.concatenate([together.normals, normals[keep]]), self.settings.click_angstrom / size
            )
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
            and enclosed.visible_share >= self.settings.closed_share
            and enclosed.share >= self.settings.closed_share / 2
        )

    def _measured(self, sheet: Sheet, score: float, tomogram: BinnedTomogram, volume: Binned) -> list[Membrane]:
        """The membranes of a sheet: each volume that it encloses, and what is left."""
        size = volume.voxel_size_angstrom
        surface = Field.of(sheet.points, sheet.normals, self.settings.click_angstrom / size)
        membranes = []
        least = (self.settings.least_edge_angstrom / size) ** 2 * _POINTS_PER_AREA
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
                surface = Field.of(part.points, part.normals, self.settings.click_angstrom / size)
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
        _, mean = bends(sheet.points[few], sheet.normals[few], _bend_reach(self.settings.patch_angstrom / size))
        normals = sheet.normals
        if not is_closed and float(np.median(mean)) < 0:
            normals, mesh = -normals, Mesh(mesh.vertices, mesh.faces[:, ::-1])
        bend = float(np.median(np.abs(mean)))
        mesh = Mesh(volume.to_voxels(mesh.vertices), mesh.faces).within(tomogram.shape)
        points = volume.to_voxels(sheet.points)
        thick, width = measured_thickness(tomogram, points, normals, self.settings.profile_angstrom)
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


@dataclass(frozen=True, eq=False)
class _Looked:
    """A tomogram with its ridges."""

    tomogram: BinnedTomogram
    volume: Binned
    ridges: Ridges

    @property
    def size(self) -> float:
        """Edge of a binned voxel in angstrom."""
        return self.volume.voxel_size_angstrom


@dataclass(frozen=True, eq=False)
class _Profiled:
    """A sheet with the profile across it at each of its points, and the share of these that are as strong as gold."""

    sheet: Sheet
    profiles: Float[np.ndarray, "n k"]
    gold_share: float

    @classmethod
    def of(cls, sheet: Sheet, volume: Binned, offsets: Float[np.ndarray, " k"]) -> "_Profiled":
        """Measure a sheet."""
        profiles = across(volume.data, sheet.points, sheet.normals, offsets)
        return cls(sheet, profiles, _share_of_strongest(sheet.points, volume))

    def likeness(self, model: Float[np.ndarray, " k"]) -> float:
        """Correlation of the mean profile with a model."""
        return float(_likeness(mean_profile(self.profiles)[None], model)[0])


@dataclass(frozen=True, eq=False)
class _Clicked:
    """Sheets of a tomogram, the rows of the clicked ones, the saliency of these, and their kind."""

    sheets: list[_Profiled]
    rows: list[int]
    saliency: Scores
    kind: MembraneKind


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
