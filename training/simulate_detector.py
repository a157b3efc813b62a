"""Make a pool of simulated tilt series with the centres of their particles, for training the detector.

::

    python training/simulate_detector.py --out POOL --first 20000 --tomograms 300
    python training/simulate_detector.py --out VALIDATION --first 910000 --tomograms 12

The tomograms are those of `simulate_descriptor.py`. Each is shown for up to two of its kinds, at a size in proportion
to their diameter, which is wrong by about a fifth. Nothing here is from a measured structure.
"""

from pathlib import Path

import numpy as np
import torch

from cryosam.matching.detector import DetectorView
from cryosam.tomogram import Tomogram
from simulate_descriptor import draw_tomogram, make_pool


def make_views(job: tuple[Path, int]) -> None:
    """Make one tomogram, and write how the network sees it for up to two of its kinds."""
    torch.set_num_threads(1)
    folder, seed = job
    rng = np.random.default_rng(seed)
    drawn = draw_tomogram(rng, seed)
    if drawn is None:
        return
    simulated, diameters, config = drawn
    values = simulated.tomogram.data
    low, high = np.percentile(values[::2, ::3, ::3], (0.05, 99.95))
    tomogram = Tomogram(np.clip((values - low) / (high - low), 0, 1).astype(np.float32))
    sizes = np.array([diameters[name] for name in simulated.names])
    for name in sorted(set(simulated.names), key=lambda _: rng.random())[:2]:
        diameter = float(np.clip(diameters[name] * np.exp(np.clip(0.18 * rng.normal(), -0.4, 0.4)), 6, 45))
        view = DetectorView.of(tomogram, diameter)
        points = (simulated.points + 0.5) / view.step - 0.5
        path = folder / f"{seed:06d}-{name}.npz"
        with path.with_suffix(".part").open("wb") as file:
            np.savez(
                file,
                volume=view.volume.half().numpy(),
                points=points.astype(np.float32),
                sizes=(sizes / diameter).astype(np.float32),
            )
        path.with_suffix(".part").rename(path)
    print(f"{seed}: {len(sizes)} particles, {config.voxel_size_angstrom:.1f} A, SNR {config.snr:.2f}", flush=True)


if __name__ == "__main__":
    make_pool(make_views, __doc__.splitlines()[0], 20000, 300)
