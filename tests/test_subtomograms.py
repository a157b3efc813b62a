"""Boxes cut around places, and averages brought to their samples."""

import numpy as np
import torch

from cryosam.results import Average
from cryosam.tomogram import Tomogram
from scenes import search_for


def test_an_average_is_resampled_about_its_centre() -> None:
    """The same blob, sampled with half the step, becomes what a box of the frame holds."""
    tomogram = Tomogram(np.random.default_rng(0).random((40, 44, 48)).astype(np.float32))
    cut = search_for(tomogram, diameter=18.0).cut
    edge = cut.frame.edge

    def blob(n: int, step: float) -> np.ndarray:
        z, y, x = (np.indices((n, n, n)) - n // 2) * step
        return np.exp(-(z**2 + (y - 3) ** 2 + (x + 2) ** 2) / 40).astype(np.float32)

    expected = cut.frame.masked(torch.from_numpy(blob(edge, cut.step))[None])[0]
    found = cut.resample(Average(blob(2 * edge + 3, cut.step / 2), cut.step / 2))
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
