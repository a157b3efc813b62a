"""Density maps of procedural complexes: a subunit of Gaussian blobs, copied by a point group."""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points, Scores, Volume
from cryosam.errors import ConfigError, InputError, VoxelSizeError

__all__ = [
    "COMPLEXES",
    "copies_by_symmetry",
    "make_complex",
    "normalise_density",
    "protein_of_blobs",
    "random_complex",
    "random_protein",
    "render_blobs",
    "resample_density",
]

_BLOB_ANGSTROM = 13.0  # standard deviation of a blob, which represents a domain of about 25 kDa


def render_blobs(shape: tuple[int, int, int], centres: Points, sigma: float, weights: Scores | None = None) -> Volume:
    """Sum of Gaussian blobs.

    Parameters
    ----------
    shape
        Shape of the volume, voxels along z, y, x.
    centres
        ``(n, 3)`` centres z, y, x in voxels; they may lie outside.
    sigma
        Standard deviation of every blob in voxels.
    weights
        ``(n,)`` peak values; None means 1.

    Examples
    --------
    >>> volume = render_blobs((3, 4, 5), np.array([[1.0, 2.0, 3.0]]), 0.8)
    >>> [int(i) for i in np.unravel_index(volume.argmax(), volume.shape)]
    [1, 2, 3]
    """
    volume = np.zeros(shape, dtype=np.float32)
    reach = 4 * sigma
    heights = np.ones(len(centres)) if weights is None else weights
    for centre, height in zip(centres, heights, strict=True):
        spans = [range(max(0, int(c - reach)), min(n, int(c + reach) + 2)) for c, n in zip(centre, shape, strict=True)]
        if all(spans):
            z, y, x = (np.exp(-0.5 * ((np.array(s) - c) / sigma) ** 2) for s, c in zip(spans, centre, strict=True))
            box = tuple(slice(s.start, s.stop) for s in spans)
            volume[box] += height * z[:, None, None] * y[:, None] * x
    return volume


def _cluster(seed: int, centre: tuple[float, float, float], semi_axes: tuple[float, float, float], n: int) -> Points:
    """``n`` deterministic blob centres within an ellipsoid, z, y, x in angstrom."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(centre) + directions * np.cbrt(rng.random((n, 1))) * np.asarray(semi_axes)


def _operations(group: str) -> Rotation:
    """The rotations of a point group; SciPy's type stubs list only the letters of the groups."""
    return Rotation.create_group(group, axis="Z")  # type: ignore[arg-type]


def copies_by_symmetry(subunit: Points, group: str) -> Float[np.ndarray, "m 3"]:
    """Copies of a subunit by every operation of a point group whose main axis is z.

    Parameters
    ----------
    subunit
        ``(n, 3)`` blobs z, y, x around the origin, in any unit.
    group
        Schoenflies symbol, such as "C3", "D7" or "I".

    Examples
    --------
    >>> copies_by_symmetry(np.array([[1.0, 2.0, 0.0]]), "C2").round(6) + 0.0
    array([[ 1.,  2.,  0.],
           [ 1., -2.,  0.]])
    """
    turns = _operations(group)
    z_last = np.asarray(subunit, dtype=float)[:, ::-1]
    return np.concatenate([turn.apply(z_last)[:, ::-1] for turn in turns])


def _bilobe() -> Points:
    """Two unequal lobes with a stalk, like a ribosome."""
    large = _cluster(1, (0, 0, -25), (80, 88, 62), 60)
    small = _cluster(2, (10, -8, 72), (72, 50, 30), 24)
    stalk = np.array([[0.0, 95, -20], [0, 112, -12], [-90, 20, -30]])
    return np.concatenate([large, small, stalk])


def _tetramer() -> Points:
    """Four elongated subunits, D2."""
    return copies_by_symmetry(_cluster(3, (26, 32, 14), (26, 22, 32), 9), "D2")


def _barrel() -> Points:
    """Four stacked rings of seven, D7, hollow."""
    return copies_by_symmetry(np.array([[19.0, 40, 0], [55, 40, 4]]), "D7")


