"""The whole method: one click, every particle of that kind."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from cryosam.alignment import align
from cryosam.arrays import Mask, Points, Progress, Scores
from cryosam.backends import PromptSegmenter, VolumeDescriptor, load_features, load_segmenter, resolve_device
from cryosam.cache import FeatureCache, entry_key
from cryosam.calibration import choose_threshold, kind_probability, limit_false_discovery
from cryosam.config import Config
from cryosam.errors import TomogramError
from cryosam.features import FeatureField
from cryosam.features.dense import extract_dense
from cryosam.features.extraction import extract_triplane
from cryosam.features.triplane import TriPlaneField
from cryosam.geometry import ball_diameter
from cryosam.masks import Average, InstanceMask, Segmentation, merge_duplicates
from cryosam.matching import (
    agreement,
    build_query,
    is_allowed,
    kind_volume,
    match,
)
from cryosam.prompted import Prompted, first_look, second_look, support_from, visibility
from cryosam.prompts import PointPrompts
from cryosam.propagation import propagate
from cryosam.tomogram import Tomogram, detect_contrast, normalise

__all__ = ["pick", "segment", "segment_prompts"]

_ENOUGH_TO_AVERAGE = 10  # candidates
_EVEN_ODDS = 0.5
_INVISIBLE = 3.5  # contrast that background reaches by chance, in standard deviations


def segment(
    tomogram: Tomogram,
    prompts: PointPrompts,
    config: Config | None = None,
    *,
    search_mask: Mask | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment the prompted particles, find every particle of the kind, and segment each.

    Parameters
    ----------
    tomogram
        As read from a file.
    prompts
        At least one positive point.
    config
        Settings; the default preset if left out.
    search_mask
        ``(z, y, x)`` bool of the tomogram's shape, True where particles may be.
    cache
        Keeps the features of 2D models between runs.
    progress
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    segmentation
        Particles, best first, with their masks.

    Raises
    ------
    PromptError
        If a point lies outside the tomogram.
    TomogramError
        If the tomogram holds NaN, is constant, or has another shape than the search mask.
    VoxelSizeError
        If a diameter was given in angstrom and the voxel size is not known.

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
    run = _Run.start(tomogram, prompts, config, search_mask, progress)
    return _find(run, search_mask, cache)


def pick(
    tomogram: Tomogram,
    prompts: PointPrompts,
    config: Config | None = None,
    *,
    search_mask: Mask | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Find every particle of the kind: the detections of `segment`, which see, without their masks."""
    found = segment(tomogram, prompts, config, search_mask=search_mask, cache=cache, progress=progress)
    return replace(found, masks=(InstanceMask.empty(),) * len(found.points))


