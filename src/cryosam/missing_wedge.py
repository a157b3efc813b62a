"""The missing wedge: which frequencies a tilt series sampled, and how to see that in a power spectrum."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from cryosam.arrays import Plane
from cryosam.config import TomogramConfig
from cryosam.power_spectrum import PowerSpectrum

__all__ = ["MissingWedge", "SeenWedge", "SettledWedge", "find_wedge", "settle_wedge"]

TiltRange = tuple[float, float]
WedgeSource = Literal["spectrum", "settings", "default"]

# for each beam, the two axes of the plane normal to it: the one that angles start from, and the one at 90 degrees
_NORMAL: dict[Plane, tuple[Plane, Plane]] = {"z": ("x", "y"), "y": ("x", "z"), "x": ("z", "y")}

_BAND = (0.1, 0.46)  # cycles per voxel: in a box of 64, the window blurs an edge by 17 degrees at the lower end
_SHELL = 0.02  # cycles per voxel, thickness of the shells in which the spectrum is flattened
_SHELL_QUANTILE = 0.75  # of the decibels in a shell: two thirds of it are sampled, so this is a level of what is
_STRONG = 0.04  # cycles per voxel, from where on the strongest shell is looked for
_SPREAD = 40.0  # decibels: a shell this far below the strongest holds what the Hann window spreads, not the volume
_CORE, _GAP = 45.0, 70.0  # degrees: a tilt series has the tilts below the first, and hardly any above the second
_COARSE, _FINE = 5, 1  # degrees, steps of the search for the axis
_UPRIGHT = 3.0  # degrees: a tilt axis this near to an axis of the volume, to which programs align it, is taken as that
_LAYER_STARTS, _LAYER = np.arange(0.1, 0.40, 0.04), 0.08  # cycles per voxel: overlapping layers of the band
_IN_PLANE = 0.6  # of a frequency's length: the least that lies in the plane normal to the tilt axis
_BIN = 2.0  # degrees of tilt
_LEAST_IN_BIN = 4  # frequencies
_INSIDE = (18.0, 5.0)  # degrees before an edge, between which the level there is fitted; nearer, the window blurs it
_STEEP = 12.0  # degrees to both sides of an edge within which the power falls
_LEAST_DEPTH = 8.0  # decibels by which the wedge lies below the rest; measured: docs/benchmarks.md
_LEAST_FALL = 0.5  # of the depth, the least by which the power falls near an edge; a decay as a Gaussian's has 0.4
_MOST_ACROSS = 0.85  # of the depth, that is left if the axis is turned by 90 degrees; a cone about the beam has all
_LEAST_TILT = 20.0  # degrees; a tilt series does not end below
_LEAST_LAYERS = 3  # in which the wedge is visible
_THIN = 1.5  # times thinner than both others is an axis along which the beam may be
_AGREE = 10.0  # degrees by which a range or an axis that is given may differ from the visible one


@dataclass(frozen=True, kw_only=True)
class MissingWedge:
    """The frequencies that a tilt series did not sample: its range of tilts, the tilt axis, and the beam.

    The projection at tilt t holds the frequencies of the plane ``w = u tan t``, where w is the frequency along the
    beam, and u that along the direction normal to both the beam and the tilt axis (Fourier slice theorem). What lies
    between the planes of the first and the last tilt is sampled; the double wedge beyond them is missing. With the tilt
    axis along y and the beam along z, u is the frequency along x.

    Parameters
    ----------
    tilt_range
        Lowest and highest tilt in degrees, in [-90, 90]. Their sign is that of ``w = u tan t``; programs differ in the
        sign of tilt angles.
    axis
        Direction of the tilt axis in degrees, from x towards y: 0 is x, 90 is y. With the beam along y, from x towards
        z; with the beam along x, from z towards y.
    beam
        The axis of the volume that is parallel to the beam at tilt 0. It is y in a volume as IMOD's ``tilt`` writes it,
        before it is rotated.

    Examples
    --------
    >>> wedge = MissingWedge(tilt_range=(-50.0, 60.0))
    >>> wedge.is_sampled(np.array([1.5, -1.5]), np.array([0.0, 0.0]), np.array([1.0, 1.0]))
    array([ True, False])
    """

    tilt_range: TiltRange = (-60.0, 60.0)
    axis: float = 90.0
    beam: Plane = "z"

    def is_sampled(
        self,
        fz: Float[np.ndarray, "*shape"],
        fy: Float[np.ndarray, "*shape"],
        fx: Float[np.ndarray, "*shape"],
        margin: float = 0.0,
    ) -> Bool[np.ndarray, "*shape"]:
        """Tell which frequencies are sampled.

        Parameters
        ----------
        fz, fy, fx
            Frequencies along z, y, x, in any unit.
        margin
            Frequencies that are at most this far beyond an edge of the wedge, along the beam, count as sampled.
        """
        u, w = self.in_plane(fz, fy, fx)
        low, high = self.tilt_range
        across, along = np.abs(u), np.where(u < 0, -w, w)
        is_below: Bool[np.ndarray, "*shape"] = along <= across * np.tan(np.radians(high)) + margin
        is_above: Bool[np.ndarray, "*shape"] = along >= across * np.tan(np.radians(low)) - margin
        return is_below & is_above

    def in_plane(
        self, fz: Float[np.ndarray, "*shape"], fy: Float[np.ndarray, "*shape"], fx: Float[np.ndarray, "*shape"]
    ) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
        """The frequencies u, normal to beam and tilt axis, and w, along the beam.

        Examples
        --------
        >>> one, two, three = (np.array([float(n)]) for n in (1, 2, 3))
        >>> MissingWedge(axis=90.0).in_plane(one, two, three)
        (array([3.]), array([1.]))
        """
        along = {"z": fz, "y": fy, "x": fx}
        start, quarter = _NORMAL[self.beam]
        # rounded, so that for an axis of the volume u is exactly 0 where it should be
        sine, cosine = (round(float(f(np.radians(self.axis))), 12) for f in (np.sin, np.cos))
        return along[start] * sine - along[quarter] * cosine, along[self.beam]

    def __str__(self) -> str:
        low, high = self.tilt_range
        start, quarter = _NORMAL[self.beam]
        names = {0: start, 90: quarter}
        axis = names.get(round(self.axis), f"an axis at {self.axis:.0f} degrees from {start} towards {quarter}")
        return f"{low:+.0f} to {high:+.0f} degrees about {axis}"


@dataclass(frozen=True, kw_only=True)
class SeenWedge:
    """A missing wedge, and whether it was seen in the spectrum of a tomogram.

    Parameters
    ----------
    wedge
        The wedge that was seen; the default if none was.
    is_visible
        Whether the spectrum shows it.
    depth
        How far the power in the wedge lies below that of the tilts near 0, in decibels; 0 if that is not known.
    """

    wedge: MissingWedge = MissingWedge()
    is_visible: bool = False
    depth: float = 0.0


def find_wedge(spectrum: PowerSpectrum, axis: float | None = None) -> SeenWedge:
    """Look for the missing wedge in a power spectrum.

    The spectrum is flattened within shells. The beam and the tilt axis are those for which the power at high tilts lies
    furthest below that at low tilts. Each edge is where the power falls to half of what it is just inside, in the
    median over layers of frequencies. A wedge counts as visible only if it is much darker than the rest, ends abruptly
    at both edges, does so in several layers, and is a wedge rather than a cone about the beam. In a tomogram that was
    strongly smoothed, or whose wedge was filled, none is visible.

    Parameters
    ----------
    spectrum
        Of the tomogram.
    axis
        Direction of the tilt axis, if it is known, as in `MissingWedge`.

    Examples
    --------
    >>> from cryosam.tomogram import Tomogram
    >>> noise = np.random.default_rng(0).normal(size=(48, 64, 64))
    >>> find_wedge(PowerSpectrum.of(Tomogram(noise))).is_visible
    False
    >>> grid = np.meshgrid(*map(np.fft.fftfreq, noise.shape), indexing="ij")
    >>> seen = np.fft.ifftn(np.fft.fftn(noise) * MissingWedge(tilt_range=(-45.0, 60.0)).is_sampled(*grid)).real
    >>> str(find_wedge(PowerSpectrum.of(Tomogram(seen))).wedge)
    '-46 to +60 degrees about y'
    """
    flat = _flattened(spectrum)
    if not len(flat.decibels):
        return SeenWedge()
    best = max((_depth(flat, each), each.beam, each.axis) for each in _directions(axis))
    direction = MissingWedge(axis=best[2], beam=best[1])
    if axis is None:
        nearby = [direction.axis + step for step in np.arange(-_COARSE, _COARSE + 1.0, _FINE)]
        turned = max((_depth(flat, MissingWedge(axis=a, beam=direction.beam)), a) for a in nearby)[1]
        upright = 90 * round(turned / 90)
        turned = upright if abs(turned - upright) <= _UPRIGHT else turned
        direction = MissingWedge(axis=float((turned + 45) % 180 - 45), beam=direction.beam)
    layers = [found for start in _LAYER_STARTS if (found := _edges(flat, direction, float(start))) is not None]
    if len(layers) < _LEAST_LAYERS:
        return SeenWedge(depth=max(0.0, best[0]))
    depth, low, high, fall_low, fall_high = np.median(layers, axis=0)
    across = _depth(flat, replace(direction, axis=direction.axis + 90)) / _depth(flat, direction)
    is_abrupt = min(fall_low, fall_high) >= _LEAST_FALL
    if not is_abrupt or min(-low, high) < _LEAST_TILT or across > _MOST_ACROSS:
        return SeenWedge(depth=float(depth))
    tilts = round(float(low), 1), round(float(high), 1)
    return SeenWedge(
        wedge=MissingWedge(tilt_range=tilts, axis=direction.axis, beam=direction.beam),
        is_visible=True,
        depth=float(depth),
    )


@dataclass(frozen=True, kw_only=True)
class SettledWedge:
    """The missing wedge that a search uses, and where it is known from.

    Parameters
    ----------
    wedge
        The wedge.
    source
        "spectrum" if it was measured, "settings" if the range was given, "default" if neither.
    doubts
        What a user should know, as codes and sentences.
    """

    wedge: MissingWedge
    source: WedgeSource
    doubts: tuple[tuple[str, str], ...] = ()


def settle_wedge(spectrum: PowerSpectrum, config: TomogramConfig) -> SettledWedge:
    """Combine what the settings give with what the spectrum shows; what neither tells is the default.

    Parameters
    ----------
    spectrum
        Of the tomogram.
    config
        Gives the tilt range and the tilt axis, or leaves them to the spectrum.

    Examples
    --------
    >>> from cryosam.tomogram import Tomogram
    >>> noise = Tomogram(np.random.default_rng(0).normal(size=(48, 64, 64)))
    >>> settled = settle_wedge(PowerSpectrum.of(noise), TomogramConfig(tilt_axis="x"))
    >>> str(settled.wedge), settled.source
    ('-60 to +60 degrees about x', 'default')
    """
    axis = None if config.tilt_axis == "auto" else {"x": 0.0, "y": 90.0}.get(str(config.tilt_axis))
    if axis is None and config.tilt_axis != "auto":
        axis = float(config.tilt_axis)
    free = find_wedge(spectrum)
    seen = free if axis is None or not free.is_visible else find_wedge(spectrum, axis)
    wedge = seen.wedge if axis is None else replace(seen.wedge, axis=axis)
    source: WedgeSource = "spectrum" if seen.is_visible else "default"
    if config.tilt_range != "auto":
        low, high = config.tilt_range
        wedge, source = replace(wedge, tilt_range=(float(low), float(high))), "settings"
    doubts = []
    if free.is_visible and not _agree(wedge, free.wedge):
        doubts.append(
            (
                "tilts_disagree",
                f"the settings say that the tilts are {wedge}, but the spectrum of the tomogram shows {free.wedge}",
            )
        )
    if free.wedge.beam != "z":
        doubts.append(
            (
                "beam_not_z",
                f"the beam seems to be along {free.wedge.beam} of the volume, but masks and pictures assume z: rotate "
                "the volume first (in IMOD: trimvol -rx)",
            )
        )
    elif (
        not free.is_visible and np.argmin(spectrum.shape) == 1 and min(spectrum.shape[::2]) > _THIN * spectrum.shape[1]
    ):
        doubts.append(
            (
                "beam_not_z",
                "the volume is thinnest along y, and the beam is assumed along z: if it was not rotated after its "
                "reconstruction, rotate it first (in IMOD: trimvol -rx)",
            )
        )
    return SettledWedge(wedge=wedge, source=source, doubts=tuple(doubts))


def _agree(given: MissingWedge, seen: MissingWedge) -> bool:
    """Whether two wedges are nearly the same; turned by 180 degrees, a tilt axis is the same with other signs."""
    turn = (given.axis - seen.axis + 90) % 360 - 90
    low, high = seen.tilt_range
    if turn > 90:
        turn, low, high = turn - 180, -high, -low
    differences = (turn, given.tilt_range[0] - low, given.tilt_range[1] - high)
    return max(map(abs, differences)) <= _AGREE


def _flattened(spectrum: PowerSpectrum) -> PowerSpectrum:
    """The part of a spectrum in the band, in decibels relative to what is sampled at the same distance from 0.

    It ends where a filter left less than what the window spreads there from the strong low frequencies.
    """
    length = np.linalg.norm(spectrum.frequencies, axis=1)
    shell = (length / _SHELL).astype(int)
    decibels, is_used = spectrum.decibels.copy(), np.zeros(len(length), dtype=bool)
    strongest = -np.inf
    for each in range(int(_STRONG / _SHELL), int(_BAND[1] / _SHELL)):
        is_here = shell == each
        if not is_here.any():
            continue
        level = float(np.quantile(decibels[is_here], _SHELL_QUANTILE))
        strongest = max(strongest, level)
        if level < strongest - _SPREAD:
            break
        decibels[is_here] -= level
        is_used |= is_here & (length >= _BAND[0])
    return PowerSpectrum(spectrum.frequencies[is_used], decibels[is_used], spectrum.shape)


def _directions(axis: float | None) -> list[MissingWedge]:
    """All beams and tilt axes that are compared first."""
    angles = [float(a) for a in range(0, 180, _COARSE)] if axis is None else [axis]
    return [MissingWedge(axis=angle, beam=beam) for beam in _NORMAL for angle in angles]


def _depth(flat: PowerSpectrum, direction: MissingWedge) -> float:
    """Mean decibels at low tilts minus those at high tilts, for a beam and an axis."""
    u, w = direction.in_plane(*flat.frequencies.T)
    is_far = u**2 + w**2 >= _BAND[0] ** 2
    across, along = np.abs(u), np.abs(w)
    core = flat.decibels[is_far & (along < across * np.tan(np.radians(_CORE)))]
    gap = flat.decibels[is_far & (along > across * np.tan(np.radians(_GAP)))]
    return float(core.mean() - gap.mean()) if len(core) and len(gap) else -np.inf


def _edges(flat: PowerSpectrum, direction: MissingWedge, start: float) -> tuple[float, ...] | None:
    """Depth, the two edges and how much of the depth lies near each, in a layer; None if no wedge is visible there."""
    u, w = direction.in_plane(*flat.frequencies.T)
    length, in_plane = np.linalg.norm(flat.frequencies, axis=1), np.hypot(u, w)
    is_used = (length >= start) & (length < start + _LAYER) & (in_plane > _IN_PLANE * length)
    tilt = (np.degrees(np.arctan2(w, u))[is_used] + 90) % 180 - 90
    bins = int(180 / _BIN)
    number = np.histogram(tilt, bins, (-90, 90))[0]
    total = np.histogram(tilt, bins, (-90, 90), weights=flat.decibels[is_used])[0]
    has_any = number >= _LEAST_IN_BIN
    at = (_BIN * (np.arange(bins) + 0.5) - 90)[has_any]
    level = total[has_any] / number[has_any]
    gap, core = level[np.abs(at) > _GAP], level[np.abs(at) < _CORE]
    if not len(gap) or not len(core):
        return None
    floor, top = float(np.median(gap)), float(np.median(core))
    if top - floor < _LEAST_DEPTH:
        return None
    low, fall_low = _edge(-at[::-1], level[::-1], floor, top)
    high, fall_high = _edge(at, level, floor, top)
    return top - floor, -low, high, fall_low, fall_high


def _edge(at: Float[np.ndarray, " n"], level: Float[np.ndarray, " n"], floor: float, top: float) -> tuple[float, float]:
    """The positive tilt at which the level falls to the floor, and the share of the fall that is near it."""
    at, level = at[at > 0], level[at > 0]
    crude = _last_above(at, level, (floor + top) / 2)
    is_inside = (at > crude - _INSIDE[0]) & (at < crude - _INSIDE[1])
    just_inside = top
    if np.count_nonzero(is_inside) > 2:
        slope, mean = min(0.0, float(np.polyfit(at[is_inside], level[is_inside], 1)[0])), level[is_inside].mean()
        just_inside = float(mean + slope * (crude - _INSIDE[1] - at[is_inside].mean()))
    half = float(10 * np.log10((10 ** (just_inside / 10) + 10 ** (floor / 10)) / 2))
    edge = _last_above(at, level, half)
    before, after = np.interp([edge - _STEEP, edge + _STEEP], at, level)
    return edge, float((before - after) / (top - floor))


def _last_above(at: Float[np.ndarray, " n"], level: Float[np.ndarray, " n"], threshold: float) -> float:
    """Where a profile falls below a threshold for the last time, between two of its points."""
    above = np.flatnonzero(level > threshold)
    last = int(above[-1]) if len(above) else 0
    if last + 1 == len(level):
        return float(at[last])
    share = (level[last] - threshold) / (level[last] - level[last + 1])
    return float(at[last] + np.clip(share, 0, 1) * (at[last + 1] - at[last]))
