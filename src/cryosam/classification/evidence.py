"""From scores to probabilities, and from these to what is accepted."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from cryosam.arrays import Scores
from cryosam.averaging.correlation import fisher_z
from cryosam.classification.mixtures import two_groups
from cryosam.saved_query import KnownMembers

__all__ = ["LEAST_PRIOR_SCORE", "KindEvidence", "by_correlation", "kind_evidence"]

_LEAST_OTHERS = 20  # correlations that tell how unlike the kind everything else is
LEAST_PRIOR_SCORE = 0.05  # what is less like the kind counts as much against it
_UNLIKE = 0.5  # of the averaged candidates' prior_score: what is less like the kind is not of it, at first sight
_EVEN_ODDS = 0.5
_GAP, _NEAR = 1.5, 2.0  # standard deviations, of a gap that is one, and of what lies with the kind
_WEIGHINGS = 3  # of the kinds of evidence


@dataclass(frozen=True, eq=False)
class KindEvidence:
    """How the candidates divide into those of the kind and everything else.

    Parameters
    ----------
    probabilities
        ``(n,)`` in [0, 1], that each candidate is of the kind.
    total
        ``(n,)`` the weighted sum of the evidence: what the probabilities rise with.
    separation
        Distance between the two groups' means, in standard deviations within them. Below about 4 the groups may be one
        that was cut in two.
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
    """Tell the candidates of the kind from everything else.

    There are two kinds of evidence: the correlation with the kind's average, as Fisher's z, and the logarithm of the
    prior score. Fisher's linear discriminant between the kind and everything else weights them, so that the evidence
    counts most that separates the two in this tomogram. The weighted sum is taken for normally distributed in either
    group; means, variances and the share of the kind are found by expectation maximisation, which starts from the
    candidates that were averaged.

    Candidates with the least prior score say nothing about what else resembles the kind. They are left out of the fit
    and get the probability of other candidates with the same sum. If hardly any candidate resembles the kind less than
    those averaged, places of the background may stand in for the rest: of the two divisions the one with the larger
    separation is taken. Known members, from another tomogram, belong to one group or the other for sure; the averaged
    candidates that lie nearer to those of the kind then start the fit. Probabilities never fall where the sum rises.

    Parameters
    ----------
    correlations
        ``(n,)`` in [-1, 1], of the candidates with an average that they are no part of.
    averaged
        Indices of the candidates in the average.
    background
        ``(m,)`` correlations of places without regard to what is there.
    prior_score
        ``(n,)`` in [0, 1], how like the kind each candidate is in other ways; None knows of none.
    known_members
        From the tomogram in which the kind was clicked.

    Examples
    --------
    >>> z = np.array([0.8, 0.7, 0.75, 0.3, 0.35, 0.4])
    >>> kind_evidence(z, np.arange(3), np.full(200, 0.1)).probabilities.round()
    array([1., 1., 1., 0., 0., 0.])
    """
    n = len(correlations)
    evidence = _as_evidence(correlations, np.ones(n) if prior_score is None else prior_score)
    alike = evidence[:, 1]
    start = _first_guess(n, averaged)
    is_telling = alike > np.log(LEAST_PRIOR_SCORE)
    is_telling[averaged] = True
    rest = np.setdiff1d(np.flatnonzero(is_telling), averaged)
    if known_members is not None:
        known = _as_evidence(known_members.correlations, known_members.prior_score)
        start[~_is_nearer(evidence, known[known_members.is_kind], known[~known_members.is_kind])] = 0.02
        return _divide(evidence, start, is_telling, known, known_members.is_kind)
    divisions = [_divide(evidence, start, is_telling)] if len(rest) else []
    is_unlike = alike[rest] < np.median(alike[averaged]) + np.log(_UNLIKE)
    n_unlike = len(rest) if prior_score is None else int(np.count_nonzero(is_unlike))
    if (n_others := _LEAST_OTHERS - n_unlike) > 0:
        others = fisher_z(np.quantile(background, np.linspace(0.5, 0.95, n_others)))
        usual = float(np.median(alike[rest])) if len(rest) else float(alike.min())  # the background is no more like it
        others_evidence = np.stack([others, np.full(n_others, usual)], axis=1)
        divisions.append(_divide(evidence, start, is_telling, others_evidence))
    return max(divisions, key=lambda division: division.separation)