def segment_prompts(
    tomogram: Tomogram,
    prompts: PointPrompts,
    config: Config | None = None,
    *,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment only the instance under each positive point; see `segment` for the parameters and the errors."""
    run = _Run.start(tomogram, prompts, config, None, progress)
    prompted = run.second_look(run.first_look())
    run.visible(prompted)
    return run.result(
        prompted,
        points=_centres(prompts.positive, prompted.masks),
        scores=np.ones(len(prompted.masks)),
        masks=prompted.masks,
    )


@dataclass(eq=False)
class _Run:
    """What the steps of one run share."""

    tomogram: Tomogram
    normalised: Tomogram
    prompts: PointPrompts
    config: Config
    segmenter: PromptSegmenter
    given_diameter: float | None
    progress: Progress | None
    provenance: dict[str, str | float]
    warnings: list[str]

    @classmethod
    def start(
        cls,
        tomogram: Tomogram,
        prompts: PointPrompts,
        config: Config | None,
        search_mask: Mask | None,
        progress: Progress | None,
    ) -> "_Run":
        """Check the input and prepare the intensities."""
        config = config or Config()
        prompts.validate(tomogram.shape)
        if search_mask is not None and search_mask.shape != tomogram.shape:
            raise TomogramError(f"the search mask has shape {search_mask.shape}, the tomogram {tomogram.shape}")
        given = config.diameter_angstrom
        diameter = None if given is None else tomogram.voxels(given)
        segmenter = load_segmenter(config.propagation.segmenter, device=config.device)
        choice = config.tomogram.contrast
        contrast = detect_contrast(tomogram, prompts.positive) if choice == "auto" else choice
        normalised = normalise(tomogram, contrast, config.tomogram.percentiles)
        provenance: dict[str, str | float] = {"contrast": contrast, "segmenter_digest": segmenter.digest}
        return cls(tomogram, normalised, prompts, config, segmenter, diameter, progress, provenance, [])

    def first_look(self) -> Prompted:
        """Segment what lies under the clicks."""
        with self.timed("prompts"):
            settings = self.config.propagation
            return first_look(
                self.normalised, self.prompts.positive, self.segmenter, settings, self.given_diameter, self.progress
            )

    def second_look(self, first: Prompted, field: FeatureField | None = None) -> Prompted:
        """Settle the size of what lies under the clicks, unless it was given or the settings forbid."""
        if self.given_diameter is not None or self.config.propagation.smoothing is not None:
            return first
        support = None if field is None else support_from(field, first.smoothed, self.segmenter, self.config)
        with self.timed("prompts"):
            points, settings = self.prompts.positive, self.config.propagation
            return second_look(first, self.normalised, points, self.segmenter, settings, support)

    def visible(self, prompted: Prompted) -> list[bool]:
        """Whether something lies under each click; a warning for each that holds nothing."""
        are_visible = []
        for point, mask in zip(self.prompts.positive, prompted.masks, strict=True):
            are_visible.append(mask.n_voxels > 0 and visibility(self.normalised, point) >= _INVISIBLE)
            if not are_visible[-1]:
                self.say(f"nothing stands out of the background at point {','.join(f'{c:g}' for c in point)}")
        return are_visible

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add up how long a stage took."""
        key, start = f"seconds_{stage}", time.perf_counter()
        yield
        self.provenance[key] = round(float(self.provenance.get(key, 0)) + time.perf_counter() - start, 3)

    def say(self, warning: str) -> None:
        """Keep a sentence that the user should read."""
        self.warnings.append(warning)

    def result(self, prompted: Prompted, **found: Any) -> Segmentation:
        """What was found, with what every result has."""
        n_doubtful = sum(
            mask.n_voxels > 0 and not trusted for mask, trusted in zip(prompted.masks, prompted.is_trusted, strict=True)
        )
        if n_doubtful:
            self.say(
                f"the mask under {n_doubtful} of {len(prompted.masks)} clicks is in doubt, as if it held a neighbour: "
                "look at it, and click a particle that stands alone or give the diameter"
            )
        sizes = {"diameter_voxels": prompted.diameter, "smoothing_voxels": prompted.smoothing}
        return Segmentation(
            shape=self.tomogram.shape,
            prompt_masks=prompted.masks,
            warnings=tuple(self.warnings),
            voxel_size_angstrom=self.tomogram.voxel_size_angstrom,
            name=self.tomogram.name,
            provenance=self.provenance | sizes,
            **found,
        )


def _find(run: _Run, search_mask: Mask | None, cache: FeatureCache | None) -> Segmentation:
    """Describe the tomogram, match the query, segment the candidates, and accept those above the threshold."""
    matching, propagation = run.config.matching, run.config.propagation
    first = run.first_look()
    field = _extract(run, first.diameter, cache)
    prompted = run.second_look(first, field)
    if _octave(prompted.diameter) != _octave(first.diameter):
        field = _extract(run, prompted.diameter, cache)
    with run.timed("matching"):
        query = build_query(field, run.prompts.positive, prompted.trusted_masks, matching.query)
        negatives = list(field.sample(run.prompts.negative))
        candidates = match(
            field,
            query,
            matching,
            diameter=prompted.diameter,
            negatives=negatives,
            search_mask=search_mask,
            progress=run.progress,
        )
    points, scores = candidates.points, candidates.scores
    if not any(run.visible(prompted)) and matching.threshold is None:
        run.say("so nothing was searched for; click on a particle, or give a threshold to search all the same")
        points, scores = points[:0], scores[:0]
    points, scores = _limit(run, points, scores)
    bound = prompted.diameter if propagation.window_diameters else run.given_diameter  # whole slices know no size
    with run.timed("segmenting"):
        masks = propagate(prompted.smoothed, points, run.segmenter, propagation, bound, run.progress)
    volume: float | None = None
    if matching.volume_tolerance is not None:
        volume = kind_volume(field, query, scores, masks, prompted.trusted_masks)
        scores = agreement(field, query, scores, masks, volume, matching.volume_tolerance)
        points = _centres(points, masks)
        # the centre of a mask may lie where its candidate could not
        stays = is_allowed(points, run.tomogram.shape, search_mask, matching.edge_margin)
        for negative in negatives:
            stays &= field.similarity_at(query, points) >= field.similarity_at(negative, points)
        scores = np.where(stays, scores, 0)
    order = np.argsort(-scores, kind="stable")
    order = order[merge_duplicates([masks[i] for i in order])]
    points, scores, masks = points[order], scores[order], tuple(masks[i] for i in order)
    threshold, average = choose_threshold(scores), None
    if run.config.alignment.is_on and volume is not None and np.count_nonzero(scores) >= _ENOUGH_TO_AVERAGE:
        scores, average = _compare(run, points, scores, ball_diameter(volume), threshold)
        order = np.argsort(-scores, kind="stable")
        points, scores, masks = points[order], scores[order], tuple(masks[i] for i in order)
        share = matching.max_false_discovery
        threshold = _EVEN_ODDS if share is None else limit_false_discovery(scores, share)
    elif matching.max_false_discovery is not None:
        run.say("the share of false detections cannot be told without an average of at least ten candidates")
    threshold = threshold if matching.threshold is None else matching.threshold
    n_above = int(np.count_nonzero(scores >= threshold))
    kept = slice(0, n_above if matching.max_particles is None else min(n_above, matching.max_particles))
    if average is not None:
        run.provenance["expected_false"] = round(float((1 - scores[kept]).sum()), 2)
    _comment(run, n_above, len(scores), masks[kept])
    return run.result(
        prompted,
        points=points[kept],
        scores=scores[kept],
        masks=masks[kept],
        score_map=candidates.score_map,
        candidate_points=points,
        candidate_scores=scores,
        threshold=threshold,
        average=average,
    )


def _compare(run: _Run, points: Points, scores: Scores, diameter: float, threshold: float) -> tuple[Scores, Average]:
    """Probability that each candidate is of the kind, by comparison with an average of the best, and that average.

    Candidates with score 0 are ruled out and stay so.
    """
    settings, device = run.config.alignment, resolve_device(run.config.device)
    n_sure = int(np.count_nonzero(scores >= threshold))
    members = np.arange(np.clip(n_sure, _ENOUGH_TO_AVERAGE, settings.max_members))
    with run.timed("aligning"):
        found = align(run.normalised, points, members, diameter, settings, device)
    probability = kind_probability(found.correlations, found.members, members, found.background)
    return np.where(scores > 0, probability, 0), found.average


def _centres(points: Points, masks: Sequence[InstanceMask]) -> Points:
    """Centroid of each mask; the point itself where the mask is empty."""
    centres = [point if mask.n_voxels == 0 else mask.centroid for point, mask in zip(points, masks, strict=True)]
    return np.array(centres, dtype=float).reshape(-1, 3)


def _limit(run: _Run, points: Points, scores: Scores) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, " m"]]:
    """The candidates that are worth segmenting, and a word about those that are not."""
    matching = run.config.matching
    limit = matching.max_candidates
    if matching.volume_tolerance is None:  # the similarity is the score: what is below the threshold is not accepted
        above = scores >= (matching.threshold or 0)
        points, scores = points[above], scores[above]
        limit = min(limit, matching.max_particles or limit)
    if len(points) > limit:
        run.say(f"only the {limit} most similar of {len(points)} candidates were looked at; there may be more")
    return points[:limit], scores[:limit]


