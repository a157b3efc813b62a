"""One kind: from its clicks to everything that may be of it, each with a mask and a score (DESIGN 1.2)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from cryosam.alignment import Alignment, align
from cryosam.arrays import Points, Scores
from cryosam.calibration import choose_threshold, limit_false_discovery
from cryosam.classification import classify
from cryosam.division import divide
from cryosam.features import FeatureField
from cryosam.geometry import ball_diameter
from cryosam.masks import Average, InstanceMask, ScoreMap, merge_duplicates
from cryosam.matching import Matches, Query, agreement, build_query, is_allowed, kind_volume, match
from cryosam.prompted import Prompted, first_look, second_look, support_from, visibility
from cryosam.prompts import PointPrompts
from cryosam.propagation import Instances
from cryosam.queried import known, recall, require_same_features
from cryosam.queries import SavedQuery
from cryosam.run import Run

__all__ = ["Candidates", "centres", "is_visible", "look", "search", "with_threshold"]

_ENOUGH_TO_AVERAGE = 10  # candidates
_EVEN_ODDS = 0.5
_PLAUSIBLE = 0.2  # of the threshold: what is worth telling from what a negative click lies on
_DOUBTFUL = 3.8  # standard deviations between the kind and everything else
_INVISIBLE = 2.2  # contrast that one place of background in ten or twenty reaches by chance, in standard deviations


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
    evidence
        With the average: correlation with one that the candidate is no part of, and likeness in other ways.
    """

    points: Points
    scores: Scores
    masks: tuple[InstanceMask, ...]
    prompted: Prompted
    diameter: float
    score_map: ScoreMap
    threshold: float
    average: Average | None = None
    evidence: Float[np.ndarray, "n 2"] | None = None

    def ranked(self, scores: Scores) -> "Candidates":
        """The same with other scores, in their order."""
        order = np.argsort(-scores, kind="stable")
        masks = tuple(self.masks[i] for i in order)
        evidence = None if self.evidence is None else self.evidence[order]
        return replace(self, points=self.points[order], scores=scores[order], masks=masks, evidence=evidence)


def look(run: Run, prompts: PointPrompts, *, is_search: bool) -> Prompted:
    """Segment what lies under the clicks; in a search the rest of the tomogram bears the masks out."""
    settings, clicks = run.config.propagation, prompts.positive
    with run.timed("prompts"):
        first = first_look(
            run.normalised, clicks, run.segmenter, settings, run.given_diameter, run.workspace, run.progress
        )
    if run.given_diameter is not None or settings.window_diameters == 0:  # whole slices know no size
        return first
    support = None
    if is_search:
        support = support_from(run.describe(first.diameter), first.instances, run.config.matching)
    with run.timed("prompts"):
        return second_look(first, clicks, support)


def is_visible(run: Run, prompts: PointPrompts, prompted: Prompted) -> bool:
    """Whether something lies under any click; a warning for each that holds nothing."""
    are_visible = []
    for point, mask in zip(prompts.positive, prompted.masks, strict=True):
        are_visible.append(mask.n_voxels > 0 and visibility(run.normalised, point, prompted.diameter) >= _INVISIBLE)
        if not are_visible[-1]:
            run.say(f"nothing stands out of the background at point {','.join(f'{c:g}' for c in point)}")
    return any(are_visible)


