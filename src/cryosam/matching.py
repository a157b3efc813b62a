"""Hierarchical feature matching: where else in the tomogram is this kind (DESIGN 1.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cryosam.arrays import Mask, Points, Progress, Scores, Volume
from cryosam.config import MatchingConfig
from cryosam.features import FeatureField
from cryosam.geometry import child_mask, level_shape, level_to_voxel
from cryosam.masks import InstanceMask, ScoreMap

__all__ = [
    "Matches",
    "Query",
    "agreement",
    "build_query",
    "find_peaks",
    "is_allowed",
    "kind_volume",
    "match",
    "search_levels",
    "thin",
]

_CHUNK = 1 << 20  # cells that are looked at together
_WITNESSES, _WITNESSES_ALONE = 3, 7  # similar candidates that tell the volume, where one is known and where none is

Query = Float[np.ndarray, " c"]


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
        The same for every cell of the finest level, negative ones set to 0; NaN where nothing was evaluated: a coarser
        level, the search mask or the edge margin ruled the cell out.
    """

    points: Points
    scores: Scores
    score_map: ScoreMap


def build_query(field: FeatureField, points: Points, masks: Sequence[InstanceMask], mode: str = "centroid") -> Query:
    """Feature of the prompted instances, averaged over the prompts.

    Parameters
    ----------
    field
        Describes voxels.
    points
        ``(n, 3)`` the clicks, z, y, x in voxels; they stand in for masks that are empty.
    masks
        The instance under each click.
    mode
        "centroid" reads the feature at each mask's centroid, "mean" averages it over the mask.

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
    """Similarity at the finest level, coarse to fine.

    Parameters
    ----------
    field
        Describes voxels.
    query
        ``(c,)``.
    strides
        Voxels a cell at each level, coarse to fine.
    coarse_similarity
        Only the children of cells above this are looked at on the next level.
    progress
        Called with the number of levels done.

    Returns
    -------
    similarity
        ``level_shape(field.shape, strides[-1])`` cells in [-1, 1]; NaN where a coarser level ruled a cell out.
    """
    similarity = field.similarity_map(query, strides[0])
    for level, stride in enumerate(strides):
        if level > 0:
            is_kept = similarity > coarse_similarity  # NaN compares false
            where = child_mask(is_kept, strides[level - 1] // stride, level_shape(field.shape, stride))
            similarity = field.similarity_map(query, stride, where)
        if progress is not None:
            progress("matching", level + 1, len(strides))
    return similarity


def find_peaks(similarity: Volume, stride: int, min_distance: float, floor: float) -> tuple[Points, Scores]:
    """Local maxima, one a plateau, best first, none nearer to a better one than ``min_distance``.

    Parameters
    ----------
    similarity
        ``(z, y, x)`` cells; NaN is never a maximum.
    stride
        Voxels a cell.
    min_distance
        In voxels.
    floor
        Maxima below are left out.

    Returns
    -------
    points, values
        ``(n, 3)`` in voxels, refined to a fraction of a cell by a parabola along each axis, and ``(n,)`` descending.

    Examples
    --------
    >>> similarity = np.zeros((5, 6, 7), dtype=np.float32)
    >>> similarity[2, 3, 4] = 1
    >>> find_peaks(similarity, stride=1, min_distance=3, floor=0.5)[0]
    array([[2., 3., 4.]])
    """
    cells = _maxima(similarity, floor)
    values = similarity[tuple(cells.T)]
    order = np.argsort(-values, kind="stable")
    cells, values = cells[order], values[order]
    points = level_to_voxel(_refine(similarity, cells), stride)
    kept = thin(points, min_distance)
    return points[kept], values[kept]


def _maxima(similarity: Volume, floor: float) -> Int[np.ndarray, "n 3"]:
    """Cells that no neighbour exceeds, one a plateau; few cells are above the floor, and only these are looked at."""
    high = np.flatnonzero(similarity >= floor)  # NaN compares false
    last = np.array(similarity.shape) - 1
    found = []
    for part in np.array_split(high, max(1, len(high) // _CHUNK)):
        cells = np.stack(np.unravel_index(part, similarity.shape), axis=1)
        values, is_peak = similarity.ravel()[part], np.ones(len(part), dtype=bool)
        for offset in product((-1, 0, 1), repeat=3):
            beside = tuple(np.clip(cells + offset, 0, last).T)
            is_peak &= ~(similarity[beside] > values)
        found.append(cells[is_peak])
    cells = np.concatenate(found)
    pairs = cKDTree(cells).query_pairs(1.8, output_type="ndarray") if len(cells) else np.zeros((0, 2), dtype=int)
    # neighbours that are maxima both are equal; their first cell stands for all
    links = coo_array((np.ones(len(pairs)), pairs.T), (len(cells), len(cells)))
    _, plateaus = connected_components(links, directed=False)
    _, first = np.unique(plateaus, return_index=True)
    return cells[np.sort(first)]


def _refine(values: Volume, cells: Int[np.ndarray, "n 3"]) -> Points:
    """Vertex of the parabola through each peak and its two neighbours along each axis, in cells."""
    refined = cells.astype(float)
    for axis in range(3):
        step = np.eye(3, dtype=int)[axis]
        inside = (cells[:, axis] > 0) & (cells[:, axis] < values.shape[axis] - 1)
        here = values[tuple(cells[inside].T)].astype(float)
        before = values[tuple((cells[inside] - step).T)].astype(float)
        after = values[tuple((cells[inside] + step).T)].astype(float)
        curvature = 2 * here - before - after
        usable = curvature > 0  # not where a neighbour is NaN
        offset = np.zeros(len(here))
        offset[usable] = (after[usable] - before[usable]) / (2 * curvature[usable])
        refined[inside, axis] += np.clip(offset, -0.5, 0.5)
    return refined


def thin(points: Points, min_distance: float) -> Int[np.ndarray, " k"]:
    """Indices of the points, best first, that no better kept point is nearer to than ``min_distance``."""
    if min_distance <= 0 or len(points) == 0:
        return np.arange(len(points))
    tree = cKDTree(points)
    is_free = np.ones(len(points), dtype=bool)
    for index, point in enumerate(points):
        if is_free[index]:
            near = np.asarray(tree.query_ball_point(point, min_distance * (1 - 1e-9)), dtype=int)
            is_free[near[near > index]] = False
    return np.flatnonzero(is_free)


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
        Describes voxels.
    query
        ``(c,)`` feature of the kind.
    config
        Levels and limits.
    diameter
        Of the particle, in voxels; sets how near two candidates may be.
    search_mask
        ``(z, y, x)`` bool, True where particles may be; None allows all.
    progress
        Called with the number of levels done.

    Returns
    -------
    matches
        All local maxima of the similarity above ``config.candidate_similarity``.
    """
    stride = config.strides[-1]
    similarity = search_levels(field, query, config.strides, config.coarse_similarity, progress)
    if search_mask is not None or config.edge_margin > 0:
        similarity[~_allowed_cells(field.shape, stride, search_mask, config.edge_margin)] = np.nan
    min_distance = config.min_distance_diameters * diameter
    points, values = find_peaks(similarity, stride, min_distance, max(config.candidate_similarity, 0.0))
    score_map = ScoreMap(np.maximum(similarity, np.float32(0)), stride)  # keeps NaN
    return Matches(np.clip(points, 0, np.array(field.shape) - 1.0), np.clip(values.astype(float), 0, 1), score_map)


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


def is_allowed(
    points: Points, shape: Sequence[int], search_mask: Mask | None, edge_margin: int
) -> Bool[np.ndarray, " n"]:
    """Which points lie in the search mask and away from the faces.

    Parameters
    ----------
    points
        ``(n, 3)`` z, y, x in voxels.
    shape
        Of the tomogram.
    search_mask
        ``(z, y, x)`` bool, True where particles may be; None allows all.
    edge_margin
        Voxels along each face in which nothing may be.

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
    """Which cells have their centre in the search mask and away from the faces."""
    cells = level_shape(shape, stride)
    allowed = np.empty(cells, dtype=bool)
    in_layer = np.argwhere(np.ones((1, *cells[1:]), dtype=bool))
    for z in range(cells[0]):
        in_layer[:, 0] = z
        centres = level_to_voxel(in_layer, stride, shape)
        allowed[z] = is_allowed(centres, shape, search_mask, edge_margin).reshape(cells[1:])
    return allowed
