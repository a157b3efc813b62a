"""Each step of the method written from its definition: slow, obvious, and what the fast code must agree with."""

import numpy as np

# tri-plane features --------------------------------------------------------------------------------------------------


def bracket(positions, at):
    """Nodes around a coordinate with their linear weights; beyond the ends the last node alone."""
    if at <= positions[0]:
        return [(0, 1.0)]
    if at >= positions[-1]:
        return [(len(positions) - 1, 1.0)]
    for i in range(len(positions) - 1):
        if positions[i] <= at <= positions[i + 1]:
            t = (at - positions[i]) / (positions[i + 1] - positions[i])
            return [(i, 1 - t), (i + 1, t)]
    raise AssertionError("positions do not ascend")


def triplane_feature(planes, point):
    """Concatenation of the planes' tokens interpolated at one point; planes are (axis, tokens, positions z y x)."""
    parts = []
    for axis, tokens, positions in planes:
        total = np.zeros(tokens.shape[-1])
        for z, weight_z in bracket(positions[0], point[0]):
            for y, weight_y in bracket(positions[1], point[1]):
                for x, weight_x in bracket(positions[2], point[2]):
                    node = [z, y, x]
                    depth = node.pop(axis)
                    total += weight_z * weight_y * weight_x * tokens[depth, node[0], node[1]].astype(float)
        parts.append(total)
    return np.concatenate(parts)


def triplane_similarity(planes, query, shape, stride):
    """Cosine of the query with the feature at the centre of every cell of ``stride`` voxels."""
    cells = [-(-n // stride) for n in shape]
    similarity = np.zeros(cells)
    for cell in np.ndindex(*cells):
        point = [min((c + 0.5) * stride - 0.5, n - 1) for c, n in zip(cell, shape, strict=True)]
        feature = triplane_feature(planes, point)
        similarity[cell] = feature @ query / (np.linalg.norm(feature) * np.linalg.norm(query))
    return similarity


# coarse-to-fine search -----------------------------------------------------------------------------------------------


def hierarchical_search(similarity_fn, shape, strides, coarse_threshold):
    """Similarity of the finest level's cells that the search reaches; NaN at those it does not.

    ``similarity_fn`` takes points (n, 3) in voxels and gives (n,). All cells of the coarsest level are evaluated; a
    cell of a finer level is evaluated if the cell of the level before that holds it was, and lay above the threshold.
    """
    parents = None
    for level, stride in enumerate(strides):
        cells = [-(-n // stride) for n in shape]
        similarity = np.full(cells, np.nan)
        for cell in np.ndindex(*cells):
            if parents is not None:
                ratio = strides[level - 1] // stride
                parent = parents[tuple(c // ratio for c in cell)]
                if np.isnan(parent) or parent <= coarse_threshold:
                    continue
            point = [min((c + 0.5) * stride - 0.5, n - 1) for c, n in zip(cell, shape, strict=True)]
            similarity[cell] = similarity_fn(np.array([point]))[0]
        parents = similarity
    return parents
