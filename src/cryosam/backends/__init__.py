"""Feature extractors and promptable segmenters, one file a model family."""

from cryosam.backends.protocols import (
    Candidates,
    DescriptorPart,
    FeatureExtractor,
    PromptSegmenter,
    SlicePrompts,
    VolumeDescriptor,
)
from cryosam.backends.registry import load_features, load_segmenter, resolve_device
from cryosam.backends.weights import ModelInfo, fetch, import_checkpoint, list_models

__all__ = [
    "Candidates",
    "DescriptorPart",
    "FeatureExtractor",
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
