"""The measurements and warnings that a run collects."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from cryosam.prompts import spell

__all__ = ["Recorder", "RunReport", "RunWarning"]

_PLACE = "{point}"  # in a warning's text
_SECONDS = "seconds_"  # before a stage, in `RunReport.provenance`


@dataclass(frozen=True)
class RunWarning:
    """A warning for the user, in one sentence.

    Parameters
    ----------
    code
        Identifies the type of warning for programs, in ``run.json`` too: the words of the sentence may change.
    text
        The sentence; ``{point}`` in it stands for the point.
    point
        z, y, x in voxels of the point that the warning is about, or None.

    Examples
    --------
    >>> warning = RunWarning("nothing_there", "nothing stands out at point {point}", (5.0, 6.5, 7.0))
    >>> str(warning), str(warning.moved_by((10, 0, 0)))
    ('nothing stands out at point 5,6.5,7', 'nothing stands out at point 15,6.5,7')
    """

    code: str
    text: str
    point: tuple[float, float, float] | None = None

    def __str__(self) -> str:
        return self.text if self.point is None else self.text.replace(_PLACE, spell(np.array(self.point)))

    def moved_by(self, offset: Sequence[float]) -> "RunWarning":
        """The same warning with its point shifted by ``offset`` voxels z, y, x."""
        if self.point is None:
            return self
        z, y, x = (float(c + o) for c, o in zip(self.point, offset, strict=True))
        return replace(self, point=(z, y, x))

    def of_kind(self, kind: str) -> "RunWarning":
        """The same warning with the name of its kind in front, for runs with several kinds."""
        return replace(self, text=f"{kind}: {self.text}")


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """Measurements and warnings of the search for one kind; None for what was not measured.

    Parameters
    ----------
    contrast
        Whether protein is "dark" or "bright" in the tomogram.
    segmenter_digest, features_digest
        Digests that identify the models.
    separation
        Distance between the kind and everything else, in standard deviations.
    most_typical
        z, y, x in voxels of the candidate that correlates best with the average.
    click_probability
        Probability that the best clicked candidate is of the kind that was averaged.
    n_like_negatives
        Number of detections that were rejected because they resemble an object under a negative click.
    resolution
        Resolution of the refined average, in voxels.
    whole_diameter
        Diameter of the whole particle in voxels, if each mask covers only a part of it.
    expected_false
        Number of detections that are expected to be false.
    diameter, smoothing
        Diameter of the particle, and standard deviation of the Gaussian through which the segmenter saw it, in voxels.
    lowest_tilt, highest_tilt, tilt_axis
        Geometry of the tilt series in degrees, as in `cryosam.missing_wedge.MissingWedge`.
    beam
        Axis of the volume along which the beam is.
    wedge_source
        Where the geometry is known from: "spectrum", "settings" or "default".
    seconds
        Time that each stage took.
    warnings
        Warnings for the user.
    """

    contrast: str | None = None
    segmenter_digest: str | None = None
    features_digest: str | None = None
    separation: float | None = None
    most_typical: tuple[float, float, float] | None = None
    click_probability: float | None = None
    n_like_negatives: int | None = None
    resolution: float | None = None
    whole_diameter: float | None = None
    expected_false: float | None = None
    diameter: float | None = None
    smoothing: float | None = None
    lowest_tilt: float | None = None
    highest_tilt: float | None = None
    tilt_axis: float | None = None
    beam: str | None = None
    wedge_source: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[RunWarning, ...] = ()

    def provenance(self) -> dict[str, str | float]:
        """The measurements by name, as they are written to ``run.json`` and to the report.

        Examples
        --------
        >>> RunReport(contrast="dark", diameter=12.0, seconds={"features": 1.5}).provenance()
        {'contrast': 'dark', 'diameter_voxels': 12.0, 'seconds_features': 1.5}
        """
        typical = None if self.most_typical is None else ",".join(f"{c:.0f}" for c in self.most_typical)
        values: dict[str, str | float | None] = {
            "contrast": self.contrast,
            "segmenter_digest": self.segmenter_digest,
            "features_digest": self.features_digest,
            "most_typical": typical,
            "separation": _rounded(self.separation, 2),
            "click_probability": _rounded(self.click_probability, 3),
            "like_negatives": self.n_like_negatives,
            "resolution_voxels": _rounded(self.resolution, 2),
            "whole_diameter_voxels": _rounded(self.whole_diameter, 2),
            "expected_false": _rounded(self.expected_false, 2),
            "diameter_voxels": self.diameter,
            "smoothing_voxels": self.smoothing,
            "lowest_tilt_degrees": self.lowest_tilt,
            "highest_tilt_degrees": self.highest_tilt,
            "tilt_axis_degrees": self.tilt_axis,
            "beam": self.beam,
            "wedge_source": self.wedge_source,
        }
        seconds = {f"{_SECONDS}{stage}": round(value, 3) for stage, value in self.seconds.items()}
        return {name: value for name, value in values.items() if value is not None} | seconds

    @classmethod
    def from_provenance(cls, provenance: Mapping[str, Any], warnings: Sequence[str] = ()) -> "RunReport":
        """Restore the report of an earlier run from what it wrote; unknown names are ignored.

        Examples
        --------
        >>> RunReport.from_provenance({"diameter_voxels": 12.0, "seconds_features": 1.5, "old": 1}).diameter
        12.0
        """
        renamed = {"like_negatives": "n_like_negatives"} | {
            f"{name}_voxels": name for name in ("resolution", "whole_diameter", "diameter", "smoothing")
        }
        renamed |= {f"{name}_degrees": name for name in ("lowest_tilt", "highest_tilt", "tilt_axis")}
        known = {each.name for each in fields(cls)} - {"seconds", "warnings", "most_typical"}
        values = {renamed.get(name, name): value for name, value in provenance.items()}
        seconds = {name.removeprefix(_SECONDS): float(v) for name, v in provenance.items() if name.startswith(_SECONDS)}
        typical = [float(c) for c in re.findall(r"-?\d+\.?\d*", str(provenance.get("most_typical", "")))]
        return cls(
            **{name: value for name, value in values.items() if name in known},
            most_typical=(typical[0], typical[1], typical[2]) if len(typical) == 3 else None,
            seconds=seconds,
            warnings=tuple(RunWarning("earlier", text) for text in warnings),
        )

    @classmethod
    def combine(cls, reports: Sequence[tuple[str, "RunReport"]]) -> "RunReport":
        """Combine the reports of several kinds, by name: the values that all share, summed seconds, and all warnings.

        Examples
        --------
        >>> a, b = RunReport(contrast="dark", diameter=12.0), RunReport(contrast="dark", diameter=9.0)
        >>> RunReport.combine([("a", a), ("b", b)]).provenance()
        {'contrast': 'dark'}
        """
        parts = [part for _, part in reports]
        names = [each.name for each in fields(cls) if each.name not in ("seconds", "warnings")]
        shared = {name: getattr(parts[0], name) for name in names}
        shared = {name: v for name, v in shared.items() if all(getattr(part, name) == v for part in parts)}
        stages = dict.fromkeys(stage for part in parts for stage in part.seconds)
        return cls(
            **shared,
            seconds={stage: sum(part.seconds.get(stage, 0.0) for part in parts) for stage in stages},
            warnings=tuple(each.of_kind(name) for name, part in reports for each in part.warnings),
        )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)


class Recorder:
    """Collects the `RunReport` of one kind while its stages run.

    Examples
    --------
    >>> recorder = Recorder()
    >>> recorder.note(diameter=12.0)
    >>> recorder.warn("few", "only few candidates were found")
    >>> recorder.report.diameter, [str(warning) for warning in recorder.report.warnings]
    (12.0, ['only few candidates were found'])
    """

    def __init__(self, report: RunReport | None = None) -> None:
        self.report = report or RunReport()

    def note(self, **found: Any) -> None:
        """Set fields of the report, by name."""
        self.report = replace(self.report, **found)

    def warn(self, code: str, text: str, point: Float[np.ndarray, " 3"] | None = None) -> None:
        """Add a warning for the user; see `RunWarning`."""
        at = None if point is None else (float(point[0]), float(point[1]), float(point[2]))
        self.note(warnings=(*self.report.warnings, RunWarning(code, text, at)))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measure a block of code, and add the time to that of its stage."""
        start = time.perf_counter()
        yield
        seconds = self.report.seconds.get(stage, 0.0) + time.perf_counter() - start
        self.note(seconds={**self.report.seconds, stage: seconds})
