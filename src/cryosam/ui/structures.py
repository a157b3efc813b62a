"""Membranes, filaments and compartments as a session keeps them: one candidate each, with its geometry."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cryosam.arrays import Progress
from cryosam.config import Config
from cryosam.errors import InputError, PromptError, VoxelSizeError
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.steps import SEARCH, Step, Steps
from cryosam.structure_results import Compartment, StructureInstance, StructureKind, StructureResult
from cryosam.tomogram import Tomogram
from cryosam.ui.state import Candidate, Kind, Point, State, View, best_first
from cryosam.ui.wording import on_page, without_options

__all__ = [
    "centre_of",
    "find_structure",
    "refuse_structure",
    "require_voxel_size",
    "say_failures",
    "search_steps",
    "with_structures",
]

_MOST_VOXELS = 64  # along each axis, of the thinned mask in which the voxel nearest to the centroid is looked for
_SAME = 0.5  # of the smaller one's voxels: two instances that share as many are the same


def search_steps(structures: Sequence[StructureKind]) -> Steps:
    """Return the steps of a search for kinds, each of which is one of these; particles come first."""
    n_particles = sum(structure == "particle" for structure in structures)
    others = [structure for structure in structures if structure != "particle"]
    if not others:
        return Steps(SEARCH, n_particles)
    share = n_particles / len(structures)
    plan = [replace(step, weight=step.weight * share) for step in SEARCH] if n_particles else []
    for number, structure in enumerate(others):
        plan.append(Step(f"finding {structure}s", str(number), (1 - share) / len(others)))
    return Steps(plan)


def require_voxel_size(tomogram: Tomogram, structures: Sequence[StructureKind]) -> None:
    """Raise VoxelSizeError if one of the structures is no particle and the voxel size is not known."""
    if tomogram.voxel_size_angstrom is None and any(structure != "particle" for structure in structures):
        raise VoxelSizeError(
            "membranes, filaments and compartments are told by their size, but the voxel size of this tomogram is not "
            "known: start the server with --voxel-size"
        )


def refuse_structure(kind: Kind, candidate: Candidate | None = None) -> None:
    """Raise InputError if a kind, or a candidate of it, is no particle, for what can be done with particles only."""
    if kind.structure != "particle" or (candidate is not None and candidate.instance is not None):
        raise InputError(
            f"{kind.name}: only particles can be placed by hand; click another one and find all again, or accept and "
            "reject what was found"
        )


def say_failures(state: State, searched: Collection[int], failed: Mapping[int, PromptError]) -> str:
    """Say why nothing was found of some kinds, with their names if others were searched for too."""
    if len(searched) == 1:
        return " ".join(without_options(str(error)) for error in failed.values())
    return "; ".join(f"{state.kind(kind).name}: {without_options(str(error))}" for kind, error in failed.items())


def find_structure(
    tomogram: Tomogram, view: View, structure: StructureKind, number: int, config: Config, progress: Progress
) -> StructureResult:
    """Find every structure like the clicked ones.

    Parameters
    ----------
    tomogram
        The tomogram.
    view
        View of the kind, which has a positive click.
    structure
        What the kind is; not "particle".
    number
        Number of the kind among those that are no particles, under which `search_steps` knows its stages.
    config, progress
        As in `cryosam.ui.finding.find`.
    """
    from cryosam import structure_search  # torch is slow to import
    from cryosam.scene import RunOptions

    points = np.array([click.point for click in view.clicks], dtype=float)
    prompts = PointPrompts(points, np.array([click.is_positive for click in view.clicks]))

    def report(_: str, done: int, total: int) -> None:
        progress(str(number), done, total)

    report("", 0, 1)
    options = RunOptions(progress=report)
    return structure_search.find_structures(tomogram, prompts, structure, config, options)


def with_structures(view: View, used: View, found: StructureResult, next_id: Callable[[], int]) -> View:
    """Return the view of a kind after a search; see `cryosam.ui.finding.with_found`."""
    new = [
        Candidate(next_id(), centre_of(instance), float(instance.score), instance.mask, instance=instance)
        for instance in found.instances
    ]
    for old in view.candidates:
        if old.verdict is not None and type(old.instance).__name__.lower() == found.structure:
            _keep_verdict(new, old)
    return replace(
        view,
        candidates=best_first(new),
        threshold=0.0,
        default_threshold=0.0,
        average=None,
        score_map=None,
        searched=tuple(click.id for click in used.clicks),
        warnings=tuple(on_page(warning) for warning in found.report.warnings),
        size=None,
        searched_as=found.structure,
    )


def centre_of(instance: StructureInstance) -> Point:
    """Return a place on an instance, about in its middle: what the page goes to.

    Examples
    --------
    >>> ring = np.ones((1, 3, 3), dtype=bool)
    >>> ring[0, 1, 1] = False
    >>> centre_of(Compartment(InstanceMask((5, 0, 0), ring), 0.9, 8.0, False))
    (5.0, 0.0, 1.0)
    """
    if isinstance(instance, Compartment):
        z, y, x = _inside(instance.mask)
        return z, y, x
    points = np.asarray(instance.points, dtype=float)
    if not len(points):
        raise PromptError("a structure without points was found")
    z, y, x = points[np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1))].tolist()
    return z, y, x


def _inside(mask: InstanceMask) -> Point:
    """The centroid of a mask if it is in it, else about the nearest of its voxels."""
    step = max(1, max(mask.data.shape) // _MOST_VOXELS)
    thin = mask.data[::step, ::step, ::step]
    voxels = np.argwhere(thin if thin.any() else mask.data) * (step if thin.any() else 1) + mask.origin
    middle = voxels.mean(axis=0)
    if mask.holds(middle):
        z, y, x = middle.tolist()
    else:
        z, y, x = voxels[np.argmin(np.linalg.norm(voxels - middle, axis=1))].astype(float).tolist()
    return z, y, x


def _keep_verdict(new: list[Candidate], old: Candidate) -> None:
    """Copy the verdict of an earlier candidate to the new one that it overlaps; without one, keep it if accepted."""
    shared = [old.mask.overlap(candidate.mask) for candidate in new]
    if shared:
        best = int(np.argmax(shared))
        if shared[best] >= _SAME * max(1, min(old.mask.n_voxels, new[best].mask.n_voxels)):
            new[best] = replace(new[best], verdict=old.verdict)
            return
    if old.verdict == "accepted":
        new.append(old)
