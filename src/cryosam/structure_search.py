"""From clicks to every membrane, filament or compartment of their kind, and to the full map of a tomogram."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from cryosam.arrays import Progress
from cryosam.config import Config
from cryosam.errors import PromptError, QueryError
from cryosam.full_map import FullMap
from cryosam.prompts import PointPrompts, require_kind_names, spell
from cryosam.results import Segmentation
from cryosam.run_report import Recorder
from cryosam.saved_query import SavedQuery
from cryosam.scene import RunOptions
from cryosam.segmentation import segment, segment_kinds
from cryosam.structure_query import StructureQuery
from cryosam.structure_results import StructureInstance, StructureKind, StructureResult
from cryosam.structure_scene import StructureScene, clicks_of, keep_instances, under_clicks
from cryosam.structures import StructureFinder
from cryosam.structures.compartments import CompartmentFinder
from cryosam.structures.filaments import FilamentFinder
from cryosam.structures.guess import Guessed, chance_in, guess_structure
from cryosam.structures.membranes import MembraneFinder
from cryosam.tomogram import Tomogram

__all__ = ["STRUCTURES", "TakenFor", "find_map", "find_structures", "make_structure_query", "take_for"]

StructureChoice = Literal["auto", "particle", "membrane", "filament", "compartment"]

STRUCTURES: tuple[StructureChoice, ...] = ("auto", "particle", "membrane", "filament", "compartment")
"""What a click may be said to be on."""

_CONFIDENT = 0.5  # confidence of a guess from which a click is not taken for one on a particle: the guess's own limit
_PROGRESS = 1000  # parts of a search that are counted
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
    prompts: PointPrompts | StructureQuery,
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
        At least one positive point on the kind; what is near a negative point is left out. Or a query from
        `make_structure_query`: then there may be no instance.
    structure
        What the clicks are on. With "auto" it is guessed from the tomogram at the clicks, see `take_for`. A query says
        itself what it finds.
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
    QueryError
        If a query is for another structure.
    TomogramError
        If the tomogram contains NaN or is constant.
    VoxelSizeError
        If the voxel size is not known.
    """
    config, options = config or Config(), options or RunOptions()
    if isinstance(prompts, StructureQuery):
        if structure not in ("auto", prompts.structure):
            raise QueryError(f"query {prompts.name!r} finds {prompts.structure}s; the structure cannot be {structure}")
        return _search(StructureScene.of(tomogram, [prompts], config), prompts, prompts.structure, config, options)
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
    opened = StructureScene.of(tomogram, _on_protein([(prompts, structure)]), config)
    return _search(opened, prompts, structure, config, options, is_search=is_search)


def make_structure_query(
    tomogram: Tomogram,
    prompts: PointPrompts,
    structure: StructureKind,
    config: Config | None = None,
    options: RunOptions | None = None,
) -> tuple[StructureQuery, StructureResult]:
    """Measure what tells the clicked kind, to find it in other tomograms, whatever their voxel sizes.

    Parameters
    ----------
    tomogram, prompts, config, options
        As in `find_structures`.
    structure
        What the clicks are on.

    Returns
    -------
    query
        `find_structures` and `find_map` accept it in place of clicks, and `cryosam.io.queries.write_queries` saves it.
    found
        What the query finds in this tomogram: check that it is what was meant.

    Raises
    ------
    PromptError, TomogramError, VoxelSizeError
        As `find_structures`.
    QueryError
        If the query finds nothing in this tomogram.
    """
    config, options = config or Config(), options or RunOptions()
    prompts.validate(tomogram.shape)
    if len(prompts.negative):
        raise PromptError("a query for a structure keeps no negative clicks; leave them out")
    opened = StructureScene.of(tomogram, _on_protein([(prompts, structure)]), config)
    name = _name(prompts, structure)
    kind = _finder(structure, config).describe(
        opened.tomogram, prompts.positive, _of_kind(name, _half(options.progress, 0))
    )
    query = StructureQuery(
        name=name,
        kind=kind,
        contrast="dark" if opened.report.contrast == "dark" else "bright",
        voxel_size_angstrom=opened.tomogram.voxel_size_angstrom,
        n_instances=0,
        source=tomogram.name,
        source_digest=tomogram.digest(),
    )
    found = _search(opened, query, structure, config, replace(options, progress=_half(options.progress, 1)))
    if not found.instances:
        raise QueryError(
            f"{name}: what was measured at the click does not find a {structure} even in this tomogram, so there is "
            "nothing to save; click where it is clearer"
        )
    return replace(query, n_instances=len(found.instances)), replace(found, prompts=prompts.positive)


