"""The method's pipeline for one kind: click, instance, candidates, average, decision."""

from dataclasses import dataclass

import numpy as np

from cryosam.classification.decision import average_kind, decide, judge, warn_of_doubts, with_threshold
from cryosam.classification.negatives import rule_out
from cryosam.instances.prompted import Prompted
from cryosam.kind_sources import KindSource
from cryosam.matching.candidates import Candidates
from cryosam.proposals import propose, widen
from cryosam.scene import Scene

__all__ = ["Found", "find_kind"]


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
    elif scene.config.matching.max_false_discovery is not None:
        scene.record.warn(
            "no_average",
            "the share of false detections cannot be estimated, because that needs an average of at least ten "
            "candidates",
        )
    candidates = rule_out(scene, candidates, seed.clicks, seed.used, kind.negatives)
    if candidates.average is not None:
        warn_of_doubts(scene, candidates, seed.clicks, kind.advice)
    return Found(seed.prompted, with_threshold(scene, candidates))


def _can_average(scene: Scene, kind: KindSource, candidates: Candidates) -> bool:
    """Whether averaging is on, and there are enough candidates that are not ruled out."""
    uses_volumes = scene.config.matching.volume_tolerance is not None
    is_enough = np.count_nonzero(candidates.scores) >= kind.least_to_average
    return scene.config.averaging.is_on and uses_volumes and bool(is_enough)


def _show(scene: Scene, kind: KindSource, candidates: Candidates) -> None:
    """Report to the caller which candidates would be accepted so far."""
    scene.show(kind.name, candidates.points[with_threshold(scene, candidates).is_accepted])
