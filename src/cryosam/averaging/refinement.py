"""Refinement of the poses of particles, and of their average."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points, Progress
from cryosam.averaging.extent import Extent, find_extent
from cryosam.averaging.fourier import rotate_to_reference, shifts_within, wedge_weighted_average
from cryosam.averaging.orientations import OrientationSearch, held_out_folds
from cryosam.averaging.resolution import fourier_shell_correlation
from cryosam.averaging.subtomograms import Subtomograms
from cryosam.results import Average

__all__ = ["Refinement", "refine"]

_SIZE_PX = 24  # largest number of pixels per diameter
_DETAIL, _LEAST_DETAIL = 1 / 6, 2.2  # finest detail that is compared: in diameters, but at least this many voxels
_SHIFT_PX = 2.0
_N_POSES = 10  # coarse poses per particle that are compared at the fine detail
_LEAST_ANGLE = 35.0  # degrees between any two of these poses
_STEPS = (10.0, 7.0, 4.0, 2.0)  # degrees between neighbouring rotations that are tried, for each round
_FARTHEST = 0.35  # diameters from the given centre: a particle that moves farther is put back
_OFF_CENTRE = 0.25  # diameters between the points and the centre of mass, from which the points are moved there
_ENOUGH = 5  # smallest number of particles for comparing each with an average of the others


@dataclass(frozen=True, eq=False)
class Refinement:
    """Refined poses of particles, and their average.

    Parameters
    ----------
    rotations
        ``(n,)`` rotations that bring the average, about its centre, into the orientation of each particle; they act on
        z, y, x.
    points
        ``(n, 3)`` centres z, y, x in voxels, at the same place in every particle.
    average
        Mean of all particles, corrected for the missing wedge; its centre corresponds to the points.
    resolution
        Finest period in voxels down to which the Fourier shell correlation of the averages of two halves is at least
        0.5; None if there are too few particles.
    extent
        Extent of the average, if it is larger than the masks and its centre of mass is far from the given points. The
        refined points are then at the centre of mass.
    """

    rotations: Rotation
    points: Points
    average: Average
    resolution: float | None
    extent: Extent | None


def refine(
    search: OrientationSearch, points: Points, average: Average, *, progress: Progress | None = None
) -> Refinement:
    """Refine the pose of each particle, starting from a coarse average.

    At the coarse detail, several poses may fit a particle equally well. The best of them are therefore compared again
    at a finer detail, and the best one is refined in ever smaller steps. A particle is always compared with an average
    from which it is excluded. Finally, all centres are moved to the same place in the frame of the particle: the median
    of the given centres, or the centre of mass of the average if the masks covered only a part of each particle. If
    there are fewer than five particles, they keep their coarse orientations and the given centres.

    Parameters
    ----------
    search
        Compares particles of the kind's diameter.
    points
        ``(n, 3)`` centres z, y, x in voxels, n at least 1.
    average
        Average of the kind, at the coarse detail of ``search``.
    progress
        Called with the number of comparisons done; each particle is compared once in every round.
    """
    poses, moved = _coarse_poses(search, points, average)
    if len(points) < _ENOUGH:
        return Refinement(Rotation.concatenate([pose[:1] for pose in poses]), points, average, None, None)
    cut = _fine_boxes(search, search.diameter)
    rotations, moved = _refine_poses(cut, poses, moved, progress)
    refined = _at_one_place(moved, rotations, points, search.diameter)
    extent = _whole_extent(search, refined, rotations)
    if extent is not None:
        refined = refined + rotations.apply(extent.centre)
        cut = _fine_boxes(search, extent.diameter)
    average = _average(cut, refined, rotations)
    return Refinement(rotations, refined, average, average.resolution(), extent)


def _fine_boxes(search: OrientationSearch, diameter: float) -> Subtomograms:
    """Boxes for particles of a diameter, at the fine detail of the particles that were searched for."""
    detail = max(_LEAST_DETAIL, _DETAIL * search.diameter)
    return Subtomograms.of(
        search.cut.voxels,
        diameter,
        size_px=_SIZE_PX,
        detail=detail,
        wedge=search.wedge,
        device=search.device,
    )


def _refine_poses(
    cut: Subtomograms, poses: list[Rotation], points: Points, progress: Progress | None
) -> tuple[Rotation, Points]:
    """The best pose of each particle, in steps that become smaller from round to round, and its moved centre."""
    frame, shifts, n = cut.frame, shifts_within(_SHIFT_PX), len(points)
    phases = frame.phases(shifts)
    folds = held_out_folds(n, np.random.default_rng(0))
    done, n_steps = 0, n * len(_STEPS)
    for degrees in _STEPS:
        boxes = cut.cut(points)
        spectra = frame.spectra(boxes)
        best = Rotation.concatenate([pose[:1] for pose in poses])
        parts = rotate_to_reference(frame, boxes, best, np.zeros((n, 3)))
        moves, turns = np.zeros((n, 3)), [pose[:1] for pose in poses]
        for fold, others in folds:
            if progress is not None:
                progress("refining", done, n_steps)
            done += len(fold)
            held_out = frame.padded_spectrum(wedge_weighted_average(frame, *(part[others] for part in parts)))
            for i in fold:
                tried = Rotation.concatenate([pose * _around(degrees) for pose in poses[i]])
                found = frame.search(frame.turned(held_out, tried), spectra[i : i + 1], phases)
                turns[i] = tried[found.rotation[:1]]
                moves[i] = cut.step * shifts[int(found.shift[0])]
        poses, points = turns, points + moves
    if progress is not None:
        progress("refining", n_steps, n_steps)
    return Rotation.concatenate(poses), points


def _at_one_place(points: Points, rotations: Rotation, centres: Points, diameter: float) -> Points:
    """Points moved to the same place in every particle; one that strayed from its given centre is put back there."""
    points = points + rotations.apply(np.median(rotations.inv().apply(centres - points), axis=0))
    has_strayed = np.linalg.norm(points - centres, axis=1) > _FARTHEST * diameter  # for example to a neighbour
    points[has_strayed] = centres[has_strayed]
    return points


def _whole_extent(search: OrientationSearch, points: Points, rotations: Rotation) -> Extent | None:
    """Extent of the average if it is larger than what was seen of each particle, and its centre lies elsewhere."""
    extent = find_extent(search.cut.voxels, points, rotations, search.diameter, search.wedge, search.device)
    if extent is None:
        return None
    is_centred = np.linalg.norm(extent.centre) <= _OFF_CENTRE * search.diameter
    return None if is_centred or extent.diameter <= search.diameter else extent


def _average(cut: Subtomograms, points: Points, rotations: Rotation) -> Average:
    """The average of all particles, with the Fourier shell correlation of the averages of two halves."""
    frame = cut.frame
    parts = rotate_to_reference(frame, cut.cut(points), rotations, np.zeros((len(points), 3)))
    halves = [wedge_weighted_average(frame, *(part[k::2] for part in parts)) for k in range(2)]
    fsc = fourier_shell_correlation(*halves)[: frame.edge // 2 + 1].cpu().numpy()
    return Average(wedge_weighted_average(frame, *parts).cpu().numpy(), cut.step, fsc)


def _coarse_poses(search: OrientationSearch, points: Points, average: Average) -> tuple[list[Rotation], Points]:
    """For each particle, the best rotations that differ enough from each other, best first; and shifted points."""
    template = torch.from_numpy(np.ascontiguousarray(average.data, dtype=np.float32)).to(search.cut.frame.mask.device)
    found = search.find(template, search.cut.spectra(points), n_best=200)
    rotations = search.bank.rotations
    quaternions = rotations.as_quat()
    poses = [rotations[best[_select_distinct(quaternions[best])]] for best in found.best]
    return poses, points + search.cut.step * search.shifts[found.shift]


def _select_distinct(quaternions: Float[np.ndarray, "b 4"]) -> list[int]:
    """Indices of the first rotation, and of later ones that differ by `_LEAST_ANGLE` from all kept before them."""
    are_near = np.abs(quaternions @ quaternions.T) > np.cos(np.radians(_LEAST_ANGLE) / 2)
    kept: list[int] = []
    for i, is_near in enumerate(are_near):
        if not is_near[kept].any():
            kept.append(i)
        if len(kept) == _N_POSES:
            break
    return kept


def _around(degrees: float) -> Rotation:
    """The identity, and rotations by small angles about axes in all directions."""
    vectors = np.mgrid[-1:2, -1:2, -1:2].reshape(3, -1).T
    vectors = vectors[np.linalg.norm(vectors, axis=1) < 1.5]
    return Rotation.from_rotvec(np.radians(degrees) * vectors)
