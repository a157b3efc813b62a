"""Points that the user gives, on particles of a kind and on other objects."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from cryosam.arrays import Points
from cryosam.errors import PromptError

__all__ = ["PointPrompts", "require_kind_names", "spell"]


@dataclass(frozen=True, eq=False)
class PointPrompts:
    """Points on particles of one kind, and points on objects that are not of that kind.

    Parameters
    ----------
    points
        ``(n, 3)`` z, y, x in voxels, an integer is a voxel centre.
    is_positive
        ``(n,)`` True for points on the kind, False for points on other objects; all True if left out.
    name
        Name of the kind.

    Raises
    ------
    PromptError
        If a point is not three finite numbers, or none is positive.

    Examples
    --------
    >>> PointPrompts(np.array([[5.0, 6.0, 7.0]])).positive
    array([[5., 6., 7.]])
    """

    points: Float[np.ndarray, "n 3"] | Integer[np.ndarray, "n 3"]
    is_positive: Bool[np.ndarray, " n"] | None = None
    name: str = "particle"

    def __post_init__(self) -> None:
        points = np.asarray(self.points, dtype=float)
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise PromptError(f"a point is three finite numbers z,y,x, got {np.asarray(self.points).tolist()}")
        positive = np.ones(len(points), dtype=bool) if self.is_positive is None else np.asarray(self.is_positive)
        if len(positive) != len(points):
            raise PromptError(f"{len(points)} points but {len(positive)} labels")
        if not positive.any():
            raise PromptError("at least one positive point is needed: a click on a particle of the kind to find")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "is_positive", positive)

    @property
    def positive(self) -> Points:
        """Points on the kind, ``(p, 3)``."""
        return self.points[self.is_positive]

    @property
    def negative(self) -> Points:
        """Points on objects that are not of the kind, ``(q, 3)``."""
        return self.points[~np.asarray(self.is_positive)]

    def validate(self, shape: Sequence[int]) -> None:
        """Check that every point lies in a volume of ``shape`` voxels.

        Raises
        ------
        PromptError
            If a point lies outside; the message names the first one and the valid range.
        """
        limits = np.asarray(shape) - 1
        for point in self.points:
            if (point < 0).any() or (point > limits).any():
                raise PromptError(
                    f"point {spell(point)} lies outside the tomogram: z,y,x go from 0,0,0 to "
                    f"{','.join(str(int(n)) for n in limits)} (voxels, in that order)"
                )


def spell(point: Float[np.ndarray, " 3"]) -> str:
    """Format a point as a user writes it.

    Examples
    --------
    >>> spell(np.array([5.0, 6.5, 7.0]))
    '5,6.5,7'
    """
    return ",".join(f"{c:g}" for c in point)


def require_kind_names(names: Sequence[str]) -> None:
    """Check that the names of kinds differ and can be used in file names.

    Raises
    ------
    PromptError
        If there is no kind, if two have the same name, or if a name contains characters other than letters, digits and
        ``_.+-``, or begins with a dot.

    Examples
    --------
    >>> require_kind_names(["ribosome", "thermosome-2"])
    """
    if len(set(names)) < len(names) or not names:
        raise PromptError(f"every kind needs its own name, got {', '.join(names) or 'none'}")
    if invalid := [name for name in names if not re.fullmatch(r"[\w+-][\w.+-]*", name)]:
        raise PromptError(
            "the name of a kind becomes part of file names, so it may contain only letters, digits and _.+-, "
            f"and not begin with a dot, got {invalid[0]!r}"
        )
