"""How far two averages agree, detail by detail."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["fourier_shell_correlation"]


def fourier_shell_correlation(
    first: Float[Tensor, "edge edge edge"], second: Float[Tensor, "edge edge edge"]
) -> Float[Tensor, " shells"]:
    """Correlation of the Fourier coefficients of two averages, shell by shell (Harauz, van Heel 1986).

    Parameters
    ----------
    first, second
        ``(edge, edge, edge)`` averages, the particles' common centre at pixel edge // 2.

    Returns
    -------
    correlation
        In [-1, 1]; shell s contains the frequencies of about s cycles per box.

    Examples
    --------
    >>> average = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> fourier_shell_correlation(average, average).min().round().item()
    1.0
    """
    edge = len(first)
    spectra = [torch.fft.fftn(torch.fft.ifftshift(average)) for average in (first, second)]
    frequencies = torch.fft.fftfreq(edge, 1 / edge, device=first.device)
    z, y, x = torch.meshgrid(frequencies, frequencies, frequencies, indexing="ij")
    shell = torch.sqrt(z**2 + y**2 + x**2).round().long().flatten()

    def summed(values: Float[Tensor, "edge edge edge"]) -> Float[Tensor, " shells"]:
        return values.new_zeros(int(shell.max()) + 1).index_add(0, shell, values.flatten())

    shared = summed((spectra[0] * spectra[1].conj()).real)
    return shared / torch.sqrt(summed(spectra[0].abs() ** 2) * summed(spectra[1].abs() ** 2)).clamp(min=1e-12)
