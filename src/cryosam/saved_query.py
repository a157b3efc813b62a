"""A saved query: what is known of a kind from one tomogram, to find the kind in others without a click."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from cryosam.errors import QueryError
from cryosam.prompts import require_kind_names
from cryosam.results import Average
from cryosam.tomogram import Contrast

__all__ = ["KnownMembers", "SavedQuery"]


@dataclass(frozen=True, eq=False)
class KnownMembers:
    """Candidates of another tomogram of which it is known whether they are of the kind.

    Parameters
    ----------
    correlations
        ``(m,)`` in [-1, 1], correlation of each with an average from which it is excluded.
    prior_score
        ``(m,)`` in [0, 1], prior score of each, from features and mask volume.
    is_kind
        ``(m,)`` whether each is of the kind.
    """

    correlations: Float[np.ndarray, " m"]
    prior_score: Float[np.ndarray, " m"]
    is_kind: Bool[np.ndarray, " m"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedQuery:
    """The part of a search result that is needed to search another tomogram for the same kind.

    Lengths are in angstrom, so that a tomogram with another voxel size can be searched too. Similarities, masks,
    averages and probabilities are not saved; they are computed anew in the other tomogram.

    Parameters
    ----------
    name
        Name of the kind.
    feature
        ``(c,)`` mean feature of the particles that were found. Dense descriptors are in units of the background noise.
    diameter_angstrom, volume_angstrom3
        Size of the kind: the volume of its masks, and the diameter of a ball with that volume.
    smoothing_angstrom
        Standard deviation of the Gaussian through which the segmenter saw the particles.
    contrast
        Whether protein was dark or bright.
    average
        Average of the particles, protein bright; its ``step`` is in angstrom here.
    known_members
        Candidates of which it is known whether they are of the kind; none if there were too few for an average.
    voxel_size_angstrom
        Voxel size of the tomogram that the query was made in.
    scales, token_voxels
        Gaussian scales, or edge of a 2D model's token (0: whole slices were stretched), in voxels of that tomogram.
    features, features_digest, segmenter, segmenter_digest
        Names and digests of the backends. Features and volumes are comparable only if these are the same.
    n_particles
        Number of particles found in that tomogram.
    source, source_digest
        Name of that tomogram, and SHA-256 of its voxels.

    Raises
    ------
    QueryError
        If a number is not finite or not positive.
    PromptError
        If the name cannot be used in file names.
    """

    name: str
    feature: Float[np.ndarray, " c"]
    diameter_angstrom: float
    volume_angstrom3: float
    smoothing_angstrom: float
    contrast: Contrast
    average: Average
    known_members: KnownMembers
    voxel_size_angstrom: float
    scales: tuple[float, ...]
    token_voxels: float
    features: str
    features_digest: str
    segmenter: str
    segmenter_digest: str
    n_particles: int
    source: str
    source_digest: str

    def __post_init__(self) -> None:
        require_kind_names([self.name])
        positive = (self.diameter_angstrom, self.volume_angstrom3, self.voxel_size_angstrom, self.average.step)
        numbers = np.array([*positive, *self.scales, self.smoothing_angstrom, self.token_voxels])
        is_usable = bool(np.isfinite(numbers).all()) and min(positive) > 0 and numbers.min() >= 0
        arrays = (self.feature, self.average.data, self.known_members.correlations, self.known_members.prior_score)
        if not is_usable or not all(np.isfinite(array).all() for array in arrays):
            raise QueryError(f"query {self.name!r} has a length that is not positive, or a number that is not finite")
        if len({len(column) for column in vars(self.known_members).values()}) != 1:
            raise QueryError(f"query {self.name!r}: the columns of known_members must have the same length")
        if self.average.data.ndim != 3 or len(set(self.average.data.shape)) != 1:
            raise QueryError(f"query {self.name!r}: the average must be a cube, got {self.average.data.shape}")
        if self.contrast not in ("dark", "bright"):
            raise QueryError(f"query {self.name!r}: contrast is dark or bright, got {self.contrast!r}")

    def digest(self) -> str:
        """SHA-256 of everything in the query that affects a search."""
        values = [self.name, self.diameter_angstrom, self.volume_angstrom3, self.smoothing_angstrom, self.contrast]
        values += [self.average.step, self.voxel_size_angstrom, self.scales, self.token_voxels]
        values += [self.features_digest, self.segmenter_digest, self.n_particles]
        state = hashlib.sha256(json.dumps(values).encode())
        known_members = (self.known_members.correlations, self.known_members.prior_score, self.known_members.is_kind)
        for array in (self.feature, self.average.data, *known_members):
            state.update(f"{array.dtype.str}{array.shape}".encode())
            state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()
