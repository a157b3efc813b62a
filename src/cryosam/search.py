"""One kind: from its clicks to everything that may be of it, each with a mask and a score (DESIGN 1.2)."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from cryosam.alignment import align
from cryosam.arrays import Mask, Points, Progress, Scores
from cryosam.backends import PromptSegmenter, VolumeDescriptor, load_features, load_segmenter, resolve_device
from cryosam.cache import FeatureCache, entry_key
from cryosam.calibration import choose_threshold, limit_false_discovery
from cryosam.config import Config
from cryosam.errors import TomogramError
from cryosam.features import FeatureField
from cryosam.features.dense import extract_dense
from cryosam.features.extraction import extract_triplane
from cryosam.features.triplane import TriPlaneField
from cryosam.geometry import ball_diameter
from cryosam.masks import Average, InstanceMask, ScoreMap, merge_duplicates
from cryosam.matching import Matches, Query, agreement, build_query, is_allowed, kind_volume, match
from cryosam.prompted import Prompted, first_look, second_look, support_from, visibility
from cryosam.prompts import PointPrompts
from cryosam.propagation import propagate
from cryosam.tomogram import Tomogram, detect_contrast, normalise

__all__ = ["Candidates", "Run", "centres", "is_visible", "look", "search", "with_threshold"]

_ENOUGH_TO_AVERAGE = 10  # candidates
_EVEN_ODDS = 0.5
_DOUBTFUL = 3.8  # standard deviations between the kind and everything else
_INVISIBLE = 2.6  # contrast that background reaches by chance, in standard deviations


@dataclass(eq=False)
class Run:
    """What the steps of one run share."""

    tomogram: Tomogram
    normalised: Tomogram
    config: Config
    segmenter: PromptSegmenter
    given_diameter: float | None
    search_mask: Mask | None
    cache: FeatureCache | None
    progress: Progress | None
    provenance: dict[str, str | float]
    warnings: list[str] = field(default_factory=list)
    _field: tuple[float, str, FeatureField] | None = None

    @classmethod
    def start(
        cls,
        tomogram: Tomogram,
        clicks: Points,
        config: Config | None,
        search_mask: Mask | None = None,
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
    ) -> "Run":
        """Check the input and prepare the intensities; ``clicks`` lie on particles and tell the contrast."""
        config = config or Config()
        if search_mask is not None and search_mask.shape != tomogram.shape:
            raise TomogramError(f"the search mask has shape {search_mask.shape}, the tomogram {tomogram.shape}")
        given = config.diameter_angstrom
        diameter = None if given is None else tomogram.voxels(given)
        segmenter = load_segmenter(config.propagation.segmenter, device=config.device)
        choice = config.tomogram.contrast
        contrast = detect_contrast(tomogram, clicks) if choice == "auto" else choice
        normalised = normalise(tomogram, contrast, config.tomogram.percentiles)
        provenance: dict[str, str | float] = {"contrast": contrast, "segmenter_digest": segmenter.digest}
        return cls(tomogram, normalised, config, segmenter, diameter, search_mask, cache, progress, provenance)

    def for_next_kind(self) -> "Run":
        """A run on the same tomogram without what was decided and said of this kind."""
        kept = {name: self.provenance[name] for name in ("contrast", "segmenter_digest")}
        return replace(self, provenance=kept, warnings=[])

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add up how long a stage took."""
        key, start = f"seconds_{stage}", time.perf_counter()
        yield
        self.provenance[key] = round(float(self.provenance.get(key, 0)) + time.perf_counter() - start, 3)

    def say(self, warning: str) -> None:
        """Keep a sentence that the user should read."""
        self.warnings.append(warning)

    def describe(self, diameter: float) -> FeatureField:
        """Feature field of the tomogram whose scales, or tokens, fit particles of a diameter; the last one is kept."""
        octave = _octave(diameter)
        if self._field is None or self._field[0] != octave:
            self._field = None  # before the next one is made: one may fill half the memory
            with self.timed("features"):
                self._field = octave, *_extract(self, octave)
        _, self.provenance["features_digest"], found = self._field
        return found


