"""Filaments: from a click on one, all that have its cross-section, as lines and as tubes."""

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import Points, Progress, Scores, Volume
from cryosam.config import FilamentConfig
from cryosam.errors import PromptError
from cryosam.prompts import spell
from cryosam.structure_results import Filament
from cryosam.structures.agreement import CrossSections
from cryosam.structures.binned import Binned, BinnedTomogram
from cryosam.structures.cross_sections import PlaneImaging
from cryosam.structures.lines import LineMap, integrate_lines, mean_along
from cryosam.structures.radial_profile import Axis, RadialProfile, axis_at
from cryosam.structures.tracing import Curve, Taken, Tracer, cut_ends, join, smooth
from cryosam.structures.tubes import paint_tube
from cryosam.structures.whitening import Whitened, filter_radially, whiten

__all__ = ["FilamentFinder"]

Vector = Float[np.ndarray, " 3"]

_TAPER_ANGSTROM = 40.0  # beyond the outer radius, where the profile is cut off
_BRIGHTEST = 1.5  # times the clicked axis: gold and particles count no more than this at a voxel
_AVERAGED_ANGSTROM = 360.0  # length over which cross-sections along a filament are averaged before they decide
_LIKER = 1.1  # times as much like the kind as like a sheet; the wall of a microtubule is as much like both
_LEAST_PIECE = 0.6  # of the least length of a filament: pieces that may be joined, and the least around a click
_MOST_SEEDS = 50_000
_LEAST_SEEDS = 20


