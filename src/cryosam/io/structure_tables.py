"""The tables of a run that found structures: labels of the map, compartments, relations of particles."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryosam.full_map import FullMap
from cryosam.io.atomic import atomic_path
from cryosam.structure_results import Compartment, StructureResult

__all__ = ["STRUCTURE_PATTERNS", "write_compartments", "write_labels", "write_relations", "write_rows"]

STRUCTURE_PATTERNS: tuple[str, ...] = (
    "instances-*.mrc",
    "inferred*.mrc",
    "labels.csv",
    "relations.csv",
    "particles.html",
    *(f"membranes*{end}" for end in (".csv", ".star")),
    *(f"filaments*{end}" for end in (".csv", ".star", ".tbl", ".doc", "-copick")),
    "straightened*.mrc",
    "compartments*.csv",
    "meshes",
)
"""Names of the files and folders that only a run with structures writes."""


def write_labels(path: Path, found: FullMap) -> None:
    """Write what each number in ``semantic.mrc`` stands for."""
    rows = [(each.label, each.kind, each.structure, each.n_instances) for each in found.legend()]
    write_rows(path, ("label", "kind", "structure", "instances"), rows)


def write_compartments(path: Path, part: StructureResult) -> None:
    """Write one row per compartment: number in the volume of instances, centre of mass in voxels, volume and score.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from cryosam.masks import InstanceMask
    >>> lumen = Compartment(InstanceMask((0, 0, 2), np.ones((1, 1, 3), dtype=bool)), 0.9, 3000.0, True)
    >>> cells = StructureResult((1, 1, 5), "compartment", (lumen,), np.zeros((1, 3)), 10.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_compartments(Path(folder, "compartments.csv"), cells)
    ...     print(Path(folder, "compartments.csv").read_text())
    compartment,z,y,x,volume_angstrom3,is_cut,score,voxels
    1,0.000,0.000,3.000,3000,1,0.90000,3
    <BLANKLINE>
    """
    rows = [
        (
            number,
            *(f"{c:.3f}" for c in each.mask.centroid),
            f"{each.volume_angstrom3:.0f}",
            int(each.is_cut),
            f"{each.score:.5f}",
            each.mask.n_voxels,
        )
        for number, each in enumerate(part.instances, start=1)
        if isinstance(each, Compartment)
    ]
    write_rows(path, ("compartment", *"zyx", "volume_angstrom3", "is_cut", "score", "voxels"), rows)


def write_relations(path: Path, found: FullMap) -> None:
    """Write how each particle lies to membranes and compartments, in the order of ``particles.csv``."""
    particles = found.particles
    if particles is None:
        return
    relations = found.relations()
    membranes = [(kind, number) for kind, number, _ in found.of_structure("membrane")]
    lumens = [(kind, number) for kind, number, _ in found.of_structure("compartment")]
    rows = []
    for row, point in enumerate(particles.points):
        distance, membrane = relations.distance_angstrom[row], int(relations.membrane[row])
        near = membranes[membrane] if membrane >= 0 else ("", "")
        lumen = int(relations.compartment[row])
        inside = lumens[lumen] if lumen >= 0 else ("", "")
        rows.append((row + 1, *(f"{c:.3f}" for c in point), "" if membrane < 0 else f"{distance:.1f}", *near, *inside))
    columns = ("distance_to_membrane_angstrom", "membrane_kind", "membrane", "compartment_kind", "compartment")
    write_rows(path, ("particle", *"zyx", *columns), rows)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table of values separated by commas; the file appears only when it is complete."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
