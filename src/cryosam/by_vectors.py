"""The search by learned vectors, where candidates hardly divide: in noise, or where a click says little about its kind.

There, an average that chooses its own members drifts to whatever large or bright is near. Here the members are chosen
by their vectors alone, so that the correlations with their average are a second, independent view of each candidate.
What chance reaches in both is measured in a surrogate of the tomogram, which goes through the same search.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from cryosam.arrays import Points, Scores
from cryosam.averaging.member_average import MemberAverage, average_members
from cryosam.averaging.orientations import OrientationSearch
from cryosam.classification.other_kinds import share_of_others
from cryosam.classification.two_views import TwoViews
from cryosam.classification.vector_groups import of_known_kind, share_above
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.kind_sources import KindSource, Seed
from cryosam.masks import InstanceMask
from cryosam.matching.candidates import Candidates, centres
from cryosam.matching.descriptors import Descriptors, Resemblance, Vectors
from cryosam.matching.peaks import thin
from cryosam.proposals import Places, correlated, detected
from cryosam.results import Average
from cryosam.scene import Scene

__all__ = ["ComparedByVectors", "accept_by_vectors", "compare_by_vectors"]

_EVEN_ODDS = 0.5
_N_ROTATIONS = 700  # rotations that are compared: 28 degrees apart, as fine as the detail of a third of the diameter


@dataclass(frozen=True, eq=False)
class ComparedByVectors:
    """Places that were compared with an average of those whose vectors resemble the kind's most.

    Parameters
    ----------
    points
        ``(n, 3)`` where the average matches them best, z, y, x in voxels.
    views
        What vectors and correlations say about each place.
    probability
        ``(n,)`` that each is of the kind; 0 where particles may not be.
    vectors
        Vectors of the places.
    average
        The average.
    others
        How far the places that are something, but not of the kind, are from what the kind and nothing explain, in
        [0, 1] (see `share_of_others`); None if there are hardly any.
    """

    points: Points
    views: TwoViews
    probability: Scores
    vectors: Vectors
    average: Average
    others: float | None

    def matching(self) -> float:
        """How often a probable place matches the average better than an improbable one does."""
        return share_above(self.views.z, self.probability >= _EVEN_ODDS) or 0.0


def compare_by_vectors(
    scene: Scene, kind: KindSource, seed: Seed, found: Candidates, *, is_alone: bool | None = None
) -> ComparedByVectors | None:
    """Average the places whose vectors resemble those of the kind, and compare all places with it, in several rounds.

    In each round, the places that resemble the known members most are averaged, and all places move to where the
    average matches them best, and are described there. After the first round, those that resemble the members least are
    left out.

    Parameters
    ----------
    scene
        Scene of the search; times are recorded in it.
    kind
        The kind that was clicked.
    seed
        The objects under the clicks.
    found
        The candidates of the search before; peaks of the radial profile of the clicked particles are compared together
        with them, as far as the largest number of candidates allows.
    is_alone
        Whether the kind is known to be nearly all there is; None if that is to be found out. Where it is known that
        there are others, the places of the detector are compared instead, if it is switched on: they are particles of
        all kinds, hardly any are chance, and they are described where they are, because they lie at the centres.

    Returns
    -------
    compared
        None if the search is switched off, if there is no click, or if there are too few places.
    """
    settings, diameter = scene.config.vectors, seed.diameter
    if not settings.is_on or not len(seed.clicks) or scene.searched_voxels == 0:
        return None
    known = centres(seed.clicks, seed.used.trusted_masks)
    known = known[thin(known, scene.config.matching.min_distance_diameters * diameter)]
    with scene.record.timed("vectors"):
        search = scene.orientations(diameter).with_rotations(_N_ROTATIONS)
        uses_detector = settings.uses_detector and is_alone is False
        places, n = _detected(scene, diameter) if uses_detector else _correlated(scene, diameter, known)
        also = found.points[: 0 if uses_detector else None]
        also = also[scene.allows(also)]
        points, decoys = _proposed(scene, diameter, search, np.concatenate([known, places.points[:n], also]), places, n)
        if len(points) < kind.least_to_average or not len(decoys.points):
            return None
        first, *later = settings.n_members
        compare = _Comparison(scene, diameter, search, decoys, moves=not uses_detector)
        resemblance = scene.descriptors(diameter).resemblance(points)
        last = compare.round(points, resemblance, np.arange(len(known)), first, search.cut.cut(points[:1])[0])
        for most in later:
            last = compare.round(*compare.settled(last), most, last.aligned.template)
    of_kind, vectors = last.views.probabilities(settings), last.resemblance.vectors
    is_more, is_kind = last.views.beyond_chance() >= _EVEN_ODDS, of_kind >= _EVEN_ODDS
    others = share_of_others(vectors[is_more], is_kind[is_more], last.nothing)
    if is_alone is False or (others is not None and others >= settings.other_kinds):
        is_member, is_other = np.isin(np.arange(len(vectors)), last.views.members), is_kind.copy()
        is_other[is_kind] = ~of_known_kind(vectors[is_kind], is_member[is_kind], settings.significance)
        of_kind = np.where(is_other, settings.significance * of_kind, of_kind)
    return ComparedByVectors(
        points=last.aligned.points,
        views=last.views,
        probability=np.where(scene.allows(last.aligned.points), of_kind, 0),
        vectors=vectors,
        average=Average(last.aligned.template.cpu().numpy(), search.cut.step),
        others=others,
    )


def accept_by_vectors(
    scene: Scene,
    kind: KindSource,
    seed: Seed,
    instances: InstanceSegmenter,
    found: Candidates,
    compared: ComparedByVectors,
) -> Candidates | None:
    """The compared places as candidates, those that are probably of the kind with masks.

    Parameters
    ----------
    scene, kind, seed, found
        As in `compare_by_vectors`.
    instances
        Segments the particles in the same way as the clicked ones.
    compared
        The places.

    Returns
    -------
    candidates
        None if no clicked place is probably of the kind.
    """
    points, is_kind = compared.points, compared.probability >= _EVEN_ODDS
    is_clicked = np.linalg.norm(points[:, None] - seed.clicks, axis=2).min(axis=1) <= seed.diameter / 2
    if not (is_kind & is_clicked).any():
        return None
    with scene.record.timed("segmenting"):
        made = iter(instances.under(points[is_kind], seed.diameter, scene.options.progress))
    field = scene.features(seed.diameter)
    similarity = np.clip(field.similarity_at(kind.query(scene, seed).feature, points).astype(float), 0, 1)
    return replace(
        found,
        points=points,
        masks=tuple(next(made) if one else InstanceMask.empty() for one in is_kind),
        similarity=similarity,
        prior_score=similarity,
        is_ruled_out=~scene.allows(points),
        diameter=seed.diameter,
        threshold=_EVEN_ODDS,
        correlation=np.tanh(compared.views.z),
        probability=compared.probability,
        vectors=compared.vectors,
        average=compared.average,
    ).ranked()


@dataclass(frozen=True, eq=False)
class _Decoys:
    """Places that the search proposes in a surrogate of the tomogram, where there is nothing.

    Parameters
    ----------
    points
        ``(m, 3)`` z, y, x in voxels.
    search
        Compares them with averages.
    described
        Gives their vectors.
    """

    points: Points
    search: OrientationSearch
    described: Descriptors

    def compare(self, template: Float[Tensor, "e e e"]) -> tuple[Vectors, Float[np.ndarray, " m"]]:
        """Their vectors where an average matches them, and Fisher's z of the correlations with it."""
        there, _, z = self.search.moved(template, self.points)
        return self.described.resemblance(there).vectors, z


