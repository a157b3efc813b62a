"""Hierarchical feature matching: finds similar places in the whole tomogram, coarse to fine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from cryosam.arrays import Mask, Points, Progress, Scores, Volume
from cryosam.config import MatchingConfig
from cryosam.geometry import child_mask, level_shape, level_to_voxel
from cryosam.masks import InstanceMask
from cryosam.matching.features import FeatureField
from cryosam.matching.peaks import find_peaks
from cryosam.results import ScoreMap

__all__ = ["KindQuery", "Matches", "Query", "build_query", "is_allowed", "match", "search_levels"]

Query = Float[np.ndarray, " c"]


@dataclass(frozen=True, eq=False)
class KindQuery:
    """The query for a kind, with which candidates are compared.

    Parameters
    ----------
    kind
        Name of the kind.
    feature
        ``(c,)`` feature of the kind.
    volumes
        Volumes, in voxels, of known members of the kind; may be empty.
    """

    kind: str
    feature: Query
    volumes: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Matches:
    """Candidates for the query's kind, best first.

    Parameters
    ----------
    points
        ``(n, 3)`` z, y, x in voxels.
    scores
        ``(n,)`` in [0, 1], descending: the similarity to the query.
    score_map
        The similarity of every cell of the finest level, negative values set to 0; NaN in cells that a coarser level,
        the search mask or the edge margin excluded.
    """

    points: Points
    scores: Scores
    score_map: ScoreMap


def build_query(field: FeatureField, points: Points, masks: Sequence[InstanceMask], mode: str = "centroid") -> Query:
    """Feature of the prompted instances, averaged over the prompts.

    Parameters
    ----------
    field
        The features of the tomogram.
    points
        ``(n, 3)`` the clicks, z, y, x in voxels; a click is used in place of its mask if the mask is empty.
    masks
        The instance under each click.
    mode
        "centroid" takes the feature at each mask's centroid, "mean" averages it over the mask.

    Returns
    -------
    query
        ``(c,)``.
    """
    features = []
    for point, mask in zip(points, masks, strict=True):
        if mask.n_voxels == 0:
            places = point[None]
        elif mode == "centroid":
            places = mask.centroid[None]
        else:
            places = np.argwhere(mask.data) + np.array(mask.origin, dtype=float)
        features.append(field.sample(places).mean(axis=0))
    return np.asarray(np.mean(features, axis=0))


def search_levels(
    field: FeatureField,
    query: Query,
    strides: Sequence[int],
    coarse_similarity: float,
    progress: Progress | None = None,
) -> Volume:
    """Similarity at the finest level, computed coarse to fine.

    Parameters
    ----------
    field
        The features of the tomogram.
    query
        ``(c,)``.
    strides
        Voxels per cell at each level, coarse to fine.
    coarse_similarity
        Only cells above this are divided, and their parts compared at the next level.
    progress
        Called with the number of levels done.

    Returns
    -------
    similarity
        ``level_shape(field.shape, strides[-1])`` cells in [-1, 1]; NaN in cells that a coarser level excluded.
    """
    similarity = field.similarity_map(query, strides[0])
    for level, stride in enumerate(strides):
        if level > 0:
            is_kept = similarity > coarse_similarity  # false for NaN
            where = child_mask(is_kept, strides[level - 1] // stride, level_shape(field.shape, stride))
            similarity = field.similarity_map(query, stride, where)
        if progress is not None:
            progress("matching", level + 1, len(strides))
    return similarity


def match(
    field: FeatureField,
    query: Query,
    config: MatchingConfig,
    *,
    diameter: float,
    search_mask: Mask | None = None,
    progress: Progress | None = None,
) -> Matches:
    """Find candidates for the query's kind.

    Parameters
    ----------
    field
        The features of the tomogram.
    query
        ``(c,)`` feature of the kind.
    config
        Levels and limits.
    diameter
        Diameter of the particle, in voxels; determines the minimal distance between two candidates.
    search_mask
        ``(z, y, x)`` bool, True where particles may be; None allows all.
    progress
        Called with the number of levels done.

    Returns
    -------
    matches
        All local maxima of the similarity above ``config.candidate_similarity`` that are far enough apart.
    """
    stride = config.strides[-1]
    similarity = search_levels(field, query, config.strides, config.coarse_similarity, progress)
    if search_mask is not None or config.edge_margin > 0:
        similarity[~_allowed_cells(field.shape, stride, search_mask, config.edge_margin)] = np.nan
    min_distance = config.min_distance_diameters * diameter
    points, values = find_peaks(similarity, stride, min_distance, max(config.candidate_similarity, 0.0))
    score_map = ScoreMap(np.maximum(similarity, np.float32(0)), stride)  # keeps NaN
    return Matches(np.clip(points, 0, np.array(field.shape) - 1.0), np.clip(values.astype(float), 0, 1), score_map)


def is_allowed(
    points: Points, shape: Sequence[int], search_mask: Mask | None, edge_margin: int
) -> Bool[np.ndarray, " n"]:
    """Which points lie in the search mask and outside the margin along the faces.

    Parameters
    ----------
    points
        ``(n, 3)`` z, y, x in voxels.
    shape
        Shape of the tomogram.
    search_mask
        ``(z, y, x)`` bool, True where particles may be; None allows all.
    edge_margin
        Width in voxels of the margin along each face in which no particle is accepted.

    Examples
    --------
    >>> is_allowed(np.array([[5.0, 5, 5], [5, 5, 1]]), (11, 11, 11), None, 3)
    array([ True, False])
    """
    limits = np.asarray(shape) - 1
    inside = ((points >= edge_margin) & (points <= limits - edge_margin)).all(axis=1)
    if search_mask is not None:
        z, y, x = np.clip(np.round(points), 0, limits).astype(int).T
        inside &= search_mask[z, y, x]
    return np.asarray(inside)


def _allowed_cells(
    shape: Sequence[int], stride: int, search_mask: Mask | None, edge_margin: int
) -> Bool[np.ndarray, "cz cy cx"]:
    """Which cells have their centre in the search mask and outside the margin along the faces."""
    cells = level_shape(shape, stride)
    allowed = np.empty(cells, dtype=bool)
    in_layer = np.argwhere(np.ones((1, *cells[1:]), dtype=bool))
    for z in range(cells[0]):
        in_layer[:, 0] = z
        centres = level_to_voxel(in_layer, stride, shape)
        allowed[z] = is_allowed(centres, shape, search_mask, edge_margin).reshape(cells[1:])
    return allowed
