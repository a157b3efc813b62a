"""The network that describes a box of a tomogram by a vector, nearly the same however the particle is turned.

It was trained on simulated tilt series of random complexes, so that particles of one kind get similar vectors, and
other particles, membranes, gold and noise different ones (metric learning); `training/descriptor.md` is its model card.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cryosam.backends.shipped import load_shipped

__all__ = ["BOX_PX", "PX_PER_DIAMETER", "VECTOR_LENGTH", "DescriptorNetwork", "load_descriptor_network"]

BOX_PX = 20  # edge of the boxes that the network sees
PX_PER_DIAMETER = 13.0  # pixels of a box per diameter of the particle
VECTOR_LENGTH = 64  # numbers in a vector
_WEIGHTS = "descriptor.safetensors"
_WIDTH, _HIDDEN = 16, 128  # channels of the first layer, and units before the vector
_MIDDLE_PX = 1.3  # standard deviation of the weights by which the last cells, four pixels wide, are averaged


class DescriptorNetwork(nn.Module):
    """Maps boxes to vectors of length 1.

    Attributes
    ----------
    odds
        ``(2,)`` the logarithm of a factor, and an offset: the factor times a similarity plus the offset is the
        logarithm of the odds that two boxes are of one kind, in the tomograms of the training.
    """

    def __init__(self) -> None:
        super().__init__()
        w = _WIDTH
        self.stem = _unit(2, w)
        self.d1, self.b1 = _unit(w, 2 * w, stride=2), _Residual(2 * w)
        self.d2, self.b2 = _unit(2 * w, 6 * w, stride=2), _Residual(6 * w)
        self.head = nn.Sequential(nn.Linear(12 * w, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, VECTOR_LENGTH))
        self.odds = nn.Parameter(torch.tensor([2.3, -6.0]))
        along = torch.arange(BOX_PX // 4) - (BOX_PX // 4 - 1) / 2
        distance = along[:, None, None] ** 2 + along[:, None] ** 2 + along**2
        near = torch.exp(-distance / (2 * _MIDDLE_PX**2))
        self.register_buffer("near", near / near.sum())

    def forward(self, boxes: Float[Tensor, "n 2 e e e"]) -> Float[Tensor, "n k"]:
        """Vectors of length 1 of boxes, whose channels are the whitened and the plain density."""
        cells = self.b2(self.d2(self.b1(self.d1(self.stem(boxes))))).float()
        mean, most = (cells * self.near).sum(dim=(2, 3, 4)), cells.amax(dim=(2, 3, 4))
        return functional.normalize(self.head(torch.cat([mean, most], dim=1)), dim=1)

    def folded(self) -> "DescriptorNetwork":
        """A copy with the same vectors in four fifths of the time: normalisations are folded into convolutions."""
        network = copy.deepcopy(self)
        for unit in (network.stem, network.d1, network.d2):
            _fold(unit, "0", "1")
        for residual in (network.b1, network.b2):
            _fold(residual, "a", "na")
            _fold(residual, "b", "nb")
        return network


class _Residual(nn.Module):
    """Two convolutions, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.na = nn.BatchNorm3d(channels)
        self.b = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.nb = nn.BatchNorm3d(channels)

    def forward(self, cells: Float[Tensor, "n c e e e"]) -> Float[Tensor, "n c e e e"]:
        """The cells and what two convolutions add to them."""
        return functional.relu(cells + self.nb(self.b(functional.relu(self.na(self.a(cells))))))


def _unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation, rectification."""
    convolution = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.ReLU())


def _fold(parent: nn.Module, convolution: str, normalisation: str) -> None:
    """Fold a normalisation into the convolution before it; both are named by their parent."""
    setattr(parent, convolution, fuse_conv_bn_eval(getattr(parent, convolution), getattr(parent, normalisation)))
    setattr(parent, normalisation, nn.Identity())


def load_descriptor_network(weights: bytes | None = None) -> DescriptorNetwork:
    """The network with its weights, ready to describe boxes.

    Parameters
    ----------
    weights
        Content of a safetensors file; None takes the file of the package.

    Raises
    ------
    WeightsError
        If the weights are damaged, or not those of this network.
    """
    network = DescriptorNetwork()
    load_shipped(network, _WEIGHTS, "descriptor", weights)
    return network.requires_grad_(False)
