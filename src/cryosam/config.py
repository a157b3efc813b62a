"""Settings of each stage, and presets.

Every default is listed with its source: "paper" is Zhao et al., MICCAI 2024; "measured" means that the figure is in
``docs/benchmarks.md``. The resolved configuration is written into every output.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import tomli_w

from cryosam.errors import ConfigError, InputNotFoundError

__all__ = [
    "PRESETS",
    "AlignmentConfig",
    "Config",
    "FeatureConfig",
    "Fusion",
    "MatchingConfig",
    "PropagationConfig",
    "TomogramConfig",
    "read_config",
    "to_toml",
]

_NONE = "none"  # in a TOML file

Fusion = Literal["union", "majority", "intersection", "soft"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _require_positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(value is None or value > 0, f"{name} must be positive, got {value}")


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
        _require(self.contrast in ("auto", "dark", "bright"), f"contrast is auto, dark or bright, got {self.contrast}")
        low, high = self.percentiles
        _require(0 <= low < high <= 100, f"percentiles must ascend within 0 and 100, got {low}, {high}")


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
        _require(self.backend not in (None, "", _NONE), "backend is the name or the folder of a model")
        _require(min(self.scales, default=0) > 0, f"scales must be positive, got {self.scales}")
        _require(self.token_diameters >= 0, f"token_diameters must not be negative, got {self.token_diameters}")
        _require_positive(self, "scales_diameter", "slice_px")


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
        an average of the candidates gives (see `AlignmentConfig`).
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
        _require(len(self.strides) > 0, "strides needs at least one level")
        for coarse, fine in zip(self.strides, self.strides[1:], strict=False):
            divides = coarse > fine and coarse % fine == 0
            _require(divides, f"each stride must divide the one before, got {self.strides}")
        _require(min(self.strides) >= 1, f"strides must be positive, got {self.strides}")
        for name in ("coarse_similarity", "candidate_similarity"):
            _require(-1 <= getattr(self, name) <= 1, f"{name} is a cosine, got {getattr(self, name)}")
        _require_positive(self, "max_candidates", "volume_tolerance", "max_particles")
        _require(self.threshold is None or 0 <= self.threshold <= 1, f"threshold is in [0, 1], got {self.threshold}")
        share = self.max_false_discovery
        _require(share is None or 0 < share < 1, f"max_false_discovery is between 0 and 1, got {share}")
        _require(share is None or self.threshold is None, "give a threshold or max_false_discovery, not both")
        _require(self.query in ("centroid", "mean"), f"query is centroid or mean, got {self.query}")
        _require(self.min_distance_diameters >= 0, "min_distance_diameters must not be negative")
        _require(self.edge_margin >= 0, f"edge_margin must not be negative, got {self.edge_margin}")


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
        _require(self.segmenter not in (None, "", _NONE), "segmenter is the name, the folder or the file of a model")
        fusions = ("union", "majority", "intersection", "soft")
        _require(self.fusion in fusions, f"fusion is one of {', '.join(fusions)}, got {self.fusion}")
        _require(0 <= self.min_iou <= 1, f"min_iou is in [0, 1], got {self.min_iou}")
        _require(0 <= self.min_score <= 1, f"min_score is in [0, 1], got {self.min_score}")
        _require_positive(self, "max_area", "max_area_diameters", "max_walk_diameters", "window_voxels", "z_weight")
        _require(self.window_diameters >= 0, "window_diameters must not be negative")
        _require(self.smoothing is None or self.smoothing >= 0, f"smoothing must not be negative, got {self.smoothing}")


@dataclass(frozen=True, kw_only=True)
class AlignmentConfig:
    """Comparison of the candidates with an average of those most like the clicked one.

    Parameters
    ----------
    is_on
        Whether it is done; without it the similarity of features decides (paper).
    is_refined
        Whether the orientations of the detections are found, which makes centres and the average sharper too.
    has_classes
        Whether the candidates are then divided into classes that compete, of which the kind is one.
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
    is_refined: bool = True
    has_classes: bool = True
    max_members: int = 40
    n_averages: int = 3
    n_rotations: int = 2000
    resolution: float = 4.0
    max_tilt: float = 60.0

    def __post_init__(self) -> None:
        _require_positive(self, "max_members", "n_averages", "n_rotations")
        _require(self.resolution >= 2, f"resolution is at least 2 voxels, got {self.resolution}")
        _require(0 < self.max_tilt <= 90, f"max_tilt is in (0, 90] degrees, got {self.max_tilt}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run.

    Parameters
    ----------
    preset
        Name of the preset that these settings started from.
    diameter_angstrom
        Of the particle; None takes it from the prompted instance's mask.
    device
        "auto", "cpu", "cuda" or "mps".
    memory_gb
        Memory that a run may take, in gigabytes of 10^9 bytes. Large arrays that do not fit are kept in files; the
        answer is the same. None takes seven tenths of what the machine has free.
    """

    preset: str = "embedded"
    diameter_angstrom: float | None = None
    device: str = "auto"
    memory_gb: float | None = None
    tomogram: TomogramConfig = field(default_factory=TomogramConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    propagation: PropagationConfig = field(default_factory=PropagationConfig)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)

    def __post_init__(self) -> None:
        _require_positive(self, "diameter_angstrom", "memory_gb")
        devices = ("auto", "cpu", "cuda", "mps")
        _require(self.device.split(":")[0] in devices, f"device is one of {', '.join(devices)}, got {self.device}")

    @classmethod
    def from_preset(cls, name: str) -> "Config":
        """Settings of a preset.

        Raises
        ------
        ConfigError
            If there is no such preset.
        """
        if name not in PRESETS:
            raise ConfigError(f"unknown preset {name!r}; there are {', '.join(sorted(PRESETS))}")
        return PRESETS[name]

    def override(self, **changes: Any) -> "Config":
        """Copy with some settings changed, given by dotted path with ``__`` for the dot.

        Examples
        --------
        >>> Config().override(matching__threshold=0.4).matching.threshold
        0.4
        """
        nested: dict[str, Any] = {}
        for key, value in changes.items():
            section, _, name = key.partition("__")
            if name:
                nested.setdefault(section, {})[name] = value
            else:
                nested[section] = value
        return _merge(self, nested)


PRESETS: Mapping[str, Config] = MappingProxyType(
    {
        "embedded": Config(),
        "fast": Config(
            preset="fast",
            features=FeatureConfig(backend="dinov2-small"),
            matching=MatchingConfig(strides=(16, 8, 4), candidate_similarity=0.5),
            propagation=PropagationConfig(segmenter="sam2.1-tiny", min_score=0.5),
        ),
        "paper": Config(
            preset="paper",
            features=FeatureConfig(backend="dinov2-large-registers", token_diameters=0),
            matching=MatchingConfig(
                strides=(16, 8, 4),
                candidate_similarity=0.5,
                volume_tolerance=None,
                threshold=0.5,
                max_particles=512,
                min_distance_diameters=0,
            ),
            propagation=PropagationConfig(
                segmenter="sam-vit-h", fusion="union", min_score=0.5, window_diameters=0, smoothing=0, max_area=1024
            ),
            alignment=AlignmentConfig(is_on=False),
        ),
    }
)


def _merge(config: Any, changes: Mapping[str, Any], path: str = "") -> Any:
    """Copy of a dataclass with nested changes; an unknown key is an error."""
    known = {f.name: getattr(config, f.name) for f in fields(config)}
    values: dict[str, Any] = {}
    for key, value in changes.items():
        if key not in known:
            raise ConfigError(f"unknown setting {path + key!r}; there are {', '.join(path + k for k in known)}")
        current = known[key]
        if hasattr(current, "__dataclass_fields__"):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{path + key!r} is a section of settings, got {value!r}")
            values[key] = _merge(current, value, f"{path}{key}.")
        else:
            values[key] = None if value == _NONE else tuple(value) if isinstance(value, list) else value
    try:
        return replace(config, **values)
    except TypeError as error:
        raise ConfigError(f"a setting in {path or 'the configuration'} has the wrong type: {error}") from error


def read_config(path: Path, base: Config | None = None) -> Config:
    """Settings from a TOML file over ``base``, or over the preset that the file names; ``"none"`` unsets one.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    ConfigError
        If the file is not TOML, or has an unknown key or a value out of range.
    """
    if not path.is_file():
        raise InputNotFoundError(f"configuration file not found: {path}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error
    start = Config.from_preset(str(content["preset"])) if "preset" in content else base or Config()
    merged: Config = _merge(start, content)
    return merged


def to_toml(config: Config) -> str:
    """The settings as TOML; `read_config` gives them back. A setting without a value is ``"none"``."""
    return tomli_w.dumps(_spell_none(asdict(config)))


def _spell_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy in which None is a word, for TOML has no value for it."""
    return {
        key: _spell_none(value) if isinstance(value, Mapping) else _NONE if value is None else value
        for key, value in values.items()
    }