def _ring() -> Points:
    """Flat ring of six lobed subunits, C6."""
    return copies_by_symmetry(np.array([[-14.0, 38, 0], [8, 44, 10], [26, 36, 18]]), "C6")


def _shell() -> Points:
    """Hollow sphere of sixty subunits, icosahedral."""
    return copies_by_symmetry(np.array([[70.0, 34, 13]]), "I")


def _rod() -> Points:
    """Helical rod."""
    steps = np.arange(-11, 12)
    turn = np.radians(100.0) * steps
    return np.column_stack([8.5 * steps, 17 * np.sin(turn), 17 * np.cos(turn)])


def _tripod() -> Points:
    """Hub on three long legs, C3."""
    leg = np.array([[30.0, 14, 0], [44, 6, 4], [12, 32, 4], [-8, 48, 8], [-28, 62, 12], [-48, 72, 14]])
    return copies_by_symmetry(leg, "C3")


def _clamp() -> Points:
    """Two arms that meet at one end, C2."""
    arm = np.array([[48.0, 8, 6], [26, 22, 8], [2, 32, 4], [-22, 34, -4], [-42, 24, -10]])
    return copies_by_symmetry(arm, "C2")


_BLOBS: dict[str, Callable[[], Points]] = {
    "bilobe": _bilobe,
    "barrel": _barrel,
    "tetramer": _tetramer,
    "ring": _ring,
    "shell": _shell,
    "rod": _rod,
    "tripod": _tripod,
    "clamp": _clamp,
}

COMPLEXES = MappingProxyType({name: " ".join((make.__doc__ or "").split()) for name, make in _BLOBS.items()})
"""The built-in kinds and what they look like."""


def protein_of_blobs(centres_angstrom: Points, voxel_size_angstrom: float) -> Volume:
    """Density of blobs around the origin, about 1 inside, in a cube with an odd edge that contains all of it."""
    if not voxel_size_angstrom > 0:
        raise VoxelSizeError(f"the voxel size must be positive, got {voxel_size_angstrom}")
    sigma = np.hypot(_BLOB_ANGSTROM / voxel_size_angstrom, 12**-0.5)  # a voxel averages over its width
    centres = centres_angstrom / voxel_size_angstrom
    half = int(np.ceil(np.linalg.norm(centres, axis=1).max() + 4 * sigma))
    summed = render_blobs((2 * half + 1,) * 3, centres + half, float(sigma))
    return 1 - np.exp(-1.5 * summed)


def make_complex(name: str, voxel_size_angstrom: float) -> Volume:
    """Density of a built-in complex.

    Parameters
    ----------
    name
        A key of `COMPLEXES`.
    voxel_size_angstrom
        Edge of a voxel.

    Returns
    -------
    density
        ``(z, y, x)`` float32, a cube with an odd number of voxels along each edge. The symmetry axis is along z,
        through the centre. About 1 inside the protein, 0 outside.

    Raises
    ------
    ConfigError
        If there is no such complex.
    VoxelSizeError
        If the voxel size is not positive.

    Examples
    --------
    >>> density = make_complex("barrel", 10.0)
    >>> bool(density[tuple(n // 2 for n in density.shape)] < 0.2)  # hollow
    True
    """
    if name not in _BLOBS:
        raise ConfigError(f"no built-in complex is called {name!r}; there are {', '.join(_BLOBS)}")
    return protein_of_blobs(_BLOBS[name](), voxel_size_angstrom)


