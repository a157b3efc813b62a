"""What particles look like when they are turned onto each other: their average, and how like it each of them is."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points, Progress, Scores
from cryosam.averaging.correlation import fisher_z, standardised
from cryosam.averaging.fourier import wedge_weighted_average
from cryosam.averaging.orientations import OrientationSearch, PriorAverage
from cryosam.classification.evidence import KindEvidence, kind_evidence
from cryosam.config import AveragingConfig
from cryosam.results import Average
from cryosam.saved_query import KnownMembers

__all__ = ["Alignment", "Known", "align"]

_FIRST_MEMBERS, _LEAST_MEMBERS = 8, 5  # of an average
_GROWTH = 2  # of the members from one average to the next, at most
_EVEN_ODDS = 0.5
_N_BY_CHANCE = 60  # places that tell the correlation of what is not of the kind
_FARTHEST = 3.0  # spreads that the prior_score can set a particle apart at first


@dataclass(frozen=True, eq=False)
class Alignment:
    """An average, and how each particle lies.

    Parameters
    ----------
    correlations
        ``(n,)`` in [-1, 1], of each particle with the average, or with one that it is no part of.
    evidence
        Of each particle for being of the kind.
    rotations
        ``(n,)`` that turn the average, about its centre, to lie as the particle does; they act on z, y, x.
    points
        ``(n, 3)`` centres z, y, x in voxels, moved onto the average.
    background
        ``(m,)`` correlations of places without regard to what is there.
    average
        The mean of the members, corrected for the missing wedge.
    members
        Indices of the particles in the average.
    """

    correlations: Scores
    evidence: KindEvidence
    rotations: Rotation
    points: Points
    background: Float[np.ndarray, " m"]
    average: Average
    members: Int[np.ndarray, " k"]


@dataclass(frozen=True, eq=False)
class Known:
    """What another tomogram tells of the kind.

    Parameters
    ----------
    average
        Of its particles.
    weight
        So many particles the average counts for.
    known_members
        Candidates there; None knows of none.
    """

    average: Average
    weight: float
    known_members: KnownMembers | None = None


def align(
    search: OrientationSearch,
    points: Points,
    seeds: Int[np.ndarray, " k"],
    config: AveragingConfig,
    *,
    prior_score: Scores | None = None,
    known: Known | None = None,
    progress: Progress | None = None,
) -> Alignment:
    """Average the particles that are most like some of them, and compare all with the average.

    The first average has the few particles that are most like those to start from. The next ones have those that are
    probably of the kind by comparison with the average before and by their prior_score, at most twice as many.

    Parameters
    ----------
    search
        Compares particles of the kind's diameter.
    points
        ``(n, 3)`` centres z, y, x in voxels.
    seeds
        Indices of particles that are of the kind; at least one where nothing is known from elsewhere.
    config
        Numbers of averages and members.
    prior_score
        ``(n,)`` in [0, 1], how like the kind each particle is in other ways; 0 rules it out. None knows of none.
    known
        The kind from another tomogram; all averages then lie as that one does.
    progress
        Called with the number of averages made.

    Examples
    --------
    >>> from cryosam.tomogram import Tomogram
    >>> rng = np.random.default_rng(0)
    >>> volume = rng.normal(0, 0.02, (40, 60, 60)).astype(np.float32)
    >>> centres = np.array([[20.0, 15, 15], [20, 15, 45], [20, 45, 15]])
    >>> for z, y, x in centres.astype(int):
    ...     volume[z - 2 : z + 3, y - 2 : y + 3, x - 5 : x + 6] += 1
    >>> points = np.vstack([centres, [[20.0, 45, 45]]])
    >>> search = OrientationSearch.of(Tomogram(volume), 8.0, AveragingConfig())
    >>> found = align(search, points, np.array([0]), AveragingConfig())
    >>> bool(found.correlations[:3].min() > found.correlations[3])
    True
    """
    cut, frame = search.cut, search.cut.frame
    spectra = cut.spectra(points)
    random = np.random.default_rng(0)
    somewhere = frame.spectra(cut.background[:_N_BY_CHANCE])
    prior_score = np.ones(len(points)) if prior_score is None else prior_score
    possible = prior_score > 0
    prior = None if known is None else PriorAverage(cut.resample(known.average), known.weight)
    likest = [*cut.cut(points[seeds]), *([] if prior is None else [prior.box])]
    alone = [search.find(box, spectra) for box in likest]
    found = alone[0]
    unsettled = possible & ~np.isin(np.arange(len(points)), seeds)
    evidence_alone = np.mean([fisher_z(each.correlations) for each in alone], axis=0)
    in_other_ways = standardised(np.log(np.maximum(prior_score, 1e-3)), unsettled)
    ranking = standardised(evidence_alone, unsettled) + np.clip(in_other_ways, -_FARTHEST, _FARTHEST)
    ranking[seeds] = np.inf
    n_members, least = _FIRST_MEMBERS, _LEAST_MEMBERS
    if known is not None and prior is not None:  # what is unlike the known average must not become a part of it
        compared = search.find(prior.box, torch.cat([spectra, somewhere])).correlations
        first = np.argsort(-np.where(possible, ranking, -np.inf), kind="stable")[:_FIRST_MEMBERS]
        evidence = kind_evidence(
            compared[: len(points)], first, compared[len(points) :], prior_score, known.known_members
        )
        n_probable = np.count_nonzero(evidence.probabilities[possible] > _EVEN_ODDS)
        ranking, least, n_members = evidence.total, 1, int(np.clip(n_probable, 1, config.max_members))
    for done in range(config.n_averages):
        if progress is not None:
            progress("averaging", done, config.n_averages)
        ranking = np.where(possible, ranking, -np.inf)
        members = np.argsort(-ranking, kind="stable")[: min(n_members, max(1, np.count_nonzero(possible)))]
        parts = search.rotate_to_reference(cut.cut(points[members]), found, members)
        average = wedge_weighted_average(frame, *parts)
        average = average if prior is None else prior.blend(frame, average, len(members))
        found = search.find(average, torch.cat([spectra, somewhere]))
        correlations, by_chance = np.split(found.correlations, [len(points)])
        if len(members) > 1:
            correlations[members] = search.compare_held_out(parts, spectra[members], random, prior)
        evidence = kind_evidence(correlations, members, by_chance, prior_score, known.known_members if known else None)
        ranking = evidence.total
        n_probable = np.count_nonzero(evidence.probabilities[possible] > _EVEN_ODDS)
        n_members = int(np.clip(n_probable, least, min(config.max_members, _GROWTH * len(members))))
    if progress is not None:
        progress("averaging", config.n_averages, config.n_averages)
    return Alignment(
        correlations=correlations,
        evidence=evidence,
        rotations=search.bank.rotations[found.rotation[: len(points)]],
        points=points + cut.step * search.shifts[found.shift[: len(points)]],
        background=by_chance,
        average=Average(average.cpu().numpy(), cut.step),
        members=members,
    )
