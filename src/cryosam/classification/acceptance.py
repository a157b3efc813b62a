"""From what was looked at to what was found."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cryosam.averaging.refinement import refine
from cryosam.instances.prompted import Prompted
from cryosam.masks import InstanceMask
from cryosam.matching.candidates import Candidates
from cryosam.matching.peaks import thin
from cryosam.results import Segmentation
from cryosam.scene import Scene

__all__ = ["accept", "result"]


def accept(scene: Scene, candidates: Candidates, prompted: Prompted, kind: str) -> Segmentation:
    """What is accepted of the candidates, with poses, and all that a user would want to know.

    Parameters
    ----------
    scene
        That has the candidates; what a user should know is recorded there.
    candidates
        Best first.
    prompted
        What lies under the clicks.
    kind
        Name of the kind.
    """
    record, most = scene.record, scene.config.matching.max_particles
    n_above = int(np.count_nonzero(candidates.is_accepted))
    kept = slice(0, n_above if most is None else min(n_above, most))
    _comment(scene, n_above, len(candidates.scores), candidates.masks[kept])
    points, average, rotations = candidates.points[kept], candidates.average, None
    if average is not None and scene.config.refinement.is_on and len(points):
        with record.timed("refining"):
            refined = refine(scene.orientations(candidates.diameter), points, average, progress=scene.options.progress)
        points, average, rotations = refined.points, refined.average, refined.rotations
        record.note(resolution=refined.resolution)
        if refined.extent is not None:
            record.warn(
                "part_of_particle",
                "each mask holds only a part of its particle: the average of all is as large as a ball of "
                f"{refined.extent.diameter:.0f} voxels, and the centres are those of the whole",
            )
            record.note(whole_diameter=refined.extent.diameter)
            apart = thin(points, candidates.diameter / 2)
            if n_more := len(points) - len(apart):
                record.warn(
                    "same_particle_twice",
                    f"{n_more} of {len(points)} detections mark another's particle once more, and are left out",
                )
            dropped = np.setdiff1d(np.arange(len(points)), apart)
            candidates = candidates.without(np.isin(np.arange(len(candidates.points)), dropped))
            kept, points, rotations = slice(0, len(apart)), points[apart], rotations[apart]
    if candidates.average is not None:
        record.note(expected_false=float((1 - candidates.scores[kept]).sum()))
    return result(
        scene,
        prompted,
        points=np.clip(points, 0, np.array(scene.tomogram.shape) - 1.0),
        scores=candidates.scores[kept],
        masks=candidates.masks[kept],
        rotations=rotations,
        score_map=candidates.score_map,
        candidate_points=candidates.points,
        candidate_scores=candidates.scores,
        candidate_masks=candidates.masks,
        threshold=candidates.threshold,
        average=average,
        kind=kind,
    )


def _comment(scene: Scene, n_above: int, n_candidates: int, masks: Sequence[InstanceMask]) -> None:
    """Warn of what a user would want to know of what was found."""
    record = scene.record
    if n_candidates > 0 and len(masks) == 0:
        record.warn("none_found", "no particle of this kind was found; click another one, or lower the threshold")
    if len(masks) < n_above:
        record.warn("limited", f"only the best {len(masks)} detections were kept, as asked for; there may be more")
    n_empty = sum(mask.n_voxels == 0 for mask in masks)
    if n_empty:
        record.warn(
            "no_mask", f"{n_empty} of {len(masks)} detections have no mask: the segmenter saw no particle there"
        )


def result(scene: Scene, prompted: Prompted, **found: Any) -> Segmentation:
    """What was found, with what every result has.

    Parameters
    ----------
    scene
        That it was found in.
    prompted
        What lies under the clicks.
    found
        Other parameters of `Segmentation`.
    """
    n_doubtful = sum(
        mask.n_voxels > 0 and not trusted for mask, trusted in zip(prompted.masks, prompted.is_trusted, strict=True)
    )
    if n_doubtful:
        scene.record.warn(
            "doubtful_mask",
            f"the mask under {n_doubtful} of {len(prompted.masks)} clicks is in doubt, as if it held a neighbour: "
            "look at it, and click a particle that stands alone or give the diameter",
        )
    report = replace(scene.record.report, diameter=prompted.diameter, smoothing=prompted.smoothing)
    return Segmentation(
        shape=scene.tomogram.shape,
        prompt_masks=prompted.masks,
        report=report,
        voxel_size_angstrom=scene.tomogram.voxel_size_angstrom,
        name=scene.tomogram.name,
        **found,
    )
