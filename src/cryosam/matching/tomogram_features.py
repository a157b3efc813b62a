"""The feature field of a tomogram for particles of one size: computed, or read from the cache."""

from collections.abc import Callable

import numpy as np

from cryosam.arrays import Progress
from cryosam.backends import VolumeDescriptor, load_features
from cryosam.config import Config
from cryosam.intensities import Normalised
from cryosam.matching.feature_cache import FeatureCache, entry_key
from cryosam.matching.features import FeatureField
from cryosam.matching.features.dense import extract_dense
from cryosam.matching.features.dense_field import DenseField
from cryosam.matching.features.extraction import extract_triplane
from cryosam.matching.features.triplane import TriPlaneField
from cryosam.memory import Workspace

__all__ = ["describe", "octave"]


def octave(diameter: float) -> float:
    """The nearest power of the square root of two, so that particles of about the same size share their features.

    Examples
    --------
    >>> octave(17.0), octave(15.0)
    (16.0, 16.0)
    """
    return float(2 ** (round(2 * np.log2(diameter)) / 2))


def describe(
    voxels: Normalised,
    diameter: float,
    config: Config,
    workspace: Workspace,
    *,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> tuple[str, FeatureField]:
    """Feature field of a tomogram, with scales (or a token size) that suit particles of a given diameter.

    Parameters
    ----------
    voxels
        In [0, 1], protein bright.
    diameter
        Diameter of the particles, in voxels; a result of `octave`.
    config
        Names the backend, its scales and the finest level.
    workspace
        Holds the large arrays.
    cache
        Stores the field for the next run; None always computes it.
    progress
        Called with the number of blocks or tiles done.

    Returns
    -------
    digest, field
        Digest of the backend, and the field.
    """
    settings, stride = config.features, config.matching.strides[-1]
    growth = max(1.0, diameter / settings.scales_diameter)
    backend = load_features(
        settings.backend, device=config.device, scales=[scale * growth for scale in settings.scales]
    )
    parts: dict[str, object] = {"backend": backend.digest, "stride": stride}
    if isinstance(backend, VolumeDescriptor):
        arrays = _computed(
            voxels, cache, lambda: extract_dense(voxels, backend, stride, workspace, progress).to_arrays(), parts
        )
        return backend.digest, DenseField.from_arrays(arrays)
    parts |= {"token_voxels": settings.token_diameters * diameter, "slice_px": settings.slice_px}

    def compute() -> dict[str, np.ndarray]:
        return extract_triplane(
            voxels,
            backend,
            stride=stride,
            token_voxels=settings.token_diameters * diameter,
            slice_px=settings.slice_px,
            workspace=workspace,
            progress=progress,
        ).to_arrays()

    return backend.digest, TriPlaneField.from_arrays(_computed(voxels, cache, compute, parts))


def _computed(
    voxels: Normalised,
    cache: FeatureCache | None,
    compute: Callable[[], dict[str, np.ndarray]],
    parts: dict[str, object],
) -> dict[str, np.ndarray]:
    """The arrays of a field: from the cache if there is one and it has them, otherwise computed."""
    if cache is None:
        return compute()
    return cache.get_or_compute(entry_key(tomogram=voxels.digest(), **parts), compute)
