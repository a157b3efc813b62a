"""How much a result depends on the click: search for the kind from other clicks, and compare the results."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cryosam.evaluation.scores import match_points, score_detections
from cryosam.kind_sources import ClickedKind
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation, Trust
from cryosam.scene import Scene
from cryosam.search import find_kind

__all__ = ["assess"]

AnyPoints = Float[np.ndarray, "_ 3"]  # z, y, x in voxels

_SEED = 0  # of the random generator that chooses other voxels of the clicked particle
_REACH = 0.25  # diameters from the clicked particle's centre within which another user would click


def assess(scene: Scene, prompts: PointPrompts, found: Segmentation, rivals: Float[np.ndarray, "m 3"]) -> Trust:
    """Search for a kind from other clicks, and compare the results with that of the user's click.

    Half of the other clicks lie elsewhere on the clicked particles, as another user would click. The rest lie on the
    best detections. These are not known to be of the kind: if the search from them gives another result, the user's
    result is in doubt.

    Parameters
    ----------
    scene
        Scene of the search that gave the result. Its options set the largest number of other clicks; there are fewer if
        few particles were found.
    prompts
        The user's clicks.
    found
        The result for the user's clicks.
    rivals
        ``(m, 3)`` particles that are known to be of other kinds.

    Returns
    -------
    trust
        How much the result depends on the click.
    """
    diameter, n_trials = float(found.report.diameter or 0.0), scene.options.n_trials
    quiet = replace(scene, options=replace(scene.options, so_far=None))
    trials = _elsewhere(found.prompt_masks, diameter, n_trials // 2)
    n_moved = len(trials)
    seen = found.candidate_points[: len(found.points)]  # centres of masks: refined centres may lie outside the mask
    is_another = cKDTree(prompts.positive).query(seen)[0] > diameter / 2
    others = seen[is_another][: n_trials - n_trials // 2]
    trials += [np.round(point)[None] for point in others]
    answers, clicked = [seen], _centre(prompts.positive[0], found.prompt_masks[0])
    for clicks in trials:
        with scene.record.timed("trials"):
            points = np.concatenate([clicks, prompts.negative])
            again = PointPrompts(points, np.arange(len(points)) < len(clicks), prompts.name)
            candidates = find_kind(quiet.for_kind(scene.config), ClickedKind(again, is_trial=True)).candidates
        accepted = candidates.points[candidates.is_accepted]
        accepted = accepted[: scene.config.matching.max_particles]
        answers.append(accepted[cKDTree(rivals).query(accepted)[0] > diameter / 2])
    return Trust(
        clicks=np.array([prompts.positive[0], *(clicks[0] for clicks in trials)]),
        is_on_clicked=np.arange(len(answers)) <= n_moved,
        n_found=np.array([len(answer) for answer in answers]),
        finds_clicked=np.array([_has(answer, clicked, diameter / 2) for answer in answers]),
        agreement=_agreement(answers, n_moved + 1, diameter / 2),
        found_again=_found_again(answers, diameter / 2),
        missed=_missed(answers, diameter / 2),
    )


def _elsewhere(masks: tuple[InstanceMask, ...], diameter: float, n: int) -> list[AnyPoints]:
    """Clicks on the same particles, each at another voxel of its particle's mask near the centre."""
    random, places = np.random.default_rng(_SEED), []
    for mask in masks:
        voxels = np.argwhere(mask.data).astype(float) + mask.origin
        near = voxels[np.linalg.norm(voxels - mask.centroid, axis=1) <= _REACH * diameter]
        if len(near) >= n:
            places.append(random.permutation(near)[:n])
    return [np.array(clicks) for clicks in zip(*places, strict=True)]


def _centre(click: Float[np.ndarray, " 3"], mask: InstanceMask) -> Float[np.ndarray, " 3"]:
    """Centre of the particle under a click."""
    return mask.centroid if mask.n_voxels else click


def _has(answer: AnyPoints, point: Float[np.ndarray, " 3"], distance: float) -> bool:
    """Whether a particle was found at a point."""
    return bool((np.linalg.norm(answer - point, axis=1) <= distance).any())


def _agreement(answers: list[AnyPoints], n_on_clicked: int, distance: float) -> Float[np.ndarray, " k"]:
    """Mean F1 of each result with the others; the results of clicks on the same particle count as one."""
    particle = np.maximum(np.arange(len(answers)) - n_on_clicked + 1, 0)
    f1 = np.array([[score_detections(a, b, distance).f1 for b in answers] for a in answers])
    is_other = ~np.eye(len(answers), dtype=bool)
    means = [
        [row[which & (particle == each)].mean() for each in np.unique(particle[which])]
        for row, which in zip(f1, is_other, strict=True)
    ]
    return np.array([np.mean(each) if each else 1.0 for each in means])


def _found_again(answers: list[AnyPoints], distance: float) -> Float[np.ndarray, " n"]:
    """Fraction of the other results that contain each particle of the first one."""
    found = np.zeros(len(answers[0]))
    for other in answers[1:]:
        found[match_points(answers[0], other, distance).predicted] += 1
    return found / max(len(answers) - 1, 1)


def _missed(answers: list[AnyPoints], distance: float) -> Float[np.ndarray, "m 3"]:
    """Mean positions of the particles that are in more than half of the other results but not in the first one."""
    extra = [np.delete(a, match_points(answers[0], a, distance).truth, axis=0) for a in answers[1:]]
    points, owners = (
        np.concatenate([np.zeros((0, 3)), *extra]),
        np.repeat(np.arange(len(extra)), [len(e) for e in extra]),
    )
    if not len(points):
        return points
    near = cKDTree(points).sparse_distance_matrix(cKDTree(points), distance, output_type="coo_matrix")
    near.data[:] = 1  # also for pairs at distance 0, which would otherwise not be connected
    groups = connected_components(near)[1]
    together = [groups == group for group in range(groups.max() + 1)]
    return np.array(
        [points[each].mean(axis=0) for each in together if 2 * len(np.unique(owners[each])) > len(extra)]
    ).reshape(-1, 3)
