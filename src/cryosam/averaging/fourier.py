"""Boxes in Fourier space: compared in many orientations, rotated to a reference, and averaged.

Boxes are compared in a band of frequencies in which the tilt series has information, whitened by the spectrum of the
background. The correlations of all rotations, shifts and particles are then a single matrix product.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from cryosam.arrays import Scores
from cryosam.missing_wedge import MissingWedge

__all__ = [
    "BOXES_TOGETHER",
    "BestPoses",
    "FourierFrame",
    "in_parts",
    "rotate_to_reference",
    "sample_at",
    "shifts_within",
    "wedge_weighted_average",
]

_RADIUS = 0.725  # of the mask, in diameters
_EDGE_PX = 3.0  # pixels over which the mask falls to 0
_BOXES_PX = (20, 64)  # least and largest edge of a box
_FILLING = 0.2  # fraction of full sampling, added to the sampling density by which the average is divided
_TOGETHER = 2000  # number of rotations, or of shifted particles, that are processed at a time
BOXES_TOGETHER = 64  # number of boxes that are processed at a time


@dataclass(frozen=True, eq=False)
class BestPoses:
    """The best template and shift of each particle.

    Parameters
    ----------
    correlations
        ``(n,)`` correlation of each particle with its best template, at its best shift.
    rotation, shift
        ``(n,)`` indices of the best template and the best shift.
    best
        ``(n, b)`` indices of the best templates, best first.
    """

    correlations: Scores
    rotation: Int[np.ndarray, " n"]
    shift: Int[np.ndarray, " n"]
    best: Int[np.ndarray, "n b"]


@dataclass(frozen=True, eq=False)
class FourierFrame:
    """The Fourier coefficients of a box that are compared, and their weights.

    Parameters
    ----------
    edge
        Edge of the boxes, in pixels.
    mask
        Ball around the particle, with a soft edge.
    tilted
        ``(edge, edge, edge)`` 1 where the tilt series has information, otherwise 0; frequency 0 is in the middle.
    band
        Indices of the compared coefficients in the half spectrum.
    frequencies
        ``(k, 3)`` their frequencies, in cycles per box.
    weights
        ``(k,)`` their weights.
    """

    edge: int
    mask: Float[Tensor, "e e e"]
    tilted: Float[Tensor, "e e e"]
    band: Int[Tensor, " k"]
    frequencies: Float[Tensor, "k 3"]
    weights: Float[Tensor, " k"]

    @classmethod
    def around(cls, diameter: float, detail: float, wedge: MissingWedge, device: str) -> "FourierFrame":
        """FourierFrame for particles of a diameter and a finest detail, both in pixels; not whitened."""
        radius = _RADIUS * diameter
        edge = int(np.clip(2 * np.ceil(radius + _EDGE_PX + 1.5), *_BOXES_PX))
        pixels = torch.arange(edge, dtype=torch.float32) - edge // 2
        z, y, x = torch.meshgrid(pixels, pixels, pixels, indexing="ij")
        mask = ((radius + _EDGE_PX - torch.sqrt(z**2 + y**2 + x**2)) / _EDGE_PX).clamp(0, 1)
        # the same integers serve as pixel positions and as frequencies
        tilted = torch.from_numpy(wedge.is_sampled(z.numpy(), y.numpy(), x.numpy(), margin=0.5)).float()
        half = torch.fft.ifftshift(torch.stack([z, y, x, tilted], dim=-1), dim=(0, 1, 2))[:, :, : edge // 2 + 1]
        half = half.flatten(0, 2)
        length = half[:, :3].norm(dim=1)
        band = torch.nonzero((length >= 1) & (length <= edge / detail) & (half[:, 3] > 0))[:, 0]
        frequencies = half[band, :3]
        weights = torch.sqrt(torch.where(frequencies[:, 2] == 0, 1.0, 2.0))  # stands for the omitted half too
        on_device = (tensor.to(device) for tensor in (mask, tilted, band, frequencies, weights))
        return cls(edge, *on_device)

    def masked(self, boxes: Float[Tensor, "n e e e"]) -> Float[Tensor, "n e e e"]:
        """Subtract from each box its mean in the mask, and multiply by the mask."""
        mean = (boxes * self.mask).sum(dim=(1, 2, 3), keepdim=True) / self.mask.sum()
        return (boxes - mean) * self.mask

    def spectra(self, boxes: Float[Tensor, "n e e e"]) -> Complex[Tensor, "n k"]:
        """Weighted Fourier coefficients of boxes."""
        centred = torch.fft.ifftshift(boxes, dim=(1, 2, 3))
        return torch.fft.rfftn(centred, dim=(1, 2, 3)).flatten(1)[:, self.band] * self.weights

    def whitened(self, background: Float[Tensor, "n e e e"]) -> "FourierFrame":
        """The same frame with weights that make the spectrum of the background flat."""
        power = (self.spectra(background) / self.weights).abs().square().median(dim=0).values
        shell = self.frequencies.norm(dim=1).round().long()
        total = power.new_zeros(int(shell.max()) + 1).index_add(0, shell, power)
        mean = total / torch.bincount(shell, minlength=len(total)).clamp(min=1)
        weights = self.weights / torch.sqrt(mean[shell].clamp(min=1e-12))
        return FourierFrame(self.edge, self.mask, self.tilted, self.band, self.frequencies, weights)

    def turned(self, spectrum: Float[Tensor, "e2 e2 e2 2"], rotations: Rotation) -> Complex[Tensor, "r k"]:
        """Coefficients of an average in many rotations, interpolated at the rotated places of its padded spectrum."""
        parts, turned = spectrum.permute(3, 0, 1, 2), []
        for some in in_parts(rotations):
            values = sample_at(parts.expand(len(some), -1, -1, -1, -1), self.sources(some)[:, None, None])[:, :, 0, 0]
            turned.append(torch.complex(values[:, 0], values[:, 1]) * self.weights)
        return torch.cat(turned)

    def padded_spectrum(self, average: Float[Tensor, "e e e"]) -> Float[Tensor, "e2 e2 e2 2"]:
        """Spectrum of an average padded to twice its size, as real and imaginary parts; frequency 0 is in the middle.

        The padding makes linear interpolation in the spectrum accurate enough.
        """
        padded = functional.pad(average * self.mask, (self.edge // 2,) * 6)
        return torch.view_as_real(torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(padded))))

    def sources(self, rotations: Rotation) -> Float[Tensor, "r k 3"]:
        """Places in a padded spectrum at which the coefficients for each rotation are read."""
        matrices = torch.from_numpy(rotations.as_matrix().astype(np.float32)).to(self.frequencies.device)
        return 2 * torch.einsum("rji,kj->rki", matrices, self.frequencies) + self.edge

    def phases(self, shifts: Float[np.ndarray, "m 3"]) -> Complex[Tensor, "m k"]:
        """Factors by which the coefficients of a box are multiplied to shift its centre by each shift."""
        offsets = torch.from_numpy(shifts.astype(np.float32)).to(self.frequencies.device)
        return torch.exp(2j * torch.pi / self.edge * (offsets @ self.frequencies.T))

    def search(
        self,
        templates: Complex[Tensor, "r k"],
        spectra: Complex[Tensor, "n k"],
        phases: Complex[Tensor, "m k"],
        n_best: int = 1,
    ) -> "BestPoses":
        """Find the templates with the highest normalised correlation with each particle, each at its best shift.

        ``phases`` are those of the shifts. Everything is computed in single precision. In half precision, neighbouring
        rotations and shifts would have equal correlations, and the choice between them would depend on the processor.
        """
        flat = torch.view_as_real(templates).flatten(1)
        across = (flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)).T
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for some in torch.split(spectra, max(1, _TOGETHER // len(phases))):
            unit = some / some.norm(dim=1, keepdim=True).clamp(min=1e-12)
            moved = torch.view_as_real(unit[:, None] * phases).flatten(2)
            at_best_shift, shift = (moved @ across).max(dim=1)
            best, rotation = at_best_shift.topk(min(n_best, len(templates)), dim=1)
            found.append((best, rotation, shift.gather(1, rotation)))
        correlations, chosen, moves = (torch.cat([one[i] for one in found]).cpu().numpy() for i in range(3))
        return BestPoses(correlations[:, 0].astype(float), chosen[:, 0], moves[:, 0], chosen)


def rotate_to_reference(
    frame: FourierFrame, boxes: Float[Tensor, "n e e e"], rotations: Rotation, shifts: Float[np.ndarray, "n 3"]
) -> tuple[Float[Tensor, "n e e e"], Float[Tensor, "n e e e"]]:
    """Rotate each box into the orientation of the average, together with the region of Fourier space that it covers."""
    turned, samples = [], []
    for start in range(0, len(boxes), BOXES_TOGETHER):  # the positions of all pixels take more memory than the boxes
        some = slice(start, start + BOXES_TOGETHER)
        moved = [
            torch.roll(box, tuple(int(-s) for s in shift), dims=(0, 1, 2))
            for box, shift in zip(boxes[some], shifts[some], strict=True)
        ]
        back = rotations[some].inv()
        turned.append(_turn(torch.stack(moved), back))
        samples.append(_turn(frame.tilted.expand(len(moved), -1, -1, -1), back))
    return torch.cat(turned), torch.cat(samples)


def wedge_weighted_average(
    frame: FourierFrame, turned: Float[Tensor, "n e e e"], samples: Float[Tensor, "n e e e"]
) -> Float[Tensor, "e e e"]:
    """Mean of boxes rotated to the reference; each Fourier coefficient is divided by the sampling density there."""
    spectrum = torch.fft.fftn(torch.fft.ifftshift(turned.mean(dim=0)))
    spectrum /= torch.fft.ifftshift(samples.mean(dim=0)) + _FILLING
    average = torch.fft.fftshift(torch.fft.ifftn(spectrum).real)
    return average - (average * frame.mask).sum() / frame.mask.sum()


def _turn(volumes: Float[Tensor, "n e e e"], rotations: Rotation) -> Float[Tensor, "n e e e"]:
    """Rotate each volume about its middle pixel."""
    edge, device = volumes.shape[1], volumes.device
    pixels = torch.arange(edge, device=device, dtype=torch.float32) - edge // 2
    grid = torch.stack(torch.meshgrid(pixels, pixels, pixels, indexing="ij"), dim=-1).flatten(0, 2)
    matrices = torch.from_numpy(rotations.as_matrix().astype(np.float32)).to(device)
    places = (grid @ matrices + edge // 2).view(-1, edge, edge, edge, 3)  # positions before the rotation
    return sample_at(volumes[:, None], places)[:, 0]


def in_parts(rotations: Rotation) -> list[Rotation]:
    """Split rotations into parts that are processed one after the other, to limit memory."""
    return [rotations[start : start + _TOGETHER] for start in range(0, len(rotations), _TOGETHER)]


def sample_at(volumes: Float[Tensor, "n c z y x"], places: Float[Tensor, "n a b d 3"]) -> Float[Tensor, "n c a b d"]:
    """Values at places z, y, x in voxels, by linear interpolation; outside the volume, the nearest voxel's value."""
    last = torch.tensor(volumes.shape[2:], device=volumes.device, dtype=torch.float32) - 1
    grid = (2 * places / last.clamp(min=1) - 1).flip(-1)
    return functional.grid_sample(volumes, grid, align_corners=True, padding_mode="border")


def shifts_within(reach: float) -> Float[np.ndarray, "m 3"]:
    """All whole-pixel shifts within a distance."""
    n = int(reach)
    shifts = np.mgrid[-n : n + 1, -n : n + 1, -n : n + 1].reshape(3, -1).T.astype(float)
    return shifts[np.linalg.norm(shifts, axis=1) <= reach]
