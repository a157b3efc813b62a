"""Prior scores: the similarity of candidates, corrected by their masks."""

from collections.abc import Sequence

import numpy as np

from cryosam.arrays import Scores
from cryosam.masks import InstanceMask
from cryosam.matching.features import FeatureField
from cryosam.matching.similarity import Query

__all__ = ["agreement", "kind_volume"]

_N_SIMILAR, _N_SIMILAR_ALONE = 3, 7  # similar candidates that determine the volume, with and without a known volume


def agreement(
    field: FeatureField,
    query: Query,
    scores: Scores,
    masks: Sequence[InstanceMask],
    volume: float,
    volume_tolerance: float,
) -> Scores:
    """Prior scores of candidates, from their similarities and their masks.

    A candidate's score is the geometric mean of two similarities, times exp(-d^2 / 2). The similarities are the one
    found in the search, and the one at the centroid of the candidate's mask, because the query was taken at a centroid
    too. d is the difference between the logarithms of the mask's volume and of the kind's volume, divided by
    ``volume_tolerance``.

    Parameters
    ----------
    field, query
        As in `match`.
    scores
        ``(n,)`` the similarities of the candidates, as found in the search.
    masks
        The masks of the candidates.
    volume
        Volume of the kind, in voxels.
    volume_tolerance
        Standard deviation of the natural logarithm of the volume.

    Returns
    -------
    agreement
        ``(n,)`` in [0, 1]; 0 for a candidate with an empty mask.
    """
    similarity = _similarity_in_mask(field, query, scores, masks)
    volumes = np.array([max(mask.n_voxels, 1) for mask in masks], dtype=float)
    deviation = np.log(volumes / volume) / volume_tolerance
    return similarity * np.exp(-0.5 * deviation**2)


def kind_volume(
    field: FeatureField,
    query: Query,
    scores: Scores,
    masks: Sequence[InstanceMask],
    known: Sequence[float],
) -> float:
    """Volume of the kind's masks, in voxels.

    It is the median over the known volumes and those of the three most similar candidates, so that a single mask that
    is too large or too small does not decide. Without known volumes it is the median over the seven most similar
    candidates.

    Parameters
    ----------
    field, query, scores, masks
        As in `agreement`.
    known
        Volumes in voxels of the prompted instances, or of a saved query; may be empty.

    Returns
    -------
    volume
        In voxels; 1 if nothing is known and all masks are empty.
    """
    similarity = _similarity_in_mask(field, query, scores, masks)
    n_similar = _N_SIMILAR if known else _N_SIMILAR_ALONE
    most_similar = [i for i in np.argsort(-similarity, kind="stable") if masks[i].n_voxels][:n_similar]
    volumes = [*known, *(masks[i].n_voxels for i in most_similar)]
    return float(np.exp(np.median(np.log(volumes)))) if volumes else 1.0


def _similarity_in_mask(field: FeatureField, query: Query, scores: Scores, masks: Sequence[InstanceMask]) -> Scores:
    """Geometric mean of each candidate's similarity and that at its mask's centroid; 0 if the mask is empty."""
    has_mask = np.array([mask.n_voxels > 0 for mask in masks], dtype=bool)
    centroids = np.array([mask.centroid for mask in masks if mask.n_voxels]).reshape(-1, 3)
    similarity = np.zeros(len(scores))
    similarity[has_mask] = np.sqrt(
        scores[has_mask] * np.clip(field.similarity_at(query, centroids).astype(float), 0, 1)
    )
    return similarity
