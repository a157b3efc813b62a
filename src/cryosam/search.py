"""The method's pipeline for one kind: click, instance, candidates, average, decision."""

from dataclasses import dataclass

import numpy as np

from cryosam.backends import resolve_device
from cryosam.by_vectors import ComparedByVectors, accept_by_vectors, compare_by_vectors
from cryosam.classification.decision import (
    DOUBTFUL,
    average_kind,
    decide,
    judge,
    matching,
    warn_of_doubts,
    with_threshold,
)
from cryosam.classification.negatives import rule_out
from cryosam.classification.vector_groups import disagrees
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.prompted import Prompted
from cryosam.kind_sources import KindSource, Seed
from cryosam.kind_sources.clicked import of_diameter
from cryosam.likely_diameter import SIZE_STEP, likely_diameter
from cryosam.matching.candidates import Candidates, centres
from cryosam.only_kind import find_only_kind
from cryosam.proposals import correlated, propose, widen
from cryosam.scene import Scene

__all__ = ["Found", "find_kind"]

_Start = tuple[Seed, InstanceSegmenter]
"""The objects under the clicks, and a segmenter that treats other instances in the same way."""

# warnings that no longer hold once the clicked particle was found to resemble others
_ANSWERED = ("nothing_there", "not_searched", "nothing_similar")


@dataclass(frozen=True, eq=False)
class Found:
    """The outcome of the search for one kind.

    Parameters
    ----------
    prompted
        The objects under the clicks.
    candidates
        All candidates, best first, with the threshold at which they are accepted.
    """

    prompted: Prompted
    candidates: Candidates


def find_kind(scene: Scene, kind: KindSource) -> Found:
    """Find all candidates for a kind, each with a mask and a score.

    Candidates are places with similar features. Similarity and mask volume give a first ranking, the prior score. If
    there are enough candidates, those most similar to the clicked particle are averaged, all are compared with the
    average, and scores become probabilities. The tomogram is then searched once more with the mean feature of the
    particles found, which represents the kind better than the feature of a single particle. Candidates that resemble an
    object under a negative click are ruled out.

    Parameters
    ----------
    scene
        Scene to search; measurements and warnings are recorded in it.
    kind
        Clicks in this tomogram, or a query that was made in another one.
    """
    seed, instances = kind.seed(scene)  # 1  a click becomes an object
    candidates = propose(scene, instances, seed, kind.query(scene, seed))  # 2  places that resemble it
    _show(scene, kind, candidates)
    if _can_average(scene, kind, candidates):
        average = average_kind(scene, candidates, kind.seeds(candidates, seed), kind.reference(scene))  # 3  an average
        compared = judge(scene, candidates, average, seed.clicks)
        _show(scene, kind, compared)
        wider = widen(scene, instances, compared, seed.diameter)
        if len(wider.points) > len(compared.points):
            candidates = wider
            average = average_kind(scene, candidates, kind.seeds(candidates, seed), kind.reference(scene))
        candidates = decide(scene, candidates, average, kind.seeds(candidates, seed), seed.clicks)  # 4  a decision
    other = _search_otherwise(scene, kind, (seed, instances), candidates)  # 5  another one, where this one is in doubt
    if other is None and _disagrees(scene, candidates):
        scene.record.warn(
            "vectors_disagree",
            "learned vectors do not confirm that the detections are of one kind: the average may be of several, or of "
            "something large and bright; check the detections, or click on another particle",
        )
    seed, candidates = (seed, candidates) if other is None else other
    if candidates.average is None and scene.config.matching.max_false_discovery is not None:
        scene.record.warn(
            "no_average",
            "the share of false detections cannot be estimated, because that needs an average of at least ten "
            "candidates",
        )
    candidates = rule_out(scene, candidates, seed.clicks, seed.used, kind.negatives)
    if candidates.average is not None and scene.record.report.separation is not None:
        warn_of_doubts(scene, candidates, seed.clicks, kind.advice)
    return Found(seed.prompted, with_threshold(scene, candidates))


def _search_otherwise(
    scene: Scene, kind: KindSource, start: _Start, candidates: Candidates
) -> tuple[Seed, Candidates] | None:
    """Search in another way if it is in doubt what was found or clicked, or if nothing was found; None keeps it.

    If learned vectors say that there is no other kind, everything that is more than chance is of the kind, and its size
    is the one that explains most of the tomogram. Otherwise the vectors tell the kind from the rest. Where the doubt is
    theirs alone, the result is taken whose accepted places match their own average better than its refused ones do.
    """
    settings, seed = scene.config, start[0]
    if not settings.averaging.is_on or settings.matching.volume_tolerance is None:
        return None
    is_found = len(candidates.points) > 0
    is_size_sure = not settings.vectors.is_on or seed.prompted.is_size_sure
    is_unsure = is_found and _is_unsure(scene, kind, seed, candidates)
    is_doubtful = is_unsure or _disagrees(scene, candidates)
    if is_found and is_size_sure and not is_doubtful:
        return None
    likely = None if is_found and is_size_sure else _of_likely_size(scene, start)
    is_tried = False
    if likely is not None and (likely is not start or not is_found):
        is_tried = _is_alone(scene, compare_by_vectors(scene, kind, likely[0], candidates))
        found = _everything(scene, kind, likely, candidates) if is_tried else None
        if found is not None:
            return likely[0], found
    if not is_doubtful:
        return None
    compared = compare_by_vectors(scene, kind, seed, candidates)
    if _is_alone(scene, compared) and not is_tried:
        likely = likely or _of_likely_size(scene, start)
        found = _everything(scene, kind, likely, candidates)
        if found is not None:
            return likely[0], found
    elif settings.vectors.uses_detector and not _is_alone(scene, compared):
        compared = compare_by_vectors(scene, kind, seed, candidates, is_alone=False) or compared
    return _told_apart(scene, kind, start, candidates, compared, is_unsure=is_unsure)


