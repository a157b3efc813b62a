"""Descriptions of a session as plain numbers and strings, for the page."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from cryosam.results import Average
from cryosam.structure_results import Compartment, Filament, Membrane, StructureInstance
from cryosam.structures.guess import Guess
from cryosam.ui.jobs import SearchJob
from cryosam.ui.state import Candidate, Click, Kind, State, View
from cryosam.ui.viewed import Grey, ViewedTomogram

__all__ = [
    "describe_candidates",
    "describe_grey",
    "describe_job",
    "describe_kinds",
    "describe_tomogram",
    "describe_views",
]

Plain = dict[str, Any]


def describe_tomogram(index: int, viewed: ViewedTomogram) -> Plain:
    """Describe a tomogram from its header, without reading voxels."""
    return {
        "id": index,
        "name": viewed.name,
        "shape": list(viewed.shape),
        "voxel_size_angstrom": viewed.voxel_size_angstrom,
    }


def describe_grey(grey: Grey) -> Plain:
    """Describe how intensities are mapped to grey values."""
    return {"low": grey.low, "high": grey.high, "histogram": grey.histogram}


def describe_kinds(state: State) -> list[Plain]:
    """Describe the kinds in their order."""
    return [
        {"id": kind.id, "name": kind.name, "colour": kind.colour, "structure": kind.structure} for kind in state.kinds
    ]


def describe_views(state: State, n_tomograms: int, guesses: Mapping[int, Guess] | None = None) -> Plain:
    """Describe every kind in every tomogram, without candidates and masks; with the guesses at clicks, by number."""
    known = guesses or {}
    return {
        str(t): {"kinds": {str(kind.id): _describe_view(kind, state.view(t, kind.id), known) for kind in state.kinds}}
        for t in range(n_tomograms)
    }


def describe_candidates(state: State, tomogram: int) -> Plain:
    """Describe the candidates of every kind in one tomogram, best first."""
    return {
        str(kind.id): [_describe_candidate(candidate) for candidate in state.view(tomogram, kind.id).candidates]
        for kind in state.kinds
    }


def describe_job(job: SearchJob) -> Plain:
    """Describe the progress of a job."""
    return {
        "id": job.id,
        "tomogram": job.tomogram,
        "kind": job.kind,
        "step": job.progressed.step,
        "number": job.progressed.number,
        "n_steps": job.progressed.n_steps,
        "share": job.progressed.share,
        "seconds_left": job.progressed.seconds_left,
    }


def _describe_view(kind: Kind, view: View, guesses: Mapping[int, Guess]) -> Plain:
    return {
        "clicks": [_describe_click(click, guesses.get(click.id)) for click in view.clicks],
        "threshold": view.threshold,
        "default_threshold": view.default_threshold,
        "is_probability": view.average is not None,
        "average": None if view.average is None else _describe_average(view.average),
        "stale": view.is_outdated(kind),
        "n_candidates": len(view.candidates),
        "is_searched": view.searched is not None,
        "warnings": list(view.current_warnings),
        "diameter_voxels": None if view.size is None else view.size.diameter,
    }


def _describe_average(average: Average) -> Plain:
    return {
        "box_voxels": len(average.data) * average.step,
        "fsc": None if average.fsc is None else [round(float(c), 3) for c in average.fsc],
        "resolution_voxels": average.resolution(),
    }


def _describe_click(click: Click, guess: Guess | None) -> Plain:
    return {
        "id": click.id,
        "point": list(click.point),
        "positive": click.is_positive,
        "has_mask": click.mask.n_voxels > 0,
        "message": click.message,
        "guess": None if guess is None else {"structure": guess.structure, "confidence": round(guess.confidence, 3)},
    }


def _describe_candidate(candidate: Candidate) -> Plain:
    mask = candidate.mask
    stops = [o + n for o, n in zip(mask.origin, mask.data.shape, strict=True)]
    plain: Plain = {
        "id": candidate.id,
        "point": list(candidate.point),
        "score": candidate.score,
        "verdict": candidate.verdict,
        "is_oriented": candidate.rotation is not None,
        "n_voxels": mask.n_voxels,
        "box": [list(mask.origin), stops] if mask.data.size else None,
    }
    if candidate.instance is not None:
        plain["measures"] = _describe_instance(candidate.instance)
    return plain | ({"moved": True} if candidate.is_moved else {})


def _describe_instance(instance: StructureInstance) -> Plain:
    """What was measured, in angstrom; None stands for what could not be measured."""
    match instance:
        case Membrane():
            return {
                "structure": "membrane",
                "area": _finite(instance.area_angstrom2),
                "thickness": _finite(instance.thickness_angstrom),
                "volume": _finite(instance.enclosed_angstrom3),
                "is_closed": instance.is_closed,
            }
        case Filament():
            return {
                "structure": "filament",
                "length": _finite(instance.length_angstrom),
                "diameter": _finite(2 * instance.radius_angstrom),
            }
        case Compartment():
            return {
                "structure": "compartment",
                "volume": _finite(instance.volume_angstrom3),
                "is_cut": instance.is_cut,
            }


def _finite(value: float) -> float | None:
    """The value with four digits; None if it is not finite, which JSON cannot say."""
    return float(f"{value:.4g}") if isfinite(value) else None
