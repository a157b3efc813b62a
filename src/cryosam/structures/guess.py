"""Guess what a click is on, from how what is there continues."""

from dataclasses import astuple, dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from cryosam.config import CompartmentConfig, EnclosureSettings
from cryosam.intensities import MAD_TO_DEVIATION
from cryosam.structures.binned import Binned, BinnedTomogram
from cryosam.structures.compartments import Membranes
from cryosam.structures.continuation import Continuation, continuation_at, cube_around
from cryosam.structures.ridges import membrane_saliency

__all__ = ["Chance", "Guess", "GuessSettings", "Guessed", "chance_in", "guess_structure"]

_SURROUNDINGS_ANGSTROM = 1000.0
"""Half the edge of the cube in which membranes that enclose a click are looked for."""
_COARSE_ANGSTROM = 30.0
"""Largest edge of the voxels of that cube."""

Guessed = Literal["particle", "membrane", "filament", "compartment", "unclear"]


@dataclass(frozen=True, kw_only=True)
class GuessSettings:
    """When what is at a click is taken for something else than a particle.

    Strengths are in standard deviations above what the same measurement gives at random places of the tomogram, with
    its intensities inverted and as they are.

    Parameters
    ----------
    sheet
        Least strength of a membrane; a little above that of particles in a crowded cell.
    line
        Least strength of a filament seen as a line.
    evenness
        Least strength of a line or a sheet, far from the click, as a fraction of that at the click. A filament is as
        bright farther on; beyond a particle only what happens to lie in a row with it is left.
    flatness
        Strength of the best sheet as a fraction of that of the best line, from which on the line lies in a membrane.
    tube
        Least strength of a filament seen as a tube.
    blob
        Least strength of anything at all.
    gold
        Strength above which what is at the click is more compact and stronger than protein.
    enclosed
        Least fraction, of the closed surface around a click on nothing, where membrane is seen, for a compartment.
    n_chance
        Number of random places.
    seed
        Seed of their positions.
    """

    sheet: float = 2.2
    line: float = 1.8
    evenness: float = 0.45
    flatness: float = 0.55
    tube: float = 3.5
    blob: float = 1.1
    gold: float = 10.0
    enclosed: float = 0.5
    n_chance: int = 14
    seed: int = 0


@dataclass(frozen=True)
class Chance:
    """What random places of one tomogram give: middle and spread of each measurement of a `Continuation`.

    Parameters
    ----------
    noise, noise_spread
        With the intensities inverted: mean and standard deviation.
    crowd, crowd_spread
        With the intensities as they are: median and robust standard deviation, so that the few places on membranes and
        filaments do not count. Where particles are crowded, some always lie in a row.
    """

    noise: Continuation
    noise_spread: Continuation
    crowd: Continuation
    crowd_spread: Continuation

    def relative(self, measured: Continuation) -> Continuation:
        """Measurements in standard deviations above noise or above the crowd, whichever is less.

        A blob is compared with noise alone: particles are what the crowd is made of.
        """
        above_noise = _above(measured, self.noise, self.noise_spread)
        above_crowd = _above(measured, self.crowd, self.crowd_spread)
        return replace(
            Continuation(*(min(pair) for pair in zip(astuple(above_noise), astuple(above_crowd), strict=True))),
            thin_blob=above_noise.thin_blob,
            blob=above_noise.blob,
        )


def _above(measured: Continuation, middle: Continuation, spread: Continuation) -> Continuation:
    parts = zip(astuple(measured), astuple(middle), astuple(spread), strict=True)
    return Continuation(*((value - mean) / deviation for value, mean, deviation in parts))


@dataclass(frozen=True)
class Guess:
    """What a click was taken for.

    Parameters
    ----------
    structure
        "unclear" where nothing stands out.
    confidence
        In [0, 1]; 0.5 at the limit.
    text
        One sentence for the user.
    """

    structure: Guessed
    confidence: float
    text: str


_SAY_OTHERWISE = {
    "particle": "to say otherwise: --structure membrane, filament or compartment",
    "membrane": "to say otherwise: --structure particle, filament or compartment",
    "filament": "to say otherwise: --structure particle, membrane or compartment",
    "compartment": "to say otherwise: --structure particle, membrane or filament",
}


