"""Cross-sections normal to a direction: sampled in a volume, and what the missing wedge leaves of a shape there."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import Images, Points, Scores, Volume
from cryosam.geometry import normals_of
from cryosam.missing_wedge import MissingWedge

__all__ = ["PlaneImaging", "cut_across", "rings", "stripes"]

Vector = Float[np.ndarray, " 3"]


def cut_across(volume: Volume, centres: Points, tangents: Points, reach: int, half_length: int) -> Images:
    """Sums along a direction around points: images ``(n, h, w)`` of the plane normal to each tangent.

    Parameters
    ----------
    volume
        ``(z, y, x)``; zero outside.
    centres, tangents
        ``(n, 3)`` z, y, x in voxels, and unit vectors.
    reach
        The images are ``2 reach + 1`` voxels wide, their middle is the centre.
    half_length
        The sum goes over so many voxels to both sides, and is divided by the root of their number: white noise keeps
        its deviation.
    """
    u, v = normals_of(tangents)
    across, along = np.arange(-reach, reach + 1.0), np.arange(-half_length, half_length + 1.0)
    n = len(centres)
    places = (
        centres.reshape(n, 3, 1, 1, 1)
        + tangents.reshape(n, 3, 1, 1, 1) * along.reshape(1, 1, -1, 1, 1)
        + u.reshape(n, 3, 1, 1, 1) * across.reshape(1, 1, 1, -1, 1)
        + v.reshape(n, 3, 1, 1, 1) * across.reshape(1, 1, 1, 1, -1)
    )
    values = ndimage.map_coordinates(volume, np.moveaxis(places, 1, 0), order=1, mode="constant", output=np.float32)
    return np.asarray(values.sum(axis=1) / np.sqrt(len(along)), dtype=float)


def rings(reach: int) -> Images:
    """Rings of one voxel's width around the middle: images whose weighted sum is a radial profile.

    Examples
    --------
    >>> rings(2)[0].astype(int).tolist()[2]
    [0, 0, 1, 0, 0]
    """
    across = np.arange(-reach, reach + 1.0)
    radius = np.hypot(across[:, None], across[None, :])
    return np.clip(1 - np.abs(radius - np.arange(reach)[:, None, None]), 0, 1)


def stripes(reach: int, angle: float, offsets: Float[np.ndarray, " k"]) -> Images:
    """Lines through an image at an angle, radians from its first axis, at offsets from the middle in voxels."""
    across = np.arange(-reach, reach + 1.0)
    distance = across[:, None] * np.cos(angle) + across[None, :] * np.sin(angle)
    return np.clip(1 - np.abs(distance - offsets.reshape(-1, 1, 1)), 0, 1)


@dataclass(frozen=True, eq=False)
class PlaneImaging:
    """What the tilt series and the whitening leave of the cross-section of something long.

    The spectrum of a long straight thing lies in the plane normal to it. Where the wedge cuts that plane, the
    cross-section is smeared, or lost if the thing lies across the tilt axis.

    Parameters
    ----------
    wedge
        The missing wedge.
    frequencies, gains
        ``(n,)`` cycles per voxel, and the gain of the whitening.
    half_length
        Half of the length along which sums are taken, voxels: the plane is as thick as the inverse of it.
    """

    wedge: MissingWedge
    frequencies: Scores
    gains: Scores
    half_length: int

    def image(self, shapes: Images, tangent: Vector) -> Images:
        """Images ``(n, h, w)`` of shapes in the plane normal to a unit tangent."""
        size = shapes.shape[1]
        seen, transfer = 2 * size, self._transfer(2 * size, tangent)
        spectra = np.fft.rfft2(shapes, (seen, seen)) * transfer
        return np.asarray(np.fft.irfft2(spectra, (seen, seen))[:, :size, :size], dtype=float)

    def _transfer(self, n: int, tangent: Vector) -> Float[np.ndarray, "n half"]:
        u, v = (each[0] for each in normals_of(tangent[None]))
        fu, fv = np.meshgrid(np.fft.fftfreq(n), np.fft.rfftfreq(n), indexing="ij")
        fz, fy, fx = (fu * a + fv * b for a, b in zip(u, v, strict=True))
        is_sampled = self.wedge.is_sampled(fz, fy, fx, margin=0.25 / max(self.half_length, 1))
        return is_sampled * np.interp(np.hypot(fu, fv), self.frequencies, self.gains, right=0.0)
