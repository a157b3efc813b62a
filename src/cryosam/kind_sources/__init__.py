"""Where a kind is known from: clicks in this tomogram, or a query that was saved in another one.

In: `cryosam.prompts.PointPrompts`, or a `cryosam.saved_query.SavedQuery`.
Out: a `KindSource`, which gives the pipeline what it needs to know in either case.
May import: the four rooms of the method, `cryosam.scene`, and the nouns at the package's root.
"""

from cryosam.kind_sources.clicked import ClickedKind
from cryosam.kind_sources.protocol import KindSource, Seed
from cryosam.kind_sources.saved import SavedKind
from cryosam.prompts import PointPrompts
from cryosam.saved_query import SavedQuery

__all__ = ["ClickedKind", "KindSource", "SavedKind", "Seed", "kind_source"]


def kind_source(prompts: PointPrompts | SavedQuery) -> KindSource:
    """Make the `KindSource` of clicks or of a saved query.

    Examples
    --------
    >>> import numpy as np
    >>> kind_source(PointPrompts(np.array([[5.0, 6.0, 7.0]]), name="ribosome")).name
    'ribosome'
    """
    return ClickedKind(prompts) if isinstance(prompts, PointPrompts) else SavedKind(prompts)
