"""Filaments: from a click on one, all that have its cross-section, as lines and as tubes."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import Points, Progress, Scores, Volume
from cryosam.config.stages import require, require_positive
from cryosam.errors import PromptError
from cryosam.prompts import spell
from cryosam.structure_results import Filament
from cryosam.structures.agreement import Agreement, CrossSections, runs
from cryosam.structures.binned import Binned, BinnedTomogram
from cryosam.structures.cross_sections import PlaneImaging
from cryosam.structures.lines import LineMap, integrate_lines
from cryosam.structures.matched_filter import along_axis, matched
from cryosam.structures.radial_profile import Axis, RadialProfile, axis_at
from cryosam.structures.tracing import Curve, Taken, Tracer, join, smooth
from cryosam.structures.tubes import paint_tube
from cryosam.structures.whitening import Whitened, whiten

__all__ = ["FilamentAt", "FilamentFinder"]

Vector = Float[np.ndarray, " 3"]

_TAPER_ANGSTROM = 40.0  # beyond the outer radius, where the profile is cut off
_BRIGHTEST = 1.5  # times the clicked axis: gold and particles count no more than this at a voxel
_AVERAGED_ANGSTROM = 360.0  # length over which cross-sections along a filament are averaged before they decide
_LIKER = 1.1  # times as much like the kind as like a sheet; the wall of a microtubule is as much like both
_LEAST_PIECE = 0.6  # of the least length of a filament: pieces that may be joined, and the least around a click
_LEAST_SEEDS, _MOST_SEEDS = 20, 50_000


@dataclass(frozen=True)
class FilamentAt:
    """What is at a click, looked at as a filament.

    Parameters
    ----------
    length_angstrom
        Length over which the cross-section is that at the click; 0 where it is the one of a sheet.
    radius_angstrom
        Outer radius of the cross-section.
    similarity, sheet
        Correlation of the cross-section at the click with the radial profile around the axis, and with a sheet.
    evenness
        Lower quartile of the strength along the axis at the click, as a fraction of its mean.
    """

    length_angstrom: float
    radius_angstrom: float
    similarity: float
    sheet: float
    evenness: float


@dataclass(frozen=True, kw_only=True)
class FilamentFinder:
    """Finds the filaments that have the cross-section of the clicked one.

    At the click, the axis and the radial profile around it are measured. The profile, divided by the spectrum of the
    tomogram, is the filter after which the axis of such a filament is a bright line. Lines of the filtered volume are
    integrated in all directions, each in units of its own background, because the missing wedge favours some. The same
    lines of the inverted volume tell what chance gives. Filaments are followed from the strongest places whose
    cross-section is that of the kind and not that of a sheet; they end where it no longer is. Ends that continue each
    other are joined, and what lies between them is marked as inferred.

    Parameters
    ----------
    voxel_size_angstrom
        The tomogram is binned to voxels of about this size; actin is three of them wide.
    profile_radius_angstrom
        Largest radius of a filament with its surroundings: that of a microtubule is 125 angstrom.
    line_angstrom
        Half of the length over which the click is looked at, and of the lines. Microtubules and actin are straight
        over 300 angstrom.
    offset_angstrom
        Largest distance from the click to the axis: a click may be on the wall of a microtubule.
    offset_scale_angstrom
        Distance of the axis from the click that costs as much as one unit of evidence (squared deviation of noise).
    n_directions
        Of the lines, and of the axes that are tried at the click; 200 are 10 degrees apart, over which a line of
        320 angstrom leaves actin by less than its radius.
    least_evenness
        Lower quartile of the strength along the line at the click, as a fraction of its mean: a filament is as strong
        everywhere, a particle or a gold bead is not.
    least_strength
        Strength at which a filament is begun, as a fraction of that at the click.
    low_strength
        Strength at which it ends; half of a line ahead beyond the end gives 0.5.
    least_similarity
        Correlation of a cross-section with the profile, as a fraction of that at the click.
    least_score
        The same for the mean over a whole filament.
    unlike_angstrom
        Longest stretch that the strength of the line alone carries, between stretches with the kind's cross-section:
        other structures within the margin of the cross-section, and crossings, spoil it.
    false_share
        Share of the places where filaments are begun that the inverted volume would give as well.
    gap_diameters
        Longest gap that is bridged, in diameters, or the length of a line if that is longer.
    gap_degrees
        Largest angle between what is joined.
    turn_degrees
        Largest change of direction in a step of two voxels; over two diameters of actin this is 45 degrees.
    least_length_angstrom
        What is shorter is no filament: complexes have up to 300 angstrom, and a line ahead blurs both ends.
    """

    voxel_size_angstrom: float = 20.0
    profile_radius_angstrom: float = 180.0
    line_angstrom: float = 150.0
    offset_angstrom: float = 130.0
    offset_scale_angstrom: float = 25.0
    n_directions: int = 200
    least_evenness: float = 0.5
    least_strength: float = 0.5
    low_strength: float = 0.35
    least_similarity: float = 0.6
    least_score: float = 0.7
    unlike_angstrom: float = 800.0
    false_share: float = 0.1
    gap_diameters: float = 3.0
    gap_degrees: float = 25.0
    turn_degrees: float = 16.0
    least_length_angstrom: float = 500.0

    def __post_init__(self) -> None:
        require_positive(self, "voxel_size_angstrom", "profile_radius_angstrom", "line_angstrom", "n_directions")
        require(0 < self.low_strength <= self.least_strength, "low_strength must be in 0 to least_strength")

    def find(self, tomogram: BinnedTomogram, clicks: Points, progress: Progress | None = None) -> tuple[Filament, ...]:
        """Find every filament like the clicked ones; see `cryosam.structures.protocol.StructureFinder.find`.

        Raises
        ------
        PromptError
            If at a click is nothing long and round.
        """
        search = _Search.of(self, tomogram, tomogram.at(self.voxel_size_angstrom), clicks)
        search.require_filaments(clicks)
        curves = search.curves(search.clicked(clicks), progress)
        found = [each for curve in curves if (each := search.filament(curve, tomogram)).score >= self.least_score]
        return tuple(sorted(found, key=lambda each: (-each.score, -each.length_angstrom)))

    def find_clicked(self, tomogram: BinnedTomogram, clicks: Points) -> tuple[Filament, ...]:
        """Only the filaments that were clicked on, in the order of the clicks; takes seconds.

        Raises
        ------
        PromptError
            If at a click is nothing long and round.
        """
        search = _Search.of(self, tomogram, tomogram.at(self.voxel_size_angstrom), clicks)
        search.require_filaments(clicks)
        return tuple(search.filament(curve, tomogram) for curve in search.clicked(clicks))

    def seen_at(self, tomogram: BinnedTomogram, click: Float[np.ndarray, " 3"]) -> FilamentAt | None:
        """What is at a click, looked at as a filament; None where nothing is round. Takes a second."""
        try:
            search = _Search.of(self, tomogram, tomogram.at(self.voxel_size_angstrom), click[None])
        except PromptError:
            return None
        pieces = search.pieces(search.axes[0])
        return FilamentAt(
            length_angstrom=search.length(pieces[0]) if pieces else 0.0,
            radius_angstrom=search.radius_angstrom,
            similarity=float(search.at_clicks.similarity[0]),
            sheet=float(search.at_clicks.sheet[0]),
            evenness=float(search.evenness[0]),
        )


@dataclass(frozen=True, eq=False)
class _Search:
    """A kind of filament in a binned tomogram, and the volume in which its axes are bright."""

    finder: FilamentFinder
    binned: Binned
    axes: tuple[Axis, ...]
    profile: RadialProfile
    sections: CrossSections
    at_clicks: Agreement
    evenness: Scores
    filtered: Volume

    @classmethod
    def of(cls, finder: FilamentFinder, tomogram: BinnedTomogram, binned: Binned, clicks: Points) -> "_Search":
        """Measure the kind at the clicks, and filter the tomogram with its profile."""
        if not len(clicks):
            raise PromptError("filaments are found from a click on one of them; give a point z, y, x")
        vox = binned.voxel_size_angstrom
        white = whiten(binned.data, tomogram.wedge)
        half = max(round(finder.line_angstrom / vox), 1)
        imaging = PlaneImaging(tomogram.wedge, white.frequencies, 1 / np.sqrt(white.power), half)
        axes = tuple(_axis(finder, white, imaging, vox, binned.from_voxels(click[None])[0], click) for click in clicks)
        weights = np.array([axis.evidence for axis in axes])
        density = np.average([axis.profile.density for axis in axes], axis=0, weights=weights)
        profile = RadialProfile(density).tapered(_TAPER_ANGSTROM / vox)
        sections = CrossSections(white.data, imaging, profile, 2 * _TAPER_ANGSTROM / vox)
        at_clicks = sections.compare(np.array([a.centre for a in axes]), np.array([a.tangent for a in axes]))
        filtered = matched(white, profile)
        along = [along_axis(filtered, axis, half) for axis in axes]
        evenness = np.array([np.quantile(values, 0.25) / max(float(values.mean()), 1e-9) for values in along])
        level = max(float(np.median([np.median(values) for values in along])), 1e-9)
        filtered = np.clip(filtered / level, -_BRIGHTEST, _BRIGHTEST, dtype=np.float32)
        return cls(finder, binned, axes, profile, sections, at_clicks, evenness, filtered)

    def require_filaments(self, clicks: Points) -> None:
        """Refuse clicks on sheets, and on what is not long."""
        for click, similarity, sheet in zip(clicks, self.at_clicks.similarity, self.at_clicks.sheet, strict=True):
            if similarity <= sheet:
                raise PromptError(
                    f"what is at {spell(click)} looks like a sheet rather than a filament; "
                    "look for membranes, or click another place on the filament"
                )
        for click, evenness in zip(clicks, self.evenness, strict=True):
            if not evenness > self.finder.least_evenness:
                raise PromptError(_short(click))

    @property
    def similarity(self) -> float:
        """Correlation of cross-sections at the clicks with the profile."""
        return float(np.median(self.at_clicks.similarity))

    @property
    def radius_angstrom(self) -> float:
        """Outer radius of the kind."""
        return self.profile.outer_radius * self.binned.voxel_size_angstrom

    @property
    def _tracer(self) -> Tracer:
        finder, vox = self.finder, self.binned.voxel_size_angstrom
        radius, turn = max(self.profile.outer_radius, 2.0), np.radians(finder.turn_degrees)
        return Tracer(self.filtered, 40.0 / vox, finder.line_angstrom / vox, finder.low_strength, turn, radius)

    def clicked(self, clicks: Points) -> list[Curve]:
        """The filament through each click."""
        curves = []
        for axis, click in zip(self.axes, clicks, strict=True):
            pieces = self.pieces(axis)
            if not pieces:
                raise PromptError(_short(click))
            curves.append(smooth(pieces[0], 40.0 / self.binned.voxel_size_angstrom, 0.5))
        return curves

    def pieces(self, axis: Axis) -> list[Curve]:
        """The parts of the line through an axis that pass through it; none if the line is short."""
        traced = self._tracer.trace(axis.centre, axis.tangent)
        if self.length(traced) < self.finder.least_length_angstrom:
            return []
        return [piece for piece in self._agreeing(traced) if self._is_at(piece, axis)]

    def _is_at(self, curve: Curve, axis: Axis) -> bool:
        """Whether a line passes through the axis at a click."""
        return _distance(curve, axis.centre) <= self.profile.outer_radius + 2

    def length(self, curve: Curve) -> float:
        """Length of a line in angstrom."""
        return curve.length * self.binned.voxel_size_angstrom

    def curves(self, clicked: list[Curve], progress: Progress | None) -> list[Curve]:
        """All filaments of the kind, the clicked ones among them, as smooth lines in voxels of the binned volume."""
        finder, vox = self.finder, self.binned.voxel_size_angstrom
        lines = integrate_lines(self.filtered, round(finder.line_angstrom / vox), finder.n_directions, progress)
        seeds, tangents = self._seeds(lines)
        pieces = _distinct(clicked, self._tracer.distance)
        taken = Taken(pieces)
        for index, (seed, tangent) in enumerate(zip(seeds, tangents, strict=True)):
            if progress is not None:
                progress("tracing", index + 1, len(seeds))
            if taken.is_near(seed, 1.5 * self._tracer.distance):
                continue
            agreeing = self._agreeing(self._tracer.trace(seed, tangent, taken))
            if agreeing:
                pieces += agreeing
                taken = Taken(pieces)
        step = 40.0 / vox
        gap = 2 * max(finder.gap_diameters * self.profile.outer_radius, finder.line_angstrom / vox)
        joined = join(pieces, gap, np.radians(finder.gap_degrees), step)
        smoothed = [smooth(curve, step, 0.5) for curve in joined]
        return [
            curve
            for curve in smoothed
            if self.length(curve) >= finder.least_length_angstrom or any(self._is_at(curve, a) for a in self.axes)
        ]

    def _seeds(self, lines: LineMap) -> tuple[Points, Points]:
        """Places where filaments are begun, strongest first, and the direction there."""
        places, tangents, strength = self._alike(lines.strength, lines.direction, lines, sign=1)
        _, _, null = self._alike(lines.opposite, lines.opposite_direction, lines, sign=-1)
        is_seed = strength >= _null_level(strength, null, self.finder.false_share)
        return places[is_seed], tangents[is_seed]

    def _alike(
        self, strength: Volume, direction: np.ndarray, lines: LineMap, sign: int
    ) -> tuple[Points, Points, Scores]:
        """Strongest places with the kind's cross-section: position, direction, and strength; of either sign."""
        size = 2 * max(round(self.profile.outer_radius), 2) + 1
        places = np.argwhere((strength > 0) & (ndimage.maximum_filter(strength, size) == strength))
        index = direction[tuple(places.T)]
        strong = strength[tuple(places.T)] * lines.deviations[index] >= self.finder.least_strength
        places, index = places[strong], index[strong]
        order = np.argsort(-strength[tuple(places.T)], kind="stable")[:_MOST_SEEDS]
        places, tangents = places[order], lines.tangents[index[order]]
        agreement = self.sections.compare(places.astype(float), tangents, sign=sign)
        passes = agreement.passes(self.finder.least_similarity * self.similarity)
        evidence = strength[tuple(places.T)] * agreement.similarity
        order = np.flatnonzero(passes)[np.argsort(-evidence[passes], kind="stable")]
        return places[order].astype(float), tangents[order], evidence[order].astype(float)

    def _agreeing(self, curve: Curve) -> list[Curve]:
        """The parts of a line whose cross-section is that of the kind."""
        finder, vox = self.finder, self.binned.voxel_size_angstrom
        if len(curve.points) < 3:
            return []
        line = smooth(curve, 40.0 / vox, 0.5)
        agreement = self.sections.compare(line.points, line.tangents).averaged(_AVERAGED_ANGSTROM / 40.0)
        passes = agreement.passes(finder.least_similarity * self.similarity, _LIKER)
        gap = max(round(finder.unlike_angstrom / 40.0), 1)
        parts = []
        for start, stop in runs(passes, gap):
            part = Curve(line.points[start:stop], line.is_inferred[start:stop])
            if self.length(part) >= _LEAST_PIECE * finder.least_length_angstrom:
                parts.append(part)
        return parts

    def filament(self, curve: Curve, tomogram: BinnedTomogram) -> Filament:
        """The filament along a line, in voxels of the tomogram."""
        agreement = self.sections.compare(curve.points, curve.tangents)
        score = float(np.clip(np.mean(agreement.similarity[~curve.is_inferred]) / self.similarity, 0, 1))
        placed = replace(curve, points=self.binned.to_voxels(curve.points))
        radius = self.radius_angstrom / tomogram.voxel_size_angstrom
        measured, inferred = paint_tube(placed, radius, tomogram.shape)
        return Filament(
            mask=measured,
            score=score,
            points=placed.points,
            tangents=placed.tangents,
            length_angstrom=placed.length * tomogram.voxel_size_angstrom,
            radius_angstrom=self.radius_angstrom,
            inferred=inferred,
        )


