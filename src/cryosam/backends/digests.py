"""Digests that identify a model by its weights and its settings."""

import hashlib
import json

import torch
from torch import nn

__all__ = ["digest_model"]

# entries of the configuration that do not change a model's output
_NOT_SETTINGS = {"_name_or_path", "transformers_version", "dtype", "architectures"}


def digest_model(model: nn.Module, *, is_half: bool = False) -> str:
    """SHA-256 of a model's class, configuration and weights; the same on every device.

    Parameters
    ----------
    model
        A model of `transformers`, or any other module.
    is_half
        Whether it is computed in bfloat16, which changes the third digit of its output.

    Examples
    --------
    >>> first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    >>> digest_model(first) == digest_model(second)
    False
    """
    state = hashlib.sha256(type(model).__name__.encode())
    config = getattr(model, "config", None)
    if config is not None:
        state.update(json.dumps(_settings(config.to_dict()), sort_keys=True, default=str).encode())
    for name, values in sorted(model.state_dict().items()):
        state.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        state.update(values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    if is_half:
        state.update(b"bfloat16")
    return state.hexdigest()


def _settings(values: object) -> object:
    if isinstance(values, dict):
        return {str(key): _settings(value) for key, value in values.items() if key not in _NOT_SETTINGS}
    return values
