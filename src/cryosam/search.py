"""One kind: from its clicks to everything that may be of it, each with a mask and a score (DESIGN 1.2)."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Scores
from cryosam.classification.classes import classify
from cryosam.classification.kind_average import Alignment, align
from cryosam.classification.negatives import rule_out
from cryosam.classification.thresholds import choose_threshold, limit_false_discovery
from cryosam.geometry import ball_diameter
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.prompted import Prompted, first_look, second_look
from cryosam.instances.visibility import visibility
from cryosam.kind_sources import known, recall, require_same_features
from cryosam.masks import InstanceMask, merge_duplicates
from cryosam.matching.candidates import Candidates, centres
from cryosam.matching.features import FeatureField
from cryosam.matching.scoring import agreement, kind_volume
from cryosam.matching.similarity import Matches, Query, build_query, is_allowed, match
from cryosam.matching.support import support_from
from cryosam.prompts import PointPrompts, spell
from cryosam.run import Run
from cryosam.saved_query import SavedQuery

__all__ = ["are_visible", "look", "search", "with_threshold"]

_ENOUGH_TO_AVERAGE = 10  # candidates
_EVEN_ODDS = 0.5
_DOUBTFUL = 3.8  # standard deviations between the kind and everything else
_INVISIBLE = 2.2  # contrast that one place of background in ten or twenty reaches by chance, in standard deviations


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


def are_visible(run: Run, clicks: Points, prompted: Prompted) -> Bool[np.ndarray, " k"]:
    """Whether something lies under each click; a warning for each that holds nothing."""
    is_seen = np.zeros(len(clicks), dtype=bool)
    for k, (click, mask) in enumerate(zip(clicks, prompted.masks, strict=True)):
        is_seen[k] = mask.n_voxels > 0 and visibility(run.normalised, click, prompted.diameter) >= _INVISIBLE
        if not is_seen[k]:
            run.say(f"nothing stands out of the background at point {spell(click)}")
    return is_seen


def search(run: Run, prompts: PointPrompts | SavedQuery) -> Candidates:
    """Everything that may be of the kind under the clicks, or of the kind of a query that was made elsewhere.

    Candidates are the places with similar features. The volumes of their masks make a first ranking. Where there are
    enough of them, they are compared with an average of those most like the clicked one, and the scores become
    probabilities. Then what was found is searched for once more by its mean feature, which resembles each of the kind
    more than one particle's does. Candidates that are like a negative click are ruled out: by their features, or where
    there is an average of the kind, by an average of theirs.
    """
    prompts, used, prompted, is_there = _see(run, prompts)
    found = _rank(run, prompts, used, is_there=is_there)
    _tell(run, prompts, found)
    enough = 1 if isinstance(prompts, SavedQuery) else _ENOUGH_TO_AVERAGE
    knows_volumes = run.config.matching.volume_tolerance is not None
    if run.config.alignment.is_on and knows_volumes and np.count_nonzero(found.scores) >= enough:
        aligned = _align(run, prompts, found)
        compared = _judge(run, prompts, found, aligned)
        _tell(run, prompts, compared)
        wider = _widen(run, compared)
        if len(wider.points) > len(compared.points):
            found, aligned = wider, _align(run, prompts, wider)
        found = _judge(run, prompts, found, *_classify(run, prompts, found, aligned))
    elif run.config.matching.max_false_discovery is not None:
        run.say("the share of false detections cannot be told without an average of at least ten candidates")
    if isinstance(prompts, PointPrompts):
        found = rule_out(run, prompts, found)
    if found.average is not None:
        _warn(run, prompts, found)
    # a smoothed copy of the tomogram has done its work, and several kinds would keep one each
    instances = InstanceSegmenter(run.normalised, run.segmenter, run.config.propagation)
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
        run.so_far(prompts.name, found.points[with_threshold(run, found).is_accepted])


def _see(run: Run, prompts: PointPrompts | SavedQuery) -> tuple[PointPrompts | SavedQuery, Prompted, Prompted, bool]:
    """The clicks on something, what lies under them, what lies under all clicks, and whether any is on something.

    Size and noise follow from all clicks that are looked at. So where some are on nothing, the others are looked at
    again. Where all are, all are kept.
    """
    if isinstance(prompts, SavedQuery):
        prompted = recall(run, prompts)
        return prompts, prompted, prompted, True
    prompted = look(run, prompts, is_search=True)
    is_seen = are_visible(run, prompts.positive, prompted)
    if is_seen.all() or not is_seen.any():
        return prompts, prompted, prompted, bool(is_seen.all())
    prompts = prompts.choose(is_seen)
    used = look(run, prompts, is_search=True)
    masks, trusted = list(prompted.masks), list(prompted.is_trusted)
    for k, mask, is_trusted in zip(np.flatnonzero(is_seen), used.masks, used.is_trusted, strict=True):
        masks[k], trusted[k] = mask, is_trusted
    return prompts, used, replace(used, masks=tuple(masks), is_trusted=tuple(trusted)), True


def _rank(run: Run, prompts: PointPrompts | SavedQuery, prompted: Prompted, *, is_there: bool) -> Candidates:
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
    if not is_there and matching.threshold is None:
        run.say("so nothing was searched for; click on a particle, or give a threshold to search all the same")
        points, scores = points[:0], scores[:0]
    elif not len(points):
        run.say("no place that may be searched is similar to what was clicked")
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
    points = points[cKDTree(found.points).query(points)[0] > apart]
    points, _ = _limit(run, points, np.ones(len(points)))
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
    if isinstance(prompts, PointPrompts) and (found.clicked(prompts.positive) >= 0).any():
        run.provenance["click_probability"] = round(float(aligned.evidence.probabilities[starts].max()), 3)
    evidence = np.stack([aligned.correlations, found.scores], axis=1)
    found = replace(found, average=aligned.average, evidence=evidence, threshold=_EVEN_ODDS * reliance)
    return found.ranked(np.where(possible, aligned.evidence.probabilities, 0))


def _starts(prompts: PointPrompts | SavedQuery, found: Candidates) -> Int[np.ndarray, " k"]:
    """Indices of the clicked candidates, or of the best; none where a query says what is searched for."""
    if isinstance(prompts, SavedQuery):
        return np.zeros(0, dtype=int)
    clicked = found.clicked(prompts.positive)
    return np.unique(clicked[clicked >= 0]) if (clicked >= 0).any() else np.zeros(1, dtype=int)


def _warn(run: Run, prompts: PointPrompts | SavedQuery, found: Candidates) -> None:
    """Say where the average may be of something else."""
    is_saved = isinstance(prompts, SavedQuery)
    if isinstance(prompts, PointPrompts):
        _warn_of_clicks(run, prompts, found)
    if float(run.provenance["separation"]) < _DOUBTFUL:
        advice = "or click in this tomogram" if is_saved else "click several particles, or give the diameter"
        run.say(
            "particles of this kind hardly stand apart from others, so that probabilities and counts are in doubt; "
            f"look at the detections, {advice}"
        )
    share, best = run.config.matching.max_false_discovery, float(found.scores.max())
    n_found = np.count_nonzero(found.is_accepted)
    if share is not None and n_found and limit_false_discovery(found.scores, share) > best:
        run.say(
            f"none of {n_found} detections is sure enough for a share of {share:g} false ones: the best has probability"
            f" {best:.2f}; without that limit they are shown"
        )


def _warn_of_clicks(run: Run, prompts: PointPrompts, found: Candidates) -> None:
    """Say which clicked particles are not among those found, or not like them."""
    clicked = found.clicked(prompts.positive)
    for click in prompts.positive[clicked < 0]:
        run.say(f"what was clicked at {spell(click)} could not be compared: it is no candidate, or may not be searched")
    probable = float(run.provenance.get("click_probability", 1)) >= found.threshold
    if not probable:
        run.say(
            "the clicked particle is not like the average of those found, which may be of another kind; a better click "
            f"may be {run.provenance['most_typical']}"
        )
        return
    for click in prompts.positive[(clicked >= 0) & (found.scores[clicked] < found.threshold)]:
        run.say(f"what was clicked at {spell(click)} is not like the average of those found: it may be of another kind")


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
