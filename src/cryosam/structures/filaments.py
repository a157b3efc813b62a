"""Filaments: from a click on one, all that have its cross-section, as lines and as tubes."""

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import Points, Progress, Scores, Volume
from cryosam.config import FilamentConfig
from cryosam.errors import PromptError
from cryosam.prompts import spell
from cryosam.structure_query import FilamentKind
from cryosam.structure_results import Filament
from cryosam.structures.agreement import Agreement, CrossSections, runs
from cryosam.structures.binned import Binned, BinnedTomogram
from cryosam.structures.cross_sections import PlaneImaging
from cryosam.structures.filament_clicks import FilamentAt, clicked_axis, too_short
from cryosam.structures.lines import LineMap, integrate_lines, mean_along, null_level
from cryosam.structures.matched_filter import along_axis, matched
from cryosam.structures.radial_profile import Axis, RadialProfile
from cryosam.structures.thin_axis import ThinLines
from cryosam.structures.tracing import Curve, Taken, Tracer, cut_ends, distance_from, distinct, join, smooth
from cryosam.structures.tubes import paint_tube
from cryosam.structures.whitening import Whitened, whiten

__all__ = ["FilamentAt", "FilamentFinder"]

Vector = Float[np.ndarray, " 3"]

_TAPER_ANGSTROM = 40.0  # beyond the outer radius, where the profile is cut off
_BRIGHTEST = 1.5  # times the clicked axis: gold and particles count no more than this at a voxel
_AVERAGED_ANGSTROM = 360.0  # length over which cross-sections along a filament are averaged before they decide
_LIKER = 1.1  # times as much like the kind as like a sheet; the wall of a microtubule is as much like both
_LEAST_PIECE = 0.6  # of the least length of a filament: pieces that may be joined, and the least around a click
_BRIGHT_SHARE = 1e-3  # of all voxels, about what the axes of filaments take: gold counts no more than they do
_ROUNDS = 2  # of tracing a thin filament that was clicked: the first goes by one line's length, the second by all of it
_LEAST_SEEDS, _MOST_SEEDS = 20, 50_000


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
        search, curves = self._asked(tomogram, clicks)
        return search.filaments(curves, search.lines(progress), tomogram, progress)

    def describe(
        self,
        tomogram: BinnedTomogram,
        clicks: Points,
        progress: Progress | None = None,  # noqa: ARG002
    ) -> FilamentKind:
        """Measure the cross-section at the clicks; see `cryosam.structures.protocol.StructureFinder`."""
        search, _ = self._asked(tomogram, clicks)
        size, density = search.binned.voxel_size_angstrom, search.profile.density
        return FilamentKind(density=density, step_angstrom=size, similarity=search.similarity)

    def search(
        self, tomogram: BinnedTomogram, kind: FilamentKind, progress: Progress | None = None
    ) -> tuple[Filament, ...]:
        """Find every filament with the cross-section of a kind; see `StructureFinder`.

        In place of the clicks, the places that look most like the kind tell how bright it is in this tomogram.
        """
        search = _Search.like(self.settings, tomogram, tomogram.at(self.settings.voxel_size_angstrom), kind)
        lines = search.lines(progress)
        level, similarity = search.brightest(lines)
        if similarity < self.settings.least_similarity * kind.similarity or level <= 0:
            return ()
        filtered = np.clip(search.filtered / level, -_BRIGHTEST, _BRIGHTEST, dtype=np.float32)
        search = replace(search, similarity=similarity, filtered=filtered)
        return search.filaments([], replace(lines, deviations=lines.deviations / level), tomogram, progress)

    def find_clicked(self, tomogram: BinnedTomogram, clicks: Points) -> tuple[Filament, ...]:
        """Only the filaments that were clicked on, in the order of the clicks; takes seconds.

        Raises
        ------
        PromptError
            If at a click is nothing long and round.
        """
        search, curves = self._asked(tomogram, clicks)
        return tuple(search.filament(curve, tomogram) for curve in curves)

    def _asked(self, tomogram: BinnedTomogram, clicks: Points) -> "tuple[_Search, list[Curve]]":
        """The search from clicks, which must be on filaments, and the clicked ones."""
        binned = tomogram.at(self.settings.voxel_size_angstrom)
        try:
            search = _Search.of(self.settings, tomogram, binned, clicks)
            search.require_filaments(clicks)
            return search, search.clicked(clicks)
        except PromptError:
            thin = _Search.thin(self.settings, tomogram, binned, clicks)
            if thin is None:
                raise
            return thin, thin.clicked(clicks)

    def seen_at(self, tomogram: BinnedTomogram, click: Float[np.ndarray, " 3"]) -> FilamentAt | None:
        """What is at a click, looked at as a filament; None where nothing is round. Takes a second."""
        binned = tomogram.at(self.settings.voxel_size_angstrom)
        try:
            search = _Search.of(self.settings, tomogram, binned, click[None])
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

    finder: FilamentConfig
    binned: Binned
    axes: tuple[Axis, ...]
    profile: RadialProfile
    sections: CrossSections
    similarity: float
    at_clicks: Agreement
    evenness: Scores
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
        axes = tuple(
            clicked_axis(finder, white, imaging, vox, binned.from_voxels(click[None])[0], click) for click in clicks
        )
        return cls._at(finder, binned, white, imaging, axes)

    @classmethod
    def thin(cls, finder: FilamentConfig, tomogram: BinnedTomogram, binned: Binned, clicks: Points) -> "_Search | None":
        """The search for thin filaments, whose profile cannot be measured at the clicks; None if one is on nothing.

        How bright they are, and how similar to the kind, is measured along the whole of the clicked ones.
        """
        vox = binned.voxel_size_angstrom
        half = max(round(finder.line_angstrom / vox), 1)
        white = whiten(binned.data, tomogram.wedge)
        lines = ThinLines(white, vox, half, finder.n_directions)
        axes = tuple(axis for click in binned.from_voxels(clicks) if (axis := lines.at(click)) is not None)
        if not len(clicks) or len(axes) < len(clicks):
            return None
        imaging = PlaneImaging(tomogram.wedge, white.frequencies, 1 / np.sqrt(white.power), half)
        search = cls._at(finder, binned, white, imaging, axes)
        for _ in range(_ROUNDS):
            try:
                curves = search.clicked(clicks)
            except PromptError:
                return None
            search = search._like_these(curves)
        return search

    def _like_these(self, curves: list[Curve]) -> "_Search":
        """The search with brightness and similarity as in the mean along some lines."""
        points, tangents = (np.concatenate([getattr(c, name) for c in curves]) for name in ("points", "tangents"))
        level = max(float(mean_along(self.filtered, points, tangents, np.array([-1.0, 0.0, 1.0])).mean()), 1e-9)
        similarity = float(self.sections.compare(points, tangents).similarity.mean())
        return replace(self, similarity=similarity, filtered=np.asarray(self.filtered / level, dtype=np.float32))

    @classmethod
    def _at(
        cls, finder: FilamentConfig, binned: Binned, white: Whitened, imaging: PlaneImaging, axes: tuple[Axis, ...]
    ) -> "_Search":
        """The search for what is around some axes."""
        vox, half = binned.voxel_size_angstrom, imaging.half_length
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
        similarity = float(np.median(at_clicks.similarity))
        return cls(finder, binned, axes, profile, sections, similarity, at_clicks, evenness, filtered)

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
                raise PromptError(too_short(click))

    @classmethod
    def like(cls, finder: FilamentConfig, tomogram: BinnedTomogram, binned: Binned, kind: FilamentKind) -> "_Search":
        """Filter the tomogram with the profile of a kind; how bright its axes are is not known yet."""
        vox = binned.voxel_size_angstrom
        white = whiten(binned.data, tomogram.wedge)
        half = max(round(finder.line_angstrom / vox), 1)
        imaging = PlaneImaging(tomogram.wedge, white.frequencies, 1 / np.sqrt(white.power), half)
        steps = np.arange(len(kind.density)) * kind.step_angstrom
        profile = RadialProfile(np.interp(np.arange(0, steps[-1], vox), steps, kind.density))
        sections = CrossSections(white.data, imaging, profile, 2 * _TAPER_ANGSTROM / vox)
        none = Agreement(np.zeros(0), np.zeros(0))
        return cls(finder, binned, (), profile, sections, kind.similarity, none, np.zeros(0), matched(white, profile))

    def brightest(self, lines: LineMap) -> tuple[float, float]:
        """How bright, and how similar to the kind, the places are that look most like it; 0 without any."""
        places, tangents = (each[:_LEAST_SEEDS] for each in self._seeds(lines, least_strength=0.0))
        if not len(places):
            return 0.0, 0.0
        similarity = self.sections.compare(places, tangents).similarity
        steps = np.arange(-self.sections.imaging.half_length, self.sections.imaging.half_length + 1.0)
        return float(np.median(mean_along(self.filtered, places, tangents, steps))), float(np.median(similarity))

    def lines(self, progress: Progress | None) -> LineMap:
        """The strongest line through each voxel; no voxel counts more than the brightest thousandth of them."""
        volume, half = self.filtered, round(self.finder.line_angstrom / self.binned.voxel_size_angstrom)
        if not self.axes:  # else no voxel counts more than the clicked axis
            bright = float(np.quantile(volume[::2, ::2, ::2], 1 - _BRIGHT_SHARE))
            volume = np.clip(volume, -bright, bright)
        return integrate_lines(volume, half, self.finder.n_directions, progress)

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
                raise PromptError(too_short(click))
            curves.append(self._smoothed(pieces[0]))
        return curves

    def pieces(self, axis: Axis) -> list[Curve]:
        """The parts of the line through an axis that pass through it; none if the line is short."""
        traced = self._tracer.trace(axis.centre, axis.tangent)
        if self.length(traced) < self.finder.least_length_angstrom:
            return []
        return [piece for piece in self._agreeing(traced) if self._is_at(piece, axis)]

    def _is_at(self, curve: Curve, axis: Axis) -> bool:
        """Whether a line passes through the axis at a click."""
        return distance_from(curve, axis.centre) <= self.profile.outer_radius + 2

    def length(self, curve: Curve) -> float:
        """Length of a line in angstrom."""
        return curve.length * self.binned.voxel_size_angstrom

    def filaments(
        self, clicked: list[Curve], lines: LineMap, tomogram: BinnedTomogram, progress: Progress | None
    ) -> tuple[Filament, ...]:
        """All filaments of the kind, best first."""
        found = [self.filament(curve, tomogram) for curve in self.curves(clicked, lines, progress)]
        found = [each for each in found if each.score >= self.finder.least_score]
        return tuple(sorted(found, key=lambda each: (-each.score, -each.length_angstrom)))

    def curves(self, clicked: list[Curve], lines: LineMap, progress: Progress | None) -> list[Curve]:
        """All filaments of the kind, the clicked ones among them, as smooth lines in voxels of the binned volume."""
        finder, vox = self.finder, self.binned.voxel_size_angstrom
        seeds, tangents = self._seeds(lines, finder.least_strength)
        pieces = distinct(clicked, self._tracer.distance)
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
            if any(self._is_at(curve, axis) for axis in self.axes)
            or (self.length(curve) >= finder.least_length_angstrom and self._is_of_kind(curve))
        ]

    def _is_of_kind(self, curve: Curve) -> bool:
        """Whether the kind's profile explains enough of the line's own, from which noise is averaged out."""
        points, tangents = (each[~curve.is_inferred] for each in (curve.points, curve.tangents))
        return self.sections.explained_along(points, tangents) >= self.finder.least_explained

    def _smoothed(self, curve: Curve) -> Curve:
        """The line without its scatter, and without what is beyond its own ends."""
        step = 40.0 / self.binned.voxel_size_angstrom
        return cut_ends(smooth(curve, step, 0.5), self.filtered, step)

    def _seeds(self, lines: LineMap, least_strength: float) -> tuple[Points, Points]:
        """Places where filaments are begun, strongest first, and the direction there."""
        places, tangents, strength = self._alike(lines.strength, lines.direction, lines, least_strength, sign=1)
        _, _, null = self._alike(lines.opposite, lines.opposite_direction, lines, least_strength, sign=-1)
        is_seed = strength >= null_level(strength, null, self.finder.false_share, _LEAST_SEEDS)
        return places[is_seed], tangents[is_seed]

    def _alike(
        self, strength: Volume, direction: np.ndarray, lines: LineMap, least_strength: float, sign: int
    ) -> tuple[Points, Points, Scores]:
        """Strongest places with the kind's cross-section: position, direction, and strength; of either sign."""
        size = 2 * max(round(self.profile.outer_radius), 2) + 1
        places = np.argwhere((strength > 0) & (ndimage.maximum_filter(strength, size) == strength))
        index = direction[tuple(places.T)]
        strong = strength[tuple(places.T)] * lines.deviations[index] >= least_strength
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