def _distance(curve: Curve, place: Vector) -> float:
    """Of a place from a line, voxels."""
    return float(np.linalg.norm(curve.at(1.0).points - place, axis=1).min())


def _distinct(curves: list[Curve], distance: float) -> list[Curve]:
    """The lines, without those that another click gave already."""
    kept: list[Curve] = []
    for curve in curves:
        middle = curve.points[len(curve.points) // 2]
        if all(_distance(other, middle) > distance for other in kept):
            kept.append(curve)
    return kept


def _axis(
    finder: FilamentFinder, white: Whitened, imaging: PlaneImaging, vox: float, place: Vector, click: Vector
) -> Axis:
    """The axis at a click."""
    axis = axis_at(
        white.data,
        imaging,
        place,
        reach=max(round(finder.profile_radius_angstrom / vox), 3),
        most_offset=max(round(finder.offset_angstrom / vox), 1),
        offset_scale=finder.offset_scale_angstrom / vox,
        n_directions=finder.n_directions,
    )
    if axis is None:
        raise PromptError(_nothing(click))
    return axis


def _nothing(click: Vector) -> str:
    return f"no filament was recognised at {spell(click)}; click on its middle or wall where it is clearly visible"


def _short(click: Vector) -> str:
    return (
        f"what is at {spell(click)} is no longer than a particle; look for particles, or click a filament where it is "
        "clearly visible, away from its ends"
    )


def _null_level(strength: Scores, null: Float[np.ndarray, " k"], false_share: float) -> float:
    """The level above which the inverted volume has at most a share of the places of the volume; both descend."""
    if not len(strength):
        return np.inf
    n_null = np.searchsorted(-null, -strength, side="right")
    is_fine = n_null <= false_share * np.arange(1, len(strength) + 1)
    # where chance outnumbers even the strongest, these are looked at all the same: their length decides
    last = int(np.flatnonzero(is_fine)[-1]) if is_fine.any() else 0
    return float(strength[max(last, min(_LEAST_SEEDS, len(strength)) - 1)])
