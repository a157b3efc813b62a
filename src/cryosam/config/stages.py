"""Settings of each stage.

Every default is listed with its source: "paper" is Zhao et al., MICCAI 2024; "measured" means that the figure is in
``docs/benchmarks.md``. The resolved configuration is written into every output.
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
    "require",
    "require_positive",
]

NONE = "none"
"""How a TOML file spells that a setting has no value."""

Fusion = Literal["union", "majority", "intersection", "soft"]


def require(condition: bool, message: str) -> None:
    """Make sure that a setting can be used.

    Raises
    ------
    ConfigError
        With the message, if it cannot.
    """
    if not condition:
        raise ConfigError(message)


def require_positive(config: Any, *names: str) -> None:
    """Make sure that some settings are positive, or None.

    Raises
    ------
    ConfigError
        Names the first that is not.
    """
    for name in names:
        value = getattr(config, name)
        require(value is None or value > 0, f"{name} must be positive, got {value}")


@dataclass(frozen=True, kw_only=True)
class TomogramConfig:
    """How intensities are prepared.

    Parameters
    ----------
    contrast
        Whether protein is "dark" or "bright" in the file; "auto" looks at the clicks and at the intensities' tails.
    percentiles
        Intensities that become 0 and 1, in percent; values beyond are clipped.
    """

    contrast: Literal["auto", "dark", "bright"] = "auto"
    percentiles: tuple[float, float] = (0.05, 99.95)

    def __post_init__(self) -> None:
        require(self.contrast in ("auto", "dark", "bright"), f"contrast is auto, dark or bright, got {self.contrast}")
        low, high = self.percentiles
        require(0 <= low < high <= 100, f"percentiles must ascend within 0 and 100, got {low}, {high}")


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """What describes a voxel.

    Parameters
    ----------
    backend
        A name that ``cryosam models list`` shows, or the folder of a model.
    scales
        Gaussian scales of the 3D descriptors in voxels, for particles of up to ``scales_diameter`` voxels; for larger
        ones they grow in proportion.
    scales_diameter
        See ``scales``.
    token_diameters
        Edge of a 2D model's token as a fraction of the particle's diameter; 0 stretches each whole slice to
        ``slice_px`` as the published code does.
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
    """How particles of the kind are found (DESIGN 1.2).

    Parameters
    ----------
    strides
        Voxels a cell at each level r, coarse to fine (paper: 16, 8, 4).
    coarse_similarity
        Cells above this cosine similarity are looked at again at the next level (paper: 0.5).
    candidate_similarity
        Least similarity of a candidate, whose instance is segmented before it is accepted.
    max_candidates
        Most candidates to segment, best first; reaching it is reported.
    volume_tolerance
        Spread of the natural logarithm of the volumes of one kind's masks: candidates whose mask's volume differs from
        the prompted instance's lose score accordingly. None does not look at the masks (paper).
    threshold
        Least score of a detection; None chooses it from the data (paper: 0.5).
    max_false_discovery
        Share of the detections that may be expected to be false, instead of a threshold. It needs probabilities, which
        an average of the candidates gives (see `AveragingConfig`).
    max_particles
        Most detections K to keep, best first; None keeps all above the threshold (paper: 512).
    query
        Feature of the query: at the "centroid" of each prompted instance's mask (paper), or the "mean" over the mask.
    min_distance_diameters
        Detections nearer to a better one than this fraction of the particle's diameter are dropped.
    edge_margin
        Voxels along each face of the tomogram in which nothing is detected.
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
    """How an instance is segmented from a point (DESIGN 1.1).

    Parameters
    ----------
    segmenter
        A name that ``cryosam models list`` shows, or the folder or file of a model.
    fusion
        How the three planes' stacks become one mask.
    min_iou
        Least IoU of a slice's mask with the one before (paper: 0.5).
    min_score
        Least predicted IoU of a slice's mask.
    max_area
        Largest mask in a slice, in square voxels, when the diameter is not known (paper: 32 x 32).
    max_area_diameters
        Edge of the square that bounds a mask's area, in particle diameters, when the diameter is known.
    max_walk_diameters
        Slices that a walk may go from the prompted one, in particle diameters, when the diameter is known.
    window_diameters
        Edge of the window around a point that the segmenter sees, in particle diameters; 0 shows whole slices (paper).
    window_voxels
        The same in voxels, when the diameter is not known; None tries many and takes the one at which the segmenter
        expects its masks to be best.
    smoothing
        Standard deviation in voxels of the 3D Gaussian that is applied before the segmenter sees a slice; None takes
        as much as the noise needs, which the segmenter's own scores tell (paper: 0).
    z_weight
        Weight of plane z in the "soft" fusion, planes y and x having 1: the missing wedge blurs those.
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
    """Comparison of the candidates with an average of those most like the clicked one.

    Parameters
    ----------
    is_on
        Whether it is done; without it the similarity of features decides (paper).
    max_members
        Most candidates that are averaged.
    n_averages
        How often an average is made; each has the candidates that are probable by comparison with the one before.
    n_rotations
        That are compared, evenly over all orientations.
    resolution
        Finest detail that is compared, in voxels; three tenths of the particle's diameter if that is more.
    max_tilt
        Degrees of the tilt series, in either direction, about the y axis.
    """

    is_on: bool = True
    max_members: int = 40
    n_averages: int = 3
    n_rotations: int = 2000
    resolution: float = 4.0
    max_tilt: float = 60.0

    def __post_init__(self) -> None:
        require_positive(self, "max_members", "n_averages", "n_rotations")
        require(self.resolution >= 2, f"resolution is at least 2 voxels, got {self.resolution}")
        require(0 < self.max_tilt <= 90, f"max_tilt is in (0, 90] degrees, got {self.max_tilt}")


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig:
    """Division of the candidates into classes.

    Parameters
    ----------
    is_on
        Whether the candidates that were compared with an average are divided into classes, of which the kind is one.
    """

    is_on: bool = True


@dataclass(frozen=True, kw_only=True)
class RefinementConfig:
    """Poses of the detections.

    Parameters
    ----------
    is_on
        Whether the detections' orientations are refined, which makes their centres and the average sharper too.
    """

    is_on: bool = True
