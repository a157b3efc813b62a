"""The whole method: one click, every particle of that kind."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cryosam.arrays import Mask, Points, Progress, SoFar
from cryosam.classification.acceptance import accept, result
from cryosam.classification.exclusive_kinds import compete
from cryosam.config import Config, TomogramConfig
from cryosam.errors import ConfigError, PromptError
from cryosam.kind_sources import fit_run, save_query
from cryosam.matching.candidates import Candidates, centres
from cryosam.matching.feature_cache import FeatureCache
from cryosam.prompts import PointPrompts, require_kind_names
from cryosam.results import Segmentation
from cryosam.run import Run
from cryosam.saved_query import SavedQuery
from cryosam.search import are_visible, look, search, with_threshold
from cryosam.tomogram import Tomogram
from cryosam.trials import assess

__all__ = ["make_queries", "pick", "segment", "segment_kinds", "segment_prompts"]

_DOUBTFUL_AGREEMENT = 0.7  # F1 with what other clicks find


def segment(
    tomogram: Tomogram,
    prompts: PointPrompts | SavedQuery,
    config: Config | None = None,
    *,
    search_mask: Mask | None = None,
    cache: FeatureCache | None = None,
    n_trials: int = 0,
    progress: Progress | None = None,
    so_far: SoFar | None = None,
) -> Segmentation:
    """Segment the prompted particles, find every particle of the kind, and segment each.

    Parameters
    ----------
    tomogram
        As read from a file.
    prompts
        At least one positive point, or a query that was made in another tomogram.
    config
        Settings; the default preset if left out.
    search_mask
        ``(z, y, x)`` bool of the tomogram's shape, True where particles may be.
    cache
        Keeps features between runs.
    n_trials
        Other clicks from which the kind is searched for too, to tell how much the answer depends on the click; a saved
        query has none.
    progress
        Called as ``progress(stage, done, total)``.
    so_far
        Called as ``so_far(prompts.name, points)`` with the places that look like the kind, each time the search knows
        more of them.

    Returns
    -------
    segmentation
        Particles, best first, with their masks.

    Raises
    ------
    PromptError
        If a point lies outside the tomogram, or trials are asked for without a click.
    QueryError
        If the query was made with other models, or voxels of a very different size.
    TomogramError
        If the tomogram holds NaN, is constant, or has another shape than the search mask.
    VoxelSizeError
        If a diameter was given in angstrom, or a query, and the voxel size is not known.

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
    run = _start(tomogram, [prompts], config or Config(), search_mask, cache, progress, so_far)
    run = _of_kind(run, prompts, run.config, run.config)
    found = accept(run, search(run, prompts), prompts.name)
    return _with_trust(run, _require_clicks(prompts), found, n_trials, _points_of([])) if n_trials else found


def segment_kinds(
    tomogram: Tomogram,
    kinds: Sequence[PointPrompts | SavedQuery],
    config: Config | None = None,
    *,
    configs: Mapping[str, Config] | None = None,
    search_mask: Mask | None = None,
    cache: FeatureCache | None = None,
    n_trials: int = 0,
    progress: Progress | None = None,
    so_far: SoFar | None = None,
) -> Segmentation:
    """Find and segment every particle of several kinds, each of which has its own clicks, or a query, and a name.

    A particle is of one kind: where several claim it, the most probable one gets it.

    Parameters
    ----------
    kinds
        Clicks on each kind, or a query; their names differ.
    tomogram, config, search_mask, cache, n_trials, progress, so_far
        As in `segment`. A diameter that the configuration gives holds for all kinds.
    configs
        Settings of some kinds, by name, in the place of ``config``; how intensities are prepared, the segmenter and the
        device are the same for all.

    Returns
    -------
    segmentation
        Particles of all kinds, best first, with their names; what was found of each kind is in its ``kinds``.

    Raises
    ------
    PromptError
        If a point lies outside the tomogram, there is no kind, two have one name, or a name cannot be in a file name.
    TomogramError, VoxelSizeError
        As `segment`.
    """
    config = config or Config()
    run = _start(tomogram, kinds, config, search_mask, cache, progress, so_far)
    runs, settled = _search_kinds(run, kinds, config, configs or {})
    parts = [accept(each, found, prompts.name) for each, found, prompts in zip(runs, settled, kinds, strict=True)]
    if n_trials:
        parts = [
            _with_trust(
                each,
                _require_clicks(prompts),
                part,
                n_trials,
                _points_of(other.points for other in parts if other is not part),
            )
            for each, prompts, part in zip(runs, kinds, parts, strict=True)
        ]
    return Segmentation.combine(parts)


