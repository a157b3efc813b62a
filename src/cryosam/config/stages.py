"""Settings of each stage.

Values of the paper (Zhao et al., MICCAI 2024) are marked "paper". The resolved configuration is written into every
output.
"""

from dataclasses import dataclass
from typing import Any, Literal

from cryosam.errors import ConfigError

__all__ = [
    "NONE",
    "AveragingConfig",
    "ClassificationConfig",
    "FeatureConfig",
    "Fusion",
    "MatchingConfig",
    "PropagationConfig",
    "RefinementConfig",
    "TomogramConfig",
    "VectorSearchConfig",
    "require",
    "require_positive",
]

NONE = "none"
"""The word for a setting without a value in a TOML file."""

Fusion = Literal["union", "majority", "intersection", "soft"]


def require(condition: bool, message: str) -> None:
    """Check a condition on the settings.

    Raises
    ------
    ConfigError
        With the message, if the condition does not hold.
    """
    if not condition:
        raise ConfigError(message)


def require_positive(config: Any, *names: str) -> None:
    """Check that some settings are positive or None.

    Raises
    ------
    ConfigError
        If one is not; the message names it.
    """
    for name in names:
        value = getattr(config, name)
        require(value is None or value > 0, f"{name} must be positive, got {value}")


@dataclass(frozen=True, kw_only=True)
class TomogramConfig:
    """What is known of the tomogram: its contrast, and the tilts of which it was made.

    Parameters
    ----------
    contrast
        Whether protein is "dark" or "bright" in the file; "auto" detects it from the clicks and from the skewness of
        the intensities.
    percentiles
        Percentiles of the intensities that become 0 and 1; values beyond them are clipped.
    tilt_range
        Lowest and highest tilt in degrees, with the sign of `cryosam.missing_wedge.MissingWedge`; "auto" measures them
        in the power spectrum, and assumes -60 and 60 if it does not show them.
    tilt_axis
        Direction of the tilt axis in the x-y plane, in degrees from x towards y, or "x" (0) or "y" (90); "auto"
        measures it, and assumes y if the spectrum does not show it.
    """

    contrast: Literal["auto", "dark", "bright"] = "auto"
    percentiles: tuple[float, float] = (0.05, 99.95)
    tilt_range: Literal["auto"] | tuple[float, float] = "auto"
    tilt_axis: Literal["auto", "x", "y"] | float = "auto"

    def __post_init__(self) -> None:
        require(self.contrast in ("auto", "dark", "bright"), f"contrast is auto, dark or bright, got {self.contrast}")
        low, high = self.percentiles
        require(0 <= low < high <= 100, f"percentiles must ascend within 0 and 100, got {low}, {high}")
        require(
            self.tilt_range == "auto" or _is_tilt_range(self.tilt_range),
            f"tilt_range is auto, or the lowest and the highest tilt within -90 and 90 degrees, got {self.tilt_range}",
        )
        axis = self.tilt_axis
        is_angle = isinstance(axis, int | float) and -180 <= axis <= 180
        require(
            is_angle or axis in ("auto", "x", "y"),
            f"tilt_axis is auto, x, y or an angle within -180 and 180 degrees, got {axis}",
        )


def _is_tilt_range(value: object) -> bool:
    """Whether a value is two numbers in ascending order within -90 and 90."""
    if not (isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, int | float) for part in value)):
        return False
    return bool(-90 <= value[0] < value[1] <= 90)


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """The features that describe the neighbourhood of each voxel.

    Parameters
    ----------
    backend
        A name that ``cryosam models list`` shows, or the folder of a model.
    scales
        Gaussian scales of the 3D descriptors in voxels, for particles of up to ``scales_diameter`` voxels; for larger
        particles they grow in proportion to the diameter.
    scales_diameter
        Largest diameter, in voxels, for which ``scales`` are used as given.
    token_diameters
        Edge of a 2D model's token as a fraction of the particle's diameter; 0 scales each whole slice to ``slice_px``,
        as the published code does.
    slice_px
        Edge of the square that a 2D model sees (paper: 518).
    """

    backend: str = "invariants"
    scales: tuple[float, ...] = (1.5, 2.4, 3.7, 5.8, 9.0)
    scales_diameter: float = 24.0
    token_diameters: float = 0.35
    slice_px: int = 518

    def __post_init__(self) -> None:
        require(self.backend not in (None, "", NONE), "backend is the name or the folder of a model")
        require(min(self.scales, default=0) > 0, f"scales must be positive, got {self.scales}")
        require(self.token_diameters >= 0, f"token_diameters must not be negative, got {self.token_diameters}")
        require_positive(self, "scales_diameter", "slice_px")


