"""How well the rest of the tomogram supports a mask: the most similar places should have masks of the same size."""

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

_N_SIMILAR = 8  # number of most similar candidates that are compared with the mask
_NONE_SIMILAR = 0.5  # support of a mask if no other place is similar


def support_from(field: FeatureField, instances: InstanceSegmenter, config: MatchingConfig) -> Support:
    """Return the function that measures how well the places most similar to a mask's centre support the mask.

    Parameters
    ----------
    field
        The features of the tomogram.
    instances
        Segments the similar places.
    config
        Levels and limits.

    Returns
    -------
    support
        Mean `agreement` of the most similar candidates, each segmented with the mask's diameter as the limit.
    """
    tolerance = config.volume_tolerance

    def support(point: Float[np.ndarray, " 3"], mask: InstanceMask) -> float:
        if tolerance is None:
            return 1.0
        diameter = diameter_of([mask])
        query = build_query(field, point[None], [mask], config.query)
        candidates = match(field, query, config, diameter=diameter)
        others = np.linalg.norm(candidates.points - mask.centroid, axis=1) > diameter
        points, scores = candidates.points[others][:_N_SIMILAR], candidates.scores[others][:_N_SIMILAR]
        if len(points) == 0:
            return _NONE_SIMILAR
        masks = instances.under(points, diameter)
        return float(agreement(field, query, scores, masks, mask.n_voxels, tolerance).mean())

    return support
