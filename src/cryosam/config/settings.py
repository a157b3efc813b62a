"""All settings of a run, and the presets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from cryosam.config.stages import (
    NONE,
    AveragingConfig,
    ClassificationConfig,
    FeatureConfig,
    MatchingConfig,
    PropagationConfig,
    RefinementConfig,
    TomogramConfig,
    VectorSearchConfig,
    require,
    require_positive,
)
from cryosam.config.structures import CompartmentConfig, FilamentConfig, MembraneConfig
from cryosam.errors import ConfigError

__all__ = ["PRESETS", "Config", "merge_settings"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run.

    Parameters
    ----------
    preset
        Name of the preset that these settings started from.
    diameter_angstrom, diameter_voxels
        Diameter of the particle, in one of the two units; None for both measures it in the masks of the clicked
        particles. A diameter in voxels can be used without a voxel size.
    device
        "auto", "cpu", "cuda" or "mps".
    memory_gb
        Memory that a run may take, in gigabytes of 10^9 bytes. Large arrays that do not fit are kept in files; this
        does not change the result. None takes 70 % of the free memory of the machine.
    """

    preset: str = "embedded"
    diameter_angstrom: float | None = None
    diameter_voxels: float | None = None
    device: str = "auto"
    memory_gb: float | None = None
    tomogram: TomogramConfig = field(default_factory=TomogramConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    propagation: PropagationConfig = field(default_factory=PropagationConfig)
    averaging: AveragingConfig = field(default_factory=AveragingConfig)
    classification: ClassificationConfig = field(default_factory=ClassificationConfig)
    vectors: VectorSearchConfig = field(default_factory=VectorSearchConfig)
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    membrane: MembraneConfig = field(default_factory=MembraneConfig)
    filament: FilamentConfig = field(default_factory=FilamentConfig)
    compartment: CompartmentConfig = field(default_factory=CompartmentConfig)

    def __post_init__(self) -> None:
        require_positive(self, "diameter_angstrom", "diameter_voxels", "memory_gb")
        is_doubled = self.diameter_angstrom is not None and self.diameter_voxels is not None
        require(not is_doubled, "give the diameter in angstrom or in voxels, not both")
        devices = ("auto", "cpu", "cuda", "mps")
        require(self.device.split(":")[0] in devices, f"device is one of {', '.join(devices)}, got {self.device}")

    @classmethod
    def from_preset(cls, name: str) -> "Config":
        """Settings of a preset.

        Raises
        ------
        ConfigError
            If there is no such preset.
        """
        if name not in PRESETS:
            raise ConfigError(f"unknown preset {name!r}; the presets are {', '.join(sorted(PRESETS))}")
        return PRESETS[name]

    def override(self, **changes: Any) -> "Config":
        """Copy with some settings changed; a setting of a section is given as ``section__name``.

        Examples
        --------
        >>> Config().override(matching__threshold=0.4).matching.threshold
        0.4
        >>> Config().override(membrane__ridges__share=0.1).membrane.ridges.share
        0.1
        """
        nested: dict[str, Any] = {}
        for key, value in changes.items():
            *sections, name = key.split("__")
            inner = nested
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[name] = value
        return merge_settings(self, nested)


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
            averaging=AveragingConfig(is_on=False),
        ),
    }
)


def merge_settings(config: Any, changes: Mapping[str, Any], path: str = "") -> Any:
    """Copy of settings with nested changes.

    Parameters
    ----------
    config
        A dataclass, whose fields may be dataclasses.
    changes
        New values by name; for a field that is a dataclass, a mapping. ``"none"`` unsets a setting.
    path
        Section of the settings, with a dot at its end, for messages.

    Raises
    ------
    ConfigError
        If a key is unknown, or a value cannot be used.

    Examples
    --------
    >>> merge_settings(Config(), {"matching": {"threshold": 0.4}}).matching.threshold
    0.4
    """
    known = {f.name: getattr(config, f.name) for f in fields(config)}
    values: dict[str, Any] = {}
    if isinstance(config, Config):  # a diameter that is given later replaces one in the other unit
        for unit, other in (("angstrom", "voxels"), ("voxels", "angstrom")):
            if changes.get(f"diameter_{unit}") not in (None, NONE) and f"diameter_{other}" not in changes:
                values[f"diameter_{other}"] = None
    for key, value in changes.items():
        if key not in known:
            raise ConfigError(f"unknown setting {path + key!r}; the settings are {', '.join(path + k for k in known)}")
        current = known[key]
        if hasattr(current, "__dataclass_fields__"):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{path + key!r} is a section, not a single setting, got {value!r}")
            values[key] = merge_settings(current, value, f"{path}{key}.")
        else:
            values[key] = None if value == NONE else tuple(value) if isinstance(value, list) else value
    try:
        return replace(config, **values)
    except TypeError as error:
        raise ConfigError(f"a setting in {path or 'the configuration'} has the wrong type: {error}") from error
