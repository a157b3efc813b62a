"""Feature extractors and promptable segmenters, one file a model family."""

from cryosam.backends.protocols import Candidates, FeatureExtractor, PromptSegmenter, SlicePrompts, VolumeDescriptor

__all__ = ["Candidates", "FeatureExtractor", "PromptSegmenter", "SlicePrompts", "VolumeDescriptor"]
