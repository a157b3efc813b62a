"""From candidates to the result: which are accepted, their poses, and warnings for the user."""

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
    """Make the result from the candidates: the accepted ones, with refined poses if there is an average.

    Parameters
    ----------
    scene
        Scene of the search; measurements and warnings are recorded in it.
    candidates
        Candidates, best first.
    prompted
        The objects under the clicks.
    kind
        Name of the kind.
    """
    record, max_particles = scene.record, scene.config.matching.max_particles
    n_above = int(np.count_nonzero(candidates.is_accepted))
    kept = slice(0, n_above if max_particles is None else min(n_above, max_particles))
    _warn_of_detections(scene, n_above, len(candidates.scores), candidates.masks[kept])
    points, average, rotations = candidates.points[kept], candidates.average, None
    if average is not None and scene.config.refinement.is_on and len(points):
        with record.timed("refining"):
            refined = refine(scene.orientations(candidates.diameter), points, average, progress=scene.options.progress)
        points, average, rotations = refined.points, refined.average, refined.rotations
        record.note(resolution=refined.resolution)
        if refined.extent is not None:
            record.warn(
                "part_of_particle",
                "each mask covers only a part of its particle: in the average, the whole particle has a diameter of "
                f"{refined.extent.diameter:.0f} voxels, and the centres are those of whole particles",
            )
            record.note(whole_diameter=refined.extent.diameter)
            distinct = thin(points, candidates.diameter / 2)
            if n_repeated := len(points) - len(distinct):
                record.warn(
                    "same_particle_twice",
                    f"{n_repeated} of {len(points)} detections are of the same particle as a better one, and are left "
                    "out",
                )
            dropped = np.setdiff1d(np.arange(len(points)), distinct)
            candidates = candidates.without(np.isin(np.arange(len(candidates.points)), dropped))
            kept, points, rotations = slice(0, len(distinct)), points[distinct], rotations[distinct]
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


def _warn_of_detections(scene: Scene, n_above: int, n_candidates: int, masks: Sequence[InstanceMask]) -> None:
    """Warn if there are no detections, if some were cut off, or if some have no mask."""
    record = scene.record
    if n_candidates > 0 and len(masks) == 0:
        record.warn("none_found", "no particle of this kind was found; click another one, or lower the threshold")
    if len(masks) < n_above:
        record.warn("limited", f"only the best {len(masks)} of {n_above} detections were kept, as requested")
    n_empty = sum(mask.n_voxels == 0 for mask in masks)
    if n_empty:
        record.warn(
            "no_mask", f"{n_empty} of {len(masks)} detections have no mask: the segmenter found no particle there"
        )


def result(scene: Scene, prompted: Prompted, **found: Any) -> Segmentation:
    """Make a `Segmentation`, adding the fields that are the same for every result.

    Parameters
    ----------
    scene
        Scene of the search.
    prompted
        The objects under the clicks.
    found
        Other fields of `Segmentation`.
    """
    n_doubtful = sum(
        mask.n_voxels > 0 and not trusted for mask, trusted in zip(prompted.masks, prompted.is_trusted, strict=True)
    )
    if n_doubtful:
        scene.record.warn(
            "doubtful_mask",
            f"the mask under {n_doubtful} of {len(prompted.masks)} clicks is doubtful and may include a neighbour: "
            "check it, and click an isolated particle or give the diameter",
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
