"""What every structure's file offers."""

from typing import Protocol, TypeVar, runtime_checkable

from cryosam.arrays import Points, Progress
from cryosam.structure_results import StructureInstance
from cryosam.structures.binned import BinnedTomogram

__all__ = ["StructureFinder"]

Kind = TypeVar("Kind")


@runtime_checkable
class StructureFinder(Protocol[Kind]):
    """Finds all structures of one kind: `find` from clicks; `describe` and `search` take the kind to other tomograms.

    In one tomogram, `find` knows more than the other two: how strong the kind is at the clicks, and what was clicked.

    A class that implements it is a frozen dataclass of its settings, which are a section of `cryosam.config.Config`.
    ``Kind`` is the description of a kind, one of those in `cryosam.structure_query`.
    """

    def find(
        self, tomogram: BinnedTomogram, clicks: Points, progress: Progress | None = None
    ) -> tuple[StructureInstance, ...]:
        """Find every structure like the clicked ones.

        Parameters
        ----------
        tomogram
            The tomogram; the finder asks it for the voxel size that suits it.
        clicks
            ``(k, 3)`` on structures of the kind, z, y, x in voxels of the tomogram.
        progress
            Called as ``progress(stage, done, total)``.

        Returns
        -------
        instances
            Best first, with geometry and masks in voxels of the tomogram.

        Raises
        ------
        PromptError
            If nothing of this structure is at a click; the text says what is there, or what to do.
        """

    def describe(self, tomogram: BinnedTomogram, clicks: Points, progress: Progress | None = None) -> Kind:
        """Measure at the clicks what tells the kind; parameters and errors are those of `find`."""

    def search(
        self, tomogram: BinnedTomogram, kind: Kind, progress: Progress | None = None
    ) -> tuple[StructureInstance, ...]:
        """Find every structure of a kind that was described in any tomogram; there may be none.

        What depends on the tomogram and not on the kind, such as how far structures stand out from the noise, is
        measured anew.
        """