def _comment(run: _Run, n_above: int, n_candidates: int, masks: Sequence[InstanceMask]) -> None:
    """Say what a user would want to know of what was found."""
    if n_candidates > 0 and len(masks) == 0:
        run.say("no particle of this kind was found; click another one, or lower the threshold")
    if len(masks) < n_above:
        run.say(f"only the best {len(masks)} detections were kept, as asked for; there may be more")
    n_empty = sum(mask.n_voxels == 0 for mask in masks)
    if n_empty:
        run.say(f"{n_empty} of {len(masks)} detections have no mask: the segmenter saw no particle there")


def _octave(diameter: float) -> float:
    """The nearest power of the square root of two: particles of about one size share their features."""
    return float(2 ** (round(2 * np.log2(diameter)) / 2))


def _extract(run: _Run, diameter: float, cache: FeatureCache | None) -> FeatureField:
    """Feature field of the tomogram for particles of a diameter, with the backend that the configuration names."""
    with run.timed("features"):
        return _extract_field(run, _octave(diameter), cache)


def _extract_field(run: _Run, diameter: float, cache: FeatureCache | None) -> FeatureField:
    """Feature field whose scales, or tokens, fit a diameter."""
    settings, stride = run.config.features, run.config.matching.strides[-1]
    growth = max(1.0, diameter / settings.scales_diameter)
    backend = load_features(
        settings.backend, device=run.config.device, scales=[scale * growth for scale in settings.scales]
    )
    run.provenance["features_digest"] = backend.digest
    if isinstance(backend, VolumeDescriptor):
        return extract_dense(run.normalised, backend, stride, run.progress)
    token_voxels = settings.token_diameters * diameter

    def compute() -> dict[str, np.ndarray]:
        return extract_triplane(
            run.normalised,
            backend,
            stride=stride,
            token_voxels=token_voxels,
            slice_px=settings.slice_px,
            progress=run.progress,
        ).to_arrays()

    if cache is None:
        return TriPlaneField.from_arrays(compute())
    key = entry_key(
        tomogram=run.normalised.digest(),
        backend=backend.digest,
        stride=stride,
        token_voxels=token_voxels,
        slice_px=settings.slice_px,
    )
    return TriPlaneField.from_arrays(cache.get_or_compute(key, compute))