@dataclass(frozen=True, kw_only=True)
class MatchingConfig:
    """Matching: finding candidates and accepting particles of the kind.

    Parameters
    ----------
    strides
        Voxels per cell at each level r, coarse to fine (paper: 16, 8, 4).
    coarse_similarity
        Cells above this cosine similarity are examined again at the next level (paper: 0.5).
    candidate_similarity
        Lowest similarity of a candidate.
    max_candidates
        Largest number of candidates to segment, the most similar first; there is a warning if there are more.
    volume_tolerance
        Expected standard deviation of the natural logarithm of the mask volumes within one kind. The score of a
        candidate is lowered accordingly if the volume of its mask differs from that of the kind. None ignores the
        volumes (paper).
    threshold
        Lowest score of a detection; None chooses it from the data (paper: 0.5).
    max_false_discovery
        Largest expected share of false detections, used instead of a threshold. It needs probabilities, which require
        an average of the candidates (see `AveragingConfig`).
    max_particles
        Largest number K of detections to keep, best first; None keeps all above the threshold (paper: 512).
    query
        Feature of the query: at the "centroid" of the mask of each clicked particle (paper), or the "mean" over it.
    min_distance_diameters
        A detection nearer to a better one than this fraction of the particle's diameter is dropped.
    edge_margin
        Width in voxels of the margin along each face of the tomogram in which nothing is detected.
    """

    strides: tuple[int, ...] = (2,)
    coarse_similarity: float = 0.5
    candidate_similarity: float = 0.75
    max_candidates: int = 2000
    volume_tolerance: float | None = 0.3
    threshold: float | None = None
    max_false_discovery: float | None = None
    max_particles: int | None = None
    query: Literal["centroid", "mean"] = "centroid"
    min_distance_diameters: float = 0.7
    edge_margin: int = 0

    def __post_init__(self) -> None:
        require(len(self.strides) > 0, "strides needs at least one level")
        for coarse, fine in zip(self.strides, self.strides[1:], strict=False):
            divides = coarse > fine and coarse % fine == 0
            require(divides, f"each stride must divide the one before, got {self.strides}")
        require(min(self.strides) >= 1, f"strides must be positive, got {self.strides}")
        for name in ("coarse_similarity", "candidate_similarity"):
            require(-1 <= getattr(self, name) <= 1, f"{name} is a cosine, got {getattr(self, name)}")
        require_positive(self, "max_candidates", "volume_tolerance", "max_particles")
        require(self.threshold is None or 0 <= self.threshold <= 1, f"threshold is in [0, 1], got {self.threshold}")
        share = self.max_false_discovery
        require(share is None or 0 < share < 1, f"max_false_discovery is between 0 and 1, got {share}")
        require(share is None or self.threshold is None, "give a threshold or max_false_discovery, not both")
        require(self.query in ("centroid", "mean"), f"query is centroid or mean, got {self.query}")
        require(self.min_distance_diameters >= 0, "min_distance_diameters must not be negative")
        require(self.edge_margin >= 0, f"edge_margin must not be negative, got {self.edge_margin}")


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
    """Propagation: segmenting an instance in 3D from a point.

    Parameters
    ----------
    segmenter
        A name that ``cryosam models list`` shows, or the folder or file of a model.
    fusion
        How the masks from slices along the three axes are combined into one.
    min_iou
        Lowest IoU of a slice's mask with that of the previous slice (paper: 0.5).
    min_score
        Lowest score of a slice's mask: the IoU with the true cross-section that the segmenter expects.
    max_area
        Largest area of a mask in a slice, in square voxels, if the diameter is not known (paper: 32 x 32).
    max_area_diameters
        If the diameter is known: edge, in particle diameters, of the square with the largest area of a mask.
    max_walk_diameters
        If the diameter is known: largest distance, in particle diameters, of a slice from that of the prompt.
    window_diameters
        Edge of the window around a point that the segmenter sees, in particle diameters; 0 shows whole slices (paper).
    window_voxels
        The same in voxels, if the diameter is not known; None tries several and takes the one at which the segmenter
        gives its masks the best scores.
    smoothing
        Standard deviation in voxels of the 3D Gaussian that is applied before the segmenter sees a slice; None chooses
        it by the segmenter's scores (paper: 0).
    z_weight
        Weight of plane z in the "soft" fusion. Planes y and x have weight 1, because the missing wedge blurs them.
    """

    segmenter: str = "embedded"
    fusion: Fusion = "majority"
    min_iou: float = 0.5
    min_score: float = 0.15
    max_area: int = 4096
    max_area_diameters: float = 1.2
    max_walk_diameters: float = 1.0
    window_diameters: float = 3.0
    window_voxels: int | None = None
    smoothing: float | None = None
    z_weight: float = 1.5

    def __post_init__(self) -> None:
        require(self.segmenter not in (None, "", NONE), "segmenter is the name, the folder or the file of a model")
        fusions = ("union", "majority", "intersection", "soft")
        require(self.fusion in fusions, f"fusion is one of {', '.join(fusions)}, got {self.fusion}")
        require(0 <= self.min_iou <= 1, f"min_iou is in [0, 1], got {self.min_iou}")
        require(0 <= self.min_score <= 1, f"min_score is in [0, 1], got {self.min_score}")
        require_positive(self, "max_area", "max_area_diameters", "max_walk_diameters", "window_voxels", "z_weight")
        require(self.window_diameters >= 0, "window_diameters must not be negative")
        require(self.smoothing is None or self.smoothing >= 0, f"smoothing must not be negative, got {self.smoothing}")


