"""The result of a search: particles with scores and masks, averages, and how much the result depends on the click."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

from cryosam.arrays import Labels, Points, Scores, Volume
from cryosam.masks import InstanceMask
from cryosam.run_report import RunReport, RunWarning

__all__ = ["Average", "ScoreMap", "Segmentation", "Trust"]

_CLEARLY_BETTER = 0.05  # difference of F1


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """A value for every cell of a level, kept so that thresholds can be changed without a new search.

    Parameters
    ----------
    data
        ``(z, y, x)`` cells; NaN where nothing was evaluated.
    stride
        Voxels per cell; cell i covers voxels [i * stride, (i + 1) * stride).
    """

    data: Volume
    stride: int


@dataclass(frozen=True, eq=False)
class Average:
    """The mean of particles that are aligned to each other.

    Parameters
    ----------
    data
        ``(edge, edge, edge)`` pixels, protein bright; the particles' common centre is pixel edge // 2.
    step
        Voxels per pixel.
    fsc
        Fourier shell correlation of the averages of two halves of the particles; shell s has about s cycles per box.
        None if it was not measured.
    """

    data: Volume
    step: float
    fsc: Float[np.ndarray, " shells"] | None = None

    def resolution(self, threshold: float = 0.5) -> float | None:
        """Finest period, in voxels, up to which the Fourier shell correlation does not fall below a threshold.

        Examples
        --------
        >>> Average(np.zeros((8, 8, 8), dtype=np.float32), 1.5, np.array([1.0, 1.0, 0.9, 0.3, 0.6])).resolution()
        6.0
        """
        if self.fsc is None:
            return None
        edge = len(self.data)
        below = np.flatnonzero(self.fsc[1 : edge // 2] < threshold)
        last = int(below[0]) if len(below) else edge // 2 - 1  # the last shell, from 1 on, that agrees
        return edge / max(last, 1) * self.step


@dataclass(frozen=True, eq=False)
class Trust:
    """How much a result depends on the click. The kind is searched for from k clicks; the first is the user's.

    Parameters
    ----------
    clicks
        ``(k, 3)`` z, y, x in voxels.
    is_on_clicked
        ``(k,)`` whether each click lies on the particle that the user clicked.
    n_found
        ``(k,)`` number of particles that are found from each click.
    finds_clicked
        ``(k,)`` whether they include the particle that the user clicked; if not, the two are of different kinds.
    agreement
        ``(k,)`` mean F1 between the particles found from each click and those found from the others; clicks on the same
        particle count as one.
    found_again
        ``(n,)`` fraction of the other clicks from which each particle of the user's result is found.
    missed
        ``(m, 3)`` particles that are found from most other clicks but not from the user's.
    """

    clicks: Float[np.ndarray, "k 3"]
    is_on_clicked: Bool[np.ndarray, " k"]
    n_found: Int[np.ndarray, " k"]
    finds_clicked: Bool[np.ndarray, " k"]
    agreement: Float[np.ndarray, " k"]
    found_again: Scores
    missed: Float[np.ndarray, "m 3"]

    @property
    def better_click(self) -> Float[np.ndarray, " 3"] | None:
        """The click with the best agreement that finds the clicked particle; None if the user's is nearly as good."""
        best = int(np.where(self.finds_clicked, self.agreement, 0).argmax())
        return self.clicks[best] if self.agreement[best] > self.agreement[0] + _CLEARLY_BETTER else None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The result of a search: one row per particle, best first.

    Parameters
    ----------
    shape
        Shape of the tomogram, voxels z, y, x.
    points
        ``(n, 3)`` particle centres z, y, x in voxels.
    scores
        ``(n,)`` in [0, 1], descending.
    masks
        One per particle, in the same order; empty masks if only detection was requested.
    rotations
        ``(n,)`` rotations that bring the average, about its centre, into the orientation of each particle; they act on
        z, y, x. None if orientations are not known.
    score_map
        The similarity to the query at every cell, or None if nothing was matched.
    candidate_points, candidate_scores, candidate_masks
        ``(m, 3)``, ``(m,)`` and one mask per candidate, best first: all candidates, accepted or not, so that the
        threshold can be changed without a new search. A candidate that shares most of its mask with a better one is
        left out.
    threshold
        The lowest score at which a candidate was accepted, or None if nothing was matched.
    average
        Average of the particles, or None if too few were found to make one. If there is one, scores are probabilities.
    prompt_masks
        The instances under the user's positive points.
    report
        Measurements and warnings of the run: contrast, diameter, digests of the backends, seconds per stage.
    voxel_size_angstrom, name
        Voxel size and name of the tomogram.
    trust
        How much the result depends on the click, if that was requested.
    kind
        Name of the particles' kind.
    kinds
        If several kinds were searched for: the result of each, in the given order. The fields above then hold the
        particles of all kinds; score maps and averages are in the results of the single kinds.
    names, candidate_names
        If several kinds were searched for: the kind of each particle and of each candidate.
    """

    shape: tuple[int, int, int]
    points: Points
    scores: Scores
    masks: tuple[InstanceMask, ...]
    rotations: Rotation | None = None
    score_map: ScoreMap | None = None
    candidate_points: Float[np.ndarray, "m 3"] = field(default_factory=lambda: np.zeros((0, 3)))
    candidate_scores: Float[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0))
    candidate_masks: tuple[InstanceMask, ...] = ()
    threshold: float | None = None
    average: Average | None = None
    prompt_masks: tuple[InstanceMask, ...] = ()
    report: RunReport = field(default_factory=RunReport)
    voxel_size_angstrom: float | None = None
    name: str = "tomogram"
    trust: Trust | None = None
    kind: str = "particle"
    kinds: tuple["Segmentation", ...] = ()
    names: tuple[str, ...] = ()
    candidate_names: tuple[str, ...] = ()

    @classmethod
    def combine(cls, kinds: Sequence["Segmentation"]) -> "Segmentation":
        """Combine the results for several kinds in one tomogram into one.

        Examples
        --------
        >>> a = Segmentation((9, 9, 9), np.array([[4.0, 4, 4]]), np.array([0.7]), (InstanceMask.empty(),), kind="a")
        >>> b = Segmentation((9, 9, 9), np.array([[6.0, 6, 6]]), np.array([0.9]), (InstanceMask.empty(),), kind="b")
        >>> Segmentation.combine([a, b]).names
        ('b', 'a')
        """
        first = kinds[0]
        scores = np.concatenate([part.scores for part in kinds])
        order = np.argsort(-scores, kind="stable")
        names = [part.kind for part in kinds for _ in part.scores]
        masks = [mask for part in kinds for mask in part.masks]
        candidate_scores = np.concatenate([part.candidate_scores for part in kinds])
        ranks = np.argsort(-candidate_scores, kind="stable")
        candidate_names = [part.kind for part in kinds for _ in part.candidate_scores]
        candidate_masks = [mask for part in kinds for mask in part.candidate_masks]
        thresholds = [part.threshold for part in kinds if part.threshold is not None]
        report = RunReport.combine([(part.kind, part.report) for part in kinds])
        report = replace(report, warnings=report.warnings + _warn_of_unknown_rotations(kinds))
        return cls(
            shape=first.shape,
            points=np.concatenate([part.points for part in kinds])[order],
            scores=scores[order],
            masks=tuple(masks[i] for i in order),
            rotations=_joined(kinds, order),
            candidate_points=np.concatenate([part.candidate_points for part in kinds])[ranks],
            candidate_scores=candidate_scores[ranks],
            candidate_masks=tuple(candidate_masks[i] for i in ranks),
            threshold=min(thresholds, default=None),
            prompt_masks=tuple(mask for part in kinds for mask in part.prompt_masks),
            report=report,
            voxel_size_angstrom=first.voxel_size_angstrom,
            name=first.name,
            kind=", ".join(part.kind for part in kinds),
            kinds=tuple(kinds),
            names=tuple(names[i] for i in order),
            candidate_names=tuple(candidate_names[i] for i in ranks),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user, one sentence each."""
        return tuple(str(warning) for warning in self.report.warnings)

    @property
    def provenance(self) -> dict[str, str | float]:
        """The measurements of the run, as they are written to files; see `RunReport.provenance`."""
        return self.report.provenance()

    def without_masks(self) -> "Segmentation":
        """The same result with empty masks."""
        parts = tuple(part.without_masks() for part in self.kinds)
        masks, candidate_masks = (
            (InstanceMask.empty(),) * len(self.points),
            (InstanceMask.empty(),) * len(self.candidate_points),
        )
        return replace(self, masks=masks, candidate_masks=candidate_masks, kinds=parts)

    def painted(self, *, kinds: bool = False) -> list[tuple[int, InstanceMask]]:
        """Label and mask of each particle in painting order: the best last, so that it gets the voxels it shares.

        Particle i (0-based row) has label i + 1. With ``kinds``, it has the number of its kind in `kinds`, counted from
        1; if there is only one kind, the label is 1.
        """
        numbers = {part.kind: k for k, part in enumerate(self.kinds, start=1)}
        of_particle = [numbers.get(name, 1) for name in self.names or [self.kind] * len(self.masks)]
        labels = of_particle if kinds else range(1, len(self.masks) + 1)
        return list(zip(labels, self.masks, strict=True))[::-1]

    def labels(self) -> Labels:
        """Instance labels ``(z, y, x)``: particle i (0-based row) has label i + 1; the better score gets shared voxels.

        The type is the smallest of uint8, uint16 and uint32 that holds the labels.
        """
        return self._paint(self.painted())

    def semantic(self) -> Labels:
        """Kind of each voxel ``(z, y, x)``: 1 in the particles, or the number of their kind in `kinds`; 0 elsewhere."""
        return self._paint(self.painted(kinds=True))

    def _paint(self, parts: Sequence[tuple[int, InstanceMask]]) -> Labels:
        """Make a volume of labels from masks; later ones overwrite earlier ones."""
        highest = max((label for label, _ in parts), default=0)
        volume = np.zeros(self.shape, dtype=np.uint8 if highest < 2**8 else np.uint16 if highest < 2**16 else np.uint32)
        for label, mask in parts:
            volume[mask.box][mask.data] = label
        return volume


def _joined(kinds: Sequence[Segmentation], order: Int[np.ndarray, " n"]) -> Rotation | None:
    """The rotations of all particles of several kinds in the given order; None if any of them is not known."""
    known = [part.rotations for part in kinds if part.rotations is not None]
    return Rotation.concatenate(known)[order] if known and sum(map(len, known)) == len(order) else None


def _warn_of_unknown_rotations(kinds: Sequence[Segmentation]) -> tuple[RunWarning, ...]:
    """Warn if rotations are left out because those of some kinds are not known."""
    unknown = [part.kind for part in kinds if part.rotations is None and len(part.points)]
    if not unknown or all(part.rotations is None for part in kinds):
        return ()
    text = f"the orientations of the other kinds are left out, because those of {' and '.join(unknown)} are not known"
    return (RunWarning("orientations_left_out", text),)
