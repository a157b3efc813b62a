"""Files of filaments: their lines as CSV, and points along them for RELION, Warp, Dynamo and copick.

Points are sampled at a spacing that is asked for: 82 angstrom, the length of a tubulin dimer, for microtubules; 27.3 or
54.6, one or two rises, for actin; 150 for a first average of something unknown.

A pose turns the reference, whose filament lies along z, so that z is the tangent; its x and y are carried along the
filament without twist. RELION expects filaments along x in its local searches, so in its files the pose is the product
of two (``A = A_subtomogram A_angle``): ``rlnTomoSubtomogramRot/Tilt/Psi`` is the pose times a turn by 90 degrees about
y, and ``rlnAngleRot/Tilt/Psi`` is 0, 90, 0, which turns back. The priors are those of the second: tilt 90, psi 0.
``rlnHelicalTubeID`` counts from 1, ``rlnHelicalTrackLengthAngst`` is in angstrom from one end, and
``rlnAnglePsiFlipRatio`` is 0 where the polarity is known and 0.5 where it is not; RELION reads a missing one as 0.5.
Warp and Dynamo get the pose itself.

Sources: RELION's ``Euler_angles`` and particle set for the matrices; copick-utils and RELION 5 for the columns.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Integer
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points, Scores
from cryosam.errors import PointsFileError
from cryosam.io.atomic import atomic_path
from cryosam.io.copick import write_copick
from cryosam.io.dynamo import write_dynamo
from cryosam.io.points import PointTable
from cryosam.io.relion import rotations_to_angles
from cryosam.io.star_output import StarProgram, write_star
from cryosam.io.tomogram_points import TomogramPoints
from cryosam.io.x_first import x_first
from cryosam.structure_results import Filament, StructureResult

__all__ = [
    "FilamentPoints",
    "sample_filaments",
    "transport_frames",
    "write_filaments_copick",
    "write_filaments_csv",
    "write_filaments_dynamo",
    "write_filaments_star",
]

_SUBTOMOGRAM = ["rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"]
_ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
_TO_X = Rotation.from_euler("y", 90, degrees=True)  # on x, y, z: from z to x
_UNKNOWN, _KNOWN = 0.5, 0.0  # flip ratio


@dataclass(frozen=True, eq=False)
class FilamentPoints:
    """Points along filaments with poses.

    Parameters
    ----------
    points
        ``(n, 3)`` z, y, x in voxels.
    rotations
        ``(n,)`` of the reference, which lies along z, into the filament; they act on z, y, x.
    filament
        ``(n,)`` number of the filament in its result, from 1.
    track_angstrom
        ``(n,)`` distance along the filament from its first point.
    score
        ``(n,)`` of the filament.
    """

    points: Points
    rotations: Rotation
    filament: Integer[np.ndarray, " n"]
    track_angstrom: Scores
    score: Scores


def transport_frames(tangents: Points) -> Rotation:
    """Rotations from z to each tangent, whose other axes are carried along the line without twist.

    Parameters
    ----------
    tangents
        ``(n, 3)`` unit vectors along one line, z, y, x; at least one.

    Returns
    -------
    rotations
        ``(n,)`` that act on z, y, x.

    Examples
    --------
    >>> quarter = transport_frames(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    >>> (quarter.apply([1.0, 0.0, 0.0]).round(6) + 0.0).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    along = tangents[:, ::-1]  # x, y, z
    normal = np.cross(along[0], np.eye(3)[np.argmin(np.abs(along[0]))])
    frames = []
    for tangent in along:
        normal = normal - (normal @ tangent) * tangent
        length = float(np.linalg.norm(normal))
        if length < 1e-6:  # the line turns by 90 degrees towards its own normal
            normal = np.cross(tangent, np.eye(3)[np.argmin(np.abs(tangent))])
            length = float(np.linalg.norm(normal))
        normal = normal / length
        frames.append(np.stack([normal, np.cross(tangent, normal), tangent], axis=1))
    return x_first(Rotation.from_matrix(np.array(frames)))


def sample_filaments(result: StructureResult, spacing_angstrom: float) -> FilamentPoints:
    """Sample all filaments of a result at equal distances; points where a gap was bridged are left out.

    Parameters
    ----------
    result
        Of filaments.
    spacing_angstrom
        Distance of points along a filament. The first is half a spacing from its end.

    Raises
    ------
    PointsFileError
        If the spacing is not positive.
    """
    if not spacing_angstrom > 0:
        raise PointsFileError(
            f"points on filaments need a spacing in angstrom, got {spacing_angstrom:g}; "
            "82 suits microtubules, 27.3 or 54.6 actin, 150 a first average"
        )
    spacing = spacing_angstrom / result.voxel_size_angstrom
    parts = [
        (number, each, *_sample(each, spacing))
        for number, each in enumerate(result.instances, start=1)
        if isinstance(each, Filament)
    ]
    frames = [frame for *_, frame in parts if len(frame)]
    return FilamentPoints(
        points=np.concatenate([np.zeros((0, 3)), *(points for _, _, points, _, _ in parts)]),
        rotations=Rotation.concatenate(frames) if frames else Rotation.from_quat(np.zeros((0, 4))),
        filament=np.concatenate([np.zeros(0, dtype=int), *(np.full(len(p), n) for n, _, p, _, _ in parts)]),
        track_angstrom=np.concatenate([np.zeros(0), *(t * result.voxel_size_angstrom for *_, t, _ in parts)]),
        score=np.concatenate([np.zeros(0), *(np.full(len(p), f.score) for _, f, p, _, _ in parts)]),
    )


def write_filaments_csv(path: Path, result: StructureResult) -> None:
    """Write the lines of filaments, in the order of the instances and from one end of each to the other.

    Columns: ``filament`` (from 1; the label in the instance map), ``z``, ``y``, ``x`` in voxels, ``tangent_z``,
    ``tangent_y``, ``tangent_x``, ``track_angstrom`` along the filament, ``is_inferred`` (1 where a gap was bridged),
    and for the filament as a whole ``length_angstrom``, ``radius_angstrom``, ``score`` and ``repeat_angstrom``, which
    is empty unless a repeat was seen; it is looked for in the clicked one.

    Raises
    ------
    OutputError
        If there is no space or no permission.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        tangent = [f"tangent_{axis}" for axis in "zyx"]
        ends = ["track_angstrom", "is_inferred", "length_angstrom", "radius_angstrom", "score", "repeat_angstrom"]
        writer.writerow(["filament", *"zyx", *tangent, *ends])
        for number, each in enumerate(result.instances, start=1):
            if not isinstance(each, Filament):
                continue
            track = _track(each.points) * result.voxel_size_angstrom
            whole = [f"{each.length_angstrom:.1f}", f"{each.radius_angstrom:.1f}", f"{each.score:.4f}"]
            made = result.straightened
            is_seen = made is not None and made.number == number and made.repeat.is_seen
            whole.append(f"{made.repeat.angstrom:.1f}" if made is not None and is_seen else "")
            rows = zip(each.points, each.tangents, track, _is_inferred(each, each.points), strict=True)
            for point, direction, distance, is_inferred in rows:
                place = [f"{value:.3f}" for value in point] + [f"{value:.5f}" for value in direction]
                writer.writerow([number, *place, f"{distance:.1f}", int(is_inferred), *whole])


def write_filaments_star(
    path: Path,
    results: Sequence[StructureResult],
    spacing_angstrom: float,
    *,
    program: StarProgram = "relion5",
    tilt_series_pixel_size_angstrom: float | None = None,
    extents: Mapping[str, Sequence[float]] | None = None,
    is_polar: bool = False,
) -> None:
    """Write points along the filaments of one or several tomograms as particles for RELION, Warp or M.

    Parameters
    ----------
    path
        The file to create.
    results
        One for each tomogram.
    spacing_angstrom
        As in `sample_filaments`.
    program, tilt_series_pixel_size_angstrom, extents
        As in `cryosam.io.star_output.write_star`.
    is_polar
        Whether all filaments run from one kind of end to the other, so that the tangent gives the polarity. Tracing
        does not tell it.

    Raises
    ------
    PointsFileError, VoxelSizeError, OutputError
        As in `cryosam.io.star_output.write_star`, and if the spacing is not positive.
    """
    sampled = [sample_filaments(result, spacing_angstrom) for result in results]
    parts = [_part(*pair) for pair in zip(results, sampled, strict=True)]
    flip_ratio = _KNOWN if is_polar else _UNKNOWN
    columns = {
        result.name: _helical_columns(points, program, flip_ratio)
        for result, points in zip(results, sampled, strict=True)
        if len(points.points)
    }
    write_star(
        path,
        parts,
        program=program,
        tilt_series_pixel_size_angstrom=tilt_series_pixel_size_angstrom,
        extents=extents,
        columns=columns,
    )


def write_filaments_dynamo(path: Path, results: Sequence[StructureResult], spacing_angstrom: float) -> None:
    """Write points along filaments as a Dynamo table; the number of the filament is the region, column 21."""
    parts = [_part(result, sample_filaments(result, spacing_angstrom)) for result in results]
    write_dynamo(path, parts, has_regions=True)


def write_filaments_copick(
    folder: Path, results: Sequence[StructureResult], spacing_angstrom: float, *, lies_at: Path | None = None
) -> None:
    """Write points along filaments as picks of a copick project; the number of the filament is the instance."""
    parts = [_part(result, sample_filaments(result, spacing_angstrom)) for result in results]
    write_copick(folder, parts, lies_at=lies_at)


def _part(result: StructureResult, points: FilamentPoints) -> TomogramPoints:
    """The points of one tomogram as other writers take them."""
    table = PointTable(
        points.points,
        points.score,
        (result.kind,) * len(points.points),
        instances=points.filament,
        rotations=points.rotations if len(points.points) else None,
    )
    return TomogramPoints(
        table=table,
        name=result.name,
        shape=result.shape,
        voxel_size_angstrom=result.voxel_size_angstrom,
        kinds=(result.kind,),
    )


def _helical_columns(points: FilamentPoints, program: StarProgram, flip_ratio: float) -> pd.DataFrame:
    """The columns that only filaments have, and for RELION the two rotations instead of one."""
    rows = pd.DataFrame({"rlnHelicalTubeID": points.filament, "rlnHelicalTrackLengthAngst": points.track_angstrom})
    if program != "warp":
        rows[_SUBTOMOGRAM] = rotations_to_angles(points.rotations * x_first(_TO_X)[0])
        rows[_ANGLES] = 0.0, 90.0, 0.0
        rows["rlnAngleTiltPrior"], rows["rlnAnglePsiPrior"] = 90.0, 0.0
        rows["rlnAnglePsiFlipRatio"] = flip_ratio
    return rows


def _sample(filament: Filament, spacing: float) -> tuple[Points, Scores, Rotation]:
    """Points, distances along the filament and poses, at a spacing in voxels."""
    track = _track(filament.points)
    is_new = np.concatenate([[True], np.diff(track) > 1e-9])
    places, points, tangents = track[is_new], filament.points[is_new], filament.tangents[is_new]
    new = np.arange(spacing / 2, track[-1], spacing)
    if len(places) < 2 or not len(new):
        new = np.array([track[-1] / 2])
    if len(places) > 3:
        line = CubicSpline(places, points)
        moved, change = line(new), line(new, 1)
    else:
        moved = np.stack([np.interp(new, places, c) for c in points.T], axis=1)
        change = np.stack([np.interp(new, places, c) for c in tangents.T], axis=1)
    change = change / np.linalg.norm(change, axis=1, keepdims=True)
    frames = transport_frames(np.asarray(change, dtype=float))
    is_measured = ~_is_inferred(filament, np.asarray(moved, dtype=float))
    return np.asarray(moved[is_measured], dtype=float), new[is_measured], frames[is_measured]


def _track(points: Points) -> Scores:
    """Distance along a line of each of its points, voxels."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def _is_inferred(filament: Filament, points: Points) -> Bool[np.ndarray, " n"]:
    """Which points lie where a gap was bridged."""
    return filament.inferred.contains(points)
