"""The average of a kind: particles are aligned to each other and averaged, and all are compared with the average."""

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
from cryosam.matching.descriptors import Resemblance, Vectors
from cryosam.results import Average
from cryosam.saved_query import KnownMembers

__all__ = ["Alignment", "Known", "align"]

_FIRST_MEMBERS, _LEAST_MEMBERS = 8, 5  # members of the first average, and least number of the later ones
_GROWTH = 2  # largest factor by which the number of members grows from one average to the next
_EVEN_ODDS = 0.5
_N_BY_CHANCE = 60  # random positions that give the distribution of correlations by chance
_LARGEST_DEVIATION = 3.0  # at which the standardised prior score is clipped in the first ranking


@dataclass(frozen=True, eq=False)
class Alignment:
    """An average, and the pose and correlation of each particle relative to it.

    Parameters
    ----------
    correlations
        ``(n,)`` in [-1, 1], correlation of each particle with the average. A member of the average is compared with one
        from which it is excluded.
    evidence
        Evidence that each particle is of the kind.
    rotations
        ``(n,)`` rotations that bring the average, about its centre, into the orientation of each particle; they act on
        z, y, x.
    points
        ``(n, 3)`` centres z, y, x in voxels, shifted to match the average.
    background
        ``(m,)`` correlations of random positions in the tomogram.
    average
        The mean of the members, corrected for the missing wedge.
    members
        Indices of the particles in the average.
    vectors
        Learned vectors of the particles; None if they were not described.
    """

    correlations: Scores
    evidence: KindEvidence
    rotations: Rotation
    points: Points
    background: Float[np.ndarray, " m"]
    average: Average
    members: Int[np.ndarray, " k"]
    vectors: Vectors | None = None


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of the kind from another tomogram.

    Parameters
    ----------
    average
        Average of the particles there.
    weight
        Number of particles that the average counts for.
    known_members
        Candidates of that tomogram of which it is known whether they are of the kind, if there are any.
    """

    average: Average
    weight: float
    known_members: KnownMembers | None = None


def align(
    search: OrientationSearch,
    points: Points,
    seeds: Int[np.ndarray, " k"],
    *,
    prior_score: Scores | None = None,
    resemblance: Resemblance | None = None,
    known: Known | None = None,
    progress: Progress | None = None,
) -> Alignment:
    """Average the particles that resemble the seeds most, and compare all particles with the average.

    The first average is made from the few particles that resemble the seeds most: in their correlation with them, their
    prior score and their learned vectors. Each later one is made from those that are probably of the kind, given their
    correlation with the previous average and their prior score; it has at most twice as many members as the previous
    one.

    Parameters
    ----------
    search
        Compares particles of the kind's diameter; its settings give the numbers of averages and members.
    points
        ``(n, 3)`` centres z, y, x in voxels.
    seeds
        Indices of particles that are of the kind; at least one if nothing is known from another tomogram.
    prior_score
        ``(n,)`` in [0, 1], prior score of each particle; 0 rules it out. None if there are none.
    resemblance
        Learned vectors of the particles, which help to choose the members of the first average; None if there are none.
    known
        What is known from another tomogram. All averages then have the orientation of the average from there.
    progress
        Called with the number of averages made.

    Examples
    --------
    >>> from cryosam.config import AveragingConfig
    >>> from cryosam.tomogram import Tomogram
    >>> rng = np.random.default_rng(0)
    >>> volume = rng.normal(0, 0.02, (40, 60, 60)).astype(np.float32)
    >>> centres = np.array([[20.0, 15, 15], [20, 15, 45], [20, 45, 15]])
    >>> for z, y, x in centres.astype(int):
    ...     volume[z - 2 : z + 3, y - 2 : y + 3, x - 5 : x + 6] += 1
    >>> points = np.vstack([centres, [[20.0, 45, 45]]])
    >>> search = OrientationSearch.of(Tomogram(volume), 8.0, AveragingConfig())
    >>> found = align(search, points, np.array([0]))
    >>> bool(found.correlations[:3].min() > found.correlations[3])
    True
    """
    cut, frame, config = search.cut, search.cut.frame, search.config
    spectra = cut.spectra(points)
    random = np.random.default_rng(0)
    somewhere = frame.spectra(cut.background[:_N_BY_CHANCE])
    prior_score = np.ones(len(points)) if prior_score is None else prior_score
    possible = prior_score > 0
    prior = None if known is None else PriorAverage(cut.resample(known.average), known.weight)
    templates = [*cut.cut(points[seeds]), *([] if prior is None else [prior.box])]
    comparisons = [search.find(box, spectra) for box in templates]
    found = comparisons[0]
    undecided = possible & ~np.isin(np.arange(len(points)), seeds)
    mean_z = np.mean([fisher_z(each.correlations) for each in comparisons], axis=0)
    log_prior = standardised(np.log(np.maximum(prior_score, 1e-3)), undecided)
    ranking = standardised(mean_z, undecided) + np.clip(log_prior, -_LARGEST_DEVIATION, _LARGEST_DEVIATION)
    if resemblance is not None:
        ranking += standardised(resemblance.log_odds(resemblance.nearest(seeds, possible)), undecided)
    ranking[seeds] = np.inf
    n_members, least = _FIRST_MEMBERS, _LEAST_MEMBERS
    if known is not None and prior is not None:  # particles that do not resemble the known average must not be averaged
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
        vectors=None if resemblance is None else resemblance.vectors,
    )