@dataclass(frozen=True, eq=False)
class _Round:
    """Places compared with an average of some of them: where they were described, their vectors, and what came out.

    ``nothing`` is the mean vector of the decoys.
    """

    points: Points
    resemblance: Resemblance
    aligned: MemberAverage
    views: TwoViews
    nothing: Float[np.ndarray, " v"]


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Compares places with averages, round by round.

    Parameters
    ----------
    scene
        Scene of the search.
    diameter
        Diameter of the particles, in voxels.
    search
        Compares boxes with averages.
    decoys
        Go through every comparison too.
    moves
        Whether places move to where the average matches them best.
    """

    scene: Scene
    diameter: float
    search: OrientationSearch
    decoys: _Decoys
    moves: bool

    def round(
        self,
        points: Points,
        resemblance: Resemblance,
        start: Int[np.ndarray, " k"],
        most: int,
        template: Float[Tensor, "e e e"],
    ) -> _Round:
        """Average the places that resemble a start most, at most some, and compare all places with the average.

        ``start`` has the indices of places that are of the kind, and the members are first aligned to ``template``.
        """
        members = resemblance.closest(start, self.scene.allows(points), most)
        aligned = average_members(self.search, points, members, template)
        nothing, chance_z = self.decoys.compare(aligned.template)
        by_chance = (nothing @ resemblance.mean(members)).astype(float), chance_z
        views = TwoViews(resemblance.similarity(members), aligned.z, members, *by_chance)
        return _Round(points, resemblance, aligned, views, nothing.mean(axis=0))

    def settled(self, last: _Round) -> tuple[Points, Resemblance, Int[np.ndarray, " k"]]:
        """The places where the average matches them, best first, their vectors there, and which of them are members.

        Of two that have moved to the same place, the better one is kept; of all, the best ones, as many as resemble the
        kind more than a typical decoy.
        """
        settings, apart = self.scene.config.vectors, self.scene.config.matching.min_distance_diameters * self.diameter
        moved, views = (last.aligned.points if self.moves else last.points), last.views
        ranking = np.where(self.scene.allows(last.points), views.ranking(settings), -np.inf)
        order = np.argsort(-ranking, kind="stable")
        order = order[thin(moved[order], apart)]
        order = order[: max(settings.n_candidates, views.n_unlike_decoys())]
        points = moved[order]
        vectors = last.resemblance.vectors[order]
        has_moved = np.any(points != last.points[order], axis=1)
        vectors[has_moved] = self.scene.descriptors(self.diameter).resemblance(points[has_moved]).vectors
        return points, replace(last.resemblance, vectors=vectors), np.flatnonzero(np.isin(order, views.members))


def _correlated(scene: Scene, diameter: float, known: Points) -> tuple[Places, int]:
    """Peaks of the radial profile of the known particles, and how many of them are compared.

    They are twice as many as are more than chance, because only a comparison with an average tells them apart.
    """
    places = correlated(scene, scene.radial(diameter).profile(known), diameter)
    return places, 2 * max(places.n_more, scene.config.vectors.n_candidates)


def _detected(scene: Scene, diameter: float) -> tuple[Places, int]:
    """Places of the detector, and how many of them are compared."""
    places = detected(scene, diameter)
    return places, max(2 * places.n_more, scene.config.vectors.n_detected)


def _proposed(
    scene: Scene,
    diameter: float,
    search: OrientationSearch,
    points: Float[np.ndarray, "p 3"],
    places: Places,
    n_places: int,
) -> tuple[Points, _Decoys]:
    """Those of some places, best first, that are compared, and decoys for that number of places."""
    settings, matching, surrogate = scene.config.vectors, scene.config.matching, scene.surrogate(diameter)
    points = points[thin(points, matching.min_distance_diameters * diameter)]
    if len(points) > matching.max_candidates:
        scene.record.warn(
            "too_many_candidates",
            f"only the first {matching.max_candidates} of {len(points)} candidates were examined; there may be more "
            "particles",
        )
    points = points[: matching.max_candidates]
    best = places.decoys[: max(1, round(n_places / places.weight))]
    some = np.unique(np.linspace(0, len(best) - 1, min(settings.n_decoys, len(best))).astype(int))
    return points, _Decoys(
        best[some], search.within(surrogate.volume), Descriptors.of(surrogate.volume, diameter, search.device)
    )
