"""Points with their scores, names, instances and orientations: the content of a points file."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer
from scipy.spatial.transform import Rotation

from cryosam.arrays import Scores
from cryosam.errors import PointsFileError

__all__ = ["PointTable"]


@dataclass(frozen=True, eq=False)
class PointTable:
    """Points, each with a score, a name, an instance and an orientation if these are known.

    Parameters
    ----------
    points
        ``(n, 3)`` z, y, x in voxels; an integer is a voxel centre; points may lie outside the tomogram.
    scores
        ``(n,)`` or None.
    names
        Name of the kind of each point, or None.
    instances
        ``(n,)`` instance label of each point, or None.
    rotations
        ``(n,)`` rotations of the reference of the kind into the orientation of the particle, or None; they act on
        z, y, x.
    tomogram_name
        Name of the tomogram according to the file that the points were read from; None if it has none.

    Raises
    ------
    PointsFileError
        If a coordinate is not finite, or a column and the points differ in length.

    Examples
    --------
    >>> PointTable(np.array([[1.0, 2.0, 3.0]]), names=("ribosome",)).select("ribosome").points
    array([[1., 2., 3.]])
    """

    points: Float[np.ndarray, "n 3"] | Integer[np.ndarray, "n 3"]
    scores: Scores | None = None
    names: tuple[str, ...] | None = None
    instances: Integer[np.ndarray, " n"] | None = None
    rotations: Rotation | None = None
    tomogram_name: str | None = None

    def __post_init__(self) -> None:
        points = np.asarray(self.points, dtype=float)
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise PointsFileError("every point needs three finite numbers z, y, x")
        for column in ("scores", "names", "instances", "rotations"):
            values = getattr(self, column)
            if values is not None and len(values) != len(points):
                raise PointsFileError(f"{len(points)} points but {len(values)} {column}")
        object.__setattr__(self, "points", points)

    def __len__(self) -> int:
        return len(self.points)

    def take(self, indices: Integer[np.ndarray, " m"]) -> "PointTable":
        """Return the rows ``indices`` ``(m,)``, in that order.

        Examples
        --------
        >>> table = PointTable(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
        >>> table.take(np.array([1])).points
        array([[4., 5., 6.]])
        """
        return PointTable(
            self.points[indices],
            None if self.scores is None else self.scores[indices],
            None if self.names is None else tuple(self.names[i] for i in indices),
            None if self.instances is None else self.instances[indices],
            None if self.rotations is None else self.rotations[indices],
            self.tomogram_name,
        )

    def select(self, name: str) -> "PointTable":
        """Return the points of one kind, in order.

        Raises
        ------
        PointsFileError
            If there are no names, or none is ``name``; the message lists the names.

        Examples
        --------
        >>> table = PointTable(np.zeros((2, 3)), names=("a", "b"), instances=np.array([7, 8]))
        >>> table.select("b").instances
        array([8])
        """
        if self.names is None:
            raise PointsFileError(f"the points have no names, so none is named {name!r}")
        if name not in self.names:
            raise PointsFileError(f"no point is named {name!r}; the names are {', '.join(sorted(set(self.names)))}")
        return self.take(np.flatnonzero(np.asarray(self.names) == name))