def _told_apart(
    scene: Scene,
    kind: KindSource,
    start: _Start,
    candidates: Candidates,
    compared: ComparedByVectors | None,
    *,
    is_unsure: bool,
) -> tuple[Seed, Candidates] | None:
    """What vectors tell from other kinds; None if they say nothing, or if what was found before is better."""
    seed, instances = start
    if compared is None or not (is_unsure or matching(scene, candidates) < compared.matching()):
        return None
    found = accept_by_vectors(scene, kind, seed, instances, candidates, compared)
    if found is None:
        return None
    _replaced(scene, kind, seed, found)
    scene.record.warn(
        "searched_again",
        "it was in doubt which candidates are of the kind, so learned vectors told them from the rest: check the "
        "detections",
    )
    return seed, found


def _of_likely_size(scene: Scene, start: _Start) -> _Start:
    """The clicks on particles of the size that explains most around them; the start itself if it has that size."""
    seed, _ = start
    if scene.given_diameter is not None or not len(seed.clicks):
        return start
    with scene.record.timed("size"):
        likely = likely_diameter(
            scene.voxels, seed.clicks, scene.missing_wedge(), str(resolve_device(scene.config.device))
        )
    if likely is None or 1 / SIZE_STEP < likely / seed.diameter < SIZE_STEP:
        return start
    return of_diameter(scene, seed, likely)


def _is_alone(scene: Scene, compared: ComparedByVectors | None) -> bool:
    """Whether vectors tell of no other kind than the clicked one."""
    others = None if compared is None else compared.others
    return others is None or others < scene.config.vectors.other_kinds


def _everything(scene: Scene, kind: KindSource, start: _Start, candidates: Candidates) -> Candidates | None:
    """All places that are more than chance, if the kind is nearly all there is."""
    found = find_only_kind(scene, kind, *start, candidates)
    if found is not None:
        scene.record.note(separation=None)
        _replaced(scene, kind, start[0], found)
        scene.record.warn(
            "only_kind",
            "the candidates do not divide into the kind and something else, so everything that matches its average by "
            "more than chance was taken: check that nothing else is among the detections",
        )
    return found


def _is_unsure(scene: Scene, kind: KindSource, seed: Seed, candidates: Candidates) -> bool:
    """Whether candidates hardly divide, or more of those accepted are expected to be false than true.

    Candidates too few for an average are unsure if enough places correlate with the clicked particles.
    """
    if candidates.average is None:
        return _n_alike(scene, seed) >= kind.least_to_average
    accepted = candidates.scores[candidates.is_accepted]
    return _separation(scene) < DOUBTFUL or bool(2 * (1 - accepted).sum() >= len(accepted))


def _disagrees(scene: Scene, candidates: Candidates) -> bool:
    """Whether accepted candidates resemble each other, by their vectors, hardly more than those that were refused."""
    settings = scene.config.vectors
    if candidates.vectors is None or not settings.is_on:
        return False
    return disagrees(candidates.vectors, candidates.is_accepted, settings.agreement, settings.significance)


def _n_alike(scene: Scene, seed: Seed) -> int:
    """Number of places that correlate with the radial profile of the clicked particles by more than chance."""
    if not (scene.config.vectors.is_on and len(seed.clicks)) or scene.searched_voxels == 0:
        return 0
    known = centres(seed.clicks, seed.used.trusted_masks)
    with scene.record.timed("matching"):
        return correlated(scene, scene.radial(seed.diameter).profile(known), seed.diameter).n_more


def _separation(scene: Scene) -> float:
    """Separation of the candidates; 0 if they do not divide."""
    return scene.record.report.separation or 0.0


def _replaced(scene: Scene, kind: KindSource, seed: Seed, found: Candidates) -> None:
    """Report what takes the place of the candidates of a search before."""
    warnings = tuple(each for each in scene.record.report.warnings if each.code not in _ANSWERED)
    z, y, x = found.points[0].tolist()
    clicked = found.clicked(seed.clicks)
    scene.record.note(
        warnings=warnings,
        most_typical=(z, y, x),
        click_probability=float(found.scores[clicked[clicked >= 0]].max()),
    )
    _show(scene, kind, found)


def _can_average(scene: Scene, kind: KindSource, candidates: Candidates) -> bool:
    """Whether averaging is on, and there are enough candidates that are not ruled out."""
    uses_volumes = scene.config.matching.volume_tolerance is not None
    is_enough = np.count_nonzero(candidates.scores) >= kind.least_to_average
    return scene.config.averaging.is_on and uses_volumes and bool(is_enough)


def _show(scene: Scene, kind: KindSource, candidates: Candidates) -> None:
    """Report to the caller which candidates would be accepted so far."""
    scene.show(kind.name, candidates.points[with_threshold(scene, candidates).is_accepted])