@dataclass(frozen=True)
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
    settings
        How; see there.
    """

    settings: FilamentConfig = field(default_factory=FilamentConfig)

    def find(self, tomogram: BinnedTomogram, clicks: Points, progress: Progress | None = None) -> tuple[Filament, ...]:
        """Find every filament like the clicked ones; see `cryosam.structures.protocol.StructureFinder.find`.

        Raises
        ------
        PromptError
            If at a click is nothing long and round.
        """
        search = _Search.of(self.settings, tomogram, tomogram.at(self.settings.voxel_size_angstrom), clicks)
        curves = search.curves(search.clicked(clicks), progress)
        found = [
            each for curve in curves if (each := search.filament(curve, tomogram)).score >= self.settings.least_score
        ]
        return tuple(sorted(found, key=lambda each: (-each.score, -each.length_angstrom)))

    def find_clicked(self, tomogram: BinnedTomogram, clicks: Points) -> tuple[Filament, ...]:
        """Only the filaments that were clicked on, in the order of the clicks; takes seconds.

        Raises
        ------
        PromptError
            If at a click is nothing long and round.
        """
        search = _Search.of(self.settings, tomogram, tomogram.at(self.settings.voxel_size_angstrom), clicks)
        return tuple(search.filament(curve, tomogram) for curve in search.clicked(clicks))


@dataclass(frozen=True, eq=False)
class _Search:
    """A kind of filament in a binned tomogram, and the volume in which its axes are bright."""

    finder: FilamentConfig
    binned: Binned
    axes: tuple[Axis, ...]
    profile: RadialProfile
    sections: CrossSections
    similarity: float
    filtered: Volume

    @classmethod
    def of(cls, finder: FilamentConfig, tomogram: BinnedTomogram, binned: Binned, clicks: Points) -> "_Search":
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
        for click, similarity, sheet in zip(clicks, at_clicks.similarity, at_clicks.sheet, strict=True):
            if similarity <= sheet:
                raise PromptError(
                    f"what is at {spell(click)} looks like a sheet rather than a filament; "
                    "look for membranes, or click another place on the filament"
                )
        filtered = _matched(white, profile)
        along = [_along(filtered, axis, half) for axis in axes]
        for click, values in zip(clicks, along, strict=True):
            if not np.quantile(values, 0.25) > finder.least_evenness * values.mean():
                raise PromptError(_short(click))
        level = float(np.median([np.median(values) for values in along]))
        filtered = np.clip(filtered / level, -_BRIGHTEST, _BRIGHTEST, dtype=np.float32)
        return cls(finder, binned, axes, profile, sections, float(np.median(at_clicks.similarity)), filtered)

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
            traced = self._tracer.trace(axis.centre, axis.tangent)
            near = [piece for piece in self._agreeing(traced) if self._is_at(piece, axis)]
            if not near or self._length(traced) < self.finder.least_length_angstrom:
                raise PromptError(_short(click))
            curves.append(self._smoothed(near[0]))
        return curves

    def _is_at(self, curve: Curve, axis: Axis) -> bool:
        """Whether a line passes through the axis at a click."""
        return _distance(curve, axis.centre) <= self.profile.outer_radius + 2

    def _length(self, curve: Curve) -> float:
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
        smoothed = [self._smoothed(curve) for curve in joined]
        return [
            curve
            for curve in smoothed
            if self._length(curve) >= finder.least_length_angstrom or any(self._is_at(curve, a) for a in self.axes)
        ]

    def _smoothed(self, curve: Curve) -> Curve:
        """The line without its scatter, and without what is beyond its own ends."""
        step = 40.0 / self.binned.voxel_size_angstrom
        return cut_ends(smooth(curve, step, 0.5), self.filtered, step)

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
        for start, stop in _runs(passes, gap):
            part = Curve(line.points[start:stop], line.is_inferred[start:stop])
            if self._length(part) >= _LEAST_PIECE * finder.least_length_angstrom:
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
    finder: FilamentConfig, white: Whitened, imaging: PlaneImaging, vox: float, place: Vector, click: Vector
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


def _matched(white: Whitened, profile: RadialProfile) -> Volume:
    """The volume in which the axes of filaments with this profile are brightest."""
    gains = profile.spectrum(white.frequencies) / np.sqrt(white.power)
    pad = min(len(profile.density), *white.data.shape)
    padded = filter_radially(np.pad(white.data, pad), white.frequencies, gains)
    return np.ascontiguousarray(padded[pad:-pad, pad:-pad, pad:-pad])


def _short(click: Vector) -> str:
    return (
        f"what is at {spell(click)} is no longer than a particle; look for particles, or click a filament where it is "
        "clearly visible, away from its ends"
    )


def _along(filtered: Volume, axis: Axis, half: int) -> Scores:
    """Means over three voxels along the axis, as far as it is inside."""
    steps = np.arange(-half, half + 1.0)[:, None]
    places = axis.centre + steps * axis.tangent
    inside = ((places >= 0) & (places <= np.array(filtered.shape) - 1)).all(axis=1)
    places = places[inside] if inside.any() else places
    return mean_along(filtered, places, np.tile(axis.tangent, (len(places), 1)), np.array([-1.0, 0.0, 1.0]))


def _null_level(strength: Scores, null: Float[np.ndarray, " k"], false_share: float) -> float:
    """The level above which the inverted volume has at most a share of the places of the volume; both descend."""
    if not len(strength):
        return np.inf
    n_null = np.searchsorted(-null, -strength, side="right")
    is_fine = n_null <= false_share * np.arange(1, len(strength) + 1)
    # where chance outnumbers even the strongest, these are looked at all the same: their length decides
    last = int(np.flatnonzero(is_fine)[-1]) if is_fine.any() else 0
    return float(strength[max(last, min(_LEAST_SEEDS, len(strength)) - 1)])


def _runs(passes: np.ndarray, most_gap: int) -> list[tuple[int, int]]:
    """Stretches of True; shorter gaps of False between them belong to them."""
    padded = np.concatenate([[False], passes, [False]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(padded) == 1), np.flatnonzero(np.diff(padded) == -1)
    runs: list[tuple[int, int]] = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if runs and start - runs[-1][1] <= most_gap:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
    return runs