def chance_in(tomogram: BinnedTomogram, settings: GuessSettings | None = None) -> Chance:
    """Measure what chance gives in a tomogram; it serves for all its clicks and takes some seconds."""
    settings = settings or GuessSettings()
    rng = np.random.default_rng(settings.seed)
    places = rng.uniform(0.1, 0.9, (settings.n_chance, 3)) * (np.array(tomogram.shape) - 1)
    dark, bright = (
        np.array([astuple(continuation_at(tomogram.voxels, tomogram.voxel_size_angstrom, at, sign)) for at in places])
        for sign in (-1.0, 1.0)
    )
    crowd = np.median(bright, axis=0)
    spread = MAD_TO_DEVIATION * np.median(np.abs(bright - crowd), axis=0)
    return Chance(
        Continuation(*dark.mean(axis=0)),
        Continuation(*np.maximum(dark.std(axis=0), 1e-9)),
        Continuation(*crowd),
        Continuation(*np.maximum(spread, 1e-9)),
    )


def guess_structure(
    tomogram: BinnedTomogram,
    click: Float[np.ndarray, " 3"],
    *,
    chance: Chance | None = None,
    settings: GuessSettings | None = None,
) -> Guess:
    """Guess what a click is on.

    A membrane continues in two directions, a filament in one and a particle in none. Sheets, lines and tubes of every
    orientation are laid through the surroundings of the click, and how bright the best one is, at 100 to 300 A from
    the click, is compared with what the inverted tomogram gives by chance. A click is taken for a particle unless
    something else is clear.

    Parameters
    ----------
    tomogram
        The tomogram.
    click
        z, y, x in voxels.
    chance
        What `chance_in` measured in the tomogram; measured here if it is not given.
    settings
        Limits.
    """
    settings = settings or GuessSettings()
    chance = chance or chance_in(tomogram, settings)
    measured = continuation_at(tomogram.voxels, tomogram.voxel_size_angstrom, click)
    seen = chance.relative(measured)
    sheet, line = _even_sheet(measured, seen, settings.evenness), _even_line(measured, seen, settings.evenness)
    tube, blob = max(seen.tube, seen.tube_end), max(seen.thin_blob, seen.blob)
    if blob > settings.gold:
        return Guess(
            "particle",
            0.3,
            "taken for a particle, but it is as strong and compact as a gold bead; " + _SAY_OTHERWISE["particle"],
        )
    if tube > settings.tube and tube > sheet:
        return _guess("filament", tube / settings.tube)
    if sheet > settings.sheet:
        return _guess("membrane", sheet / settings.sheet)
    if line > settings.line and blob > settings.blob:
        if measured.sheet >= settings.flatness * measured.line:
            return _guess("membrane", line / settings.line)
        return _guess("filament", line / settings.line)
    if blob > settings.blob:
        return _guess("particle", blob / settings.blob)
    if _is_enclosed(tomogram, click, settings.enclosed):
        return _guess("compartment", 1.5)
    return Guess(
        "unclear",
        0.0,
        "nothing stands out at this click, which is then searched for as a particle; "
        "say what it is with --structure particle, membrane, filament or compartment",
    )


def _is_enclosed(tomogram: BinnedTomogram, click: Float[np.ndarray, " 3"], closed: float) -> bool:
    """Whether membranes within 1000 A enclose the click."""
    cube, centre, size = cube_around(
        tomogram.voxels, tomogram.voxel_size_angstrom, click, _SURROUNDINGS_ANGSTROM, _COARSE_ANGSTROM
    )
    ridges = membrane_saliency(Binned(cube, 1, size))
    ridges = ridges.above(ridges.noise)
    if not len(ridges.points):
        return False
    settings = CompartmentConfig(closed=closed, enclosure=EnclosureSettings(most_angstrom=_SURROUNDINGS_ANGSTROM))
    membranes = Membranes(settings, ridges, size, tomogram.wedge)
    return membranes.is_closed(membranes.around(centre))


def _even_sheet(measured: Continuation, seen: Continuation, evenness: float) -> float:
    """Strength of the better sheet among those that are about as bright far from the click as at the click."""
    is_even_thin = measured.thin_sheet >= evenness * measured.thin_blob
    is_even = measured.sheet >= evenness * measured.blob
    return max(seen.thin_sheet if is_even_thin else -np.inf, seen.sheet if is_even else -np.inf)


def _even_line(measured: Continuation, seen: Continuation, evenness: float) -> float:
    """Strength of the better line among those that are about as bright far from the click as at the click."""
    is_even_thin = measured.thin_line >= evenness * measured.thin_blob
    is_even = measured.line >= evenness * measured.blob
    return max(seen.thin_line if is_even_thin else -np.inf, seen.line if is_even else -np.inf)


def _guess(structure: Literal["particle", "membrane", "filament", "compartment"], times_limit: float) -> Guess:
    """A guess with a confidence of 0.5 at the limit, 0.8 at twice the limit."""
    confidence = times_limit**2 / (1 + times_limit**2)
    return Guess(structure, float(confidence), f"taken for a {structure}; {_SAY_OTHERWISE[structure]}")
