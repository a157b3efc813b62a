"""Settings: one validated dataclass per stage, presets, and TOML files.

In: defaults, presets, a TOML file, individual settings.
Out: a `Config`, which is written into every output.
May import: errors only.
"""

from cryosam.config.files import read_config, to_toml
from cryosam.config.settings import PRESETS, Config
from cryosam.config.stages import (
    AveragingConfig,
    ClassificationConfig,
    FeatureConfig,
    Fusion,
    MatchingConfig,
    PropagationConfig,
    RefinementConfig,
    TomogramConfig,
    VectorSearchConfig,
)
from cryosam.config.structures import (
    CompartmentConfig,
    EnclosureSettings,
    FilamentConfig,
    MembraneConfig,
    RidgeSettings,
)

__all__ = [
    "PRESETS",
    "AveragingConfig",
    "ClassificationConfig",
    "CompartmentConfig",
    "Config",
    "EnclosureSettings",
    "FeatureConfig",
    "FilamentConfig",
    "Fusion",
    "MatchingConfig",
    "MembraneConfig",
    "PropagationConfig",
    "RefinementConfig",
    "RidgeSettings",
    "TomogramConfig",
    "VectorSearchConfig",
    "read_config",
    "to_toml",
]
