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
    """What the search for one kind came to.

    Parameters
    ----------
    prompted
        What lies under the clicks.
    candidates
        What was looked at, best first, with the threshold for what is accepted.
    """

    prompted: Prompted
    candidates: Candidates


def find_kind(scene: Scene, kind: KindSource) -> Found:
    """Find everything that may be of a kind, each with a mask and a score.

    Candidates are the places with similar features; the volumes of their masks make a first ranking. Where there are
    enough of them, they are compared with an average of those most like the clicked one, and the scores become
    probabilities. Then what was found is searched for once more by its mean feature, which resembles each of the kind
    more than one particle's does. Candidates that are like what lies under a negative click are ruled out.

    Parameters
    ----------
    scene
        To search; what is found out is recorded there.
    kind
        Clicks in this tomogram, or a query that was made in another one.
    """
    seed, instances = kind.seed(scene)  # 1  a click becomes an object
    candidates = propose(scene, instances, seed, kind.query(scene, seed))  # 2  places that are like it
    _show(scene, kind, candidates)
    if _can_average(scene, kind, candidates):
        average = average_kind(scene, candidates, kind.seeds(candidates, seed), kind.reference(scene))  # 3
        compared = judge(scene, candidates, average, seed.clicks)
        _show(scene, kind, compared)
        wider = widen(scene, instances, compared, seed.diameter)
        if len(wider.points) > len(compared.points):
            candidates = wider
            average = average_kind(scene, candidates, kind.seeds(candidates, seed), kind.reference(scene))
        candidates = decide(scene, candidates, average, kind.seeds(candidates, seed), seed.clicks)  # 4
    elif scene.config.matching.max_false_discovery is not None:
        scene.record.warn(
            "no_average", "the share of false detections cannot be told without an average of at least ten candidates"
        )
    candidates = rule_out(scene, candidates, seed.clicks, seed.used, kind.negatives)
    if candidates.average is not None:
        warn_of_doubts(scene, candidates, seed.clicks, kind.advice)
    return Found(seed.prompted, with_threshold(scene, candidates))


def _can_average(scene: Scene, kind: KindSource, candidates: Candidates) -> bool:
    """Whether averages are asked for, and enough candidates may be of the kind."""
    knows_volumes = scene.config.matching.volume_tolerance is not None
    is_enough = np.count_nonzero(candidates.scores) >= kind.least_to_average
    return scene.config.averaging.is_on and knows_volumes and bool(is_enough)


def _show(scene: Scene, kind: KindSource, candidates: Candidates) -> None:
    """Show what looks like the kind before the search has ended."""
    scene.show(kind.name, candidates.points[with_threshold(scene, candidates).is_accepted])