def make_queries(
    tomogram: Tomogram,
    kinds: Sequence[PointPrompts],
    config: Config | None = None,
    *,
    configs: Mapping[str, Config] | None = None,
    search_mask: Mask | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[SavedQuery, ...], Segmentation]:
    """Find some kinds by clicks, and keep what it takes to find them in other tomograms.

    Parameters
    ----------
    tomogram, config, search_mask, cache, progress
        As in `segment`. Take a tomogram with a dozen particles of each kind or more.
    kinds, configs
        As in `segment_kinds`; clicks only.

    Returns
    -------
    queries
        One a kind, in order. `segment` and `segment_kinds` take them in the place of clicks, and
        `cryosam.io.queries.write_queries` keeps them in a file.
    found
        What they were made of: look whether it is what was meant.

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
    config = config or Config()
    tomogram.voxels(1.0)
    run = _start(tomogram, kinds, config, search_mask, cache, progress, None)
    runs, settled = _search_kinds(run, kinds, config, configs or {})
    parts = [accept(each, found, prompts.name) for each, found, prompts in zip(runs, settled, kinds, strict=True)]
    queries = tuple(
        save_query(each, part, found.prompted, found.average, found.evidence)
        for each, part, found in zip(runs, parts, settled, strict=True)
    )
    return queries, parts[0] if len(parts) == 1 else Segmentation.combine(parts)


def pick(
    tomogram: Tomogram,
    prompts: PointPrompts | SavedQuery,
    config: Config | None = None,
    *,
    search_mask: Mask | None = None,
    cache: FeatureCache | None = None,
    n_trials: int = 0,
    progress: Progress | None = None,
) -> Segmentation:
    """Find every particle of the kind: the detections of `segment`, which see, without their masks."""
    found = segment(
        tomogram, prompts, config, search_mask=search_mask, cache=cache, n_trials=n_trials, progress=progress
    )
    return found.without_masks()


def segment_prompts(
    tomogram: Tomogram,
    prompts: PointPrompts,
    config: Config | None = None,
    *,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment only the instance under each positive point; see `segment` for the parameters and the errors."""
    prompts.validate(tomogram.shape)
    run = Run.start(tomogram, prompts.positive, config, progress=progress)
    prompted = look(run, prompts, is_search=False)
    are_visible(run, prompts.positive, prompted)
    points, scores = centres(prompts.positive, prompted.masks), np.ones(len(prompted.masks))
    return result(run, prompted, points=points, scores=scores, masks=prompted.masks, kind=prompts.name)


def _start(
    tomogram: Tomogram,
    kinds: Sequence[PointPrompts | SavedQuery],
    config: Config,
    search_mask: Mask | None,
    cache: FeatureCache | None,
    progress: Progress | None,
    so_far: SoFar | None,
) -> Run:
    """Check the clicks, and begin; clicks tell the contrast, and where there is none a query does."""
    clicks = [prompts for prompts in kinds if isinstance(prompts, PointPrompts)]
    for prompts in clicks:
        prompts.validate(tomogram.shape)
    queries = [prompts for prompts in kinds if isinstance(prompts, SavedQuery)]
    if not clicks and queries and config.tomogram.contrast == "auto":
        config = config.override(tomogram__contrast=queries[0].contrast)
    points = _points_of(prompts.positive for prompts in clicks)
    return Run.start(tomogram, points, config, search_mask, cache, progress, so_far)


def _of_kind(run: Run, prompts: PointPrompts | SavedQuery, config: Config, base: Config) -> Run:
    """The run with the settings of one kind."""
    if _shared(config) != _shared(base):
        raise ConfigError(
            f"class {prompts.name!r}: how intensities are prepared, the segmenter and the device are those of the run, "
            "and cannot be set for one class"
        )
    given = config.diameter_angstrom
    run = replace(run, config=config, given_diameter=None if given is None else run.tomogram.voxels(given))
    return fit_run(run, prompts) if isinstance(prompts, SavedQuery) else run


def _shared(config: Config) -> tuple[TomogramConfig, str, str]:
    """Settings that are the same for all kinds of a run."""
    return config.tomogram, config.propagation.segmenter, config.device


def _search_kinds(
    run: Run, kinds: Sequence[PointPrompts | SavedQuery], config: Config, configs: Mapping[str, Config]
) -> tuple[list[Run], list[Candidates]]:
    """Search for each kind; where there are several, they compete."""
    require_kind_names([prompts.name for prompts in kinds])
    runs: list[Run] = []
    found: list[Candidates] = []
    for prompts in kinds:
        run = _of_kind(
            run if not runs else runs[-1].for_next_kind(), prompts, configs.get(prompts.name, config), config
        )
        runs.append(run)
        found.append(search(run, prompts))
    if len(found) > 1:
        found = [with_threshold(each, one) for each, one in zip(runs, compete(found), strict=True)]
    return runs, found


def _require_clicks(prompts: PointPrompts | SavedQuery) -> PointPrompts:
    """Prompts that other clicks can be compared with."""
    if isinstance(prompts, SavedQuery):
        raise PromptError(f"query {prompts.name!r} has no click in this tomogram with which others could be compared")
    return prompts


def _with_trust(run: Run, prompts: PointPrompts, found: Segmentation, n_trials: int, rivals: Points) -> Segmentation:
    """What was found, with how much it depends on the click."""
    trust = assess(run, prompts, found, n_trials, rivals)
    if trust.agreement[0] < _DOUBTFUL_AGREEMENT:
        run.say(f"other clicks find something else: agreement with them is {trust.agreement[0]:.2f} (F1)")
    finds_clicked = trust.finds_clicked[~trust.is_on_clicked]
    if 2 * finds_clicked.sum() < len(finds_clicked):
        run.say(
            f"only {finds_clicked.sum()} of {len(finds_clicked)} clicks on what was found find the clicked particle: "
            "it may be of another kind than they are"
        )
    return replace(found, trust=trust, warnings=tuple(run.warnings), provenance={**found.provenance, **run.provenance})


def _points_of(parts: Iterable[Points]) -> Points:
    """All points of several sets."""
    return np.concatenate([np.zeros((0, 3)), *parts])
