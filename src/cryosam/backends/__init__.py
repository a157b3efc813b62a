"""Feature extractors and promptable segmenters, one file per family of models.

In: images or volumes in [0, 1], protein bright, and prompts in 2D.
Out: features, or candidate masks with scores, as described in `cryosam.backends.protocols`.
May import: the modules at the package's root. Only this folder may import `transformers`.
"""

from cryosam.backends.protocols import (
    DescriptorPart,
    FeatureExtractor,
    MaskCandidates,
    PromptSegmenter,
    SlicePrompts,
    VolumeDescriptor,
)
from cryosam.backends.registry import load_features, load_segmenter, resolve_device
from cryosam.backends.weights import ModelInfo, fetch, import_checkpoint, list_models

__all__ = [
    "DescriptorPart",
    "FeatureExtractor",
    "MaskCandidates",
    "ModelInfo",
    "PromptSegmenter",
    "SlicePrompts",
    "VolumeDescriptor",
    "fetch",
    "import_checkpoint",
    "list_models",
    "load_features",
    "load_segmenter",
    "resolve_device",
]
