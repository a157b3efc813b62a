"""All kinds among the candidates, found without being named, and which of them was clicked.

Where kinds are alike, or much is noise, an average that seeds from one particle gathers others with it. Averages that
compete for the particles come apart: each particle goes to the average it is most like.
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

_N_ROTATIONS = 700  # in which classes compete
_LEAST_POOL, _POOL, _MOST_POOL = 60, 3, 300  # candidates that compete: at least, for each that is accepted, at most
_N_SEEDS = 10  # candidates from which classes grow
_ROUNDS = ((8, 7), (16, 6), (32, 6))  # members of an average, and classes, at most
_LEAST_MEMBERS = 4  # of a class that goes on
_LESS_LIKE_KIND = 0.5  # weight of being unlike the kind, for what a class grows from
_FIRST_STEPS, _STEPS = 5, 20  # of expectation maximisation: with those that compete, with all
_GUESSED = 0.95  # share of a candidate in the class it is most like
_STRAY = 0.05  # share of the averaged particles that may be of any class
_ACCEPTED = 0.7  # share of a class from which it is accepted
_APART = 6.0  # standard deviations between the kind as it was found and everything else, from which it stays as it was
_AGREES = 0.8  # share of what is accepted that is in the class then, and less where the class seems to be cut off:
_AGREES_CUT, _CUT = 0.75, 0.5  # where it is so much nearer to the next class than the kind was to everything else
_LOOKS_LIKE, _AS_ALIKE = 0.9, 0.2  # likeness of averages; of the logarithms of how like the kind both are otherwise
_TWO_KINDS = 10.0  # gain of two heaps over one from which they are two kinds: very strong evidence (Kass, Raftery 1995)
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
    """Divide the candidates into classes, and take that of the clicked particles for their kind.

    Classes grow from candidates of all ranks, and the kind's average so far is one more. Each candidate goes to the
    class whose average it is most like, for a few rounds. How the candidates compare with all the averages then makes a
    mixture of normal distributions. The clicked particles' class is the one in which what is known of them is most
    likely, together with the classes that cannot be told from it.

    Parameters
    ----------
    search
        Compares particles of the kind's diameter.
    points
        ``(n, 3)`` centres z, y, x in voxels.
    found
        The kind as it was averaged and told from everything else.
    seeds
        Indices of the particles that were clicked.
    config
        Number of members of an average.
    prior_score
        ``(n,)`` in [0, 1], how like the kind each candidate is in other ways; 0 rules it out.

    Returns
    -------
    alignment
        The kind as its class; as it was where no classes were found, or where it stood well apart from everything else
        and they agree; as the correlations alone tell it, where they leave a gap and more are of the kind so.
    reliance
        Share of the class that is of the clicked kind, as far as the distance to the nearest other class tells it. The
        probabilities are multiples of it.
    """
    possible = prior_score > 0
    alone = by_correlation(found.correlations, found.members, possible, found.evidence)
    if alone is not None:
        return replace(found, evidence=alone), 1.0
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
        each[pool] = group.fisher_z  # members with averages that they are no part of
    evidence = np.stack([*compared, fisher_z(found.correlations)], axis=1)
    alike = np.log(np.maximum(prior_score, LEAST_PRIOR_SCORE))
    mixture = _mix(evidence, alike, pool, groups)
    shares = mixture.assign(evidence, alike)

    # what was clicked is as like itself as can be
    clicked = mixture.log_densities(evidence[seeds], np.zeros(len(seeds))).mean(axis=0)
    mine = int(np.argmax(clicked + np.log(_STRAY + shares[found.members].mean(axis=0))))
    is_accepted = possible & (found.evidence.probabilities > _EVEN_ODDS)
    accepted = is_accepted @ shares / (shares.sum(axis=0) + 1e-9)
    is_mine = _of_one_kind(groups, mixture, mine, shares[pool].argmax(axis=1), accepted)
    probabilities = shares[:, is_mine].sum(axis=1)
    if is_mine.all():
        return found, 1.0
    separation = float(mixture.distances()[np.ix_(is_mine, ~is_mine)].min())
    least = _AGREES_CUT if separation < _CUT * found.evidence.separation else _AGREES
    agrees = 0 < least * np.count_nonzero(is_accepted) <= is_accepted @ probabilities
    if agrees and found.evidence.separation >= _APART:
        return found, 1.0
    total = np.log(probabilities + 1e-12) - np.log(shares[:, ~is_mine].sum(axis=1) + 1e-12)
    ranking = np.where(possible, total, -np.inf)
    n_members = int(np.clip(np.count_nonzero(probabilities[possible] > _EVEN_ODDS), 1, config.max_members))
    group = ClassAverage(search, points, spectra, groups[mine].average)
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
    """The candidates that compete, the likest first."""
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
    """What competes at first: the kind as it is averaged so far, and what is most like candidates of all ranks."""
    kind = ClassAverage(coarse, points, spectra, torch.from_numpy(average.data).to(spectra.device))
    kind.gather(members)
    unlike = _LESS_LIKE_KIND * standardised(kind.fisher_z)
    groups = [kind]
    n_seeds, n_first = min(_N_SEEDS, len(points) // (_LEAST_MEMBERS + 1)), _ROUNDS[0][0]
    for seed in np.unique(np.linspace(0, len(points) - 1, n_seeds + 2).astype(int))[1:-1]:
        group = ClassAverage(coarse, points, spectra, coarse.cut.cut(points[seed : seed + 1])[0])
        alike = standardised(group.fisher_z)
        alike[seed] = np.inf
        group.gather(np.argsort(-alike, kind="stable")[:n_first])
        group.gather(np.argsort(unlike - standardised(group.fisher_z), kind="stable")[:n_first])
        groups.append(group)
    return groups


def _compete(groups: Sequence[ClassAverage], n_members: int, n_classes: int) -> list[ClassAverage]:
    """The largest classes, averaged anew: each candidate goes to the one that it is most like."""
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
    alike: Float[np.ndarray, " n"],
    pool: Int[np.ndarray, " p"],
    groups: Sequence[ClassAverage],
) -> Mixture:
    """The classes as a mixture: of what competes, then of all that is not too unlike the kind to tell anything."""
    start = np.full((len(pool), len(groups)), (1 - _GUESSED) / len(groups))
    start[np.arange(len(pool)), _preference(groups).argmax(axis=0)] += _GUESSED
    mixture = Mixture.fit(evidence[pool], alike[pool], start, _FIRST_STEPS)
    is_telling = alike > np.log(LEAST_PRIOR_SCORE)
    is_telling[pool] = True
    told = evidence[is_telling], alike[is_telling]
    return Mixture.fit(*told, mixture.assign(*told), _STEPS)


def _preference(groups: Sequence[ClassAverage]) -> Float[np.ndarray, "k n"]:
    """Of each candidate for each class; averages of few and of many members count alike."""
    alike = standardised(np.stack([group.fisher_z for group in groups]))
    preference: Float[np.ndarray, "k n"] = alike - alike.mean(axis=0)
    return preference


def _of_one_kind(
    groups: Sequence[ClassAverage],
    mixture: Mixture,
    mine: int,
    members: Int[np.ndarray, " p"],
    accepted: Float[np.ndarray, " k"],
) -> Bool[np.ndarray, " k"]:
    """The class and others that cannot be told from it: a kind may have been cut in two.

    Those may join that were accepted with it or look like it, one by one, the one that lies most in one heap with what
    has joined first. ``members`` is the class of each candidate, ``accepted`` the part of each class that was accepted.
    """
    z = np.stack([group.fisher_z for group in groups])
    is_mine = np.arange(len(groups)) == mine
    may_join = accepted >= _ACCEPTED
    is_as_alike = np.abs(mixture.log_prior - mixture.log_prior[mine]) <= _AS_ALIKE
    for k in map(int, np.flatnonzero(is_as_alike & ~may_join & ~is_mine)):
        may_join[k] = noise_free_correlation(groups[mine], groups[k]) >= _LOOKS_LIKE
    for _ in groups:
        gains = np.full(len(groups), np.inf)
        for k in map(int, np.flatnonzero(may_join & ~is_mine)):
            both = is_mine[members] | (members == k)
            gains[k] = bimodality((z[is_mine].max(axis=0) - z[k])[both])
        if gains.min() >= _TWO_KINDS:
            break
        is_mine[gains.argmin()] = True
    return is_mine