def random_complex(seed: int, diameter_angstrom: float, voxel_size_angstrom: float) -> Volume:
    """Density of a compact complex with a random subunit and a random point group.

    Parameters
    ----------
    seed
        The same seed gives the same complex.
    diameter_angstrom
        Approximate longest extent of the complex.
    voxel_size_angstrom
        Edge of a voxel.

    Examples
    --------
    >>> bool(np.array_equal(random_complex(3, 120, 10), random_complex(3, 120, 10)))
    True
    """
    rng = np.random.default_rng(seed)
    group = str(rng.choice(["C1", "C2", "C3", "C4", "C5", "C6", "D2", "D3", "D4"]))
    n_operations = len(_operations(group))
    n_blobs = max(2, round(40 / n_operations))
    z, y, x = rng.uniform(0.3, 1.0, size=3)
    centre = rng.normal(size=3) * 0.7
    blobs = copies_by_symmetry(_cluster(seed + 1, (centre[0], centre[1], centre[2]), (z, y, x), n_blobs), group)
    blobs -= blobs.mean(axis=0)
    reach = max(diameter_angstrom / 2 - 1.5 * _BLOB_ANGSTROM, _BLOB_ANGSTROM / 2)
    return protein_of_blobs(blobs * reach / np.linalg.norm(blobs, axis=1).max(), voxel_size_angstrom)


def random_protein(seed: int, n_domains: int, voxel_size_angstrom: float) -> Volume:
    """Density of a small protein without symmetry: one blob, about 45 angstrom across, for each domain of 25 kDa.

    Parameters
    ----------
    seed
        The same seed gives the same protein.
    n_domains
        Domains, which lie close together.
    voxel_size_angstrom
        Edge of a voxel.

    Examples
    --------
    >>> one, four = (int((random_protein(0, n, 10.0) > 0.3).sum()) for n in (1, 4))
    >>> 2 * one < four < 6 * one
    True
    """
    rng = np.random.default_rng(seed)
    reach = 2 * _BLOB_ANGSTROM * np.cbrt(n_domains - 1)
    flattening = rng.uniform(0.6, 1.4, size=3)
    blobs = _cluster(seed, (0, 0, 0), (flattening[0], flattening[1], flattening[2]), n_domains) * reach
    return protein_of_blobs(blobs - blobs.mean(axis=0), voxel_size_angstrom)


def resample_density(
    density: Volume, voxel_size_angstrom: float, target_voxel_size_angstrom: float
) -> Float[np.ndarray, "tz ty tx"]:
    """A density map at another voxel size; it is low-pass filtered before it is made coarser.

    Parameters
    ----------
    density
        ``(z, y, x)``.
    voxel_size_angstrom, target_voxel_size_angstrom
        Edge of a voxel before and after.

    Returns
    -------
    resampled
        ``(z, y, x)`` float32 with an odd number of voxels along each axis; the centre of the box stays in the centre.

    Examples
    --------
    >>> resample_density(np.ones((5, 5, 5), dtype=np.float32), 10.0, 20.0).shape
    (3, 3, 3)
    """
    if not (voxel_size_angstrom > 0 and target_voxel_size_angstrom > 0):
        raise VoxelSizeError(f"voxel sizes must be positive, got {voxel_size_angstrom}, {target_voxel_size_angstrom}")
    ratio = target_voxel_size_angstrom / voxel_size_angstrom
    shape = np.array([int(np.ceil(n / ratio)) // 2 * 2 + 1 for n in density.shape])
    smooth = ndimage.gaussian_filter(density.astype(np.float32), 0.5 * np.sqrt(max(ratio**2 - 1, 0)))
    offset = (np.array(density.shape) - 1) / 2 - ratio * (shape - 1) / 2
    return ndimage.affine_transform(smooth, np.full(3, ratio), offset, tuple(shape), order=1, mode="grid-constant")


def normalise_density(density: Volume, name: str = "the density map") -> Volume:
    """Scale a user's map to about 1 inside the protein and 0 outside.

    Values below a tenth of the map's robust maximum are set to 0; the others are divided by that maximum.

    Raises
    ------
    InputError
        If the map is not finite or nowhere positive.

    Examples
    --------
    >>> density = np.zeros((3, 3, 3), dtype=np.float32)
    >>> density[1, 1, 1] = 5
    >>> float(normalise_density(density).max())
    1.0
    """
    if not np.isfinite(density).all() or density.max() <= 0:
        raise InputError(f"{name} must have finite values and positive protein, got a maximum of {density.max():g}")
    inside = density[density > 0.1 * density.max()]
    top = float(np.percentile(inside, 90))
    return np.where(density > 0.1 * top, np.clip(density / top, 0, 1.5), 0).astype(np.float32)
