"""How each particle of a kind lies, and a sharper average of them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points, Progress
from cryosam.averaging.extent import Extent, find_extent
from cryosam.averaging.fourier import rotate_to_reference, shifts_within, wedge_weighted_average
from cryosam.averaging.orientations import OrientationSearch
from cryosam.averaging.resolution import find_resolution, fourier_shell_correlation
from cryosam.averaging.subtomograms import Subtomograms
from cryosam.results import Average

__all__ = ["Refinement", "refine"]

_SIZE_PX = 24  # pixels a diameter at most
_DETAIL, _LEAST_DETAIL = 1 / 6, 2.2  # diameters and voxels, finest that is compared
_SHIFT_PX = 2.0
_N_POSES = 10  # to lie that are tried at the fine detail, at least _APART degrees from each other
_APART = 35.0
_STEPS = (10.0, 7.0, 4.0, 2.0)  # degrees between the rotations around the best, round by round
_FARTHEST = 0.35  # diameters from the centre that was given: what moves farther is put back
_OFF_CENTRE = 0.25  # diameters off the average's centre of mass, from which the centres are moved there
_FOLDS = 4  # of the particles: each is compared with an average of the other folds
_ENOUGH = 5  # particles to compare each with an average of others


@dataclass(frozen=True, eq=False)
class Refinement:
    """How particles lie.

    Parameters
    ----------
    rotations
        ``(n,)`` that turn the average, about its centre, to lie as the particle does; they act on z, y, x.
    points
        ``(n, 3)`` centres z, y, x in voxels: the same place in every particle.
    average
        Mean of all particles, corrected for the missing wedge; its centre is the points' place.
    resolution
        In voxels, where the Fourier shell correlation of averages of two halves falls below one half; None where there
        are too few for halves.
    extent
        Of the average, where it is larger than what was seen of each particle and its centre of mass is far from the
        places that were given; the points are there then.
    """

    rotations: Rotation
    points: Points
    average: Average
    resolution: float | None
    extent: Extent | None


def refine(
    search: OrientationSearch, points: Points, average: Average, *, progress: Progress | None = None
) -> Refinement:
    """Find out how each particle lies, from a coarse average of them.

    At the coarse detail two poses may fit a particle equally well. So the best poses are compared again at a finer
    detail, and the best of these is refined in smaller and smaller steps. A particle is always compared with an average
    that it is excluded from. All centres then mark the same place: the median of those that were given, as seen in the
    particles' own frame, or the average's centre of mass where only one part of each particle was seen. Fewer than five
    particles keep their coarse poses and their centres.

    Parameters
    ----------
    search
        Compares particles of the kind's diameter.
    points
        ``(n, 3)`` centres z, y, x in voxels, n at least 1.
    average
        Of the kind, as coarse as `search` compares it.
    progress
        Called with the number of particles compared, each of them several times.
    """
    tomogram, diameter, config, device = search.cut.voxels, search.diameter, search.config, search.device
    centres = points
    poses, points = _coarse_poses(search, points, average)
    if len(points) < _ENOUGH:
        return Refinement(Rotation.concatenate([pose[:1] for pose in poses]), centres, average, None, None)
    detail = max(_LEAST_DETAIL, _DETAIL * diameter)
    cut = Subtomograms.of(tomogram, diameter, size_px=_SIZE_PX, detail=detail, max_tilt=config.max_tilt, device=device)
    frame, shifts, n = cut.frame, shifts_within(_SHIFT_PX), len(points)
    phases = frame.phases(shifts)
    folds = np.array_split(np.random.default_rng(0).permutation(n), min(_FOLDS, n))
    still, done, n_steps = np.zeros((n, 3)), 0, n * len(_STEPS)
    for degrees in _STEPS:
        boxes = cut.cut(points)
        spectra = frame.spectra(boxes)
        parts = rotate_to_reference(frame, boxes, Rotation.concatenate([pose[:1] for pose in poses]), still)
        moves, turns = np.zeros((n, 3)), [pose[:1] for pose in poses]
        for fold in folds:
            if progress is not None:
                progress("refining", done, n_steps)
            done += len(fold)
            others = np.setdiff1d(np.arange(n), fold)
            held_out = frame.padded_spectrum(wedge_weighted_average(frame, *(part[others] for part in parts)))
            for i in fold:
                tried = Rotation.concatenate([pose * _around(degrees) for pose in poses[i]])
                found = frame.search(frame.turned(held_out, tried), spectra[i : i + 1], phases)
                turns[i] = tried[found.rotation[:1]]
                moves[i] = cut.step * shifts[int(found.shift[0])]
        poses, points = turns, points + moves
    if progress is not None:
        progress("refining", n_steps, n_steps)
    rotations = Rotation.concatenate(poses)
    points = points + rotations.apply(np.median(rotations.inv().apply(centres - points), axis=0))
    has_strayed = np.linalg.norm(points - centres, axis=1) > _FARTHEST * diameter  # onto a neighbour, say
    points[has_strayed] = centres[has_strayed]
    extent = find_extent(tomogram, points, rotations, diameter, config, device)
    if extent is not None and (np.linalg.norm(extent.centre) <= _OFF_CENTRE * diameter or extent.diameter <= diameter):
        extent = None
    if extent is not None:
        points = points + rotations.apply(extent.centre)
        whole = extent.diameter
        cut = Subtomograms.of(tomogram, whole, size_px=_SIZE_PX, detail=detail, max_tilt=config.max_tilt, device=device)
        frame = cut.frame
    parts = rotate_to_reference(frame, cut.cut(points), rotations, still)
    halves = [wedge_weighted_average(frame, *(part[k::2] for part in parts)) for k in range(2)]
    refined = Average(wedge_weighted_average(frame, *parts).cpu().numpy(), cut.step)
    resolution = find_resolution(fourier_shell_correlation(*halves), frame.edge) * cut.step
    return Refinement(rotations, points, refined, resolution, extent)


def _coarse_poses(search: OrientationSearch, points: Points, average: Average) -> tuple[list[Rotation], Points]:
    """The rotations, best first and apart from each other, in which each particle fits the average; moved points."""
    template = torch.from_numpy(np.ascontiguousarray(average.data, dtype=np.float32)).to(search.cut.frame.mask.device)
    found = search.find(template, search.cut.spectra(points), n_best=200)
    rotations = search.bank.rotations
    quaternions = rotations.as_quat()
    poses = [rotations[best[_apart(quaternions[best])]] for best in found.best]
    return poses, points + search.cut.step * search.shifts[found.shift]


def _apart(quaternions: Float[np.ndarray, "b 4"]) -> list[int]:
    """Indices of the first of some rotations, and of those after it that are far from all before."""
    are_near = np.abs(quaternions @ quaternions.T) > np.cos(np.radians(_APART) / 2)
    kept: list[int] = []
    for i, is_near in enumerate(are_near):
        if not is_near[kept].any():
            kept.append(i)
        if len(kept) == _N_POSES:
            break
    return kept


def _around(degrees: float) -> Rotation:
    """No rotation, and small ones about all axes."""
    vectors = np.mgrid[-1:2, -1:2, -1:2].reshape(3, -1).T
    vectors = vectors[np.linalg.norm(vectors, axis=1) < 1.5]
    return Rotation.from_rotvec(np.radians(degrees) * vectors)
