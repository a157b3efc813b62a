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


# matching ------------------------------------------------------------------------------------------------------------


def peaks_by_definition(similarity, stride, min_distance, floor):
    """Cells not below any of their 26 neighbours, best first, each far enough from the better ones; cell centres."""
    found = []
    for cell in np.ndindex(similarity.shape):
        value = similarity[cell]
        if np.isnan(value) or value < floor:
            continue
        block = tuple(slice(max(0, c - 1), c + 2) for c in cell)
        if value >= np.nanmax(similarity[block]):
            found.append((value, (np.array(cell) + 0.5) * stride - 0.5))
    found.sort(key=lambda pair: -pair[0])
    kept = []
    for value, point in found:
        if all(np.linalg.norm(point - other) >= min_distance for _, other in kept):
            kept.append((value, point))
    return kept


def invariants_by_convolution(volume, sigma):
    """Gaussian derivatives at one scale by direct three-dimensional sums, edges repeated; five invariants."""
    from scipy import ndimage

    radius = max(2, int(np.ceil(3.5 * sigma)))
    x = np.arange(-radius, radius + 1, dtype=float)
    gauss = np.exp(-0.5 * (x / sigma) ** 2)
    gauss /= gauss.sum()
    first = x * gauss
    first *= sigma / (first * x).sum()
    second = (x**2 - (gauss * x**2).sum()) * gauss
    second *= 2 * sigma**2 / (second * x**2).sum()
    kernels = [gauss, first, second]

    def derivative(*orders):
        kernel = np.einsum("i,j,k->ijk", *(kernels[o] for o in orders))
        return ndimage.correlate(volume, kernel, mode="nearest")

    smooth = derivative(0, 0, 0)
    gradient = derivative(1, 0, 0) ** 2 + derivative(0, 1, 0) ** 2 + derivative(0, 0, 1) ** 2
    pure = [derivative(2, 0, 0), derivative(0, 2, 0), derivative(0, 0, 2)]
    mixed = [derivative(1, 1, 0), derivative(1, 0, 1), derivative(0, 1, 1)]
    hessian = sum(d**2 for d in pure) + 2 * sum(d**2 for d in mixed)
    square = ndimage.correlate(volume**2, np.einsum("i,j,k->ijk", gauss, gauss, gauss), mode="nearest")
    deviation = np.sqrt(np.maximum(square - smooth**2, 0))
    return np.stack([smooth, np.sqrt(gradient), sum(pure), np.sqrt(hessian), deviation])


# propagation ---------------------------------------------------------------------------------------------------------


def fuse_by_vote(stacks, rule):
    """Fuse boolean stacks voxel by voxel; a plane without an opinion holds None."""
    fused = np.zeros(stacks[0].shape, dtype=bool)
    for voxel in np.ndindex(fused.shape):
        votes = [stack[voxel] for stack in stacks if stack[voxel] is not None]
        if rule == "union":
            fused[voxel] = any(votes)
        elif rule == "intersection":
            fused[voxel] = len(votes) > 0 and all(votes)
        else:
            fused[voxel] = sum(votes) > len(votes) / 2
    return fused
