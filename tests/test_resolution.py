"""Fourier shell correlations in closed form, and the periods that follow from them."""

import numpy as np
import pytest
import torch

from cryosam.averaging.resolution import fourier_shell_correlation
from cryosam.results import Average


def white(edge: int, seed: int) -> torch.Tensor:
    return torch.randn((edge,) * 3, generator=torch.Generator().manual_seed(seed))


def shells(edge: int) -> torch.Tensor:
    """Cycles per box of every Fourier coefficient, rounded."""
    cycles = np.fft.fftfreq(edge, 1 / edge)
    return torch.from_numpy(np.sqrt(sum(np.meshgrid(cycles**2, cycles**2, cycles**2))).round())


def filtered(volume: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    return torch.fft.ifftn(torch.fft.fftn(volume) * gain).real


def wave(edge: int, cycles: tuple[int, int, int], phase: float) -> torch.Tensor:
    z, y, x = np.indices((edge,) * 3)
    turns = (cycles[0] * z + cycles[1] * y + cycles[2] * x) / edge
    return torch.from_numpy(np.cos(2 * np.pi * turns + phase))


def period(correlation: torch.Tensor, edge: int, threshold: float = 0.5) -> float | None:
    """In pixels."""
    return Average(np.zeros((edge,) * 3, dtype=np.float32), 1.0, correlation.numpy()).resolution(threshold)


@pytest.mark.parametrize("edge", [7, 8])
@pytest.mark.parametrize(("gain", "expected"), [(1.0, 1), (3.0, 1), (-0.5, -1)])
def test_a_volume_and_itself_scaled(edge: int, gain: float, expected: int) -> None:
    volume = white(edge, 0)
    found = fourier_shell_correlation(volume, gain * volume).numpy()
    n_shells = round(np.sqrt(3) * (edge // 2)) + 1  # to the corner
    np.testing.assert_allclose(found, np.full(n_shells, expected), atol=1e-5)


@pytest.mark.parametrize("edge", [11, 12])
@pytest.mark.parametrize(
    ("cycles", "shell"), [((3, 0, 0), 3), ((0, 2, 0), 2), ((0, 0, 4), 4), ((3, 4, 0), 5), ((1, -2, 2), 3)]
)
@pytest.mark.parametrize("phase", [0.0, 0.7, 2.0, np.pi])
def test_waves_correlate_by_the_cosine_of_their_phases_in_their_shell(edge, cycles, shell, phase) -> None:
    """Beside other waves, which agree or do not, in the shells of their own."""
    agreeing, other = wave(edge, (1, 0, 0), 0.3), wave(edge, (0, 0, 1), 0.3)
    first = wave(edge, cycles, 0.4) + agreeing + other
    second = wave(edge, cycles, 0.4 + phase) + agreeing - other
    found = fourier_shell_correlation(first, second)
    assert found[shell].item() == pytest.approx(np.cos(phase), abs=1e-6)
    assert found[1].item() == pytest.approx(0, abs=1e-6)


def test_order_does_not_matter_nor_where_both_are_moved() -> None:
    first, second = white(9, 0), white(9, 0) + 0.5 * white(9, 1)
    found = fourier_shell_correlation(first, second)
    moved = [volume.roll((1, -2, 3), (0, 1, 2)) for volume in (second, first)]
    torch.testing.assert_close(fourier_shell_correlation(*moved), found, atol=1e-5, rtol=0)


def test_nothing_correlates_with_nothing() -> None:
    empty = torch.zeros((6, 6, 6))
    assert fourier_shell_correlation(empty, empty).tolist() == [0] * 6


@pytest.mark.parametrize("seed", range(5))
def test_independent_noise_does_not_correlate(seed: int) -> None:
    """In each shell by no more than four deviations of as many independent coefficients, half of which are others'."""
    edge = 24
    found = fourier_shell_correlation(white(edge, 2 * seed), white(edge, 2 * seed + 1)).numpy()
    n_coefficients = np.bincount(shells(edge).long().flatten().numpy())
    inner = slice(2, edge // 2)
    assert (np.abs(found[inner]) < 4 / np.sqrt(n_coefficients[inner] / 2)).all()
    assert period(torch.from_numpy(found), edge) == edge


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("last", [3, 5, 9])
def test_the_period_of_a_low_pass_filter_is_found_in_noise(last: int, seed: int) -> None:
    """What both share ends at a period, and each has noise of its own."""
    edge = 24
    shared = filtered(white(edge, seed), shells(edge) <= last)
    halves = [shared + 0.3 * white(edge, 10 * (seed + 1) + k) for k in range(2)]
    found = fourier_shell_correlation(*halves)
    assert found[1 : last + 1].min() > 0.8
    assert period(found, edge) == period(found, edge, 0.3) == edge / last


@pytest.mark.parametrize("seed", range(5))
def test_a_lower_threshold_resolves_more(seed: int) -> None:
    """A shell of twice as much noise as signal correlates by a third: enough for 1/7, but not for a half."""
    edge, cycles = 32, shells(32)
    gain = 10.0 * (cycles < 7) + np.sqrt(0.5) * (cycles == 7)
    shared = filtered(white(edge, seed), gain)
    found = fourier_shell_correlation(*(shared + white(edge, 10 * (seed + 1) + k) for k in range(2)))
    assert found[7].item() == pytest.approx(1 / 3, abs=0.16)
    assert period(found, edge) == edge / 6
    assert period(found, edge, threshold=1 / 7) == edge / 7


@pytest.mark.parametrize(
    ("correlation", "threshold", "expected"),
    [
        ([1, 0.9, 0.8, 0.4, 0.2, 0.0], 0.5, 12 / 2),
        ([1, 0.9, 0.8, 0.4, 0.2, 0.0], 0.3, 12 / 3),
        ([1, 0.9, 0.8, 0.4, 0.2, 0.0], 0.4, 12 / 3),  # at the threshold is not below it
        ([1, 0.9, 0.4, 0.9, 0.9, 0.9], 0.5, 12 / 1),  # what agrees again beyond does not count
        ([0.1, 0.9, 0.8, 0.4, 0.2, 0.0], 0.5, 12 / 2),  # nor does the mean of the volumes
        ([1, 0.1, 0.8, 0.8, 0.8, 0.8], 0.5, 12),  # nothing agrees: the box itself
    ],
)
def test_the_first_shell_below_the_threshold_ends_the_resolution(correlation, threshold, expected) -> None:
    assert period(torch.tensor(correlation, dtype=torch.float32), 12, threshold) == pytest.approx(expected)
