"""A click on a filament: the axis there, what there is to say of it, and what to say where there is none."""

from dataclasses import dataclass

from cryosam.config import FilamentConfig
from cryosam.errors import PromptError
from cryosam.prompts import spell
from cryosam.structures.cross_sections import PlaneImaging
from cryosam.structures.radial_profile import Axis, Vector, axis_at
from cryosam.structures.whitening import Whitened

__all__ = ["FilamentAt", "clicked_axis", "too_short"]


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


def clicked_axis(
    finder: FilamentConfig, white: Whitened, imaging: PlaneImaging, vox: float, place: Vector, click: Vector
) -> Axis:
    """The axis at a click, with the profile that is measured there.

    Parameters
    ----------
    finder
        How.
    white, imaging, vox
        The whitened volume, what imaging leaves in it, and the edge of its voxels in angstrom.
    place, click
        The click, z, y, x, in its voxels and in those of the tomogram.

    Raises
    ------
    PromptError
        If nothing there is round.
    """
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
        raise PromptError(
            f"no filament was recognised at {spell(click)}; click on its middle or wall where it is clearly visible"
        )
    return axis


def too_short(click: Vector) -> str:
    """What to say where something at a click is not long."""
    return (
        f"what is at {spell(click)} is no longer than a particle; look for particles, or click a filament where it is "
        "clearly visible, away from its ends"
    )
