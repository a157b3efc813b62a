"""From correlations and prior scores to probabilities that candidates are of the kind."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from cryosam.arrays import Scores
from cryosam.averaging.correlation import fisher_z
from cryosam.classification.mixtures import two_groups
from cryosam.saved_query import KnownMembers

__all__ = ["LEAST_PRIOR_SCORE", "KindEvidence", "by_correlation", "kind_evidence"]

_LEAST_OTHERS = 20  # smallest number of values from which the distribution of everything else is estimated
LEAST_PRIOR_SCORE = 0.05  # lower prior scores are raised to this
_UNLIKE = 0.5  # candidates below this fraction of the median prior score of the averaged ones are taken as others
_EVEN_ODDS = 0.5
_GAP, _NEAR = 1.5, 2.0  # standard deviations: least gap, and largest distance of what is added to the kind
_WEIGHINGS = 3  # number of times that the weights of the two kinds of evidence are computed


@dataclass(frozen=True, eq=False)
class KindEvidence:
    """How the candidates divide into those of the kind and everything else.

    Parameters
    ----------
    probabilities
        ``(n,)`` in [0, 1], probability that each candidate is of the kind.
    total
        ``(n,)`` weighted sum of the evidence, with which the probabilities increase.
    separation
        Distance between the means of the two groups, in standard deviations within a group. Below about 4 the two may
        be a single group that was split.
    """

    probabilities: Scores
    total: Float[np.ndarray, " n"]
    separation: float


def kind_evidence(
    correlations: Scores,
    averaged: Int[np.ndarray, " k"],
    background: Float[np.ndarray, " m"],
    prior_score: Scores | None = None,
    known_members: KnownMembers | None = None,
) -> KindEvidence:
    """Estimate the probability that each candidate is of the kind, by dividing the candidates into two groups.

    There are two kinds of evidence: the correlation with the kind's average, as Fisher's z, and the logarithm of the
    prior score. They are weighted by Fisher's linear discriminant between the kind and everything else, so that the
    evidence that separates the two groups better in this tomogram gets more weight. The weighted sum is modelled by a
    normal distribution in each group. Means, variances and the share of the kind are found by expectation maximisation,
    which starts from the candidates that were averaged.

    Candidates with the lowest prior score say nothing about objects that resemble the kind. They are left out of the
    fit, and get the probability of other candidates with the same weighted sum. If too few candidates resemble the kind
    less than the averaged ones do, there is a second fit in which random background positions are added to the others;
    the fit with the larger separation is used. Known members from another tomogram stay in their group during the fit,
    and it starts only from those averaged candidates that are nearer to the known members of the kind than to the rest.
    The probability never decreases where the weighted sum increases.

    Parameters
    ----------
    correlations
        ``(n,)`` in [-1, 1], correlation of each candidate with an average from which it is excluded.
    averaged
        Indices of the candidates in the average.
    background
        ``(m,)`` correlations of random positions in the tomogram.
    prior_score
        ``(n,)`` in [0, 1], prior score of each candidate; None if there are none.
    known_members
        Known members from the tomogram in which the kind was clicked.

    Examples
    --------
    >>> z = np.array([0.8, 0.7, 0.75, 0.3, 0.35, 0.4])
    >>> kind_evidence(z, np.arange(3), np.full(200, 0.1)).probabilities.round()
    array([1., 1., 1., 0., 0., 0.])
    """
    n = len(correlations)
    evidence = _as_evidence(correlations, np.ones(n) if prior_score is None else prior_score)
    log_prior = evidence[:, 1]
    start = _first_guess(n, averaged)
    is_fitted = log_prior > np.log(LEAST_PRIOR_SCORE)
    is_fitted[averaged] = True
    rest = np.setdiff1d(np.flatnonzero(is_fitted), averaged)
    if known_members is not None:
        known = _as_evidence(known_members.correlations, known_members.prior_score)
        start[~_is_nearer(evidence, known[known_members.is_kind], known[~known_members.is_kind])] = 0.02
        return _divide(evidence, start, is_fitted, known, known_members.is_kind)
    divisions = [_divide(evidence, start, is_fitted)] if len(rest) else []
    is_unlike = log_prior[rest] < np.median(log_prior[averaged]) + np.log(_UNLIKE)
    n_unlike = len(rest) if prior_score is None else int(np.count_nonzero(is_unlike))
    if (n_others := _LEAST_OTHERS - n_unlike) > 0:
        others = fisher_z(np.quantile(background, np.linspace(0.5, 0.95, n_others)))
        # the background resembles the kind no more than other candidates do
        usual = float(np.median(log_prior[rest])) if len(rest) else float(log_prior.min())
        others_evidence = np.stack([others, np.full(n_others, usual)], axis=1)
        divisions.append(_divide(evidence, start, is_fitted, others_evidence))
    return max(divisions, key=lambda division: division.separation)


def by_correlation(
    correlations: Scores, averaged: Int[np.ndarray, " k"], possible: Bool[np.ndarray, " n"], found: KindEvidence
) -> KindEvidence | None:
    """Divide the candidates by their correlations alone, if that leaves a clear gap and adds members to the kind.

    The masks of one kind may cover only a part of some particles and the whole of others. The prior score then
    separates particles that have the same structure according to the average.

    Parameters
    ----------
    correlations
        ``(n,)`` in [-1, 1], correlation of each candidate with an average from which it is excluded.
    averaged
        Indices of the candidates in the average.
    possible
        ``(n,)`` True for candidates that are not ruled out.
    found
        The division with the prior score included.

    Returns
    -------
    evidence
        None if no candidate would be added to the kind, if the gap between the kind and everything else is less than
        1.5 standard deviations within the kind, or if the mean of the added candidates lies more than 2 standard
        deviations below the mean of those found before.

    Examples
    --------
    >>> z = np.array([0.7, 0.75, 0.72, 0.68, 0.7, 0.3, 0.35, 0.4, 0.3])
    >>> narrow = KindEvidence((np.arange(9) < 3).astype(float), z, 9.0)
    >>> by_correlation(z, np.arange(3), np.ones(9, dtype=bool), narrow).probabilities.round()
    array([1., 1., 1., 1., 1., 0., 0., 0., 0.])
    """
    z, probabilities = fisher_z(correlations), np.zeros(len(correlations))
    probabilities[possible], separation = two_groups(
        z[possible], _first_guess(len(z), averaged)[possible], int(possible.sum())
    )
    is_kind, was_kind = (possible & (each > _EVEN_ODDS) for each in (probabilities, found.probabilities))
    both, added, others = is_kind & was_kind, is_kind & ~was_kind, possible & ~is_kind
    if not (both.any() and added.any() and others.any()):
        return None
    has_gap = z[is_kind].min() - z[others].max() >= _GAP * z[is_kind].std()
    is_near = z[both].mean() - z[added].mean() <= _NEAR * z[both].std()
    return KindEvidence(probabilities, z, separation) if has_gap and is_near else None


def _first_guess(n: int, averaged: Int[np.ndarray, " k"]) -> Scores:
    """First guess of the probability that each of n candidates is of the kind: high only for the averaged ones."""
    guess = np.full(n, 0.02)
    guess[averaged] = 0.95
    return guess


def _as_evidence(correlations: Scores, prior_score: Scores) -> Float[np.ndarray, "n 2"]:
    """Both kinds of evidence, on scales on which their errors are about constant."""
    return np.stack([fisher_z(correlations), np.log(np.maximum(prior_score, LEAST_PRIOR_SCORE))], axis=1)


def _is_nearer(
    evidence: Float[np.ndarray, "n e"], first: Float[np.ndarray, "k e"], second: Float[np.ndarray, "l e"]
) -> Bool[np.ndarray, " n"]:
    """Whether each candidate is nearer to the mean of a first group than to that of a second, which may be empty."""
    if not len(second):
        return np.ones(len(evidence), dtype=bool)
    spread = np.concatenate([evidence, first, second]).std(axis=0) + 1e-9
    to_first, to_second = (np.linalg.norm((evidence - each.mean(axis=0)) / spread, axis=1) for each in (first, second))
    return np.asarray(to_first < to_second)


def _divide(
    evidence: Float[np.ndarray, "n e"],
    start: Scores,
    is_fitted: Bool[np.ndarray, " n"],
    known: Float[np.ndarray, "m e"] | None = None,
    is_kind: Bool[np.ndarray, " m"] | None = None,
) -> KindEvidence:
    """Divide the fitted candidates into two groups from a first guess; ``known`` are values whose group is known."""
    n, fitted, start = int(is_fitted.sum()), evidence[is_fitted], start[is_fitted]
    if known is not None:
        group = np.zeros(len(known)) if is_kind is None else is_kind.astype(float)
        fitted, start = np.concatenate([fitted, known]), np.append(start, group)
    share = start
    for _ in range(_WEIGHINGS):
        weights = _discriminant(fitted, np.clip(share, 1e-3, 1 - 1e-3))
        share, separation = two_groups(fitted @ weights, start, n)
    total = evidence @ weights
    order = np.argsort(fitted @ weights, kind="stable")
    probabilities = np.interp(total, (fitted @ weights)[order], share[order])
    probabilities[is_fitted] = share[:n]
    return KindEvidence(probabilities, total, separation)


def _discriminant(evidence: Float[np.ndarray, "n e"], share: Scores) -> Float[np.ndarray, " e"]:
    """Non-negative weights of the kinds of evidence; only the first has weight if none separates the groups."""
    groups = np.stack([1 - share, share])
    low, high = (groups @ evidence) / groups.sum(axis=1, keepdims=True)
    scatter = sum((g[:, None] * (evidence - m)).T @ (evidence - m) for g, m in zip(groups, (low, high), strict=True))
    within = scatter / len(evidence)
    within += np.diag(0.05 * np.diag(within) + 1e-9)
    weights = np.maximum(np.linalg.solve(within, high - low), 0)
    weights = weights if weights.any() else np.eye(len(weights))[0]
    unit: Float[np.ndarray, " e"] = weights / max(float(np.linalg.norm(weights * evidence.std(axis=0))), 1e-9)
    return unit
