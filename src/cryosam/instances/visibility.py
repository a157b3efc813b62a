"""Whether there is any density under a click."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.tomogram import Voxels, box_around

__all__ = ["visibility"]


def visibility(normalised: Voxels, point: Float[np.ndarray, " 3"], diameter: float) -> float:
    """How far the density near a point stands out from its surroundings, in standard deviations of these.

    The density is first smoothed with a Gaussian whose standard deviation is a quarter of the diameter, which averages
    the noise within a particle. The largest smoothed value near the point is used.

    Parameters
    ----------
    normalised
        Voxels in [0, 1], protein bright.
    point
        z, y, x in voxels.
    diameter
        Diameter of the particle, in voxels.
    """
    half, reach = round(max(32.0, 2 * diameter)), max(2, round(diameter / 4))
    box, inside = box_around(point, half, normalised.shape)
    smooth = ndimage.gaussian_filter(normalised.crop(box), diameter / 4)
    level = float(np.median(smooth))
    below = smooth[smooth < level] - level  # noise is measured below the median, because objects lie above it
    spread = float(np.sqrt(np.mean(below**2))) if below.size else 0.0
    at = [int(np.clip(round(float(c)), 0, n - 1)) for c, n in zip(inside, smooth.shape, strict=True)]
    near = smooth[tuple(slice(max(0, c - reach), c + reach + 1) for c in at)]
    return float((near.max() - level) / max(spread, 1e-6))