def search(run: Run, prompts: PointPrompts | SavedQuery) -> Candidates:
    """Everything that may be of the kind under the clicks, or of the kind of a query that was made elsewhere.

    Candidates are the places with similar features. The volumes of their masks make a first ranking. Where there are
    enough of them, they are compared with an average of those most like the clicked one, and the scores become
    probabilities. Then what was found is searched for once more by its mean feature, which resembles each of the kind
    more than one particle's does. Candidates that are like a negative click are ruled out: by their features, or where
    there is an average of the kind, by an average of theirs.
    """
    if isinstance(prompts, SavedQuery):
        prompted, enough = recall(run, prompts), 1
    else:
        prompted, enough = look(run, prompts, is_search=True), _ENOUGH_TO_AVERAGE
    found = _rank(run, prompts, prompted)
    _tell(run, prompts, found)
    knows_volumes = run.config.matching.volume_tolerance is not None
    if run.config.alignment.is_on and knows_volumes and np.count_nonzero(found.scores) >= enough:
        aligned = _align(run, prompts, found)
        compared = _judge(run, prompts, found, aligned)
        _tell(run, prompts, compared)
        wider = _widen(run, compared)
        if len(wider.points) > len(compared.points):
            found, aligned = wider, _align(run, prompts, wider)
        found = _judge(run, prompts, found, *_classify(run, prompts, found, aligned))
        if isinstance(prompts, PointPrompts):
            found = _divide(run, prompts, found)
        _warn(run, prompts, found)
    else:
        if isinstance(prompts, PointPrompts):
            found = _unlike_negatives(run, prompts, found)
        if run.config.matching.max_false_discovery is not None:
            run.say("the share of false detections cannot be told without an average of at least ten candidates")
    # a smoothed copy of the tomogram has done its work, and several kinds would keep one each
    instances = Instances(run.normalised, run.segmenter, run.config.propagation)
    return with_threshold(run, replace(found, prompted=replace(prompted, instances=instances)))


def with_threshold(run: Run, found: Candidates) -> Candidates:
    """The threshold that the settings ask for; without one, its own."""
    matching, threshold = run.config.matching, found.threshold
    if matching.threshold is not None:
        threshold = matching.threshold
    elif found.average is not None and matching.max_false_discovery is not None:
        threshold = limit_false_discovery(found.scores, matching.max_false_discovery)
    return replace(found, threshold=threshold)


def _tell(run: Run, prompts: PointPrompts | SavedQuery, found: Candidates) -> None:
    """Show what looks like the kind before the search has ended."""
    if run.so_far is not None:
        run.so_far(prompts.name, found.points[found.scores >= with_threshold(run, found).threshold])


def _rank(run: Run, prompts: PointPrompts | SavedQuery, prompted: Prompted) -> Candidates:
    """Candidates with their masks, ranked by features and volume."""
    matching = run.config.matching
    field = run.describe(prompted.diameter)
    with run.timed("matching"):
        if isinstance(prompts, SavedQuery):
            require_same_features(run, prompts, field)
            query, volumes = prompts.feature, [prompts.volume_angstrom3 * run.tomogram.voxels(1.0) ** 3]
        else:
            query = build_query(field, prompts.positive, prompted.trusted_masks, matching.query)
            volumes = [float(mask.n_voxels) for mask in prompted.trusted_masks if mask.n_voxels]
        matches = _match(run, field, query, prompted.diameter)
    points, scores = matches.points, matches.scores
    is_there = isinstance(prompts, SavedQuery) or is_visible(run, prompts, prompted)
    if not is_there and matching.threshold is None:
        run.say("so nothing was searched for; click on a particle, or give a threshold to search all the same")
        points, scores = points[:0], scores[:0]
    points, scores = _limit(run, points, scores)
    if run.so_far is not None:
        run.so_far(prompts.name, points[scores >= choose_threshold(scores)])
    masks = _segment(run, prompted, points)
    diameter = prompted.diameter
    if matching.volume_tolerance is not None:
        volume = kind_volume(field, query, scores, masks, volumes)
        scores = agreement(field, query, scores, masks, volume, matching.volume_tolerance)
        diameter = ball_diameter(volume)
        points = centres(points, masks)
        scores = np.where(_is_possible(run, points), scores, 0)
    order = np.argsort(-scores, kind="stable")
    order = order[merge_duplicates([masks[i] for i in order])]
    kept = tuple(masks[i] for i in order)
    threshold = choose_threshold(scores[order])
    return Candidates(points[order], scores[order], kept, prompted, diameter, matches.score_map, threshold)