def by_correlation(
    correlations: Scores, averaged: Int[np.ndarray, " k"], possible: Bool[np.ndarray, " n"], found: KindEvidence
) -> KindEvidence | None:
    """The kind as the correlations alone tell it, where they leave a gap and more are of the kind so.

    The masks of one kind may be of a part of some particles and of the whole of others, so that the prior_score sets
    particles apart that the average knows.

    Parameters
    ----------
    correlations
        ``(n,)`` in [-1, 1], of the candidates with an average that they are no part of.
    averaged
        Indices of the candidates in the average.
    possible
        ``(n,)`` whether a candidate is not ruled out.
    found
        The kind as it was told by the prior_score too.

    Returns
    -------
    evidence
        None where nothing is to be added, or nothing between what is of the kind and everything else is as wide as 1.5
        standard deviations within it, or what would be added is as far as 2 from the mean of what was found.

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
    """That each of n candidates is of the kind: nearly sure of those that were averaged, hardly likely of others."""
    guess = np.full(n, 0.02)
    guess[averaged] = 0.95
    return guess


def _as_evidence(correlations: Scores, prior_score: Scores) -> Float[np.ndarray, "n 2"]:
    """Both kinds of evidence, on scales where their errors are alike."""
    return np.stack([fisher_z(correlations), np.log(np.maximum(prior_score, LEAST_PRIOR_SCORE))], axis=1)


def _is_nearer(
    evidence: Float[np.ndarray, "n e"], first: Float[np.ndarray, "k e"], second: Float[np.ndarray, "l e"]
) -> Bool[np.ndarray, " n"]:
    """What is nearer to the mean of a first group than to that of a second, which may be empty."""
    if not len(second):
        return np.ones(len(evidence), dtype=bool)
    spread = np.concatenate([evidence, first, second]).std(axis=0) + 1e-9
    to_first, to_second = (np.linalg.norm((evidence - each.mean(axis=0)) / spread, axis=1) for each in (first, second))
    return np.asarray(to_first < to_second)


def _divide(
    evidence: Float[np.ndarray, "n e"],
    start: Scores,
    is_telling: Bool[np.ndarray, " n"],
    known: Float[np.ndarray, "m e"] | None = None,
    is_kind: Bool[np.ndarray, " m"] | None = None,
) -> KindEvidence:
    """Two groups of those candidates that tell, from a first guess; of others it is known which group they are of."""
    n, told, start = int(is_telling.sum()), evidence[is_telling], start[is_telling]
    if known is not None:
        group = np.zeros(len(known)) if is_kind is None else is_kind.astype(float)
        told, start = np.concatenate([told, known]), np.append(start, group)
    share = start
    for _ in range(_WEIGHINGS):
        weights = _discriminant(told, np.clip(share, 1e-3, 1 - 1e-3))
        share, separation = two_groups(told @ weights, start, n)
    total = evidence @ weights
    order = np.argsort(told @ weights, kind="stable")
    probabilities = np.interp(total, (told @ weights)[order], share[order])
    probabilities[is_telling] = share[:n]
    return KindEvidence(probabilities, total, separation)


def _discriminant(evidence: Float[np.ndarray, "n e"], share: Scores) -> Float[np.ndarray, " e"]:
    """Weights of the kinds of evidence, none negative; the first alone if none tells the groups apart."""
    groups = np.stack([1 - share, share])
    low, high = (groups @ evidence) / groups.sum(axis=1, keepdims=True)
    scatter = sum((g[:, None] * (evidence - m)).T @ (evidence - m) for g, m in zip(groups, (low, high), strict=True))
    within = scatter / len(evidence)
    within += np.diag(0.05 * np.diag(within) + 1e-9)
    weights = np.maximum(np.linalg.solve(within, high - low), 0)
    weights = weights if weights.any() else np.eye(len(weights))[0]
    unit: Float[np.ndarray, " e"] = weights / max(float(np.linalg.norm(weights * evidence.std(axis=0))), 1e-9)
    return unit
