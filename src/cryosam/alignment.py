"""What particles look like when they are turned onto each other: their average, and how like it each of them is.

Boxes around the particles are compared in Fourier space: in a band that the spacing of the rotations resolves, where
the tilt series has information, and whitened by the spectrum of the background. The correlations of all rotations,
shifts and particles are then one product of matrices.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from cryosam.arrays import Points, Scores
from cryosam.calibration import KindEvidence, kind_evidence
from cryosam.config import AlignmentConfig
from cryosam.masks import Average
from cryosam.tomogram import Tomogram

__all__ = ["Alignment", "align", "uniform_rotations"]

_FINE_PX = 12  # pixels a diameter at most: larger particles are sampled more coarsely
_DETAIL = 0.25  # of a diameter, the finest that is compared
_RADIUS = 0.725  # of the mask, in diameters
_EDGE_PX = 3.0  # over which the mask falls to 0
_BOXES_PX = (20, 36)  # least and largest edge of a box
_SHIFT_PX = 2.0  # that a particle may lie off its centre
_FIRST_MEMBERS, _LEAST_MEMBERS = 8, 5  # of an average
_GROWTH = 2  # of the members from one average to the next, at most
_EVEN_ODDS = 0.5
_FOLDS = 4  # of the averaged particles: each is compared with an average of the other folds
_FILLING = 0.2  # of full sampling: added to the density of samples that the average is divided by
_N_BACKGROUND = 200  # boxes that tell the spectrum of the background
_TOGETHER = 2000  # shifted particles in one product of matrices
_TOGETHER_BOXES = 64


@dataclass(frozen=True, eq=False)
class Alignment:
    """An average, and how each particle lies.

    Parameters
    ----------
    correlations
        ``(n,)`` in [-1, 1], of each particle with the average, or with one that it is no part of.
    evidence
        Of each particle for being of the kind.
    rotations
        ``(n,)`` that turn the average, about its centre, to lie as the particle does; they act on z, y, x.
    points
        ``(n, 3)`` centres z, y, x in voxels, moved onto the average.
    background
        ``(m,)`` correlations of places without regard to what is there.
    average
        The mean of the members, corrected for the missing wedge.
    members
        Indices of the particles in the average.
    """

    correlations: Scores
    evidence: KindEvidence
    rotations: Rotation
    points: Points
    background: Float[np.ndarray, " m"]
    average: Average
    members: Int[np.ndarray, " k"]


def align(
    tomogram: Tomogram,
    points: Points,
    starts: Int[np.ndarray, " k"],
    diameter: float,
    config: AlignmentConfig,
    device: str = "cpu",
    *,
    is_possible: Bool[np.ndarray, " n"] | None = None,
) -> Alignment:
    """Average the particles that are most like some of them, and compare all with the average.

    The first average has the few particles that are most like those to start from. The next ones have those that are
    probably of the kind by comparison with the average before, at most twice as many.

    Parameters
    ----------
    tomogram
        Normalised: protein bright.
    points
        ``(n, 3)`` centres z, y, x in voxels.
    starts
        Indices of particles that are of the kind, at least one.
    diameter
        Of the kind, in voxels.
    config
        Rotations, band and tilts.
    device
        Where to compute.
    is_possible
        ``(n,)`` False for a particle that is not of the kind; None allows all.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> volume = rng.normal(0, 0.02, (40, 60, 60)).astype(np.float32)
    >>> centres = np.array([[20.0, 15, 15], [20, 15, 45], [20, 45, 15]])
    >>> for z, y, x in centres.astype(int):
    ...     volume[z - 2 : z + 3, y - 2 : y + 3, x - 5 : x + 6] += 1
    >>> points = np.vstack([centres, [[20.0, 45, 45]]])
    >>> found = align(Tomogram(volume), points, np.array([0]), 8.0, AlignmentConfig())
    >>> bool(found.correlations[:3].min() > found.correlations[3])
    True
    """
    step = max(1.0, diameter / _FINE_PX)
    volume = torch.from_numpy(np.ascontiguousarray(tomogram.data, dtype=np.float32)).to(device)
    detail = max(config.resolution, _DETAIL * diameter) / step
    frame = _Frame.around(diameter / step, detail, config.max_tilt, device)
    random = np.random.default_rng(0)
    margin = np.minimum(frame.edge * step / 2, (np.array(tomogram.shape) - 1) / 2)
    somewhere = random.uniform(margin, np.array(tomogram.shape) - 1 - margin, (_N_BACKGROUND, 3))
    background = frame.masked(_boxes(volume, somewhere, frame.edge, step))
    frame = frame.whitened(background)
    rotations, shifts = uniform_rotations(config.n_rotations), _shifts(_SHIFT_PX)

    def boxes_of(chosen: Points) -> Float[Tensor, "m e e e"]:
        return frame.masked(_boxes(volume, chosen, frame.edge, step))

    some = (points[start : start + _TOGETHER_BOXES] for start in range(0, len(points), _TOGETHER_BOXES))
    spectra = torch.cat([frame.spectra(boxes_of(part)) for part in some])
    possible = np.ones(len(points), dtype=bool) if is_possible is None else is_possible
    alone = [_search(frame, frame.turned(box, rotations), spectra, shifts) for box in boxes_of(points[starts])]
    found, ranking = alone[0], np.mean([np.arctanh(np.minimum(f.correlations, 0.99)) for f in alone], axis=0)
    ranking[starts] = np.inf
    n_members = _FIRST_MEMBERS
    for _ in range(config.n_averages):
        ranking = np.where(possible, ranking, -np.inf)
        members = np.argsort(-ranking, kind="stable")[: min(n_members, max(1, np.count_nonzero(possible)))]
        boxes = boxes_of(points[members])
        parts = _turn_back(frame, boxes, rotations[found.rotation[members]], shifts[found.shift[members]])
        average = _merge(frame, *parts)
        templates = frame.turned(average, rotations)
        found = _search(frame, templates, spectra, shifts)
        correlations = found.correlations.copy()
        for fold in np.array_split(random.permutation(len(members)), min(_FOLDS, len(members))):
            others = np.setdiff1d(np.arange(len(members)), fold)
            if len(others):
                held_out = frame.turned(_merge(frame, *(part[others] for part in parts)), rotations)
                correlations[members[fold]] = _search(frame, held_out, spectra[members[fold]], shifts).correlations
        by_chance = _search(frame, templates, frame.spectra(background), shifts).correlations
        evidence = kind_evidence(correlations, members, by_chance)
        ranking = correlations
        n_probable = np.count_nonzero(evidence.probabilities[possible] > _EVEN_ODDS)
        n_members = int(np.clip(n_probable, _LEAST_MEMBERS, min(config.max_members, _GROWTH * len(members))))
    return Alignment(
        correlations=correlations,
        evidence=evidence,
        rotations=rotations[found.rotation],
        points=points + step * shifts[found.shift],
        background=by_chance,
        average=Average(average.cpu().numpy(), step),
        members=members,
    )


def uniform_rotations(n: int) -> Rotation:
    """Rotations that cover all orientations evenly: super-Fibonacci spirals (Alexa, CVPR 2022).

    Neighbours are about ``(8 pi^2 / n)^(1/3)`` radians apart.

    Examples
    --------
    >>> len(uniform_rotations(600))
    600
    """
    s = np.arange(n) + 0.5
    phi, psi = np.sqrt(2), 1.533751168755204288118041
    inner, outer, alpha, beta = np.sqrt(s / n), np.sqrt(1 - s / n), 2 * np.pi * s / phi, 2 * np.pi * s / psi
    circles = [inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)]
    return Rotation.from_quat(np.stack(circles, axis=1))


@dataclass(frozen=True, eq=False)
class _Found:
    """The best rotation and shift of each particle, by index."""

    correlations: Scores
    rotation: Int[np.ndarray, " n"]
    shift: Int[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class _Frame:
    """Which Fourier coefficients of a box are compared, and with what weight.

    Parameters
    ----------
    edge
        Of the boxes, in pixels.
    mask
        Soft ball around the particle.
    tilted
        ``(edge, edge, edge)`` where the tilt series has information, frequency 0 in the middle.
    band
        Indices of the coefficients in the half spectrum.
    frequencies
        ``(k, 3)`` of the coefficients, in cycles a box.
    weights
        ``(k,)`` of the coefficients.
    """

    edge: int
    mask: Float[Tensor, "e e e"]
    tilted: Float[Tensor, "e e e"]
    band: Int[Tensor, " k"]
    frequencies: Float[Tensor, "k 3"]
    weights: Float[Tensor, " k"]

    @classmethod
    def around(cls, diameter: float, detail: float, max_tilt: float, device: str) -> "_Frame":
        """Frame for particles of a diameter in pixels, and the finest detail in pixels; not whitened."""
        radius = _RADIUS * diameter
        edge = int(np.clip(2 * np.ceil(radius + _EDGE_PX + 1.5), *_BOXES_PX))
        pixels = torch.arange(edge, dtype=torch.float32) - edge // 2
        z, y, x = torch.meshgrid(pixels, pixels, pixels, indexing="ij")
        mask = ((radius + _EDGE_PX - torch.sqrt(z**2 + y**2 + x**2)) / _EDGE_PX).clamp(0, 1)
        # pixels and frequencies are the same numbers; tilts are about the y axis
        tilted = (z.abs() <= x.abs() * np.tan(np.radians(max_tilt)) + 0.5).float()
        half = torch.fft.ifftshift(torch.stack([z, y, x, tilted], dim=-1), dim=(0, 1, 2))[:, :, : edge // 2 + 1]
        half = half.flatten(0, 2)
        length = half[:, :3].norm(dim=1)
        band = torch.nonzero((length >= 1) & (length <= edge / detail) & (half[:, 3] > 0))[:, 0]
        frequencies = half[band, :3]
        weights = torch.sqrt(torch.where(frequencies[:, 2] == 0, 1.0, 2.0))  # the other half of the spectrum
        on_device = (tensor.to(device) for tensor in (mask, tilted, band, frequencies, weights))
        return cls(edge, *on_device)

    def masked(self, boxes: Float[Tensor, "n e e e"]) -> Float[Tensor, "n e e e"]:
        """Boxes less their mean in the mask, times the mask."""
        mean = (boxes * self.mask).sum(dim=(1, 2, 3), keepdim=True) / self.mask.sum()
        return (boxes - mean) * self.mask

    def spectra(self, boxes: Float[Tensor, "n e e e"]) -> Complex[Tensor, "n k"]:
        """Weighted coefficients of boxes."""
        centred = torch.fft.ifftshift(boxes, dim=(1, 2, 3))
        return torch.fft.rfftn(centred, dim=(1, 2, 3)).flatten(1)[:, self.band] * self.weights

    def whitened(self, background: Float[Tensor, "n e e e"]) -> "_Frame":
        """The same with weights that make the spectrum of the background flat."""
        power = (self.spectra(background) / self.weights).abs().square().median(dim=0).values
        shell = self.frequencies.norm(dim=1).round().long()
        total = power.new_zeros(int(shell.max()) + 1).index_add(0, shell, power)
        mean = total / torch.bincount(shell, minlength=len(total)).clamp(min=1)
        weights = self.weights / torch.sqrt(mean[shell].clamp(min=1e-12))
        return _Frame(self.edge, self.mask, self.tilted, self.band, self.frequencies, weights)

    def turned(self, average: Float[Tensor, "e e e"], rotations: Rotation) -> Complex[Tensor, "r k"]:
        """Coefficients of the average, turned in many ways: read where each rotation takes them from.

        The spectrum is that of the average in a box twice as large, in which linear interpolation is good enough.
        """
        half = self.edge // 2
        padded = functional.pad(average * self.mask, (half,) * 6)
        spectrum = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(padded)))
        parts = torch.view_as_real(spectrum).permute(3, 0, 1, 2).contiguous()
        matrices = torch.from_numpy(rotations.as_matrix().astype(np.float32)).to(average.device)
        turned = []
        for some in torch.split(matrices, _TOGETHER):
            source = 2 * torch.einsum("rji,kj->rki", some, self.frequencies) + self.edge
            values = _sample(parts, source[None, None])[:, 0]
            turned.append(torch.complex(values[0], values[1]) * self.weights)
        return torch.cat(turned)

    def moved(self, spectra: Complex[Tensor, "n k"], shifts: Float[np.ndarray, "m 3"]) -> Complex[Tensor, "n m k"]:
        """Coefficients of the boxes as they would be around their centres plus the shifts."""
        offsets = torch.from_numpy(shifts.astype(np.float32)).to(spectra.device)
        return spectra[:, None] * torch.exp(2j * torch.pi / self.edge * (offsets @ self.frequencies.T))


def _search(
    frame: _Frame,
    templates: Complex[Tensor, "r k"],
    spectra: Complex[Tensor, "n k"],
    shifts: Float[np.ndarray, "m 3"],
) -> _Found:
    """The template and the shift with the highest normalised correlation, for each particle."""
    templates = templates / templates.norm(dim=1, keepdim=True).clamp(min=1e-12)
    flat = torch.view_as_real(templates).flatten(1).T
    found: list[tuple[Tensor, Tensor]] = []
    for some in torch.split(spectra, max(1, _TOGETHER // len(shifts))):
        unit = some / some.norm(dim=1, keepdim=True).clamp(min=1e-12)
        moved = torch.view_as_real(frame.moved(unit, shifts)).flatten(2)
        found.append((moved @ flat).flatten(1).max(dim=1))
    best = torch.cat([values for values, _ in found]).cpu().numpy().astype(float)
    index = torch.cat([indices for _, indices in found]).cpu().numpy()
    return _Found(best, index % len(templates), index // len(templates))


def _turn_back(
    frame: _Frame, boxes: Float[Tensor, "n e e e"], rotations: Rotation, shifts: Float[np.ndarray, "n 3"]
) -> tuple[Float[Tensor, "n e e e"], Float[Tensor, "n e e e"]]:
    """Each box turned back onto the average, and where in Fourier space it then has information."""
    turned, samples = [], []
    for box, back, shift in zip(boxes, rotations.inv(), shifts, strict=True):
        turned.append(_turn(torch.roll(box, tuple(int(-s) for s in shift), dims=(0, 1, 2)), back))
        samples.append(_turn(frame.tilted, back))
    return torch.stack(turned), torch.stack(samples)


def _merge(
    frame: _Frame, turned: Float[Tensor, "n e e e"], samples: Float[Tensor, "n e e e"]
) -> Float[Tensor, "e e e"]:
    """Mean of boxes that were turned back, each Fourier coefficient by how many of them have it."""
    spectrum = torch.fft.fftn(torch.fft.ifftshift(turned.mean(dim=0)))
    spectrum /= torch.fft.ifftshift(samples.mean(dim=0)) + _FILLING
    average = torch.fft.fftshift(torch.fft.ifftn(spectrum).real)
    return average - (average * frame.mask).sum() / frame.mask.sum()


def _turn(volume: Float[Tensor, "e e e"], rotation: Rotation) -> Float[Tensor, "e e e"]:
    """The volume turned about its middle pixel."""
    edge = len(volume)
    pixels = torch.arange(edge, device=volume.device, dtype=torch.float32) - edge // 2
    grid = torch.stack(torch.meshgrid(pixels, pixels, pixels, indexing="ij"), dim=-1)
    matrix = torch.from_numpy(rotation.as_matrix().astype(np.float32)).to(volume.device)
    return _sample(volume[None], (grid @ matrix + edge // 2)[None])[0]  # each pixel is read where it was before


def _boxes(volume: Float[Tensor, "z y x"], points: Points, edge: int, step: float) -> Float[Tensor, "n e e e"]:
    """Boxes around points, a pixel every ``step`` voxels; beyond the faces the nearest voxel's value."""
    pixels = step * (torch.arange(edge, device=volume.device, dtype=torch.float32) - edge // 2)
    grid = torch.stack(torch.meshgrid(pixels, pixels, pixels, indexing="ij"), dim=-1)
    centres = torch.from_numpy(points.astype(np.float32)).to(volume.device)
    boxes = [_sample(volume[None], (grid + centre)[None]) for centre in centres]
    return torch.cat(boxes) if boxes else volume.new_zeros(0, edge, edge, edge)


def _sample(volumes: Float[Tensor, "c z y x"], places: Float[Tensor, "1 a b d 3"]) -> Float[Tensor, "c a b d"]:
    """Values at places z, y, x in voxels, by linear interpolation; beyond the faces the nearest voxel's."""
    last = torch.tensor(volumes.shape[1:], device=volumes.device, dtype=torch.float32) - 1
    grid = (2 * places / last.clamp(min=1) - 1).flip(-1)
    return functional.grid_sample(volumes[None], grid, align_corners=True, padding_mode="border")[0]


def _shifts(reach: float) -> Float[np.ndarray, "m 3"]:
    """All whole-pixel shifts within a distance."""
    n = int(reach)
    shifts = np.mgrid[-n : n + 1, -n : n + 1, -n : n + 1].reshape(3, -1).T.astype(float)
    return shifts[np.linalg.norm(shifts, axis=1) <= reach]
