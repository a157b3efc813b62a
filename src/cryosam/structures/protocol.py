"""What every structure's file offers."""

from typing import Protocol, runtime_checkable

from cryosam.arrays import Points, Progress
from cryosam.structure_results import StructureInstance
from cryosam.structures.binned import BinnedTomogram

__all__ = ["StructureFinder"]


@runtime_checkable
class StructureFinder(Protocol):
    """Finds all structures of one kind.

    A class that implements it is a frozen dataclass of its settings, which are a section of `cryosam.config.Config`.
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
