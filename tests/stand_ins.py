"""Values that stages hand to each other, made by hand: candidates, and a query that was kept."""

from dataclasses import replace

import numpy as np

from cryosam.masks import InstanceMask
from cryosam.matching.candidates import Candidates
from cryosam.results import Average, ScoreMap
from cryosam.saved_query import KnownMembers, SavedQuery

MAP = ScoreMap(np.zeros((1, 1, 1), dtype=np.float32), 4)
AVERAGE = Average(np.zeros((3, 3, 3), dtype=np.float32), 1.0)


def candidates(points, scores, edge=5, threshold=0.5, average=AVERAGE):
    masks = tuple(
        InstanceMask(tuple(int(c) - edge // 2 for c in p), np.ones((edge,) * 3, dtype=bool))
        if edge
        else InstanceMask.empty()
        for p in points
    )
    scores = np.array(scores, dtype=float)
    return Candidates(
        points=np.array(points, dtype=float),
        masks=masks,
        similarity=scores,
        prior_score=scores,
        is_ruled_out=scores == 0,
        diameter=6.0,
        score_map=MAP,
        threshold=threshold,
        probability=None if average is None else scores,
        average=average,
    )


def query(name="ribosome", **changes):
    random = np.random.default_rng(len(name))
    given = SavedQuery(
        name=name,
        feature=random.normal(size=5).astype(np.float32),
        diameter_angstrom=210.0,
        volume_angstrom3=4.5e6,
        smoothing_angstrom=12.0,
        contrast="dark",
        average=Average(random.normal(size=(4, 4, 4)).astype(np.float32), 8.75),
        known_members=KnownMembers(np.array([0.7, 0.3]), np.array([0.9, 0.2]), np.array([True, False])),
        voxel_size_angstrom=10.0,
        scales=(1.5, 3.0),
        token_voxels=7.5,
        features="invariants",
        features_digest="f" * 64,
        segmenter="embedded",
        segmenter_digest="e" * 64,
        n_particles=14,
        source="TS_01",
        source_digest="d" * 64,
    )
    return replace(given, **changes)
