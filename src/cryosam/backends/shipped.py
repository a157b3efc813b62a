"""Weights that ship with the package."""

from importlib import resources

from safetensors.torch import load
from torch import nn

from cryosam.errors import WeightsError

__all__ = ["load_shipped"]


def load_shipped(network: nn.Module, file: str, what: str, weights: bytes | None = None) -> None:
    """Give a network its weights, and set it to inference.

    Parameters
    ----------
    network
        The network; its parameters are replaced.
    file
        Name of a safetensors file beside this module.
    what
        What the weights belong to, for the message of an error.
    weights
        Content of such a file, in place of the one of the package.

    Raises
    ------
    WeightsError
        If the weights are damaged, or not those of this network.
    """
    if weights is None:
        weights = resources.files("cryosam.backends").joinpath(file).read_bytes()
    try:
        network.load_state_dict({name: values.float() for name, values in load(weights).items()})
    except Exception as error:
        raise WeightsError(f"the weights of the {what} are damaged ({error}); reinstall cryosam") from error
    network.eval()
