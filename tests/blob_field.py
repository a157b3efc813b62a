"""Features that are closeness to the points of two kinds."""

import numpy as np

from cryosam.geometry import level_shape, level_to_voxel


class BlobField:
    """Two channels: closeness to some points of one kind, and to some of another."""

    n_channels = 2

    def __init__(self, shape, kind_a, kind_b=()) -> None:
        self.shape = shape
        self.kinds = [np.asarray(kind_a, dtype=float).reshape(-1, 3), np.asarray(kind_b, dtype=float).reshape(-1, 3)]

    def sample(self, points):
        features = np.zeros((len(points), 2), dtype=np.float32)
        for channel, centres in enumerate(self.kinds):
            for centre in centres:
                features[:, channel] += np.exp(-((points - centre) ** 2).sum(axis=1) / 18)
        return features

    def similarity_at(self, query, points):
        return self.sample(points) @ query.astype(np.float32) / np.linalg.norm(query)

    def similarity_map(self, query, stride, where=None):
        similarity = np.full(level_shape(self.shape, stride), np.nan, dtype=np.float32)
        where = np.ones(similarity.shape, dtype=bool) if where is None else where
        similarity[where] = self.similarity_at(query, level_to_voxel(np.argwhere(where), stride, self.shape))
        return similarity


SHAPE = (25, 30, 37)
A = [[6, 7, 8], [12, 20, 30], [18, 9, 25]]
B = [[17, 23, 9]]
QUERY_A = np.array([1.0, 0.0])
