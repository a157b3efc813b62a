"""Whether the rest of the tomogram bears a mask out: the places most like it are as large as it."""

import numpy as np
from jaxtyping import Float

from cryosam.config import MatchingConfig
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.prompted import Support, diameter_of
from cryosam.masks import InstanceMask
from cryosam.matching.features import FeatureField
from cryosam.matching.scoring import agreement
from cryosam.matching.similarity import build_query, match

__all__ = ["support_from"]

_WITNESSES = 8  # candidates that bear a mask out
_NO_WITNESS = 0.5  # support of a mask where nothing else is alike


def support_from(field: FeatureField, instances: InstanceSegmenter, config: MatchingConfig) -> Support:
    """Ask the particles that are most like a mask's centre whether they bear the mask out.

    Parameters
    ----------
    field
        Describes voxels.
    instances
        Of the tomogram as the segmenter sees it.
    config
        Levels and limits.

    Returns
    -------
    support
        Mean `agreement` of the most similar candidates, each segmented within the mask's diameter.
    """
    tolerance = config.volume_tolerance

    def support(point: Float[np.ndarray, " 3"], mask: InstanceMask) -> float:
        if tolerance is None:
            return 1.0
        diameter = diameter_of([mask])
        query = build_query(field, point[None], [mask], config.query)
        candidates = match(field, query, config, diameter=diameter)
        others = np.linalg.norm(candidates.points - mask.centroid, axis=1) > diameter
        points, scores = candidates.points[others][:_WITNESSES], candidates.scores[others][:_WITNESSES]
        if len(points) == 0:
            return _NO_WITNESS
        masks = instances.under(points, diameter)
        return float(agreement(field, query, scores, masks, mask.n_voxels, tolerance).mean())

    return support
