"""Describe a tomogram for ``info``, from its header and a sample of its voxels."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from cryosam.config import TomogramConfig
from cryosam.errors import VoxelSizeError
from cryosam.intensities import detect_contrast
from cryosam.io import read_info, read_voxels
from cryosam.missing_wedge import find_wedge, settle_wedge
from cryosam.power_spectrum import PowerSpectrum
from cryosam.tomogram import Tomogram

__all__ = ["describe"]

_FIXED_BYTES, _BYTES_PER_VOXEL = 1.1e9, 13  # measured: peak memory of the default preset
_FINE_ANGSTROM, _GOOD_ANGSTROM, _COARSE_ANGSTROM = 7.0, 10.0, 20.0
_LARGE = 4_000_000  # voxels
_PERCENT = (0, 1, 50, 99, 100)


def describe(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return facts by name, and a list of advice."""
    header = read_info(path)
    advice = []
    try:
        size = header.voxel_size_angstrom
    except VoxelSizeError as error:
        size = None
        advice.append(str(error))
    tomogram = Tomogram(read_voxels(path), size, path.name)
    sample = _sample(tomogram)
    rows = {
        "file": f"{header.path} ({header.format}, {header.dtype})",
        "voxels": " x ".join(map(str, tomogram.shape)) + " (z, y, x)",
        "voxel size": "not in the header" if size is None else f"{size:g} angstrom",
    }
    if size is not None:
        rows["extent"] = " x ".join(f"{n * size / 10:.0f}" for n in tomogram.shape) + " nm"
    finite = sample[np.isfinite(sample)]
    if len(finite):
        values = np.percentile(finite, _PERCENT) + header.shown_offset
        rows["intensities"] = ", ".join(f"{p} %: {v:.4g}" for p, v in zip(_PERCENT, values, strict=True))
        rows["intensities"] += f" (of {sample.size:,} voxels)"
    if len(finite) == sample.size and np.ptp(finite) > 0:
        seen = detect_contrast(tomogram, np.zeros((0, 3)))
        certainty = "a click gives more certainty" if seen.is_certain else "uncertain: a click is needed to be sure"
        rows["contrast"] = f"protein looks {seen.contrast}; {certainty}"
        spectrum = PowerSpectrum.of(tomogram)
        rows["tilts"] = _describe_tilts(spectrum)
        advice += [text for _, text in settle_wedge(spectrum, TomogramConfig()).doubts]
        if words := spectrum.describe(size):
            rows["spectrum"] = words
    memory = _FIXED_BYTES + _BYTES_PER_VOXEL * tomogram.data.size
    rows["memory"] = f"about {memory / 1e9:.1f} GB for segment with the default preset; limit it with --memory"
    return rows, advice + _advise(size, sample)


def _describe_tilts(spectrum: PowerSpectrum) -> str:
    """Return the missing wedge that the spectrum shows, or what is assumed instead."""
    seen = find_wedge(spectrum)
    if seen.is_visible:
        beam = "" if seen.wedge.beam == "z" else f", beam along {seen.wedge.beam}"
        return f"{seen.wedge}{beam}; the missing wedge is visible, {seen.depth:.0f} dB below the rest"
    return f"the missing wedge is not visible (filled, denoised or too small a volume); {seen.wedge} is assumed"


def _sample(tomogram: Tomogram) -> Float[np.ndarray, " n"]:
    """Take all voxels of a small tomogram, or some rows of about a dozen slices of a large one."""
    depth, height, _ = tomogram.shape
    is_large = tomogram.data.size > _LARGE
    steps = (max(1, depth // 12), max(1, height // 128)) if is_large else (1, 1)
    return tomogram.data[:: steps[0], :: steps[1]].astype(np.float64).ravel()


def _advise(size: float | None, sample: Float[np.ndarray, " n"]) -> list[str]:
    """Return what the user should be aware of."""
    advice = []
    if not np.isfinite(sample).all():
        advice.append("the tomogram has NaN or infinite voxels; it cannot be used until they are replaced")
    elif np.ptp(sample) == 0:
        advice.append("all sampled voxels have the same value; the tomogram cannot be used")
    if size is None:
        advice.append(
            "the voxel size is unknown: give --voxel-size ANGSTROM; without it, lengths in angstrom cannot be used"
        )
    if size is not None and size < _FINE_ANGSTROM:
        advice.append(
            f"voxels are small: bin the tomogram to about {_GOOD_ANGSTROM:g} angstrom per voxel; it then has "
            f"{(_GOOD_ANGSTROM / size) ** 3:.0f} times fewer voxels, and particles stand out better"
        )
    elif size is not None and size > _COARSE_ANGSTROM:
        advice.append("voxels are large: kinds of particles smaller than 20 nm are hard to distinguish")
    return advice
