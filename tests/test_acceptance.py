"""From candidates to what was found."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosam.averaging.extent import Extent
from cryosam.averaging.refinement import Refinement
from cryosam.classification.acceptance import accept
from cryosam.instances.prompted import Prompted
from cryosam.scene import Scene
from cryosam.tomogram import Tomogram
from stand_ins import AVERAGE, candidates

POINTS = [(10.0, 10, 10), (10, 10, 30), (10, 10, 17), (10, 30, 30), (10, 30, 10)]


@pytest.mark.parametrize("is_whole", [True, False])
def test_two_parts_of_one_particle_are_found_once(monkeypatch, is_whole) -> None:
    """Where the centres are moved to those of the wholes, the third moves to where the first is."""
    found = candidates(POINTS, [0.9, 0.85, 0.8, 0.7, 0.1])
    turns = Rotation.from_rotvec([[0.1 * k, 0, 0] for k in range(4)])
    wholes = np.add(POINTS[:4], [[0, 0, 4], [0, 0, 4], [0, 1, -3], [0, 0, 4]])

    def refine(*_, **__):
        return Refinement(turns, wholes, AVERAGE, 5.0, Extent(np.zeros(3), 9.0) if is_whole else None)

    monkeypatch.setattr("cryosam.classification.acceptance.refine", refine)
    tomogram = Tomogram(np.random.default_rng(0).normal(size=(20, 40, 40)).astype(np.float32))
    scene = Scene.open(tomogram, np.zeros((0, 3)))
    accepted = accept(scene, found, Prompted((), (), 6.0, 1.0), "particle")
    kept = [0, 1, 3] if is_whole else [0, 1, 2, 3]
    np.testing.assert_array_equal(accepted.points, wholes[kept])
    assert accepted.scores.tolist() == found.scores[kept].tolist()
    assert accepted.rotations is not None
    assert (accepted.rotations * turns[kept].inv()).magnitude().max() < 1e-9
    np.testing.assert_array_equal(accepted.candidate_points[: len(kept)], found.points[kept])
    assert (
        any("1 of 4 detections are of the same particle as a better one" in sentence for sentence in accepted.warnings)
        == is_whole
    )
    assert accepted.provenance["expected_false"] == pytest.approx((1 - found.scores[kept]).sum())
    assert ("whole_diameter_voxels" in accepted.provenance) == is_whole
