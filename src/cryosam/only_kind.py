"""The search where the kind is nearly all there is: purified particles, or one abundant complex in a lamella.

There, most places that resemble the clicked particle are of its kind, so that they do not divide into the kind and
everything else. What is expected by chance is measured instead, in a surrogate of the tomogram that has its spectrum
and no structure and goes through the same search. Candidates come from correlation with the radial profile, which finds
touching and hollow particles too.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from cryosam.arrays import Points, Scores
from cryosam.averaging.correlation import fisher_z
from cryosam.averaging.fourier import rotate_to_reference, wedge_weighted_average
from cryosam.averaging.orientations import OrientationSearch, Parts
from cryosam.classification.chance import Chance
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.kind_sources import KindSource, Seed
from cryosam.masks import InstanceMask
from cryosam.matching.candidates import Candidates, centres
from cryosam.matching.peaks import thin
from cryosam.proposals import Places, correlated
from cryosam.results import Average
from cryosam.scene import Scene

__all__ = ["find_only_kind"]

_EVEN_ODDS = 0.5
_N_ROTATIONS = 700  # rotations that are compared: 28 degrees apart, as fine as the detail of a third of the diameter
_MEMBERS = (8, 16, 32)  # of the averages that are made one after the other
_FEWEST = 20  # places in the surrogate that are compared, at least
_FEWEST_PEAKS = 300  # places in the tomogram that are compared, at least: some must be more than chance, and some not
_ROUNDS = 2  # searches: with the profile of the clicked particles, then with that of the particles found


@dataclass(frozen=True, eq=False)
class _Compared:
    """Places compared with an average, best first.

    Parameters
    ----------
    points
        ``(n, 3)`` where the average matches best, z, y, x in voxels.
    z
        ``(n,)`` Fisher's z of the correlations; members are compared with averages that leave them out.
    n_members
        Number of places, the best ones, in the average.
    average
        The average.
    """

    points: Points
    z: Float[np.ndarray, " n"]
    n_members: int
    average: Float[Tensor, "e e e"]


def find_only_kind(
    scene: Scene, kind: KindSource, seed: Seed, instances: InstanceSegmenter, found: Candidates
) -> Candidates | None:
    """Find all places that match the average of the clicked kind by more than chance.

    Parameters
    ----------
    scene
        Scene of the search; times are recorded in it.
    kind
        The kind that was clicked.
    seed
        The objects under the clicks.
    instances
        Segments the particles in the same way as the clicked ones.
    found
        The candidates of the search before.

    Returns
    -------
    candidates
        With probabilities and masks; None if the kind is not nearly all there is: if fewer of the compared places than
        ``classification.only_kind`` are more than chance, or if no clicked place is among them.
    """
    diameter = seed.diameter
    least = scene.config.classification.only_kind
    if not len(seed.clicks) or least is None or scene.searched_voxels == 0:
        return None
    field, radial, surrogate = scene.features(diameter), scene.radial(diameter), scene.surrogate(diameter)
    apart = scene.config.matching.min_distance_diameters * diameter
    feature = kind.query(scene, seed).feature
    search = scene.orientations(diameter).with_rotations(_N_ROTATIONS)
    with scene.record.timed("single kind"):
        known, places = _start(scene, seed)
        template = search.cut.cut(known).mean(dim=0)
        for n_before in range(_ROUNDS):
            if n_before:
                places = correlated(scene, radial.profile(known), diameter)
            n_points = min(max(2 * places.n_more, _FEWEST_PEAKS), scene.config.matching.max_candidates)
            points = np.concatenate([known, places.points[:n_points]])
            points = points[thin(points, apart)]
            if len(points) < kind.least_to_average:
                return None
            similarity = np.clip(field.similarity_at(feature, points).astype(float), 0, 1)
            compared = _compare(search, template, points, similarity, apart)
            known, template = compared.points[: compared.n_members], compared.average
        by_chance = _by_chance(
            search.within(surrogate.volume),
            template,
            surrogate.radial.peaks(radial.profile(known), apart)[0][: _least(len(compared.points), places.weight)],
            apart,
        )
    probability = Chance(by_chance, places.weight).probabilities(compared.z)
    is_more = probability >= _EVEN_ODDS
    is_clicked = np.linalg.norm(compared.points[:, None] - seed.clicks, axis=2).min(axis=1) <= diameter / 2
    if is_more.mean() < least or not (is_more & is_clicked).any():
        return None
    points = compared.points
    with scene.record.timed("segmenting"):
        made = iter(instances.under(points[is_more], diameter, scene.options.progress))
    similarity = np.clip(field.similarity_at(feature, points).astype(float), 0, 1)
    return replace(
        found,
        points=points,
        masks=tuple(next(made) if more else InstanceMask.empty() for more in is_more),
        similarity=similarity,
        prior_score=similarity,
        is_ruled_out=~scene.allows(points),
        diameter=diameter,
        threshold=_EVEN_ODDS,
        correlation=np.tanh(compared.z),
        probability=probability,
        vectors=None,
        average=Average(template.cpu().numpy(), search.cut.step),
    ).ranked()


def _start(scene: Scene, seed: Seed) -> tuple[Points, Places]:
    """The centres of the clicked particles, and what resembles them: those of the masks, or the clicks themselves.

    A mask may be off its particle's centre, and so may a click. The one that more places resemble is taken.
    """
    starts = [centres(seed.clicks, seed.used.trusted_masks)]
    if not np.array_equal(starts[0], seed.clicks):
        starts.append(seed.clicks)
    radial = scene.radial(seed.diameter)
    found = [(start, correlated(scene, radial.profile(start), seed.diameter)) for start in starts]
    return max(found, key=lambda pair: pair[1].n_more)


def _least(n: int, weight: float) -> int:
    """Number of places in the surrogate that stand for n places in the tomogram."""
    return max(_FEWEST, int(n / weight))


def _compare(
    search: OrientationSearch, template: Float[Tensor, "e e e"], points: Points, similarity: Scores, apart: float
) -> _Compared:
    """Average the places that match a template best, several times, and compare all places with the last average.

    Each time, the places move to where the template matches best; of two that come nearer to each other than ``apart``,
    the better one is kept. A place ranks by the product of its correlation and the similarity of its features: both
    must be high, because neither alone tells particles from everything else.
    """
    random, n_members = np.random.default_rng(0), 0
    parts: Parts | None = None
    for n in (*_MEMBERS, 0):
        points, rotations, z = search.moved(template, points)
        rank = np.maximum(z, 0) * similarity
        order = np.argsort(-rank, kind="stable")
        if n == 0 and parts is not None:  # members stay first, and are compared with averages that leave them out
            order = np.concatenate([np.arange(n_members), order[order >= n_members]])
        order = order[thin(points[order], apart)]
        points, similarity, rotations, z = points[order], similarity[order], rotations[order], z[order]
        if n == 0:
            break
        n_members = min(n, max(2, len(points) // 2))
        boxes = search.cut.cut(points[:n_members])
        parts = rotate_to_reference(search.cut.frame, boxes, rotations[:n_members], np.zeros((n_members, 3)))
        template = wedge_weighted_average(search.cut.frame, *parts)
    n_members = int(np.count_nonzero(order < n_members))  # two of them may have moved to one place
    if parts is not None and n_members > 1:
        kept = order[:n_members]
        spectra = search.cut.spectra(points[:n_members])
        held_out = search.compare_held_out(tuple(part[kept] for part in parts), spectra, random)  # type: ignore[arg-type]
        z = np.concatenate([fisher_z(held_out), z[n_members:]])
    return _Compared(points, z, n_members, template)


def _by_chance(
    search: OrientationSearch, template: Float[Tensor, "e e e"], points: Points, apart: float
) -> Float[np.ndarray, " m"]:
    """Fisher's z of the best places in a surrogate, which move as often as those in the tomogram."""
    z = np.zeros(len(points))
    for _ in range(len(_MEMBERS) + 1):
        if len(points):
            points, _, z = search.moved(template, points)
    order = np.argsort(-z, kind="stable")
    return z[order[thin(points[order], apart)]]
