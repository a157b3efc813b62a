"""The public functions that run the whole method: from one click to every particle of that kind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from cryosam.arrays import Points
from cryosam.classification.acceptance import accept, result
from cryosam.classification.decision import with_threshold
from cryosam.classification.exclusive_kinds import compete
from cryosam.config import Config, TomogramConfig
from cryosam.errors import ConfigError, PromptError
from cryosam.kind_sources import ClickedKind, KindSource, kind_source
from cryosam.kind_sources.clicked import are_visible, look
from cryosam.kind_sources.saved import save_query
from cryosam.matching.candidates import centres
from cryosam.prompts import PointPrompts, require_kind_names
from cryosam.results import Segmentation
from cryosam.saved_query import SavedQuery
from cryosam.scene import RunOptions, Scene
from cryosam.search import Found, find_kind
from cryosam.tomogram import Box, Tomogram
from cryosam.trials import assess

__all__ = ["make_queries", "pick", "segment", "segment_kinds", "segment_prompts", "segment_window"]

_DOUBTFUL_AGREEMENT = 0.7  # mean F1 with the results of other clicks, below which there is a warning


def segment(
    tomogram: Tomogram,
    prompts: PointPrompts | SavedQuery,
    config: Config | None = None,
    options: RunOptions | None = None,
) -> Segmentation:
    """Segment the clicked particles, find every other particle of the kind, and segment each.

    Parameters
    ----------
    tomogram
        The tomogram to search.
    prompts
        At least one positive point, or a query that was made in another tomogram.
    config
        Settings; the default preset if left out.
    options
        Optional inputs, such as a search mask, a cache and progress callbacks; see `RunOptions`.

    Returns
    -------
    segmentation
        Particles, best first, with their masks.

    Raises
    ------
    PromptError
        If a point lies outside the tomogram, or trials are requested for a saved query.
    QueryError
        If the query was made with other models, or with a very different voxel size.
    TomogramError
        If the tomogram contains NaN, is constant, or differs in shape from the search mask.
    VoxelSizeError
        If a query or a diameter in angstrom was given, and the voxel size is not known.

    Examples
    --------
    >>> z, y, x = np.mgrid[:32, :40, :48]
    >>> rng = np.random.default_rng(0)
    >>> volume = rng.normal(0, 0.05, z.shape).astype(np.float32)
    >>> for centre in ((16, 12, 12), (15, 28, 34)):
    ...     volume += np.exp(-((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) / 18)
    >>> found = segment(Tomogram(volume), PointPrompts(np.array([[16.0, 12.0, 12.0]])))
    >>> len(found.points)
    2
    """
    kind = kind_source(prompts)
    scene = _open(tomogram, [kind], config, options)
    scene = scene.for_kind(_settings_of(kind, scene, config or Config()))
    found = find_kind(scene, kind)
    segmentation = accept(scene, found.candidates, found.prompted, kind.name)
    return _with_trust(scene, kind, segmentation, [])


def segment_kinds(
    tomogram: Tomogram,
    kinds: Sequence[PointPrompts | SavedQuery],
    config: Config | None = None,
    options: RunOptions | None = None,
) -> Segmentation:
    """Find and segment every particle of several kinds, each given by clicks or a query.

    A particle is of one kind only: if several kinds match it, it is assigned to the most probable one.

    Parameters
    ----------
    kinds
        Clicks on each kind, or a query for it; the names of the kinds must differ.
    tomogram, config, options
        As in `segment`. A diameter in the configuration applies to all kinds.

    Returns
    -------
    segmentation
        Particles of all kinds, best first, with the names of their kinds; ``kinds`` has the result of each kind.

    Raises
    ------
    PromptError
        If a point lies outside the tomogram, if there is no kind, if two kinds have the same name, or if a name cannot
        be used in file names.
    TomogramError, VoxelSizeError
        As `segment`.
    """
    parts = _find_kinds(tomogram, kinds, config, options)
    segmentations = [part.accepted for part in parts]
    return Segmentation.combine(
        [
            _with_trust(
                part.scene,
                part.kind,
                part.accepted,
                [other.points for other in segmentations if other is not part.accepted],
            )
            for part in parts
        ]
    )


def make_queries(
    tomogram: Tomogram,
    kinds: Sequence[PointPrompts],
    config: Config | None = None,
    options: RunOptions | None = None,
) -> tuple[tuple[SavedQuery, ...], Segmentation]:
    """Find kinds from clicks, and make queries to find the same kinds in other tomograms.

    Parameters
    ----------
    tomogram, config, options
        As in `segment`. Choose a tomogram with at least a dozen particles of each kind.
    kinds
        As in `segment_kinds`; clicks only.

    Returns
    -------
    queries
        One per kind, in order. `segment` and `segment_kinds` accept them in place of clicks, and
        `cryosam.io.queries.write_queries` saves them to a file.
    found
        The particles that the queries were made from: check that they are of the intended kinds.

    Raises
    ------
    PromptError, TomogramError, ConfigError
        As `segment_kinds`.
    QueryError
        If nothing of a kind was found.
    VoxelSizeError
        If the voxel size is not known.

    Examples
    --------
    >>> z, y, x = np.mgrid[:32, :40, :48]
    >>> rng = np.random.default_rng(0)
    >>> here, there = rng.normal(0, 0.05, (2, 32, 40, 48)).astype(np.float32)
    >>> for centre in ((16, 12, 12), (15, 28, 34)):
    ...     here += np.exp(-((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) / 18)
    ...     there += np.exp(-((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - 2 - centre[2]) ** 2) / 18)
    >>> clicks = PointPrompts(np.array([[16.0, 12.0, 12.0]]), name="blob")
    >>> (query,), _ = make_queries(Tomogram(here, 10.0), [clicks])
    >>> segment(Tomogram(there, 10.0), query).points.round().tolist()
    [[16.0, 12.0, 14.0], [15.0, 28.0, 36.0]]
    """
    tomogram.voxels(1.0)
    parts = _find_kinds(tomogram, kinds, config, options)
    queries = tuple(save_query(part.scene, part.accepted, part.found.candidates) for part in parts)
    found = [part.accepted for part in parts]
    return queries, found[0] if len(found) == 1 else Segmentation.combine(found)


def pick(
    tomogram: Tomogram,
    prompts: PointPrompts | SavedQuery,
    config: Config | None = None,
    options: RunOptions | None = None,
) -> Segmentation:
    """Find every particle of the kind: the result of `segment` without the masks."""
    return segment(tomogram, prompts, config, options).without_masks()


def segment_prompts(
    tomogram: Tomogram,
    prompts: PointPrompts,
    config: Config | None = None,
    options: RunOptions | None = None,
) -> Segmentation:
    """Segment only the instance under each positive point; parameters and errors are those of `segment`."""
    kind = ClickedKind(prompts)
    return _under_clicks(_open(tomogram, [kind], config, options), kind)


def segment_window(
    tomogram: Tomogram, box: Box, limits: tuple[float, float], prompts: PointPrompts, config: Config
) -> Segmentation:
    """Segment only the instance under each positive point, reading only a box around the points.

    Parameters
    ----------
    tomogram
        The tomogram; only its voxels in the box are read.
    box
        Box around the points.
    limits
        Intensities that become 0 and 1. They cannot be measured in the box alone.
    prompts
        Positive points in the box, z, y, x in voxels of the tomogram.
    config
        Settings; the percentiles of intensities are ignored.

    Returns
    -------
    segmentation
        As returned by `segment_prompts`, in voxels of the tomogram.

    Raises
    ------
    TomogramError
        If voxels in the box are not finite, or all have the same value.
    """
    offset = np.array([part.start for part in box], dtype=float)
    window = replace(tomogram, data=np.clip(tomogram.data[box], *limits))
    inside = PointPrompts(prompts.positive - offset, name=prompts.name)
    settings = config.override(tomogram__percentiles=(0.0, 100.0))
    return _moved(segment_prompts(window, inside, settings), offset, tomogram.shape)


def _moved(found: Segmentation, offset: Float[np.ndarray, " 3"], shape: tuple[int, int, int]) -> Segmentation:
    """The objects under clicks in a part of a volume, in coordinates of the whole volume."""
    warnings = tuple(warning.moved_by(tuple(offset.tolist())) for warning in found.report.warnings)
    return replace(
        found,
        shape=shape,
        points=found.points + offset,
        masks=tuple(mask.moved_by(offset) for mask in found.masks),
        prompt_masks=tuple(mask.moved_by(offset) for mask in found.prompt_masks),
        report=replace(found.report, warnings=warnings),
    )


def _under_clicks(scene: Scene, kind: ClickedKind) -> Segmentation:
    """Segment the objects under the clicks, and warn of each click at which nothing is visible."""
    prompted, _ = look(scene, kind.clicks, is_search=False)
    are_visible(scene, kind.clicks, prompted)
    points, scores = centres(kind.clicks, prompted.masks), np.ones(len(prompted.masks))
    return result(scene, prompted, points=points, scores=scores, masks=prompted.masks, kind=kind.name)


def _open(tomogram: Tomogram, kinds: Sequence[KindSource], config: Config | None, options: RunOptions | None) -> Scene:
    """Check the clicks and open the scene; without clicks, a query gives the contrast."""
    config = config or Config()
    for kind in kinds:
        kind.validate(tomogram)
    clicks = _points_of(kind.clicks for kind in kinds)
    known = [kind.contrast for kind in kinds if kind.contrast is not None]
    if not len(clicks) and known and config.tomogram.contrast == "auto":
        config = config.override(tomogram__contrast=known[0])
    return Scene.open(tomogram, clicks, config, options)


def _settings_of(kind: KindSource, scene: Scene, config: Config) -> Config:
    """The settings for one kind: its own, or those of the run, after checking that the two are compatible."""
    own = scene.options.kind_configs.get(kind.name, config)
    if _shared(own) != _shared(config):
        raise ConfigError(
            f"kind {kind.name!r}: the tomogram settings, the segmenter and the device apply to the whole run and "
            "cannot be set for one kind"
        )
    own = replace(own, tomogram=scene.config.tomogram)  # a query may have set the contrast
    return kind.fitted(replace(scene, config=own))


def _shared(config: Config) -> tuple[TomogramConfig, str, str]:
    """The settings that must be the same for all kinds of a run."""
    return config.tomogram, config.propagation.segmenter, config.device


@dataclass(frozen=True, eq=False)
class _Part:
    """One kind of a run: its scene, the outcome of its search, and the accepted particles."""

    kind: KindSource
    scene: Scene
    found: Found
    accepted: Segmentation


def _find_kinds(
    tomogram: Tomogram,
    prompts: Sequence[PointPrompts | SavedQuery],
    config: Config | None,
    options: RunOptions | None,
) -> list[_Part]:
    """Search for each kind; if there are several, assign each particle to one of them."""
    kinds = [kind_source(each) for each in prompts]
    scene = _open(tomogram, kinds, config, options)
    require_kind_names([kind.name for kind in kinds])
    scenes: list[Scene] = []
    found: list[Found] = []
    for kind in kinds:
        last = scenes[-1] if scenes else scene
        scenes.append(last.for_kind(_settings_of(kind, scene, config or Config())))
        found.append(find_kind(scenes[-1], kind))
    if len(found) > 1:
        settled = compete([each.candidates for each in found])
        found = [
            replace(each, candidates=with_threshold(own_scene, candidates))
            for each, own_scene, candidates in zip(found, scenes, settled, strict=True)
        ]
    return [
        _Part(kind, own_scene, each, accept(own_scene, each.candidates, each.prompted, kind.name))
        for kind, own_scene, each in zip(kinds, scenes, found, strict=True)
    ]


def _with_trust(scene: Scene, kind: KindSource, found: Segmentation, rivals: Iterable[Points]) -> Segmentation:
    """Add to a result how much it depends on the click, if that is requested."""
    if not scene.options.n_trials:
        return found
    if not isinstance(kind, ClickedKind):
        raise PromptError(f"query {kind.name!r} has no click that trials could be compared with; set n_trials to 0")
    trust = assess(scene, kind.prompts, found, _points_of(rivals))
    if trust.agreement[0] < _DOUBTFUL_AGREEMENT:
        scene.record.warn(
            "depends_on_click",
            f"other clicks give different results: the mean F1 between them and this one is {trust.agreement[0]:.2f}",
        )
    finds_clicked = trust.finds_clicked[~trust.is_on_clicked]
    if 2 * finds_clicked.sum() < len(finds_clicked):
        scene.record.warn(
            "others_miss_clicked",
            f"only {finds_clicked.sum()} of {len(finds_clicked)} clicks on other detections find the clicked particle: "
            "it may be of another kind than they are",
        )
    report = scene.record.report
    return replace(
        found, trust=trust, report=replace(report, diameter=found.report.diameter, smoothing=found.report.smoothing)
    )


def _points_of(parts: Iterable[Points]) -> Points:
    """Concatenate several sets of points."""
    return np.concatenate([np.zeros((0, 3)), *parts])
