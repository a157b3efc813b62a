"""All settings of a run, and presets."""

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
    require,
    require_positive,
)
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
        Of the particle, in either unit; None for both takes it from the prompted instance's mask. The second needs no
        voxel size.
    device
        "auto", "cpu", "cuda" or "mps".
    memory_gb
        Memory that a run may take, in gigabytes of 10^9 bytes. Large arrays that do not fit are kept in files; the
        answer is the same. None takes seven tenths of what the machine has free.
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
    refinement: RefinementConfig = field(default_factory=RefinementConfig)

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
        By name; those of a field that is a dataclass are a mapping. ``"none"`` unsets a setting.
    path
        Of the settings within those of a run, for messages.

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
    for key, value in changes.items():
        if key not in known:
            raise ConfigError(f"unknown setting {path + key!r}; there are {', '.join(path + k for k in known)}")
        current = known[key]
        if hasattr(current, "__dataclass_fields__"):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{path + key!r} is a section of settings, got {value!r}")
            values[key] = merge_settings(current, value, f"{path}{key}.")
        else:
            values[key] = None if value == NONE else tuple(value) if isinstance(value, list) else value
    try:
        return replace(config, **values)
    except TypeError as error:
        raise ConfigError(f"a setting in {path or 'the configuration'} has the wrong type: {error}") from error