@dataclass(frozen=True, eq=False)
class Candidates:
    """What was looked at for one kind, best first.

    Parameters
    ----------
    points, scores, masks
        ``(n, 3)``, ``(n,)`` and n of the candidates.
    prompted
        What lies under the clicks.
    diameter
        Of the kind, in voxels.
    score_map
        The similarity to the query at every cell.
    threshold
        Least score of what is accepted.
    average
        Of those most like the clicked one, or None where there are too few; with it the scores are probabilities.
    """

    points: Points
    scores: Scores
    masks: tuple[InstanceMask, ...]
    prompted: Prompted
    diameter: float
    score_map: ScoreMap
    threshold: float
    average: Average | None = None

    def ranked(self, scores: Scores) -> "Candidates":
        """The same with other scores, in their order."""
        order = np.argsort(-scores, kind="stable")
        masks = tuple(self.masks[i] for i in order)
        return replace(self, points=self.points[order], scores=scores[order], masks=masks)


def look(run: Run, prompts: PointPrompts, *, is_search: bool) -> Prompted:
    """Segment what lies under the clicks; in a search the rest of the tomogram bears the masks out."""
    settings, clicks = run.config.propagation, prompts.positive
    with run.timed("prompts"):
        first = first_look(run.normalised, clicks, run.segmenter, settings, run.given_diameter, run.progress)
    if run.given_diameter is not None or settings.window_diameters == 0:  # whole slices know no size
        return first
    support = None
    if is_search:
        support = support_from(run.describe(first.diameter), first.smoothed, run.segmenter, run.config)
    with run.timed("prompts"):
        return second_look(first, clicks, run.segmenter, settings, support)


def is_visible(run: Run, prompts: PointPrompts, prompted: Prompted) -> bool:
    """Whether something lies under any click; a warning for each that holds nothing."""
    are_visible = []
    for point, mask in zip(prompts.positive, prompted.masks, strict=True):
        are_visible.append(mask.n_voxels > 0 and visibility(run.normalised, point, prompted.diameter) >= _INVISIBLE)
        if not are_visible[-1]:
            run.say(f"nothing stands out of the background at point {','.join(f'{c:g}' for c in point)}")
    return any(are_visible)


def search(run: Run, prompts: PointPrompts) -> Candidates:
    """Everything that may be of the kind under the clicks.

    Candidates are the places with similar features. The volumes of their masks make a first ranking. Where there are
    enough of them, they are compared with an average of those most like the clicked one, and the scores become
    probabilities. Then what was found is searched for once more by its mean feature, which resembles each of the kind
    more than one particle's does.
    """
    prompted = look(run, prompts, is_search=True)
    found = _rank(run, prompts, prompted)
    knows_volumes = run.config.matching.volume_tolerance is not None
    if run.config.alignment.is_on and knows_volumes and np.count_nonzero(found.scores) >= _ENOUGH_TO_AVERAGE:
        found = _compare(run, prompts.positive, found)
        wider = _widen(run, prompts, found)
        found = _compare(run, prompts.positive, wider) if len(wider.points) > len(found.points) else found
        _warn(run)
    elif run.config.matching.max_false_discovery is not None:
        run.say("the share of false detections cannot be told without an average of at least ten candidates")
    # a smoothed copy of the tomogram has done its work, and several kinds would keep one each
    return with_threshold(run, replace(found, prompted=replace(prompted, smoothed=run.normalised)))


def with_threshold(run: Run, found: Candidates) -> Candidates:
    """The threshold that the settings ask for; without one, even odds where scores are probabilities."""
    matching, threshold = run.config.matching, found.threshold
    if matching.threshold is not None:
        threshold = matching.threshold
    elif found.average is not None:
        share = matching.max_false_discovery
        threshold = _EVEN_ODDS if share is None else limit_false_discovery(found.scores, share)
    return replace(found, threshold=threshold)