def _widen(run: Run, found: Candidates) -> Candidates:
    """The candidates and those that are like the mean of what is probably of the kind, scored by likeness to it."""
    field, diameter = run.describe(found.prompted.diameter), found.prompted.diameter
    probable = np.flatnonzero(found.scores >= found.threshold)
    tolerance = run.config.matching.volume_tolerance
    if len(probable) == 0 or tolerance is None:
        return found
    with run.timed("matching"):
        query = field.sample(found.points[probable]).mean(axis=0)
        points = _match(run, field, query, diameter).points
    apart = run.config.matching.min_distance_diameters * diameter
    points = points[cKDTree(found.points).query(points)[0] > apart][: run.config.matching.max_candidates]
    masks = _segment(run, found.prompted, points)
    points = centres(points, masks)
    is_seen = np.array([mask.n_voxels > 0 for mask in masks], dtype=bool)
    chosen = np.flatnonzero(is_seen & _is_possible(run, points))
    together = [*found.masks, *(masks[i] for i in chosen)]
    kept = merge_duplicates(together)
    masks, points = tuple(together[i] for i in kept), np.concatenate([found.points, points[chosen]])[kept]
    volume = float(np.median([found.masks[i].n_voxels for i in probable]))
    similarity = np.clip(field.similarity_at(query, points), 0, 1)
    likeness = agreement(field, query, similarity, masks, volume, tolerance)
    is_ruled_out = np.append(found.scores == 0, np.zeros(len(chosen), dtype=bool))[kept]
    return replace(found, points=points, masks=masks, scores=np.where(is_ruled_out, 0, likeness), evidence=None)


def _match(run: Run, field: FeatureField, query: Query, diameter: float) -> Matches:
    """Places with features like the query's, where the settings allow them."""
    return match(
        field,
        query,
        run.config.matching,
        diameter=diameter,
        search_mask=run.search_mask,
        progress=run.progress,
    )


def _segment(run: Run, prompted: Prompted, points: Points) -> tuple[InstanceMask, ...]:
    """The instance at each candidate."""
    settings = run.config.propagation
    bound = prompted.diameter if settings.window_diameters else run.given_diameter  # whole slices know no size
    with run.timed("segmenting"):
        return prompted.instances.under(points, bound, run.progress)


def _is_possible(run: Run, points: Points) -> Bool[np.ndarray, " n"]:
    """Whether the centre of a mask lies where a candidate could."""
    return is_allowed(points, run.tomogram.shape, run.search_mask, run.config.matching.edge_margin)


def _unlike_negatives(run: Run, prompts: PointPrompts, found: Candidates) -> Candidates:
    """The candidates; those whose features are more like a negative click's than like the kind's are ruled out."""
    if len(prompts.negative) == 0:
        return found
    field = run.describe(found.prompted.diameter)
    query = build_query(field, prompts.positive, found.prompted.trusted_masks, run.config.matching.query)
    similarity = field.similarity_at(query, found.points)
    unlike = [similarity >= field.similarity_at(negative, found.points) for negative in field.sample(prompts.negative)]
    return found.ranked(np.where(np.all(unlike, axis=0), found.scores, 0))


def _divide(run: Run, prompts: PointPrompts, found: Candidates) -> Candidates:
    """The candidates; those that are under a negative click, or like what is, are ruled out."""
    positive = _clicked(prompts.positive, found)
    positive = positive if len(positive) else np.array([int(np.argmax(found.scores))])
    negative = np.setdiff1d(_clicked(prompts.negative, found), positive)
    is_plausible = found.scores >= _PLAUSIBLE * found.threshold
    if not is_plausible[negative].any():
        return found
    scores = found.scores.copy()
    scores[negative] = 0
    chosen = np.union1d(np.flatnonzero(is_plausible), np.concatenate([positive, negative]))
    sides = np.searchsorted(chosen, positive), np.searchsorted(chosen, negative)
    with run.timed("aligning"):
        division = divide(run.orientations(found.diameter), found.points[chosen], *sides)
    if division is None:
        run.say("no other detection could be told to be like the negative clicks: only what they lie on was left out")
        return found.ranked(scores)
    scores[chosen] *= division.probabilities
    n_lost = np.count_nonzero(found.scores >= found.threshold) - np.count_nonzero(scores >= found.threshold)
    run.provenance["like_negatives"] = float(n_lost)
    return replace(found.ranked(scores), average=division.average)


