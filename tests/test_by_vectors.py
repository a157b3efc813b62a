"""The search by learned vectors: two kinds in noise, and nothing."""

import numpy as np
import pytest
from jaxtyping import Float

from cryosam import Config, PointPrompts, Tomogram
from cryosam.by_vectors import ComparedByVectors, accept_by_vectors, compare_by_vectors
from cryosam.config import VectorSearchConfig
from cryosam.evaluation.scores import score_detections
from cryosam.kind_sources import ClickedKind
from cryosam.matching.candidates import Candidates
from cryosam.proposals import propose
from cryosam.scene import RunOptions, Scene
from scenes import scene as two_kinds
from scenes import touching_shells

_N_KIND, _N_OTHER = 12, 8
_DIAMETER = 14.0


def _compared(
    tomogram: Tomogram, clicks: Float[np.ndarray, "k 3"], is_alone: bool | None = None, **changes: object
) -> tuple[ComparedByVectors | None, Candidates | None]:
    """Places that were compared, and what is accepted of them."""
    config = Config().override(**{"tomogram__contrast": "bright", "diameter_voxels": _DIAMETER, **changes})
    kind = ClickedKind(PointPrompts(clicks))
    scene = Scene.open(tomogram, clicks, config, RunOptions())
    seed, instances = kind.seed(scene)
    found = propose(scene, instances, seed, kind.query(scene, seed))
    compared = compare_by_vectors(scene, kind, seed, found, is_alone=is_alone)
    accepted = None if compared is None else accept_by_vectors(scene, kind, seed, instances, found, compared)
    return compared, accepted


@pytest.mark.parametrize("clicked", [2, 9])
def test_the_kind_is_found_and_ranks_above_another_in_noise(clicked: int) -> None:
    tomogram, centres, _ = two_kinds(_N_KIND, _N_OTHER, noise=0.5)
    _, found = _compared(tomogram, centres[clicked : clicked + 1])
    assert found is not None
    near = np.linalg.norm(found.points[:, None] - centres, axis=2) < _DIAMETER / 3
    kind, other = (found.scores[near[:, rows].any(axis=1)] for rows in (slice(_N_KIND), slice(_N_KIND, None)))
    assert (kind[:, None] > other).mean() > 0.85
    accepted = found.points[found.is_accepted]
    assert score_detections(accepted, centres[:_N_KIND], _DIAMETER / 3).recall >= 0.75
    assert (near[found.is_accepted].any(axis=1)).mean() >= 0.9
    assert all((mask.n_voxels > 0) == yes for mask, yes in zip(found.masks, found.is_accepted, strict=True))
    assert (np.diff(found.scores) <= 0).all()


def test_among_places_of_the_detector_the_kind_is_told_from_another() -> None:
    """All particles are proposed, and hardly anything else; they are asked for only where there are other kinds."""
    tomogram, centres, _ = two_kinds(_N_KIND, _N_OTHER, noise=0.5)
    settings = {"vectors__uses_detector": True, "vectors__n_detected": 20}
    compared, found = _compared(tomogram, centres[2:3], is_alone=False, **settings)
    assert compared is not None
    assert found is not None
    near = np.linalg.norm(compared.points[:, None] - centres, axis=2) < _DIAMETER / 3
    assert near.any(axis=0).mean() >= 0.9
    assert len(compared.points) <= 3 * len(centres)
    ranks = (
        compared.probability[near[:, :_N_KIND].any(axis=1)][:, None]
        > (compared.probability[near[:, _N_KIND:].any(axis=1)])
    )
    assert ranks.mean() > 0.8
    peaks, _ = _compared(tomogram, centres[2:3], **settings)
    assert peaks is not None
    assert len(peaks.points) > 3 * len(centres)


def test_two_clicks_on_one_particle_count_once() -> None:
    tomogram, centres, _ = two_kinds(_N_KIND, _N_OTHER, noise=0.5)
    _, found = _compared(tomogram, np.stack([centres[2], centres[2] + 1]))
    assert found is not None
    assert score_detections(found.points[found.is_accepted], centres[:_N_KIND], _DIAMETER / 3).recall >= 0.75


def test_where_particles_may_not_be_none_is_found() -> None:
    tomogram, centres, _ = two_kinds(_N_KIND, _N_OTHER, noise=0.5)
    _, found = _compared(tomogram, centres[6:7], matching__edge_margin=10, matching__max_candidates=40)
    assert found is not None
    assert len(found.points) <= 40
    accepted = found.points[found.is_accepted]
    assert (accepted >= 10).all()
    assert (accepted <= np.array(tomogram.shape) - 1 - 10).all()


def test_other_kinds_are_noticed_and_so_is_their_absence() -> None:
    """Eight particles of another kind among twelve; and shells that touch, with nothing else."""
    several, centres, _ = two_kinds(_N_KIND, _N_OTHER, noise=0.5)
    pure, same = touching_shells()
    limit = VectorSearchConfig().other_kinds
    mixed, _ = _compared(several, centres[:1])
    alone, _ = _compared(pure, same[30:31], tomogram__contrast="dark", diameter_voxels=12.0)
    assert mixed is not None
    assert alone is not None
    assert mixed.others is not None
    assert mixed.others > limit
    assert alone.others is None or alone.others < limit
    assert (alone.probability > 0.5).sum() > 0.7 * len(same)


def test_the_setting_switches_it_off() -> None:
    tomogram, centres, _ = two_kinds(_N_KIND, _N_OTHER, noise=0.5)
    assert _compared(tomogram, centres[:1], vectors__is_on=False) == (None, None)
