"""From what was looked at to what was found."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from cryosam.averaging.refinement import refine
from cryosam.backends import resolve_device
from cryosam.instances.prompted import Prompted
from cryosam.masks import InstanceMask
from cryosam.matching.candidates import Candidates
from cryosam.matching.peaks import thin
from cryosam.results import Segmentation
from cryosam.run import Run

__all__ = ["accept", "result"]


def accept(run: Run, found: Candidates, kind: str) -> Segmentation:
    """What is accepted of the candidates: how it lies, and all that a user would want to know.

    Parameters
    ----------
    run
        That found the candidates; what a user should know is said there.
    found
        The candidates, best first.
    kind
        Name of the kind.
    """
    most = run.config.matching.max_particles
    n_above = int(np.count_nonzero(found.is_accepted))
    kept = slice(0, n_above if most is None else min(n_above, most))
    _comment(run, n_above, len(found.scores), found.masks[kept])
    points, average, rotations = found.points[kept], found.average, None
    if average is not None and run.config.alignment.is_refined and len(points):
        device = resolve_device(run.config.device)
        with run.timed("refining"):
            search_for, settings = run.orientations(found.diameter), run.config.alignment
            refined = refine(
                run.normalised, search_for, points, average, found.diameter, settings, device, progress=run.progress
            )
        points, average, rotations = refined.points, refined.average, refined.rotations
        if refined.resolution is not None:
            run.provenance["resolution_voxels"] = round(refined.resolution, 2)
        if refined.extent is not None:
            run.say(
                "each mask holds only a part of its particle: the average of all is as large as a ball of "
                f"{refined.extent.diameter:.0f} voxels, and the centres are those of the whole"
            )
            run.provenance["whole_diameter_voxels"] = round(refined.extent.diameter, 2)
            apart = thin(points, found.diameter / 2)
            if n_more := len(points) - len(apart):
                run.say(f"{n_more} of {len(points)} detections mark another's particle once more, and are left out")
            found, kept = _without(found, np.setdiff1d(np.arange(len(points)), apart)), slice(0, len(apart))
            points, rotations = points[apart], rotations[apart]
    if found.average is not None:
        run.provenance["expected_false"] = round(float((1 - found.scores[kept]).sum()), 2)
    return result(
        run,
        found.prompted,
        points=np.clip(points, 0, np.array(run.tomogram.shape) - 1.0),
        scores=found.scores[kept],
        masks=found.masks[kept],
        rotations=rotations,
        score_map=found.score_map,
        candidate_points=found.points,
        candidate_scores=found.scores,
        candidate_masks=found.masks,
        threshold=found.threshold,
        average=average,
        kind=kind,
    )


def _without(found: Candidates, dropped: Int[np.ndarray, " k"]) -> Candidates:
    """The candidates, some of them ruled out."""
    scores = found.scores.copy()
    scores[dropped] = 0
    return found.ranked(scores)


def _comment(run: Run, n_above: int, n_candidates: int, masks: Sequence[InstanceMask]) -> None:
    """Say what a user would want to know of what was found."""
    if n_candidates > 0 and len(masks) == 0:
        run.say("no particle of this kind was found; click another one, or lower the threshold")
    if len(masks) < n_above:
        run.say(f"only the best {len(masks)} detections were kept, as asked for; there may be more")
    n_empty = sum(mask.n_voxels == 0 for mask in masks)
    if n_empty:
        run.say(f"{n_empty} of {len(masks)} detections have no mask: the segmenter saw no particle there")


def result(run: Run, prompted: Prompted, **found: Any) -> Segmentation:
    """What was found, with what every result has.

    Parameters
    ----------
    run
        That found it.
    prompted
        What lies under the clicks.
    found
        Other parameters of `Segmentation`.
    """
    n_doubtful = sum(
        mask.n_voxels > 0 and not trusted for mask, trusted in zip(prompted.masks, prompted.is_trusted, strict=True)
    )
    if n_doubtful:
        run.say(
            f"the mask under {n_doubtful} of {len(prompted.masks)} clicks is in doubt, as if it held a neighbour: "
            "look at it, and click a particle that stands alone or give the diameter"
        )
    sizes = {"diameter_voxels": prompted.diameter, "smoothing_voxels": prompted.smoothing}
    return Segmentation(
        shape=run.tomogram.shape,
        prompt_masks=prompted.masks,
        warnings=tuple(run.warnings),
        voxel_size_angstrom=run.tomogram.voxel_size_angstrom,
        name=run.tomogram.name,
        provenance=run.provenance | sizes,
        **found,
    )
