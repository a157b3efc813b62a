"""What candidates are worth in the light of their masks."""

from collections.abc import Sequence

import numpy as np

from cryosam.arrays import Scores
from cryosam.masks import InstanceMask
from cryosam.matching.features import FeatureField
from cryosam.matching.similarity import Query

__all__ = ["agreement", "kind_volume"]

_WITNESSES, _WITNESSES_ALONE = 3, 7  # similar candidates that tell the volume, where one is known and where none is


def agreement(
    field: FeatureField,
    query: Query,
    scores: Scores,
    masks: Sequence[InstanceMask],
    volume: float,
    volume_tolerance: float,
) -> Scores:
    """Scores of candidates in the light of their masks.

    A candidate's score is the geometric mean of its similarity as found and that at its mask's centroid, where the
    query was read too, times exp(-d^2 / 2): d is the difference of the logarithms of its mask's volume and of the
    kind's, in units of ``volume_tolerance``.

    Parameters
    ----------
    field, query
        As in `match`.
    scores
        ``(n,)`` of the candidates: the similarities found.
    masks
        Of the candidates.
    volume
        Of the kind, in voxels.
    volume_tolerance
        Natural logarithm of the ratio of volumes that counts as one standard deviation.

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

    It is the median over those that are known and the three most similar candidates, so that one mask that leaked, or
    fell short, does not decide alone; where none is known it is the median over the seven most similar ones.

    Parameters
    ----------
    field, query, scores, masks
        As in `agreement`.
    known
        Volumes in voxels of the prompted instances, or of a saved query.

    Returns
    -------
    volume
        In voxels; 1 where no mask holds anything.
    """
    similarity = _similarity_in_mask(field, query, scores, masks)
    n_witnesses = _WITNESSES if known else _WITNESSES_ALONE
    witnesses = [i for i in np.argsort(-similarity, kind="stable") if masks[i].n_voxels][:n_witnesses]
    volumes = [*known, *(masks[i].n_voxels for i in witnesses)]
    return float(np.exp(np.median(np.log(volumes)))) if volumes else 1.0


def _similarity_in_mask(field: FeatureField, query: Query, scores: Scores, masks: Sequence[InstanceMask]) -> Scores:
    """Geometric mean of each candidate's similarity and that at its mask's centroid; 0 where the mask is empty."""
    seen = np.array([mask.n_voxels > 0 for mask in masks], dtype=bool)
    centroids = np.array([mask.centroid for mask in masks if mask.n_voxels]).reshape(-1, 3)
    similarity = np.zeros(len(scores))
    similarity[seen] = np.sqrt(scores[seen] * np.clip(field.similarity_at(query, centroids).astype(float), 0, 1))
    return similarity
