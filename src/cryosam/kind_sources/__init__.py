"""What is searched for: a kind that was clicked in this tomogram, or one that was saved in another.

In: `cryosam.prompts.PointPrompts`, or a `cryosam.saved_query.SavedQuery`.
Out: a `KindSource`, of which the pipeline asks what it needs, whichever of the two it is.
May import: the four rooms of the method, `cryosam.scene`, and the nouns at the package's root.
"""

from cryosam.kind_sources.clicked import ClickedKind
from cryosam.kind_sources.protocol import KindSource, Seed
from cryosam.kind_sources.saved import SavedKind
from cryosam.prompts import PointPrompts
from cryosam.saved_query import SavedQuery

__all__ = ["ClickedKind", "KindSource", "SavedKind", "Seed", "kind_source"]


def kind_source(prompts: PointPrompts | SavedQuery) -> KindSource:
    """What the pipeline asks about a kind.

    Examples
    --------
    >>> import numpy as np
    >>> kind_source(PointPrompts(np.array([[5.0, 6.0, 7.0]]), name="ribosome")).name
    'ribosome'
    """
    return ClickedKind(prompts) if isinstance(prompts, PointPrompts) else SavedKind(prompts)
