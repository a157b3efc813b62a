"""The filter that fits a kind of filament, and what it gives along an axis."""

import numpy as np

from cryosam.arrays import Scores, Volume
from cryosam.structures.lines import mean_along
from cryosam.structures.radial_profile import Axis, RadialProfile
from cryosam.structures.whitening import Whitened, filter_radially

__all__ = ["along_axis", "matched"]


def matched(white: Whitened, profile: RadialProfile) -> Volume:
    """The volume in which the axes of filaments with this profile are brightest.

    Parameters
    ----------
    white
        Whitened volume.
    profile
        Radial profile of the filaments in it.
    """
    gains = profile.spectrum(white.frequencies) / np.sqrt(white.power)
    pad = min(len(profile.density), *white.data.shape)
    padded = filter_radially(np.pad(white.data, pad), white.frequencies, gains)
    return np.ascontiguousarray(padded[pad:-pad, pad:-pad, pad:-pad])


def along_axis(filtered: Volume, axis: Axis, half: int) -> Scores:
    """Means over three voxels along an axis, as far as it is inside.

    Parameters
    ----------
    filtered
        ``(z, y, x)``.
    axis
        In voxels of the volume.
    half
        Voxels to both sides of the axis' centre.
    """
    steps = np.arange(-half, half + 1.0)[:, None]
    places = axis.centre + steps * axis.tangent
    inside = ((places >= 0) & (places <= np.array(filtered.shape) - 1)).all(axis=1)
    places = places[inside] if inside.any() else places
    return mean_along(filtered, places, np.tile(axis.tangent, (len(places), 1)), np.array([-1.0, 0.0, 1.0]))
