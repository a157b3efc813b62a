"""Structures that are no particles: membranes, filaments and compartments.

In: a `BinnedTomogram` (protein bright) and clicks on one structure. Out: all instances of that kind, a
`StructureResult`. One file per structure, behind the protocol in ``protocol.py``; what they share is in files of its
own. May import ``averaging`` and what is below it, not ``matching`` or ``classification``.
"""

from cryosam.structures.binned import BinnedTomogram
from cryosam.structures.protocol import StructureFinder

__all__ = ["BinnedTomogram", "StructureFinder"]