def _rank(run: Run, prompts: PointPrompts, prompted: Prompted) -> Candidates:
    """Candidates with their masks, ranked by features and volume."""
    matching = run.config.matching
    field = run.describe(prompted.diameter)
    with run.timed("matching"):
        query = build_query(field, prompts.positive, prompted.trusted_masks, matching.query)
        matches = _match(run, prompts, field, query, prompted.diameter)
    points, scores = matches.points, matches.scores
    if not is_visible(run, prompts, prompted) and matching.threshold is None:
        run.say("so nothing was searched for; click on a particle, or give a threshold to search all the same")
        points, scores = points[:0], scores[:0]
    points, scores = _limit(run, points, scores)
    masks = _segment(run, prompted, points)
    diameter = prompted.diameter
    if matching.volume_tolerance is not None:
        volume = kind_volume(field, query, scores, masks, prompted.trusted_masks)
        scores = agreement(field, query, scores, masks, volume, matching.volume_tolerance)
        diameter = ball_diameter(volume)
        points = centres(points, masks)
        scores = np.where(_is_possible(run, prompts, field, query, points), scores, 0)
    order = np.argsort(-scores, kind="stable")
    order = order[merge_duplicates([masks[i] for i in order])]
    kept = tuple(masks[i] for i in order)
    threshold = choose_threshold(scores[order])
    return Candidates(points[order], scores[order], kept, prompted, diameter, matches.score_map, threshold)


def _widen(run: Run, prompts: PointPrompts, found: Candidates) -> Candidates:
    """The candidates and those that are like the mean of what is probably of the kind, scored by likeness to it."""
    field, diameter = run.describe(found.prompted.diameter), found.prompted.diameter
    probable = np.flatnonzero(found.scores >= _EVEN_ODDS)
    tolerance = run.config.matching.volume_tolerance
    if len(probable) == 0 or tolerance is None:
        return found
    with run.timed("matching"):
        query = field.sample(found.points[probable]).mean(axis=0)
        points = _match(run, prompts, field, query, diameter).points
    apart = run.config.matching.min_distance_diameters * diameter
    points = points[cKDTree(found.points).query(points)[0] > apart][: run.config.matching.max_candidates]
    masks = _segment(run, found.prompted, points)
    points = centres(points, masks)
    is_seen = np.array([mask.n_voxels > 0 for mask in masks], dtype=bool)
    chosen = np.flatnonzero(is_seen & _is_possible(run, prompts, field, query, points))
    together = [*found.masks, *(masks[i] for i in chosen)]
    kept = merge_duplicates(together)
    masks, points = tuple(together[i] for i in kept), np.concatenate([found.points, points[chosen]])[kept]
    volume = float(np.median([found.masks[i].n_voxels for i in probable]))
    similarity = np.clip(field.similarity_at(query, points), 0, 1)
    likeness = agreement(field, query, similarity, masks, volume, tolerance)
    is_ruled_out = np.append(found.scores == 0, np.zeros(len(chosen), dtype=bool))[kept]
    return replace(found, points=points, masks=masks, scores=np.where(is_ruled_out, 0, likeness))


def _match(run: Run, prompts: PointPrompts, field: FeatureField, query: Query, diameter: float) -> Matches:
    """Places with features like the query's, where the settings allow them."""
    return match(
        field,
        query,
        run.config.matching,
        diameter=diameter,
        negatives=list(field.sample(prompts.negative)),
        search_mask=run.search_mask,
        progress=run.progress,
    )


def _segment(run: Run, prompted: Prompted, points: Points) -> tuple[InstanceMask, ...]:
    """The instance at each candidate."""
    settings = run.config.propagation
    bound = prompted.diameter if settings.window_diameters else run.given_diameter  # whole slices know no size
    with run.timed("segmenting"):
        return propagate(prompted.smoothed, points, run.segmenter, settings, bound, run.progress)


