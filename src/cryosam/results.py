"""What was found: particles with their scores and masks, averages, and how far they can be trusted."""

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
    """A value for every cell of a level, so that thresholds can be changed without computing again.

    Parameters
    ----------
    data
        ``(z, y, x)`` cells; NaN where nothing was evaluated.
    stride
        Voxels a cell; cell i covers voxels [i * stride, (i + 1) * stride).
    """

    data: Volume
    stride: int


@dataclass(frozen=True, eq=False)
class Average:
    """What the particles look like when they are turned onto each other.

    Parameters
    ----------
    data
        ``(edge, edge, edge)`` pixels, protein bright; the particles' common centre is pixel edge // 2.
    step
        Voxels a pixel.
    """

    data: Volume
    step: float


@dataclass(frozen=True, eq=False)
class Trust:
    """How much an answer depends on the click; the first of k clicks is the user's.

    Parameters
    ----------
    clicks
        ``(k, 3)`` z, y, x in voxels.
    is_on_clicked
        ``(k,)`` whether a click lies on the particle that the user clicked.
    n_found
        ``(k,)`` particles that each click finds.
    finds_clicked
        ``(k,)`` whether the particle that the user clicked is one of them: else the two are of different kinds.
    agreement
        ``(k,)`` mean F1 of what a click finds with what clicks elsewhere find; those on one particle count as one.
    found_again
        ``(n,)`` share of the other clicks that find each particle of the user's answer.
    missed
        ``(m, 3)`` what most other clicks find and the user's does not.
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
        """The click whose answer has most support and the clicked particle; None where the user's is nearly as good."""
        best = int(np.where(self.finds_clicked, self.agreement, 0).argmax())
        return self.clicks[best] if self.agreement[best] > self.agreement[0] + _CLEARLY_BETTER else None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What was found: one row a particle, best first.

    Parameters
    ----------
    shape
        Of the tomogram, voxels z, y, x.
    points
        ``(n, 3)`` particle centres z, y, x in voxels.
    scores
        ``(n,)`` in [0, 1], descending.
    masks
        One a particle, in the same order; empty where only detection was asked for.
    rotations
        ``(n,)`` that turn the average, about its centre, to lie as each particle does; they act on z, y, x. None where
        orientations are not known.
    score_map
        The similarity to the query at every cell, or None where nothing was matched.
    candidate_points, candidate_scores, candidate_masks
        ``(m, 3)``, ``(m,)`` and one mask each: everything that was looked at, best first, accepted or not, so that the
        threshold can be moved without computing again. What shares most of its mask with a better one is left out.
    threshold
        The score above which a detection was kept, or None where nothing was matched.
    average
        Of the particles, or None where too few were found to make one. With it, scores are probabilities.
    prompt_masks
        The instances under the user's positive points.
    report
        What was found out on the way: contrast, diameter, the backends' digests, seconds per stage, warnings.
    voxel_size_angstrom, name
        Of the tomogram.
    trust
        How much it depends on the click, where that was asked for.
    kind
        Name of the particles' kind.
    kinds
        Where several kinds were looked for: what was found of each, in their order. The particles above are those of
        all kinds, and it is the parts that have score maps and averages.
    names, candidate_names
        Where several kinds were looked for: the kind of each particle and of each candidate.
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
        """What was found of several kinds in one tomogram, as one.

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
        report = RunReport.combine({part.kind: part.report for part in kinds})
        report = replace(report, warnings=report.warnings + _lacking(kinds))
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
        """Sentences that the user should read."""
        return tuple(str(warning) for warning in self.report.warnings)

    @property
    def provenance(self) -> dict[str, str | float]:
        """What was found out on the way, as it is written; see `RunReport.provenance`."""
        return self.report.provenance()

    def without_masks(self) -> "Segmentation":
        """The detections alone."""
        parts = tuple(part.without_masks() for part in self.kinds)
        masks, nothing = (
            (InstanceMask.empty(),) * len(self.points),
            (InstanceMask.empty(),) * len(self.candidate_points),
        )
        return replace(self, masks=masks, candidate_masks=nothing, kinds=parts)

    def moved_by(self, offset: Float[np.ndarray, " 3"], shape: tuple[int, int, int]) -> "Segmentation":
        """What was found under clicks in a part of a volume, as it lies in the whole.

        Parameters
        ----------
        offset
            z, y, x of the part's first voxel in the whole.
        shape
            Of the whole, voxels z, y, x.
        """

        def moved(masks: Sequence[InstanceMask]) -> tuple[InstanceMask, ...]:
            return tuple(mask.moved_by(offset) for mask in masks)

        warnings = tuple(warning.moved_by(tuple(offset.tolist())) for warning in self.report.warnings)
        return replace(
            self,
            shape=shape,
            points=self.points + offset,
            masks=moved(self.masks),
            prompt_masks=moved(self.prompt_masks),
            report=replace(self.report, warnings=warnings),
        )

    def painted(self, *, kinds: bool = False) -> list[tuple[int, InstanceMask]]:
        """Label and mask of each particle, in the order in which they are painted: the better score wins a voxel.

        Particle i (0-based row) has label i + 1, or with ``kinds`` the number of its kind in `kinds`, 1 where there is
        but one.
        """
        numbers = {part.kind: k for k, part in enumerate(self.kinds, start=1)}
        of_particle = [numbers.get(name, 1) for name in self.names or [self.kind] * len(self.masks)]
        labels = of_particle if kinds else range(1, len(self.masks) + 1)
        return list(zip(labels, self.masks, strict=True))[::-1]

    def labels(self) -> Labels:
        """Instance labels ``(z, y, x)``: particle i (0-based row) has label i + 1, the better score wins a voxel.

        The type is the smallest of uint8, uint16 and uint32 that holds the labels.
        """
        return self._paint(self.painted())

    def semantic(self) -> Labels:
        """Kind of each voxel ``(z, y, x)``: 1 in the particles, or the number of their kind in `kinds`; 0 elsewhere."""
        return self._paint(self.painted(kinds=True))

    def _paint(self, parts: Sequence[tuple[int, InstanceMask]]) -> Labels:
        """A volume of labels."""
        highest = max((label for label, _ in parts), default=0)
        volume = np.zeros(self.shape, dtype=np.uint8 if highest < 2**8 else np.uint16 if highest < 2**16 else np.uint32)
        for label, mask in parts:
            volume[mask.box][mask.data] = label
        return volume


def _joined(kinds: Sequence[Segmentation], order: Int[np.ndarray, " n"]) -> Rotation | None:
    """The rotations of all particles of several kinds, in an order; None where those of any are not known."""
    known = [part.rotations for part in kinds if part.rotations is not None]
    return Rotation.concatenate(known)[order] if known and sum(map(len, known)) == len(order) else None


def _lacking(kinds: Sequence[Segmentation]) -> tuple[RunWarning, ...]:
    """A word about the kinds for whose sake the rotations of the others are left out."""
    lack = [part.kind for part in kinds if part.rotations is None and len(part.points)]
    if not lack or all(part.rotations is None for part in kinds):
        return ()
    told = f"the orientations of the other kinds are left out, for those of {' and '.join(lack)} are not known"
    return (RunWarning("orientations_left_out", told),)
