"""Guess what a click is on, from how what is there continues."""

from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from cryosam.structures.binned import BinnedTomogram
from cryosam.structures.continuation import Continuation, continuation_at

__all__ = ["Chance", "Guess", "GuessSettings", "Guessed", "chance_in", "guess_structure"]

Guessed = Literal["particle", "membrane", "filament", "compartment", "unclear"]


@dataclass(frozen=True, kw_only=True)
class GuessSettings:
    """When what is at a click is taken for something else than a particle.

    Strengths are in standard deviations above the mean of what the same measurement gives at random places of the
    tomogram with its intensities inverted. The best of many sheets or lines there is some way above 0 by chance.

    Parameters
    ----------
    sheet
        Least strength of a membrane. Rows of touching particles reach 2.7.
    line
        Least strength of a filament seen as a line.
    evenness
        Least strength of a line, far from the click, as a fraction of that at the click. A filament is as bright
        farther on; beyond a particle only what happens to lie in a row with it is left.
    tube
        Least strength of a filament seen as a tube.
    blob
        Least strength of anything at all.
    gold
        Strength above which what is at the click is more compact and stronger than protein.
    n_chance
        Number of random places.
    seed
        Seed of their positions.
    """

    sheet: float = 3.2
    line: float = 1.8
    evenness: float = 0.35
    tube: float = 3.2
    blob: float = 1.5
    gold: float = 10.0
    n_chance: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Chance:
    """What chance gives in one tomogram: mean and standard deviation of each measurement of a `Continuation`."""

    mean: Continuation
    deviation: Continuation

    def relative(self, measured: Continuation) -> Continuation:
        """Measurements in standard deviations above the mean."""
        parts = zip(astuple(measured), astuple(self.mean), astuple(self.deviation), strict=True)
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
    shape = np.array(tomogram.shape)
    seen = np.array(
        [
            astuple(continuation_at(tomogram.voxels, tomogram.voxel_size_angstrom, at * (shape - 1), bright=-1.0))
            for at in rng.uniform(0.1, 0.9, (settings.n_chance, 3))
        ]
    )
    return Chance(Continuation(*seen.mean(axis=0)), Continuation(*np.maximum(seen.std(axis=0), 1e-9)))


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
    sheet, line = max(seen.thin_sheet, seen.sheet), _line(measured, seen, settings.evenness)
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
        return _guess("filament", line / settings.line)
    if blob > settings.blob:
        return _guess("particle", blob / settings.blob)
    return Guess(
        "unclear",
        0.0,
        "nothing stands out at this click, which is then searched for as a particle; "
        "say what it is with --structure particle, membrane, filament or compartment",
    )


def _line(measured: Continuation, seen: Continuation, evenness: float) -> float:
    """Strength of the better line among those that are about as bright far from the click as at the click."""
    is_even_thin = measured.thin_line >= evenness * measured.thin_blob
    is_even = measured.line >= evenness * measured.blob
    return max(seen.thin_line if is_even_thin else -np.inf, seen.line if is_even else -np.inf)


def _guess(structure: Literal["particle", "membrane", "filament", "compartment"], times_limit: float) -> Guess:
    """A guess with a confidence of 0.5 at the limit, 0.8 at twice the limit."""
    confidence = times_limit**2 / (1 + times_limit**2)
    return Guess(structure, float(confidence), f"taken for a {structure}; {_SAY_OTHERWISE[structure]}")
