"""Candidates: proposed by the query's feature, and once more by the mean feature of the probable particles."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Scores
from cryosam.classification.chance import Chance
from cryosam.classification.thresholds import choose_threshold
from cryosam.geometry import ball_diameter
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.kind_sources import Seed
from cryosam.masks import InstanceMask, merge_duplicates
from cryosam.matching.candidates import Candidates, centres
from cryosam.matching.features import FeatureField
from cryosam.matching.radial_correlation import Profile
from cryosam.matching.scoring import agreement, kind_volume
from cryosam.matching.similarity import KindQuery, Matches, Query, match
from cryosam.scene import Scene

__all__ = ["Places", "correlated", "detected", "propose", "widen"]

_EVEN_ODDS = 0.5


def propose(scene: Scene, instances: InstanceSegmenter, seed: Seed, query: KindQuery) -> Candidates:
    """Find places with features similar to the query's, segment each, and compute its prior score.

    Parameters
    ----------
    scene
        Scene to search; warnings for the user are recorded in it.
    instances
        Segments the candidates in the same way as the clicked particles.
    seed
        The objects under the clicks.
    query
        Feature of the kind, and volumes of its known members.
    """
    matching, record = scene.config.matching, scene.record
    field = scene.features(seed.diameter)
    with record.timed("matching"):
        matches = _match(scene, field, query.feature, seed.diameter)
    points, similarity = matches.points, matches.scores
    if not seed.is_there and matching.threshold is None:
        record.warn(
            "not_searched",
            "nothing was searched for, because no particle is visible at the clicks; click on a particle, or give a "
            "threshold to search anyway",
        )
        points, similarity = points[:0], similarity[:0]
    elif not len(points):
        record.warn("nothing_similar", "nothing in the searched region is similar to what was clicked")
    points, similarity = _limit(scene, points, similarity)
    scene.show(query.kind, points[similarity >= choose_threshold(similarity)])
    masks = _segment(scene, instances, seed.diameter, points)
    scores, diameter = similarity, seed.diameter
    if matching.volume_tolerance is not None:
        volume = kind_volume(field, query.feature, similarity, masks, query.volumes)
        scores = agreement(field, query.feature, similarity, masks, volume, matching.volume_tolerance)
        diameter = ball_diameter(volume)
        points = centres(points, masks)
        scores = np.where(scene.allows(points), scores, 0)
    order = np.argsort(-scores, kind="stable")
    order = order[merge_duplicates([masks[i] for i in order])]
    return Candidates(
        points=points[order],
        masks=tuple(masks[i] for i in order),
        similarity=similarity[order],
        prior_score=scores[order],
        is_ruled_out=scores[order] == 0,
        diameter=diameter,
        score_map=matches.score_map,
        threshold=choose_threshold(scores[order]),
    )


def widen(scene: Scene, instances: InstanceSegmenter, found: Candidates, diameter: float) -> Candidates:
    """Add places similar to the mean feature of the probable particles, and score all candidates by that feature.

    Parameters
    ----------
    scene
        Scene to search.
    instances
        Segments the new candidates.
    found
        Candidates with probabilities.
    diameter
        Diameter of the clicked particles, in voxels.
    """
    tolerance = scene.config.matching.volume_tolerance
    probable = np.flatnonzero(found.scores >= found.threshold)
    if len(probable) == 0 or tolerance is None:
        return found
    field = scene.features(diameter)
    with scene.record.timed("matching"):
        query = field.sample(found.points[probable]).mean(axis=0)
        points = _match(scene, field, query, diameter).points
    min_distance = scene.config.matching.min_distance_diameters * diameter
    points = points[cKDTree(found.points).query(points)[0] > min_distance]
    points, _ = _limit(scene, points, np.ones(len(points)))
    masks = _segment(scene, instances, diameter, points)
    points = centres(points, masks)
    has_mask = np.array([mask.n_voxels > 0 for mask in masks], dtype=bool)
    chosen = np.flatnonzero(has_mask & scene.allows(points))
    all_masks = [*found.masks, *(masks[i] for i in chosen)]
    kept = merge_duplicates(all_masks)
    masks, points = tuple(all_masks[i] for i in kept), np.concatenate([found.points, points[chosen]])[kept]
    volume = float(np.median([found.masks[i].n_voxels for i in probable]))
    similarity = np.clip(field.similarity_at(query, points), 0, 1)
    prior_score = agreement(field, query, similarity, masks, volume, tolerance)
    is_ruled_out = np.append(found.scores == 0, np.zeros(len(chosen), dtype=bool))[kept]
    prior_score = np.where(is_ruled_out, 0, prior_score)
    return replace(
        found,
        points=points,
        masks=masks,
        similarity=similarity,
        prior_score=prior_score,
        is_ruled_out=prior_score == 0,
        correlation=None,
        probability=None,
        vectors=None,
    )


@dataclass(frozen=True, eq=False)
class Places:
    """Places where particles may be, and what the same search finds where there is nothing.

    Parameters
    ----------
    points
        ``(n, 3)`` places in the tomogram, z, y, x in voxels, best first.
    n_more
        How many of them are more than chance.
    decoys
        ``(m, 3)`` places in the surrogate, best first.
    weight
        Number of places in the tomogram for which each decoy stands: the ratio of the searched volumes.
    """

    points: Points
    n_more: int
    decoys: Float[np.ndarray, "m 3"]
    weight: float


def correlated(scene: Scene, profile: Profile, diameter: float) -> Places:
    """Places that correlate with a radial profile, best first, and how many of them are more than chance.

    Parameters
    ----------
    scene
        Scene to search.
    profile
        Profile of particles of the kind.
    diameter
        Their diameter, in voxels.
    """
    apart, surrogate = scene.config.matching.min_distance_diameters * diameter, scene.surrogate(diameter)
    return _more_than_chance(
        scene, diameter, scene.radial(diameter).peaks(profile, apart), surrogate.radial.peaks(profile, apart)
    )


def detected(scene: Scene, diameter: float) -> Places:
    """Places that the learned detector finds, of all kinds, best first, and how many of them are more than chance.

    Parameters
    ----------
    scene
        Scene to search.
    diameter
        About that of the particles, in voxels.
    """
    found, by_chance = scene.detections(diameter)
    return _more_than_chance(scene, diameter, (found.points, found.log_odds), (by_chance.points, by_chance.log_odds))


def _more_than_chance(
    scene: Scene,
    diameter: float,
    found: tuple[Points, Scores],
    by_chance: tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, " m"]],
) -> Places:
    """Places of the tomogram and of its surrogate, with their scores, best first."""
    points, values = found
    is_in = scene.allows(points)
    chance = Chance(by_chance[1], scene.searched_voxels / scene.surrogate(diameter).volume.data.size)
    n_more = int(np.count_nonzero(chance.probabilities(values[is_in]) >= _EVEN_ODDS))
    return Places(points[is_in], n_more, by_chance[0], chance.weight)


def _match(scene: Scene, field: FeatureField, query: Query, diameter: float) -> Matches:
    """Find places with features similar to the query's, as the settings of the scene ask for."""
    return match(
        field,
        query,
        scene.config.matching,
        diameter=diameter,
        search_mask=scene.search_mask,
        progress=scene.options.progress,
    )


def _segment(scene: Scene, instances: InstanceSegmenter, diameter: float, points: Points) -> tuple[InstanceMask, ...]:
    """Segment the instance at each candidate."""
    shows_windows = scene.config.propagation.window_diameters > 0  # whole slices need no diameter
    with scene.record.timed("segmenting"):
        return instances.under(points, diameter if shows_windows else scene.given_diameter, scene.options.progress)


def _limit(
    scene: Scene, points: Points, similarity: Scores
) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, " m"]]:
    """Keep the candidates that are worth segmenting, and warn if there are too many."""
    matching = scene.config.matching
    limit = matching.max_candidates
    if matching.volume_tolerance is None:  # the similarity is the score: those below the threshold cannot be accepted
        above = similarity >= (matching.threshold or 0)
        points, similarity = points[above], similarity[above]
        limit = min(limit, matching.max_particles or limit)
    if len(points) > limit:
        scene.record.warn(
            "too_many_candidates",
            f"only the {limit} most similar of {len(points)} candidates were examined; there may be more particles",
        )
    return points[:limit], similarity[:limit]
