"""From clicks to every membrane, filament or compartment of their kind, and to the full map of a tomogram."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from cryosam.arrays import Mask, Points, Progress
from cryosam.config import Config
from cryosam.errors import PromptError
from cryosam.full_map import FullMap
from cryosam.intensities import SeenContrast, detect_contrast, normalise
from cryosam.masks import InstanceMask
from cryosam.missing_wedge import settle_wedge
from cryosam.power_spectrum import PowerSpectrum
from cryosam.prompts import PointPrompts, require_kind_names, spell
from cryosam.run_report import Recorder, RunReport
from cryosam.saved_query import SavedQuery
from cryosam.scene import RunOptions
from cryosam.segmentation import segment, segment_kinds
from cryosam.structure_results import Filament, Straightened, StructureInstance, StructureKind, StructureResult
from cryosam.structures import BinnedTomogram, StructureFinder
from cryosam.structures.compartments import CompartmentFinder
from cryosam.structures.filaments import FilamentFinder
from cryosam.structures.guess import Guessed, chance_in, guess_structure
from cryosam.structures.membranes import MembraneFinder
from cryosam.structures.straightened import straighten
from cryosam.tomogram import Tomogram

__all__ = ["STRUCTURES", "TakenFor", "find_map", "find_structures", "take_for"]

StructureChoice = Literal["auto", "particle", "membrane", "filament", "compartment"]

STRUCTURES: tuple[StructureChoice, ...] = ("auto", "particle", "membrane", "filament", "compartment")
"""What a click may be said to be on."""

_CONFIDENT = 0.5  # confidence of a guess from which a click is not taken for one on a particle: the guess's own limit
_PROGRESS = 1000  # parts of a search that are counted
_CLICKED_ANGSTROM = 100.0  # largest distance of a click from the filament that it is on: a click may miss the wall
_NEGATIVE_ANGSTROM = 30.0  # an instance this near to a negative click is left out: half a thick membrane


@dataclass(frozen=True)
class TakenFor:
    """What a click is taken for.

    Parameters
    ----------
    structure
        What is searched for.
    guess, confidence, text
        What the click looks like most ("unclear" where nothing stands out), how sure that is (0 to 1), and the guess
        as one sentence that says how to say otherwise.
    """

    structure: StructureKind
    guess: Guessed
    confidence: float
    text: str


def find_structures(
    tomogram: Tomogram,
    prompts: PointPrompts,
    structure: StructureChoice = "auto",
    config: Config | None = None,
    options: RunOptions | None = None,
    *,
    is_search: bool = True,
) -> StructureResult:
    """Find every membrane, filament or compartment like the clicked ones.

    Parameters
    ----------
    tomogram
        The tomogram to search; its voxel size must be known.
    prompts
        At least one positive point on the kind. What is near a negative point is left out.
    structure
        What the clicks are on. With "auto" it is guessed from the tomogram at the clicks, see `take_for`.
    config
        Settings; of them the section of the structure, the tomogram's, ``threshold`` and ``max_particles`` apply.
    options
        Optional inputs; an instance of which less than half lies in the search mask is left out. Progress is reported
        with the name of the kind as its stage.
    is_search
        Whether to keep all instances; if not, only those under the clicks are kept.

    Returns
    -------
    found
        Instances, best first, with geometry and masks in voxels of the tomogram.

    Raises
    ------
    PromptError
        If a point lies outside the tomogram, if nothing of the structure is at a click, or if "auto" takes the clicks
        for ones on particles: those are found by `cryosam.segment`.
    TomogramError
        If the tomogram contains NaN or is constant.
    VoxelSizeError
        If the voxel size is not known.

    Examples
    --------
    >>> find_structures(Tomogram(np.zeros((8, 8, 8)), 10.0), PointPrompts(np.array([[4.0, 4.0, 5.0]])), "particle")
    Traceback (most recent call last):
        ...
    cryosam.errors.PromptError: particles are found by cryosam.segment; the structure must be another one here
    """
    config, options = config or Config(), options or RunOptions()
    prompts.validate(tomogram.shape)
    if structure == "auto":
        taken = take_for(tomogram, prompts, config)
        structure = taken.structure
        if structure == "particle":
            raise PromptError(
                f"the click at {spell(prompts.positive[0])}: {taken.text}; particles are found by cryosam.segment"
            )
    if structure == "particle":
        raise PromptError("particles are found by cryosam.segment; the structure must be another one here")
    opened = _Opened.of(tomogram, [prompts] if structure != "compartment" else [], config)
    return _search(opened, prompts, structure, config, options, is_search=is_search)


def find_map(
    tomogram: Tomogram,
    kinds: Sequence[PointPrompts | SavedQuery],
    structures: Mapping[str, StructureKind],
    config: Config | None = None,
    options: RunOptions | None = None,
) -> FullMap:
    """Find particles and structures of several kinds in one run.

    Parameters
    ----------
    tomogram
        The tomogram to search; its voxel size must be known.
    kinds
        Clicks on each kind, or a saved query for particles; the names of the kinds must differ.
    structures
        What each kind is, by its name; a kind without an entry is one of particles. At least one is not.
    config, options
        As in `cryosam.segment`; they apply to all kinds.

    Returns
    -------
    found
        The particles as `cryosam.segment` finds them, the structures, and their exclusive map.

    Raises
    ------
    PromptError
        As `cryosam.segment_kinds` and `find_structures`; the text starts with the name of the kind.
    TomogramError, VoxelSizeError
        As `find_structures`.
    """
    config, options = config or Config(), options or RunOptions()
    require_kind_names([kind.name for kind in kinds])
    particles: list[PointPrompts | SavedQuery] = []
    others: list[tuple[PointPrompts, StructureKind]] = []
    for kind in kinds:
        structure = structures.get(kind.name, "particle")
        if structure == "particle" or isinstance(kind, SavedQuery):
            particles.append(kind)
        else:
            others.append((kind, structure))
        if isinstance(kind, PointPrompts):
            kind.validate(tomogram.shape)
    if not others:
        raise PromptError("every kind is one of particles: find them with cryosam.segment")
    opened = _Opened.of(tomogram, [kind for kind, structure in others if structure != "compartment"], config)
    found: list[StructureResult] = []
    for kind, structure in others:
        try:
            result = _search(opened, kind, structure, config, options)
        except PromptError as error:
            raise PromptError(f"{kind.name}: {error}") from error
        found.append(replace(result, kind=kind.name))
    segmentation = None
    if len(particles) == 1:
        segmentation = segment(tomogram, particles[0], config, options)
    elif particles:
        segmentation = segment_kinds(tomogram, particles, config, options)
    return FullMap(tuple(kind.name for kind in kinds), tuple(found), segmentation)


def take_for(tomogram: Tomogram, prompts: PointPrompts, config: Config | None = None) -> TakenFor:
    """Tell what clicks are on, from the shape of what is there.

    A click is taken for one on a particle unless another guess is confident, so that what is doubtful is searched for
    as particles are.

    Parameters
    ----------
    tomogram
        The tomogram.
    prompts
        Clicks on one kind; the guesses at all of them are added up.
    config
        Settings of the tomogram: contrast and tilts.

    Raises
    ------
    VoxelSizeError
        If the voxel size is not known: structures are told by their size.
    """
    opened = _Opened.of(tomogram, [], config or Config()).tomogram
    chance = chance_in(opened)
    guesses = [guess_structure(opened, point, chance=chance) for point in prompts.positive]
    total: dict[Guessed, float] = {}
    for each in guesses:
        total[each.structure] = total.get(each.structure, 0.0) + each.confidence / len(guesses)
    best = max(total, key=lambda guess: total[guess])
    text = max((each for each in guesses if each.structure == best), key=lambda each: each.confidence).text
    structure: StructureKind = "particle" if best == "unclear" or total[best] < _CONFIDENT else best
    if structure != best and best != "unclear":
        text = f"looks like a {best}, but not clearly, so particles are searched for; to say what it is: --structure"
    return TakenFor(structure, best, total[best], text)


@dataclass(frozen=True, eq=False)
class _Opened:
    """A tomogram as a finder sees it, and what was found out in opening it."""

    tomogram: BinnedTomogram
    report: RunReport

    @classmethod
    def of(cls, tomogram: Tomogram, prompts: Sequence[PointPrompts], config: Config) -> "_Opened":
        """Settle contrast, range of intensities and wedge, as a search for particles does; clicks are on protein."""
        clicks = np.concatenate([np.zeros((0, 3)), *(each.positive for each in prompts)])
        choice = config.tomogram.contrast
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


def _search(
    opened: _Opened,
    prompts: PointPrompts,
    structure: StructureKind,
    config: Config,
    options: RunOptions,
    *,
    is_search: bool = True,
) -> StructureResult:
    """Find every instance of one kind in an opened tomogram, or without a search the clicked ones."""
    tomogram, record = opened.tomogram, Recorder(opened.report)
    kind = structure if prompts.name == "particle" else prompts.name
    with record.timed(structure):
        finder = _finder(structure, config)
        instances: tuple[StructureInstance, ...]
        if not is_search and isinstance(finder, FilamentFinder):
            instances = finder.find_clicked(tomogram, prompts.positive)
        else:
            instances = finder.find(tomogram, prompts.positive, _of_kind(kind, options.progress))
        reach = _NEGATIVE_ANGSTROM / tomogram.voxel_size_angstrom
        kept = _kept(instances, prompts, config, options.search_mask, reach)
        if not is_search:
            kept = _under(prompts.positive, kept)
        straightened = None if structure != "filament" else _straightened(tomogram, prompts.positive[0], kept)
    return StructureResult(
        shape=tomogram.shape,
        structure=structure,
        instances=kept,
        straightened=straightened,
        prompts=prompts.positive,
        voxel_size_angstrom=tomogram.voxel_size_angstrom,
        name=tomogram.voxels.source.name,
        kind=kind,
        report=record.report,
    )


def _finder(structure: StructureKind, config: Config) -> StructureFinder:
    """The finder of a structure with its settings."""
    finders: dict[StructureKind, StructureFinder] = {
        "membrane": MembraneFinder(config.membrane),
        "filament": FilamentFinder(config.filament),
        "compartment": CompartmentFinder(config.compartment),
    }
    return finders[structure]


def _of_kind(name: str, progress: Progress | None) -> Progress | None:
    """The same progress as one stage with the name of the kind; each stage of the finder is half of what is left."""
    if progress is None:
        return None
    stages: list[str] = []

    def report(stage: str, done: int, total: int) -> None:
        if stage not in stages:
            stages.append(stage)
        left = 0.5 ** stages.index(stage) * (1 - 0.5 * done / max(total, 1))
        progress(name, round((1 - left) * _PROGRESS), _PROGRESS)

    return report


def _kept(
    instances: Sequence[StructureInstance],
    prompts: PointPrompts,
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
    kept = [each for each in kept if all(_distance(each.mask, point) > reach for point in prompts.negative)]
    return tuple(kept[: config.matching.max_particles])


def _under(clicks: Points, instances: Sequence[StructureInstance]) -> tuple[StructureInstance, ...]:
    """The instance nearest to each click, in the order of the instances."""
    if not instances:
        return ()
    nearest = {int(np.argmin([_distance(each.mask, click) for each in instances])) for click in clicks}
    return tuple(instances[i] for i in sorted(nearest))


def _straightened(
    tomogram: BinnedTomogram, click: Float[np.ndarray, " 3"], instances: Sequence[StructureInstance]
) -> Straightened | None:
    """The filament on which a click is; None if it was left out."""
    for number, each in enumerate(instances, start=1):
        if isinstance(each, Filament) and each in _under(click[None], instances):
            is_near = _distance(each.mask, click) * tomogram.voxel_size_angstrom <= _CLICKED_ANGSTROM
            return straighten(tomogram, each, number) if is_near else None
    return None


def _size(instance: StructureInstance) -> int:
    return max(instance.mask.n_voxels, 1)


def _distance(mask: InstanceMask, point: Float[np.ndarray, " 3"]) -> float:
    """Distance in voxels of a point to the nearest voxel of a mask."""
    if mask.holds(point):
        return 0.0
    voxels = np.argwhere(mask.data) + mask.origin
    return float(KDTree(voxels).query(point)[0]) if len(voxels) else np.inf
