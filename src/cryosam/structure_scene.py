"""A tomogram opened for a search for structures: contrast, range of intensities and missing wedge are settled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from cryosam.arrays import Mask, Points
from cryosam.config import Config, TomogramConfig
from cryosam.full_map import FullMap
from cryosam.intensities import SeenContrast, detect_contrast, normalise
from cryosam.masks import InstanceMask
from cryosam.missing_wedge import MissingWedge, settle_wedge
from cryosam.power_spectrum import PowerSpectrum
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.run_report import Recorder, RunReport, RunWarning
from cryosam.structure_query import StructureQuery
from cryosam.structure_results import Filament, StructureInstance, StructureKind, StructureResult
from cryosam.structures import BinnedTomogram
from cryosam.structures.straightened import straighten
from cryosam.tomogram import Contrast, Tomogram

__all__ = ["StructureScene", "clicks_of", "keep_instances", "under_clicks", "with_straightened"]

_CLICKED_ANGSTROM = 100.0  # largest distance of a click from the filament that it is on: a click may miss the wall


@dataclass(frozen=True, eq=False)
class StructureScene:
    """A tomogram as a finder sees it, and what was found out in opening it.

    Parameters
    ----------
    tomogram
        The tomogram, protein bright.
    report
        Contrast and wedge, and warnings of both.
    """

    tomogram: BinnedTomogram
    report: RunReport

    @classmethod
    def of(cls, tomogram: Tomogram, kinds: Sequence[PointPrompts | StructureQuery], config: Config) -> "StructureScene":
        """Settle contrast, range of intensities and wedge, as a search for particles does; clicks are on protein."""
        clicks = np.concatenate([np.zeros((0, 3)), *(clicks_of(each) for each in kinds)])
        known = [each.contrast for each in kinds if isinstance(each, StructureQuery)]
        choice = config.tomogram.contrast
        if choice == "auto" and known and not len(clicks):
            choice = known[0]
        seen = detect_contrast(tomogram, clicks) if choice == "auto" else SeenContrast(contrast=choice, evidence=np.inf)
        voxels = normalise(tomogram, seen.contrast, config.tomogram.percentiles)
        settled = settle_wedge(PowerSpectrum.of(tomogram), config.tomogram)
        low, high = settled.wedge.tilt_range
        record = Recorder(
            RunReport(
                contrast=seen.contrast,
                lowest_tilt=low,
                highest_tilt=high,
                tilt_axis=settled.wedge.axis,
                beam=settled.wedge.beam,
                wedge_source=settled.source,
            )
        )
        if not seen.is_certain:
            record.warn(
                "contrast_uncertain",
                f"protein looks {seen.contrast}, but that is not certain; if it is wrong, set it with --contrast",
            )
        for code, text in settled.doubts:
            record.warn(code, text)
        return cls(BinnedTomogram.of(voxels, settled.wedge), record.report)

    def nothing(self, structure: StructureKind, reason: str) -> StructureResult:
        """The result for a kind of which nothing is at a click."""
        record, size = Recorder(self.report), self.tomogram.voxel_size_angstrom
        record.warn("nothing_at_click", reason)
        name = self.tomogram.voxels.source.name
        return StructureResult(
            self.tomogram.shape, structure, (), np.zeros((0, 3)), size, name=name, report=record.report
        )

    def no_particles(self, kinds: Sequence[str], reason: str) -> Segmentation:
        """The result for kinds of particles that could not be searched for."""
        shape, size = self.tomogram.shape, self.tomogram.voxel_size_angstrom
        report = RunReport(warnings=(RunWarning("nothing_at_click", reason),))
        parts = [
            Segmentation(shape, np.zeros((0, 3)), np.zeros(0), (), voxel_size_angstrom=size, kind=kind, report=report)
            for kind in kinds
        ]
        return parts[0] if len(parts) == 1 else Segmentation.combine(parts)


def clicks_of(kind: PointPrompts | StructureQuery) -> Points:
    """The positive clicks on a kind, ``(k, 3)`` z, y, x in voxels; none if it is a query."""
    return np.zeros((0, 3)) if isinstance(kind, StructureQuery) else kind.positive


def keep_instances(
    instances: Sequence[StructureInstance],
    prompts: PointPrompts | StructureQuery,
    config: Config,
    search_mask: Mask | None,
    reach: float,
) -> tuple[StructureInstance, ...]:
    """Leave out what the settings, the search mask and negative clicks exclude; ``reach`` of the clicks in voxels."""
    kept = sorted(instances, key=lambda each: -each.score)
    if search_mask is not None:
        kept = [
            each for each in kept if 2 * np.count_nonzero(search_mask[each.mask.box] & each.mask.data) >= _size(each)
        ]
    if config.matching.threshold is not None:
        kept = [each for each in kept if each.score >= config.matching.threshold]
    negative = prompts.negative if isinstance(prompts, PointPrompts) else np.zeros((0, 3))
    kept = [each for each in kept if all(_distance(each.mask, point) > reach for point in negative)]
    return tuple(kept[: config.matching.max_particles])


def under_clicks(clicks: Points, instances: Sequence[StructureInstance]) -> tuple[StructureInstance, ...]:
    """The instance nearest to each click, in the order of the instances."""
    if not instances:
        return ()
    nearest = {int(np.argmin([_distance(each.mask, click) for each in instances])) for click in clicks}
    return tuple(instances[i] for i in sorted(nearest))


def with_straightened(found: FullMap, tomogram: Tomogram, config: Config | None = None) -> FullMap:
    """The same map with the first clicked filament of each kind made straight, for those who write or show it.

    A search does not do it: it takes up to seconds, and a window does not show it.

    Parameters
    ----------
    found
        What was found.
    tomogram
        In which it was found.
    config
        Settings of the search; of them the tomogram's apply.

    Raises
    ------
    TomogramError
        If the tomogram contains NaN or is constant.
    """
    settings = (config or Config()).tomogram
    return replace(found, structures=tuple(_with_straightened(part, tomogram, settings) for part in found.structures))


def _with_straightened(part: StructureResult, tomogram: Tomogram, settings: TomogramConfig) -> StructureResult:
    if part.structure != "filament" or not len(part.prompts) or not part.instances:
        return part
    click = part.prompts[0]
    (nearest,) = under_clicks(click[None], part.instances)
    missed_by = _distance(nearest.mask, click) * part.voxel_size_angstrom
    if not isinstance(nearest, Filament) or missed_by > _CLICKED_ANGSTROM:
        return part
    contrast = _contrast(part, tomogram, settings)
    voxels = normalise(tomogram, contrast, settings.percentiles)
    opened = BinnedTomogram.of(voxels, MissingWedge())  # whatever the wedge is: nothing is filtered
    return replace(part, straightened=straighten(opened, nearest, part.instances.index(nearest) + 1))


def _contrast(part: StructureResult, tomogram: Tomogram, settings: TomogramConfig) -> Contrast:
    """The contrast that the search settled; a window does not keep it, and it is settled again."""
    if part.report.contrast is not None:
        return "dark" if part.report.contrast == "dark" else "bright"
    if settings.contrast != "auto":
        return settings.contrast
    return detect_contrast(tomogram, part.prompts).contrast


def _size(instance: StructureInstance) -> int:
    return max(instance.mask.n_voxels, 1)


def _distance(mask: InstanceMask, point: Float[np.ndarray, " 3"]) -> float:
    """Distance in voxels of a point to the nearest voxel of a mask."""
    if mask.holds(point):
        return 0.0
    voxels = np.argwhere(mask.data) + mask.origin
    return float(KDTree(voxels).query(point)[0]) if len(voxels) else np.inf
