"""Backends by name. A model's library is imported when the model is loaded, not before."""

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from cryosam.backends.loading import read_model
from cryosam.backends.protocols import FeatureExtractor, PromptSegmenter, VolumeDescriptor
from cryosam.backends.weights import MODELS, locate
from cryosam.errors import ConfigError, UnknownBackendError, WeightsError

__all__ = ["load_features", "load_segmenter", "resolve_device"]

# model_type in config.json -> class in transformers, module and class in this package, and type of model.
# SAM 2 is published as a video model, which contains the image model.
_FAMILIES: dict[str, tuple[str, str, str, Literal["features", "segmenter"]]] = {
    "dinov2": ("Dinov2Model", "dino", "DinoFeatures", "features"),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", "dino", "DinoFeatures", "features"),
    "dinov3_vit": ("DINOv3ViTModel", "dino", "DinoFeatures", "features"),
    "sam": ("SamModel", "sam", "SamSegmenter", "segmenter"),
    "sam_hq": ("SamHQModel", "sam", "SamHQSegmenter", "segmenter"),
    "sam2": ("Sam2Model", "sam2", "Sam2Segmenter", "segmenter"),
    "sam2_video": ("Sam2Model", "sam2", "Sam2Segmenter", "segmenter"),
}


def load_features(
    name: str | Path, *, device: str = "auto", scales: Sequence[float] | None = None
) -> FeatureExtractor | VolumeDescriptor:
    """Load a feature extractor by name.

    Parameters
    ----------
    name
        A name listed by `cryosam.backends.weights.list_models`, a folder in the format of `transformers`, or a
        repository of the Hugging Face hub that was fetched.
    device
        "auto", "cpu", "cuda", "cuda:1", ... or "mps".
    scales
        Gaussian scales of "invariants" in voxels; None takes the default ones. Other backends ignore this.

    Raises
    ------
    UnknownBackendError
        If there is no such feature extractor.
    WeightsNotFoundError
        If its weights are not on this machine; nothing is downloaded.
    WeightsError
        If its weights are damaged.
    ConfigError
        If there is no such device.

    Examples
    --------
    >>> load_features("invariants", device="cpu", scales=(1.5, 3.0)).n_channels
    10
    """
    if str(name) == "invariants":
        from cryosam.backends.invariants import Invariants

        device = resolve_device(device)
        return Invariants(device=device) if scales is None else Invariants(scales, device=device)
    extractor: FeatureExtractor = _load(name, "features", resolve_device(device))
    return extractor


def load_segmenter(name: str | Path, *, device: str = "auto") -> PromptSegmenter:
    """Load a promptable segmenter by name.

    Parameters
    ----------
    name
        A name listed by `cryosam.backends.weights.list_models`, a folder in the format of `transformers`, an original
        SAM checkpoint (``.pth``), or a repository of the Hugging Face hub that was fetched.
    device
        "auto", "cpu", "cuda", "cuda:1", ... or "mps".

    Raises
    ------
    UnknownBackendError
        If there is no such segmenter.
    WeightsNotFoundError
        If its weights are not on this machine; nothing is downloaded.
    WeightsError
        If its weights are damaged.
    ConfigError
        If there is no such device.

    Examples
    --------
    >>> segmenter = load_segmenter("classical")
    """
    if str(name) == "classical":
        from cryosam.backends.classical import ClassicalSegmenter

        return ClassicalSegmenter()
    if str(name) == "embedded":
        from cryosam.backends.embedded import EmbeddedSegmenter

        return EmbeddedSegmenter(device=resolve_device(device))
    segmenter: PromptSegmenter = _load(name, "segmenter", resolve_device(device))
    return segmenter


def resolve_device(name: str) -> str:
    """Device to compute on; "auto" takes a GPU if there is one.

    Raises
    ------
    ConfigError
        If the device is unknown, or not available on this machine.

    Examples
    --------
    >>> resolve_device("cpu")
    'cpu'
    """
    import torch

    here = ["cpu"]
    if torch.cuda.is_available():
        here += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        here += ["mps"]
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if device in here)
    if name not in here:
        raise ConfigError(f"device {name!r} is not available on this machine; give auto or one of {', '.join(here)}")
    return name


def _load(name: str | Path, kind: Literal["features", "segmenter"], device: str) -> Any:
    """Load a backend that is based on a model of `transformers`."""
    _require_kind(name, kind, next((model.kind for model in MODELS if model.name == str(name)), kind))
    path = locate(name)
    if path.is_file():
        _require_kind(name, kind, "segmenter")
        from cryosam.backends.conversion import read_sam_checkpoint
        from cryosam.backends.sam import SamSegmenter

        return SamSegmenter(read_sam_checkpoint(path), device)
    model_type = _model_type(path)
    if model_type not in _FAMILIES:
        raise WeightsError(f"{path} contains a model of type {model_type!r}; supported are {', '.join(_FAMILIES)}")
    model_class, module, backend_class, found = _FAMILIES[model_type]
    _require_kind(name, kind, found)
    backend = getattr(import_module(f"cryosam.backends.{module}"), backend_class)
    return backend(read_model(path, model_class), device)


_KIND_NAMES = {"segmenter": "segmenter", "features": "feature extractor"}


def _require_kind(name: str | Path, wanted: str, found: str) -> None:
    if wanted != found:
        names = ", ".join(model.name for model in MODELS if model.kind == wanted)
        raise UnknownBackendError(
            f"{str(name)!r} is a {_KIND_NAMES[found]}, not a {_KIND_NAMES[wanted]}; there are {names}"
        )


def _model_type(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / 'config.json'} does not name a model_type; download the model again") from error
