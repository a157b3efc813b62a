"""Rotations that cover all orientations, and a volume turned by all of them."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from cryosam.averaging.fourier import FourierFrame
from cryosam.averaging.rotations import RotationBank, uniform_rotations
from cryosam.missing_wedge import MissingWedge


def test_rotations_cover_all_orientations() -> None:
    rotations = uniform_rotations(600)
    nearest = [(rotations * some.inv()).magnitude().min() for some in Rotation.random(200, random_state=0)]
    assert np.degrees(max(nearest)) < 30


def test_an_average_is_turned_to_the_same_coefficients_in_either_way() -> None:
    frame = FourierFrame.around(9.0, 3.0, MissingWedge(), "cpu")
    average = torch.from_numpy(np.random.default_rng(0).standard_normal((frame.edge,) * 3).astype(np.float32))
    rotations = uniform_rotations(50)
    slowly = frame.turned(frame.padded_spectrum(average), rotations)
    quickly = RotationBank(frame, rotations).turned(average)
    assert float((quickly - slowly).abs().max()) < 1e-4 * float(slowly.abs().max())
