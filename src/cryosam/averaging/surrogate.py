"""A surrogate of a tomogram: the same spectrum, and no structure."""

import numpy as np
import torch

from cryosam.tomogram import Tomogram, Voxels

__all__ = ["phase_randomised"]

_MOST_VOXELS = 1 << 24  # of a surrogate; of a larger tomogram, the middle represents the whole


def phase_randomised(tomogram: Voxels, seed: int = 0) -> Tomogram:
    """A volume with the power spectrum of a tomogram and random phases (Theiler et al. 1992, surrogate data).

    Noise, missing wedge and crowding keep their spectra, but no place is a particle. What a search finds in it is what
    the search finds by chance.

    Parameters
    ----------
    tomogram
        Normalised tomogram. Of a large one, a part of full thickness around the middle is taken.
    seed
        Of the random phases.

    Examples
    --------
    >>> volume = np.random.default_rng(1).normal(size=(8, 9, 10)).astype(np.float32)
    >>> surrogate = phase_randomised(Tomogram(volume)).data
    >>> bool(np.isclose(surrogate.std(), volume.std(), rtol=1e-3)), bool(np.allclose(surrogate, volume))
    (True, False)
    """
    z, y, x = tomogram.shape
    share = min(1.0, float(np.sqrt(_MOST_VOXELS / (z * y * x))))
    height, width = max(1, int(y * share)), max(1, int(x * share))
    top, left = (y - height) // 2, (x - width) // 2
    crop = tomogram.crop((slice(0, z), slice(top, top + height), slice(left, left + width)))
    values = torch.from_numpy(np.ascontiguousarray(crop, dtype=np.float32))
    mean = values.mean()
    amplitude = torch.fft.rfftn(values - mean).abs()
    noise = torch.fft.rfftn(torch.randn(values.shape, generator=torch.Generator().manual_seed(seed)))
    random = torch.fft.irfftn(amplitude * noise / noise.abs().clamp(min=1e-12), s=values.shape)
    return Tomogram((random + mean).numpy())
