"""Whether anything lies under a click."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.tomogram import Voxels, box_around

__all__ = ["visibility"]


def visibility(normalised: Voxels, point: Float[np.ndarray, " 3"], diameter: float) -> float:
    """How far the densest place near a point stands out of its surroundings, in their standard deviations.

    All is seen through a Gaussian a quarter as wide as the particle, which averages the noise within a particle.

    Parameters
    ----------
    normalised
        Protein bright.
    point
        z, y, x in voxels.
    diameter
        Of the particle, in voxels.
    """
    half, reach = round(max(32.0, 2 * diameter)), max(2, round(diameter / 4))
    box, inside = box_around(point, half, normalised.shape)
    smooth = ndimage.gaussian_filter(normalised.crop(box), diameter / 4)
    level = float(np.median(smooth))
    below = smooth[smooth < level] - level  # objects are above: noise is measured below
    spread = float(np.sqrt(np.mean(below**2))) if below.size else 0.0
    at = [int(np.clip(round(float(c)), 0, n - 1)) for c, n in zip(inside, smooth.shape, strict=True)]
    near = smooth[tuple(slice(max(0, c - reach), c + reach + 1) for c in at)]
    return float((near.max() - level) / max(spread, 1e-6))