def _is_possible(
    run: Run, prompts: PointPrompts, field: FeatureField, query: Query, points: Points
) -> Bool[np.ndarray, " n"]:
    """Whether the centre of a mask lies where a candidate could, and is not more like a negative click."""
    stays = is_allowed(points, run.tomogram.shape, run.search_mask, run.config.matching.edge_margin)
    for negative in field.sample(prompts.negative):
        stays &= field.similarity_at(query, points) >= field.similarity_at(negative, points)
    return stays


def _compare(run: Run, clicks: Points, found: Candidates) -> Candidates:
    """The candidates with probabilities, from the comparison with an average of those most like the clicked ones.

    Those with score 0 are ruled out and stay so.
    """
    distances = np.linalg.norm(found.points[:, None] - clicks, axis=2)
    clicked = np.unique(distances.argmin(axis=0)[distances.min(axis=0) <= found.diameter])
    starts = clicked if len(clicked) else np.zeros(1, dtype=int)
    settings, device, possible = run.config.alignment, resolve_device(run.config.device), found.scores > 0
    with run.timed("aligning"):
        aligned = align(run.normalised, found.points, starts, found.diameter, settings, device, likeness=found.scores)
    typical = found.points[int(np.argmax(np.where(possible, aligned.correlations, -1)))]
    run.provenance["most_typical"] = ",".join(f"{c:.0f}" for c in typical)
    run.provenance["separation"] = round(aligned.evidence.separation, 2)
    run.provenance["click_probability"] = round(float(aligned.evidence.probabilities[starts].max()), 3)
    return replace(found.ranked(np.where(possible, aligned.evidence.probabilities, 0)), average=aligned.average)


def _warn(run: Run) -> None:
    """Say where the average may be of something else."""
    if float(run.provenance["click_probability"]) < _EVEN_ODDS:
        run.say(
            "the clicked particle is not like the average of those found, which may be of another kind; a better click "
            f"may be {run.provenance['most_typical']}"
        )
    if float(run.provenance["separation"]) < _DOUBTFUL:
        run.say(
            "particles of this kind hardly stand apart from others, so that probabilities and counts are in doubt; "
            "look at the detections, click several particles, or give the diameter"
        )


def centres(points: Points, masks: Sequence[InstanceMask]) -> Points:
    """Centroid of each mask; the point itself where the mask is empty."""
    found = [point if mask.n_voxels == 0 else mask.centroid for point, mask in zip(points, masks, strict=True)]
    return np.array(found, dtype=float).reshape(-1, 3)


def _limit(run: Run, points: Points, scores: Scores) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, " m"]]:
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


def _octave(diameter: float) -> float:
    """The nearest power of the square root of two: particles of about one size share their features."""
    return float(2 ** (round(2 * np.log2(diameter)) / 2))


def _extract(run: Run, diameter: float) -> tuple[str, FeatureField]:
    """Digest of the backend that the configuration names, and its feature field that fits a diameter."""
    settings, stride = run.config.features, run.config.matching.strides[-1]
    growth = max(1.0, diameter / settings.scales_diameter)
    backend = load_features(
        settings.backend, device=run.config.device, scales=[scale * growth for scale in settings.scales]
    )
    if isinstance(backend, VolumeDescriptor):
        return backend.digest, extract_dense(run.normalised, backend, stride, run.progress)
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

    if run.cache is None:
        return backend.digest, TriPlaneField.from_arrays(compute())
    key = entry_key(
        tomogram=run.normalised.digest(),
        backend=backend.digest,
        stride=stride,
        token_voxels=token_voxels,
        slice_px=settings.slice_px,
    )
    return backend.digest, TriPlaneField.from_arrays(run.cache.get_or_compute(key, compute))