@dataclass(frozen=True, kw_only=True)
class AveragingConfig:
    """Comparison of the candidates with an average of those that resemble the clicked particle most.

    Parameters
    ----------
    is_on
        Whether candidates are averaged; without averages, the prior score decides (paper).
    max_members
        Largest number of candidates in an average.
    n_averages
        Number of averages made one after the other, each from the candidates that are probable given the previous one.
    n_rotations
        Number of rotations that are compared, evenly distributed over all orientations.
    resolution
        Finest detail that is compared, in voxels; 0.3 times the particle's diameter if that is larger.
    uses_descriptors
        Whether learned descriptors help to choose the members of the first average.
    """

    is_on: bool = True
    max_members: int = 40
    n_averages: int = 3
    n_rotations: int = 2000
    resolution: float = 4.0
    uses_descriptors: bool = True

    def __post_init__(self) -> None:
        require_positive(self, "max_members", "n_averages", "n_rotations")
        require(self.resolution >= 2, f"resolution is at least 2 voxels, got {self.resolution}")


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig:
    """3D classification of the candidates.

    Parameters
    ----------
    is_on
        Whether candidates are divided into classes after their comparison with an average; the kind is one of them.
    only_kind
        If the candidates do not divide into the kind and something else: share of the compared places that must match
        the kind's average by more than chance, so that the kind counts as nearly all there is, and all these places are
        accepted. Chosen between purified samples, where most places are, and samples with several complexes, where few
        are. None switches it off.
    """

    is_on: bool = True
    only_kind: float | None = 0.4

    def __post_init__(self) -> None:
        least = self.only_kind
        require(least is None or 0 < least <= 1, f"only_kind is in (0, 1], got {least}")


@dataclass(frozen=True, kw_only=True)
class VectorSearchConfig:
    """The search by learned vectors, where the candidates of the first search hardly divide.

    Parameters
    ----------
    is_on
        Whether there is such a search.
    uses_detector
        Whether the kind is told from others among places of the learned detector (`matching.detector`), where there
        are others; otherwise among peaks of the correlation with the radial profile of the clicked particles. Off,
        because it was better in some searches and worse in others.
    n_candidates
        Least number of places that are compared after the first round; twice as many are compared first. There are more
        where more places than these correlate with the click by more than chance.
    n_detected
        Least number of places of the detector that are compared; there are twice as many as are more than chance, if
        that is more. Further places are mostly chance.
    n_members
        Largest number of places in the average, one for each round: the more members are known, the more others can be
        recognised.
    n_decoys
        Number of places in the surrogate of the tomogram that are compared as well, to know what chance reaches.
    correlation_weight
        Weight of the evidence of the correlation beside that of the vectors. Both see the same voxels; 1 would take
        them for independent.
    least_of_members
        Least probability of a member of the average while the others are judged: most members are of the kind.
    spread_prior
        Number of members that the spread of all other correlations counts for in that of the members.
    other_kinds
        Share of the mean vector of what is more than chance, but not of the kind, that neither the kind nor noise
        explains, from which it counts as other kinds (see `classification.other_kinds`). Below it, the kind counts as
        nearly all there is. It lies in the middle between what purified samples and a lamella gave, and what simulated
        tomograms of six complexes gave.
    agreement
        How often an accepted candidate must resemble the other accepted ones, by its vector, more than a refused one
        does (see `classification.vector_groups`). Significantly below it, the first search is in doubt. It lies in the
        middle between what searches that were wrong gave in a simulated tilt series of six complexes, and those that
        were right.
    significance
        Probability with which vectors of a single kind may be taken for several, and with which an agreement may be
        taken for too low: the usual level of tests.
    """

    is_on: bool = True
    uses_detector: bool = False
    n_candidates: int = 400
    n_detected: int = 100
    n_members: tuple[int, ...] = (8, 16, 32)
    n_decoys: int = 100
    correlation_weight: float = 0.5
    least_of_members: float = 0.9
    spread_prior: float = 10.0
    other_kinds: float = 0.41
    agreement: float = 0.91
    significance: float = 0.05

    def __post_init__(self) -> None:
        require_positive(self, "n_candidates", "n_detected", "n_decoys", "correlation_weight", "spread_prior")
        require(min(self.n_members, default=0) >= 2, f"n_members are at least 2, got {self.n_members}")
        for name in ("least_of_members", "other_kinds", "agreement", "significance"):
            require(0 <= getattr(self, name) <= 1, f"{name} is in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class RefinementConfig:
    """Refinement of the poses of the detections.

    Parameters
    ----------
    is_on
        Whether orientations and centres of the detections are refined; this also makes the average sharper.
    """

    is_on: bool = True
