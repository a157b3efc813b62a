"""Type aliases for arrays by shape and element type; every signature in the package uses them.

Volumes are ``(z, y, x)``. Points are ``(n, 3)`` with columns z, y, x in voxels; an integer is a voxel centre.
The shapes are checked at run time in the tests only.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Integer, Num

__all__ = [
    "PLANES",
    "AnyVolume",
    "Image",
    "Images",
    "Labels",
    "Mask",
    "Plane",
    "Points",
    "Progress",
    "Scores",
    "SoFar",
    "Volume",
]

Plane = Literal["z", "y", "x"]
"""A plane is named by its normal: plane "z" is the y-x image."""

PLANES: tuple[Plane, ...] = ("z", "y", "x")

AnyVolume = Num[np.ndarray, "z y x"]
Volume = Float[np.ndarray, "z y x"]
Mask = Bool[np.ndarray, "z y x"]
Labels = Integer[np.ndarray, "z y x"]
Image = Float[np.ndarray, "h w"]
Images = Float[np.ndarray, "n h w"]
Points = Float[np.ndarray, "n 3"]
Scores = Float[np.ndarray, " n"]

Progress = Callable[[str, int, int], None]
"""Called as ``progress(stage, done, total)``; core code never prints."""

SoFar = Callable[[str, Points], None]
"""Called as ``so_far(kind, points)`` during a search, with the points that resemble the kind so far."""
