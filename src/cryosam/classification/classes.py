"""Unsupervised 3D classification of the candidates, and the choice of the class that was clicked.

If kinds resemble each other, or if the tomogram is noisy, an average that is started from one particle also collects
particles of other kinds. Several averages that compete for the particles separate the kinds: each particle is assigned
to the average that it resembles most.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from cryosam.arrays import Points, Scores
from cryosam.averaging.class_average import ClassAverage, noise_free_correlation
from cryosam.averaging.correlation import fisher_z, standardised
from cryosam.averaging.orientations import OrientationSearch
from cryosam.classification.evidence import LEAST_PRIOR_SCORE, KindEvidence, by_correlation
from cryosam.classification.kind_average import Alignment
from cryosam.classification.mixtures import Mixture, bimodality
from cryosam.config import AveragingConfig
from cryosam.results import Average

__all__ = ["classify"]

_N_ROTATIONS = 700  # rotations in which candidates are compared while classes compete
_LEAST_POOL, _POOL, _MOST_POOL = 60, 3, 300  # candidates that compete: minimum, per accepted candidate, maximum
_N_SEEDS = 10  # candidates from which classes are started
_ROUNDS = ((8, 7), (16, 6), (32, 6))  # for each round: largest number of members per class, and of classes
_LEAST_MEMBERS = 4  # of a class that is kept for the next round
_KIND_PENALTY = 0.5  # weight with which similarity to the kind counts against the members of a new class
_FIRST_STEPS, _STEPS = 5, 20  # of expectation maximisation: with the competing candidates, with all
_GUESSED = 0.95  # first guess of the share of each candidate in the class that it resembles most
_STRAY = 0.05  # share of the averaged particles that may be of any class
_ACCEPTED = 0.7  # fraction of a class that must have been accepted so that it may belong to the kind
_WELL_SEPARATED = 6.0  # standard deviations: a kind at least this far from everything else may be kept unchanged
_AGREES = 0.8  # then, fraction of the accepted candidates that must be in its class for the two to agree
_AGREES_CUT, _CUT = 0.75, 0.5  # the same if the separation from the next class is below this fraction of the former one
_SAME_AVERAGE = 0.9  # noise-free correlation of two averages from which they may be of one kind
_SAME_PRIOR = 0.2  # largest difference of the mean logarithms of the prior scores of two classes of one kind
_TWO_KINDS = 10.0  # gain of two modes over one that counts as two kinds: very strong evidence (Kass, Raftery 1995)
_MIXED, _STEEPNESS = 4.0, 1.3  # separation at which half of a class is of other kinds, and how fast that changes
_EVEN_ODDS = 0.5


def classify(
    search: OrientationSearch,
    points: Points,
    found: Alignment,
    seeds: Int[np.ndarray, " s"],
    config: AveragingConfig,
    prior_score: Scores,
) -> tuple[Alignment, float]:
    """Divide the candidates into classes, and take the class of the clicked particles as the kind.

    Classes are started from candidates of all ranks; the average of the kind so far is one more class. In a few rounds,
    each candidate is assigned to the class whose average it resembles most, and the averages are made anew. A mixture
    of normal distributions is then fitted to the correlations of the candidates with all averages. The class of the
    clicked particles is the one with the highest likelihood for them. Classes that cannot be distinguished from it are
    added to it.

    Parameters
    ----------
    search
        Compares particles of the kind's diameter.
    points
        ``(n, 3)`` centres z, y, x in voxels.
    found
        The average of the kind so far, and how the candidates compare with it.
    seeds
        Indices of the clicked particles.
    config
        Settings of averages, such as the number of members.
    prior_score
        ``(n,)`` in [0, 1], prior score of each candidate; 0 rules it out.

    Returns
    -------
    alignment
        The kind as given by its class. ``found`` is returned unchanged if there is only one class, or if the kind was
        already well separated and agrees with its class. If the correlations alone leave a gap and add members to the
        kind, ``found`` is returned with the evidence from the correlations.
    reliance
        Fraction of the class that is of the clicked kind, estimated from the distance to the nearest other class. The
        probabilities have been multiplied by it.
    """
    possible = prior_score > 0
    correlation_evidence = by_correlation(found.correlations, found.members, possible, found.evidence)
    if correlation_evidence is not None:
        return replace(found, evidence=correlation_evidence), 1.0
    pool = _pool(found, possible, seeds)
    spectra = search.cut.spectra(points)
    members = np.flatnonzero(np.isin(pool, found.members))
    groups = _begin(search.with_rotations(_N_ROTATIONS), points[pool], spectra[pool], found.average, members)
    for n_members, n_classes in _ROUNDS:
        groups = _compete(groups, n_members, n_classes)
    if len(groups) < 2:
        return found, 1.0
    compared = [group.compare(spectra) for group in groups]
    for each, group in zip(compared, groups, strict=True):
        each[pool] = group.fisher_z  # here members are compared with averages from which they are excluded
    evidence = np.stack([*compared, fisher_z(found.correlations)], axis=1)
    log_prior = np.log(np.maximum(prior_score, LEAST_PRIOR_SCORE))
    mixture = _mix(evidence, log_prior, pool, groups)
    shares = mixture.assign(evidence, log_prior)

    # clicked particles get the highest prior score, 1
    clicked = mixture.log_densities(evidence[seeds], np.zeros(len(seeds))).mean(axis=0)
    clicked_class = int(np.argmax(clicked + np.log(_STRAY + shares[found.members].mean(axis=0))))
    is_accepted = possible & (found.evidence.probabilities > _EVEN_ODDS)
    accepted = is_accepted @ shares / (shares.sum(axis=0) + 1e-9)
    is_kind = _of_one_kind(groups, mixture, clicked_class, shares[pool].argmax(axis=1), accepted)
    probabilities = shares[:, is_kind].sum(axis=1)
    if is_kind.all():
        return found, 1.0
    separation = float(mixture.distances()[np.ix_(is_kind, ~is_kind)].min())
    least = _AGREES_CUT if separation < _CUT * found.evidence.separation else _AGREES
    agrees = 0 < least * np.count_nonzero(is_accepted) <= is_accepted @ probabilities
    if agrees and found.evidence.separation >= _WELL_SEPARATED:
        return found, 1.0
    total = np.log(probabilities + 1e-12) - np.log(shares[:, ~is_kind].sum(axis=1) + 1e-12)
    ranking = np.where(possible, total, -np.inf)
    n_members = int(np.clip(np.count_nonzero(probabilities[possible] > _EVEN_ODDS), 1, config.max_members))
    group = ClassAverage(search, points, spectra, groups[clicked_class].average)
    group.gather(np.argsort(-ranking, kind="stable")[:n_members])
    reliance = 1 / (1 + float(np.exp((_MIXED - separation) / _STEEPNESS)))
    rotations, shifts = group.placed()
    aligned = replace(
        found,
        correlations=np.tanh(group.fisher_z),
        evidence=KindEvidence(reliance * probabilities, total, separation),
        rotations=rotations,
        points=points + search.cut.step * shifts,
        average=Average(group.average.cpu().numpy(), search.cut.step),
        members=group.members,
    )
    return aligned, reliance


def _pool(found: Alignment, possible: Bool[np.ndarray, " n"], seeds: Int[np.ndarray, " s"]) -> Int[np.ndarray, " p"]:
    """Indices of the candidates that compete, those with the strongest evidence for the kind first."""
    order = np.argsort(-np.where(possible, found.evidence.total, -np.inf), kind="stable")[: np.count_nonzero(possible)]
    n_accepted = np.count_nonzero(found.evidence.probabilities[possible] > _EVEN_ODDS)
    order = order[: max(_LEAST_POOL, _POOL * n_accepted)]
    order = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), _MOST_POOL)).astype(int))]  # of all ranks
    chosen = np.unique(np.concatenate([order, seeds, found.members]))
    pool: Int[np.ndarray, " p"] = chosen[np.argsort(-found.evidence.total[chosen], kind="stable")]
    return pool


def _begin(
    coarse: OrientationSearch,
    points: Float[np.ndarray, "p 3"],
    spectra: Complex[Tensor, "p k"],
    average: Average,
    members: Int[np.ndarray, " m"],
) -> list[ClassAverage]:
    """The classes of the first round: the average of the kind so far, and classes started from candidates."""
    kind = ClassAverage(coarse, points, spectra, torch.from_numpy(average.data).to(spectra.device))
    kind.gather(members)
    penalty = _KIND_PENALTY * standardised(kind.fisher_z)
    groups = [kind]
    n_seeds, n_first = min(_N_SEEDS, len(points) // (_LEAST_MEMBERS + 1)), _ROUNDS[0][0]
    for seed in np.unique(np.linspace(0, len(points) - 1, n_seeds + 2).astype(int))[1:-1]:
        group = ClassAverage(coarse, points, spectra, coarse.cut.cut(points[seed : seed + 1])[0])
        ranking = standardised(group.fisher_z)
        ranking[seed] = np.inf
        group.gather(np.argsort(-ranking, kind="stable")[:n_first])
        group.gather(np.argsort(penalty - standardised(group.fisher_z), kind="stable")[:n_first])
        groups.append(group)
    return groups


def _compete(groups: Sequence[ClassAverage], n_members: int, n_classes: int) -> list[ClassAverage]:
    """Assign each candidate to the class that it resembles most; keep the largest classes and average them anew."""
    if not groups:
        return []
    preference = _preference(groups)
    best = preference.argmax(axis=0)
    sizes = np.bincount(best, minlength=len(groups))
    largest = [k for k in np.argsort(-sizes, kind="stable")[:n_classes] if sizes[k] >= _LEAST_MEMBERS]
    for k in largest:
        members = np.flatnonzero(best == k)
        groups[k].gather(members[np.argsort(-preference[k, members], kind="stable")[:n_members]])
    return [groups[k] for k in largest]


def _mix(
    evidence: Float[np.ndarray, "n f"],
    log_prior: Float[np.ndarray, " n"],
    pool: Int[np.ndarray, " p"],
    groups: Sequence[ClassAverage],
) -> Mixture:
    """Fit a mixture of the classes to the competing candidates, then to all except those with the lowest prior."""
    start = np.full((len(pool), len(groups)), (1 - _GUESSED) / len(groups))
    start[np.arange(len(pool)), _preference(groups).argmax(axis=0)] += _GUESSED
    mixture = Mixture.fit(evidence[pool], log_prior[pool], start, _FIRST_STEPS)
    is_fitted = log_prior > np.log(LEAST_PRIOR_SCORE)
    is_fitted[pool] = True
    fitted = evidence[is_fitted], log_prior[is_fitted]
    return Mixture.fit(*fitted, mixture.assign(*fitted), _STEPS)


def _preference(groups: Sequence[ClassAverage]) -> Float[np.ndarray, "k n"]:
    """Preference of each candidate for each class, independent of the number of members of the averages."""
    z = standardised(np.stack([group.fisher_z for group in groups]))
    preference: Float[np.ndarray, "k n"] = z - z.mean(axis=0)
    return preference


def _of_one_kind(
    groups: Sequence[ClassAverage],
    mixture: Mixture,
    clicked_class: int,
    members: Int[np.ndarray, " p"],
    accepted: Float[np.ndarray, " k"],
) -> Bool[np.ndarray, " k"]:
    """Which classes belong to the kind: that of the clicked particles, and those that cannot be distinguished from it.

    Classification may have split one kind. A class may join if most of it was accepted before, or if its average and
    its prior scores resemble those of the clicked class. Classes join one by one, always the one that is least
    separated (least bimodal) from those that have joined, until each of the rest forms a mode of its own. ``members``
    is the class of each candidate, ``accepted`` the fraction of each class that was accepted.
    """
    z = np.stack([group.fisher_z for group in groups])
    is_kind = np.arange(len(groups)) == clicked_class
    may_join = accepted >= _ACCEPTED
    has_same_prior = np.abs(mixture.log_prior - mixture.log_prior[clicked_class]) <= _SAME_PRIOR
    for k in map(int, np.flatnonzero(has_same_prior & ~may_join & ~is_kind)):
        may_join[k] = noise_free_correlation(groups[clicked_class], groups[k]) >= _SAME_AVERAGE
    for _ in groups:
        gains = np.full(len(groups), np.inf)
        for k in map(int, np.flatnonzero(may_join & ~is_kind)):
            both = is_kind[members] | (members == k)
            gains[k] = bimodality((z[is_kind].max(axis=0) - z[k])[both])
        if gains.min() >= _TWO_KINDS:
            break
        is_kind[gains.argmin()] = True
    return is_kind
