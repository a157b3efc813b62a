"""The network that says where particles of about one size are centred, whatever their kind.

It was trained on simulated tilt series of random complexes, beside membranes, filaments, gold and debris;
`training/detector.md` is its model card.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cryosam.backends.shipped import load_shipped

__all__ = ["OUTPUT_STRIDE", "PX_PER_DIAMETER", "DetectorNetwork", "load_detector_network"]

PX_PER_DIAMETER = 8.0  # pixels of the input per diameter of the particles
OUTPUT_STRIDE = 2  # pixels of the input per cell of the output, along each axis
_WEIGHTS = "detector.safetensors"
_WIDTH = 16  # channels of the first layer


class DetectorNetwork(nn.Module):
    """Maps a tomogram to the odds of a particle's centre in each cell, and where in the cell it is."""

    def __init__(self) -> None:
        super().__init__()
        w = _WIDTH
        self.stem = _unit(2, w)
        self.d1, self.b1 = _unit(w, 2 * w, stride=2), _Residual(2 * w)
        self.d2, self.b2, self.b3 = _unit(2 * w, 4 * w, stride=2), _Residual(4 * w), _Residual(4 * w)
        self.d3, self.b4 = _unit(4 * w, 4 * w, stride=2), _Residual(4 * w)
        self.u2, self.u1 = _unit(8 * w, 4 * w), _unit(6 * w, 3 * w)
        self.head = nn.Conv3d(3 * w, 4, 1)
        nn.init.constant_(self.head.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, volume: Float[Tensor, "n 2 z y x"]) -> Float[Tensor, "n 4 oz oy ox"]:
        """Of each output cell, the logarithm of the odds of a centre in it, and the offset z, y, x to it, in cells.

        Edges of the volume are multiples of eight; its channels are the whitened and the plain density.
        """
        fine = self.b1(self.d1(self.stem(volume)))
        middle = self.b3(self.b2(self.d2(fine)))
        coarse = self.b4(self.d3(middle))
        middle = self.u2(torch.cat([middle, _twice(coarse)], dim=1))
        found: Tensor = self.head(self.u1(torch.cat([fine, _twice(middle)], dim=1)))
        return found


class _Residual(nn.Module):
    """Two convolutions, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.b = _unit(channels, channels), nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, cells: Float[Tensor, "n c z y x"]) -> Float[Tensor, "n c z y x"]:
        """The cells and what two convolutions add to them."""
        return functional.relu(cells + self.norm(self.b(self.a(cells))))


def _unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation, rectification."""
    convolution = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.ReLU())


def _twice(cells: Float[Tensor, "n c z y x"]) -> Float[Tensor, "n c z2 y2 x2"]:
    """Cells on a grid twice as fine."""
    return functional.interpolate(cells, scale_factor=2, mode="trilinear", align_corners=False)


def load_detector_network(weights: bytes | None = None) -> DetectorNetwork:
    """The network with its weights, ready to detect.

    Parameters
    ----------
    weights
        Content of a safetensors file; None takes the file of the package.

    Raises
    ------
    WeightsError
        If the weights are damaged, or not those of this network.
    """
    network = DetectorNetwork()
    load_shipped(network, _WEIGHTS, "detector", weights)
    return network.requires_grad_(False)
