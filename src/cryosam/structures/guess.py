"""Guess what a click is on, from how what is there continues."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from cryosam.config import CompartmentConfig, EnclosureSettings
from cryosam.structures.binned import BinnedTomogram
from cryosam.structures.compartments import Membranes
from cryosam.structures.continuation import Chance, SheetAt, chance_in, part_around, sheet_at, spot_at
from cryosam.structures.filaments import FilamentAt, FilamentFinder
from cryosam.structures.ridges import membrane_saliency

__all__ = ["Chance", "Guess", "GuessSettings", "Guessed", "chance_in", "guess_structure"]

_SURROUNDINGS_ANGSTROM = 1000.0
"""Half the edge of the cube in which membranes that enclose a click are looked for."""
_COARSE_ANGSTROM = 30.0
"""Edge of the voxels of that cube."""
_FILAMENT_ANGSTROM = 500.0
"""Half the edge of the cube in which a filament is followed: it is no longer than this at least."""
_PLAIN_AREA, _PLAIN_SECTORS = 1.0, 11
"""Area and sectors (see `GuessSettings`) of a sheet that can be nothing else."""

Guessed = Literal["particle", "membrane", "filament", "compartment", "unclear"]


@dataclass(frozen=True, kw_only=True)
class GuessSettings:
    """When what is at a click is taken for something else than a particle.

    Parameters
    ----------
    area, n_sectors
        Least area of a membrane around the click, in units of a disc of 300 A, and least number of twelve sectors in
        which it continues: half of a disc that the missing wedge, or the border of the tomogram, cuts.
    similarity
        Least correlation of the cross-section at the click with something round, for a filament.
    liker
        How many times as much like something round as like a sheet.
    evenness
        Least evenness of a filament along its axis; a particle or a bead is strong at the click only.
    length_angstrom, radius_angstrom
        Least length and largest radius of a filament; what is wider fills all that was looked at.
    spot, clear_spot
        Least strength of a particle, in standard deviations above what the inverted tomogram gives by chance; and that
        from which it is no question.
    gold
        Strength from which on it may be a gold bead.
    enclosed
        Least fraction, of the closed surface around a click on nothing, where membrane is seen, for a compartment; of
        surfaces around vesicles nine tenths were seen, with three quarters of it is a question.
    """

    area: float = 0.4
    n_sectors: int = 6
    similarity: float = 0.57
    liker: float = 1.1
    evenness: float = 0.45
    length_angstrom: float = 500.0
    radius_angstrom: float = 150.0
    spot: float = 1.1
    clear_spot: float = 2.0
    gold: float = 10.0
    enclosed: float = 0.6


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


def guess_structure(
    tomogram: BinnedTomogram,
    click: Float[np.ndarray, " 3"],
    *,
    chance: Chance | None = None,
    settings: GuessSettings | None = None,
) -> Guess:
    """Guess what a click is on.

    A membrane continues in two directions, a filament in one and a particle in none. So the ridges around the click
    are linked to a sheet, and what is there is followed as a filament, as the searches for these would do it; the
    noise of the same tomogram tells which ridges count. Where neither goes on and there is a spot, it is a particle;
    where there is none, membranes around the click make it a compartment. If two answers fit, or none does, the guess
    is a question.

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
    chance = chance or chance_in(tomogram)
    sheet, spot = sheet_at(tomogram, click, chance), spot_at(tomogram, click, chance)
    if not _is_plain(sheet):
        part, inside = part_around(tomogram, click, _FILAMENT_ANGSTROM)
        filament = FilamentFinder().seen_at(part, inside)
        if filament is not None and _is_filament(filament, settings):
            times = filament.length_angstrom / settings.length_angstrom
            return _as_gold("filament") if spot > settings.gold else _guess("filament", times)
    if sheet.area >= settings.area and sheet.n_sectors >= settings.n_sectors:
        return _question("filament", "membrane") if sheet.is_tube else _guess("membrane", sheet.area / settings.area)
    if spot > settings.gold:
        return _as_gold("particle")
    if spot > settings.clear_spot:
        return _guess("particle", spot / settings.clear_spot)
    if spot > settings.spot:
        faint = "taken for a particle, but it does not stand out clearly; " + _SAY_OTHERWISE["particle"]
        return replace(_guess("particle", spot / settings.clear_spot), text=faint)
    enclosed = _enclosed(tomogram, click)
    if enclosed >= settings.enclosed:
        return _guess("compartment", enclosed / settings.enclosed)
    if enclosed >= 0.75 * settings.enclosed:
        return _question("compartment", "particle")
    return Guess(
        "unclear",
        0.0,
        "nothing stands out at this click, which is then searched for as a particle; "
        "say what it is with --structure particle, membrane, filament or compartment",
    )


def _is_plain(sheet: SheetAt) -> bool:
    """Whether a sheet goes on to nearly all sides and bends as no tube does: then no filament is looked for."""
    return sheet.area >= _PLAIN_AREA and sheet.n_sectors >= _PLAIN_SECTORS and not sheet.is_tube


def _is_filament(seen: FilamentAt, settings: GuessSettings) -> bool:
    return (
        seen.length_angstrom >= settings.length_angstrom
        and seen.radius_angstrom <= settings.radius_angstrom
        and seen.similarity >= max(settings.similarity, settings.liker * seen.sheet)
        and seen.evenness >= settings.evenness
    )


def _as_gold(structure: Literal["particle", "filament"]) -> Guess:
    """What may as well be gold."""
    text = f"taken for a {structure}, but it is as strong and compact as a gold bead; {_SAY_OTHERWISE[structure]}"
    return Guess(structure, 0.3, text)


def _question(one: str, other: str) -> Guess:
    """Two answers fit."""
    return Guess(
        "unclear",
        0.0,
        f"may be a {one} or a {other}, and is searched for as a particle; "
        f"say what it is with --structure {one} or --structure {other}",
    )


def _enclosed(tomogram: BinnedTomogram, click: Float[np.ndarray, " 3"]) -> float:
    """Fraction of a closed surface, within 1000 A around the click, where membrane is seen; 0 if none is closed."""
    part, inside = part_around(tomogram, click, _SURROUNDINGS_ANGSTROM)
    volume = part.at(_COARSE_ANGSTROM)
    ridges = membrane_saliency(volume)
    ridges = ridges.above(ridges.noise)
    if not len(ridges.points):
        return 0.0
    settings = CompartmentConfig(enclosure=EnclosureSettings(most_angstrom=_SURROUNDINGS_ANGSTROM))
    membranes = Membranes(settings, ridges, volume.voxel_size_angstrom, tomogram.wedge)
    found = membranes.around(volume.from_voxels(inside[None])[0])
    return found.seen if membranes.is_closed(found) else 0.0


def _guess(structure: Literal["particle", "membrane", "filament", "compartment"], times_limit: float) -> Guess:
    """A guess with a confidence of 0.5 at the limit, 0.8 at twice the limit."""
    confidence = times_limit**2 / (1 + times_limit**2)
    return Guess(structure, float(confidence), f"taken for a {structure}; {_SAY_OTHERWISE[structure]}")