def find_map(
    tomogram: Tomogram,
    kinds: Sequence[PointPrompts | SavedQuery | StructureQuery],
    structures: Mapping[str, StructureKind],
    config: Config | None = None,
    options: RunOptions | None = None,
) -> FullMap:
    """Find particles and structures of several kinds in one run.

    A kind of which nothing is at a click does not take the others with it: its result is empty, with a warning.

    Parameters
    ----------
    tomogram
        The tomogram to search; its voxel size must be known.
    kinds
        Clicks on each kind, or a query for it; the names of the kinds must differ.
    structures
        What each clicked kind is, by its name; one without an entry is one of particles. At least one kind is not.
    config, options
        As in `cryosam.segment`; they apply to all kinds.

    Returns
    -------
    found
        The particles as `cryosam.segment` finds them, the structures, and their exclusive map.

    Raises
    ------
    PromptError
        If a point lies outside the tomogram, as `cryosam.segment_kinds`; or as `find_structures`, if nothing of any
        kind was found. The text starts with the name of the kind.
    TomogramError, VoxelSizeError
        As `find_structures`.
    """
    config, options = config or Config(), options or RunOptions()
    require_kind_names([kind.name for kind in kinds])
    particles: list[PointPrompts | SavedQuery] = []
    others: list[tuple[PointPrompts | StructureQuery, StructureKind]] = []
    for kind in kinds:
        if isinstance(kind, StructureQuery):
            others.append((kind, kind.structure))
            continue
        structure = structures.get(kind.name, "particle")
        if structure == "particle" or isinstance(kind, SavedQuery):
            particles.append(kind)
        else:
            others.append((kind, structure))
        if isinstance(kind, PointPrompts):
            kind.validate(tomogram.shape)
    if not others:
        raise PromptError("every kind is one of particles: find them with cryosam.segment")
    opened = StructureScene.of(tomogram, _on_protein(others), config)
    failed: list[PromptError] = []
    found = tuple(_tried(opened, kind, structure, config, options, failed) for kind, structure in others)
    everything = FullMap(
        tuple(kind.name for kind in kinds), found, _particles(opened, tomogram, particles, config, options, failed)
    )
    if failed and not any(label.n_instances for label in everything.legend()):
        raise failed[0]
    return everything


def _tried(
    opened: StructureScene,
    kind: PointPrompts | StructureQuery,
    structure: StructureKind,
    config: Config,
    options: RunOptions,
    failed: list[PromptError],
) -> StructureResult:
    """The result for one kind; if nothing is at a click an empty one, and the error is added to those that failed."""
    own = options.kind_configs.get(kind.name, config)
    try:
        found = _search(opened, kind, structure, own, options)
    except PromptError as error:
        failed.append(PromptError(f"{kind.name}: {error}"))
        found = replace(opened.nothing(structure, str(error)), prompts=clicks_of(kind))
    return replace(found, kind=kind.name)


def _particles(
    opened: StructureScene,
    tomogram: Tomogram,
    kinds: Sequence[PointPrompts | SavedQuery],
    config: Config,
    options: RunOptions,
    failed: list[PromptError],
) -> Segmentation | None:
    """The particles of all kinds of particles; None if there is no such kind. Errors are treated as in `_tried`."""
    if not kinds:
        return None
    try:
        if len(kinds) == 1:
            return segment(tomogram, kinds[0], config, options)
        return segment_kinds(tomogram, kinds, config, options)
    except PromptError as error:
        failed.append(error)
        return opened.no_particles([kind.name for kind in kinds], str(error))


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
    opened = StructureScene.of(tomogram, [], config or Config()).tomogram
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


def _on_protein(
    kinds: Sequence[tuple[PointPrompts | StructureQuery, StructureKind]],
) -> list[PointPrompts | StructureQuery]:
    """The kinds whose clicks are on protein, and queries: they tell the contrast."""
    return [kind for kind, structure in kinds if structure != "compartment" or isinstance(kind, StructureQuery)]


def _name(kind: PointPrompts | StructureQuery, structure: StructureKind) -> str:
    """Name of a kind; that of its structure if it has none."""
    return structure if kind.name == "particle" else kind.name


def _search(
    opened: StructureScene,
    prompts: PointPrompts | StructureQuery,
    structure: StructureKind,
    config: Config,
    options: RunOptions,
    *,
    is_search: bool = True,
) -> StructureResult:
    """Find every instance of one kind in an opened tomogram, or without a search the clicked ones."""
    tomogram, record = opened.tomogram, Recorder(opened.report)
    kind = _name(prompts, structure)
    with record.timed(structure):
        finder = _finder(structure, config)
        instances: tuple[StructureInstance, ...]
        if isinstance(prompts, StructureQuery):
            instances = finder.search(tomogram, prompts.kind, _of_kind(kind, options.progress))
        elif not is_search and isinstance(finder, FilamentFinder):
            instances = finder.find_clicked(tomogram, prompts.positive)
        else:
            instances = finder.find(tomogram, prompts.positive, _of_kind(kind, options.progress))
        reach = _NEGATIVE_ANGSTROM / tomogram.voxel_size_angstrom
        kept = keep_instances(instances, prompts, config, options.search_mask, reach)
        if not is_search:
            kept = under_clicks(clicks_of(prompts), kept)
    return StructureResult(
        shape=tomogram.shape,
        structure=structure,
        instances=kept,
        prompts=clicks_of(prompts),
        voxel_size_angstrom=tomogram.voxel_size_angstrom,
        name=tomogram.voxels.source.name,
        kind=kind,
        report=record.report,
    )


def _finder(structure: StructureKind, config: Config) -> StructureFinder[Any]:
    """The finder of a structure with its settings."""
    finders: dict[StructureKind, StructureFinder[Any]] = {
        "membrane": MembraneFinder(config.membrane),
        "filament": FilamentFinder(config.filament),
        "compartment": CompartmentFinder(config.compartment),
    }
    return finders[structure]


def _half(progress: Progress | None, number: int) -> Progress | None:
    """The same progress as the first (0) or the second (1) half of a stage."""
    if progress is None:
        return None
    return lambda stage, done, total: progress(stage, done + number * total, 2 * total)


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
