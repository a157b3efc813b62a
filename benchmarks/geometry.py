"""What is seen of the missing wedge and of the contrast, in tomograms as they are and after they were changed.

::

    python benchmarks/geometry.py TOMOGRAM...

Each tomogram is also looked at with its axes exchanged, turned by 30 degrees about z, smoothed, and with noise in its
missing wedge. Of the contrast, "dark" and "bright" are followed by the evidence, in standard errors.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from cryosam import Tomogram, read_tomogram
from cryosam.arrays import Volume
from cryosam.intensities import detect_contrast
from cryosam.missing_wedge import MissingWedge, find_wedge
from cryosam.power_spectrum import PowerSpectrum

_SHELLS = 60  # shells per cycle per voxel, in which noise gets the power of the tomogram


def changed(volume: Volume, wedge: MissingWedge) -> Iterator[tuple[str, Volume]]:
    """The volume, and changed copies of it, by name."""
    yield "as it is", volume
    yield "x and y exchanged", volume.transpose(0, 2, 1)
    yield "z and y exchanged", volume.transpose(1, 0, 2)
    yield "turned by 30 degrees", ndimage.rotate(volume, 30, axes=(1, 2), reshape=False, order=3, mode="reflect")
    for sigma in (1, 2, 3):
        yield f"Gaussian of {sigma} voxels", ndimage.gaussian_filter(volume, sigma)
    yield "median of 3 voxels", ndimage.median_filter(volume, 3)
    grid = np.meshgrid(*map(np.fft.fftfreq, volume.shape), indexing="ij")
    is_sampled = wedge.is_sampled(*grid)
    spectrum, shell = np.fft.fftn(volume), (np.linalg.norm(grid, axis=0) * _SHELLS).astype(int)
    number = np.bincount(shell[is_sampled], minlength=shell.max() + 1)
    power = np.bincount(shell[is_sampled], np.abs(spectrum[is_sampled]) ** 2, minlength=shell.max() + 1)
    noise = np.fft.fftn(np.random.default_rng(0).normal(size=volume.shape)) / np.sqrt(volume.size)
    noise *= np.sqrt(power / np.maximum(number, 1))[shell]
    for decibels in (0, -5, -10):
        filled = np.where(is_sampled, spectrum, noise * 10 ** (decibels / 20))
        yield f"wedge filled, {decibels} dB", np.fft.ifftn(filled).real.astype(np.float32)


def main() -> None:
    """Print one line for each copy of each tomogram."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tomograms", nargs="+", type=Path)
    for path in parser.parse_args().tomograms:
        volume = np.asarray(read_tomogram(path).data, dtype=np.float32)
        wedge = find_wedge(PowerSpectrum.of(Tomogram(volume))).wedge
        for name, copy in changed(volume, wedge):
            seen = find_wedge(PowerSpectrum.of(Tomogram(copy)))
            tilts = f"{seen.wedge}, beam along {seen.wedge.beam}" if seen.is_visible else "not visible"
            print(f"{path.parent.name}/{path.name}  {name:24} {tilts}, {seen.depth:.0f} dB", flush=True)
        for sign, name in ((1, "as it is"), (-1, "inverted")):
            contrast = detect_contrast(Tomogram(sign * volume), np.zeros((0, 3)))
            print(f"{path.parent.name}/{path.name}  {name:24} {contrast.contrast} {contrast.evidence:+.1f}", flush=True)


if __name__ == "__main__":
    main()