def _align(run: Run, prompts: PointPrompts | SavedQuery, found: Candidates) -> Alignment:
    """The candidates compared with an average of those most like the clicked ones.

    Those with score 0 are ruled out and stay so.
    """
    with run.timed("aligning"):
        return align(
            run.orientations(found.diameter),
            found.points,
            _starts(prompts, found),
            run.config.alignment,
            likeness=found.scores,
            known=known(run, prompts) if isinstance(prompts, SavedQuery) else None,
            progress=run.progress,
        )


def _classify(
    run: Run, prompts: PointPrompts | SavedQuery, found: Candidates, aligned: Alignment
) -> tuple[Alignment, float]:
    """The candidates divided into classes, and how far the clicked one's is relied on; as they were without a click."""
    starts, settings = _starts(prompts, found), run.config.alignment
    if len(starts) == 0 or not settings.has_classes:
        return aligned, 1.0
    with run.timed("classifying"):
        return classify(run.orientations(found.diameter), found.points, aligned, starts, settings, found.scores)


def _judge(
    run: Run, prompts: PointPrompts | SavedQuery, found: Candidates, aligned: Alignment, reliance: float = 1.0
) -> Candidates:
    """The candidates with probabilities, which how they compare gives them."""
    possible, starts = found.scores > 0, _starts(prompts, found)
    typical = found.points[int(np.argmax(np.where(possible, aligned.correlations, -1)))]
    run.provenance["most_typical"] = ",".join(f"{c:.0f}" for c in typical)
    run.provenance["separation"] = round(aligned.evidence.separation, 2)
    if len(starts):
        run.provenance["click_probability"] = round(float(aligned.evidence.probabilities[starts].max()), 3)
    evidence = np.stack([aligned.correlations, found.scores], axis=1)
    found = replace(found, average=aligned.average, evidence=evidence, threshold=_EVEN_ODDS * reliance)
    return found.ranked(np.where(possible, aligned.evidence.probabilities, 0))


def _starts(prompts: PointPrompts | SavedQuery, found: Candidates) -> Int[np.ndarray, " k"]:
    """Indices of the clicked candidates, or of the best; none where a query says what is searched for."""
    if isinstance(prompts, SavedQuery):
        return np.zeros(0, dtype=int)
    clicked = _clicked(prompts.positive, found)
    return clicked if len(clicked) else np.zeros(1, dtype=int)


def _clicked(clicks: Points, found: Candidates) -> Int[np.ndarray, " k"]:
    """Indices of the candidates nearest to the clicks; clicks farther than a diameter from all have none."""
    distances = np.linalg.norm(found.points[:, None] - clicks, axis=2)
    return np.unique(distances.argmin(axis=0)[distances.min(axis=0) <= found.diameter])


def _warn(run: Run, prompts: PointPrompts | SavedQuery, found: Candidates) -> None:
    """Say where the average may be of something else."""
    is_saved = isinstance(prompts, SavedQuery)
    if not is_saved and float(run.provenance["click_probability"]) < found.threshold:
        run.say(
            "the clicked particle is not like the average of those found, which may be of another kind; a better click "
            f"may be {run.provenance['most_typical']}"
        )
    if float(run.provenance["separation"]) < _DOUBTFUL:
        advice = "or click in this tomogram" if is_saved else "click several particles, or give the diameter"
        run.say(
            "particles of this kind hardly stand apart from others, so that probabilities and counts are in doubt; "
            f"look at the detections, {advice}"
        )
    share, best = run.config.matching.max_false_discovery, float(found.scores.max())
    n_found = np.count_nonzero(found.scores >= found.threshold)
    if share is not None and n_found and limit_false_discovery(found.scores, share) > best:
        run.say(
            f"none of {n_found} detections is sure enough for a share of {share:g} false ones: the best has probability"
            f" {best:.2f}; without that limit they are shown"
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
