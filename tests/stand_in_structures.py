"""Structures without a search: a membrane, a filament and a lumen that lie where they are told to."""

from dataclasses import dataclass

import numpy as np

from cryosam.errors import PromptError
from cryosam.masks import InstanceMask
from cryosam.structure_query import CompartmentKind, FilamentKind, MembraneKind, StructureQuery
from cryosam.structure_results import Compartment, Filament, Membrane, Mesh

SHAPE = (24, 30, 42)
SIZE = 10.0


def box_mask(low, high):
    """A mask of a box of voxels."""
    return InstanceMask(tuple(low), np.ones([h - n for n, h in zip(low, high, strict=True)], dtype=bool))


def membrane(z=6, score=0.8, inferred=None):
    """A flat open sheet at a height, three voxels thick."""
    mask = box_mask((z - 1, 0, 0), (z + 2, SHAPE[1], SHAPE[2]))
    corners = np.array([[z, 0, 0], [z, SHAPE[1] - 1, 0], [z, 0, SHAPE[2] - 1], [z, SHAPE[1] - 1, SHAPE[2] - 1]], float)
    y, x = (np.arange(0, n, 3) for n in SHAPE[1:])
    points = np.stack([a.ravel() for a in np.meshgrid([z], y, x, indexing="ij")], axis=1).astype(float)
    return Membrane(
        mask=mask,
        score=score,
        points=points,
        normals=np.tile([1.0, 0.0, 0.0], (len(points), 1)),
        mesh=Mesh(corners, np.array([[0, 2, 1], [1, 2, 3]])),
        is_closed=False,
        thickness_angstrom=30.0,
        area_angstrom2=float(SHAPE[1] * SHAPE[2] * SIZE**2),
        enclosed_angstrom3=float("nan"),
        curvature_radius_angstrom=float("inf"),
        inferred=InstanceMask.empty() if inferred is None else inferred,
    )


def filament(y=20, score=0.9):
    """A straight line along x, three voxels wide."""
    x = np.arange(2.0, 40.0)
    points = np.stack([np.full_like(x, 12), np.full_like(x, y), x], axis=1)
    tangents = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    return Filament(box_mask((11, y - 1, 2), (14, y + 2, 40)), score, points, tangents, 370.0, 15.0)


def lumen(score=0.7):
    """A box of lumen that reaches into the sheet of `membrane` and the filament."""
    return Compartment(box_mask((5, 10, 4), (16, 24, 30)), score, 4e6, False)


KINDS = {
    "membrane": MembraneKind(
        profiles=np.array([[0.5, 3.0, np.nan]]),
        step_angstrom=10.0,
        least_likeness=np.array([0.7]),
        gold_share=0.0,
        is_tube=False,
    ),
    "filament": FilamentKind(density=np.array([1.0, 2.0, 0.5]), step_angstrom=20.0, similarity=0.8),
    "compartment": CompartmentKind(least_radius_angstrom=300.0, most_radius_angstrom=450.0, seen=0.9),
}


def structure_query(structure="membrane", name=None, **changes):
    """A query as a search would make it."""
    fields = {"contrast": "dark", "voxel_size_angstrom": 10.0, "n_instances": 2, "source": "TS_01"}
    return StructureQuery(name=name or structure, kind=KINDS[structure], source_digest="aa", **(fields | changes))


@dataclass(frozen=True)
class StandIn:
    """Finds what it is told to find, if a click is in the upper half of the tomogram."""

    found: tuple

    def find(self, tomogram, clicks, progress=None):
        """The given instances."""
        if (clicks[:, 0] > SHAPE[0] / 2 + 4).any():
            raise PromptError("nothing like a structure is at 20,5,5: click on one")
        if progress is not None:
            progress("searching", 1, 1)
        return self.found

    def describe(self, tomogram, clicks, progress=None):
        """A kind of the structure that is found."""
        self.find(tomogram, clicks, progress)
        return KINDS[type(self.found[0]).__name__.lower()]

    def search(self, tomogram, kind, progress=None):
        """The given instances; none in an empty tomogram."""
        assert isinstance(kind, type(KINDS[type(self.found[0]).__name__.lower()]))
        return self.found if tomogram.voxels.source.name != "empty" else ()
