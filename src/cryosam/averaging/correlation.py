"""Transformations that make correlations comparable."""

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["fisher_z", "standardised"]


def fisher_z(correlations: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Fisher's z of correlations, whose error does not depend on the correlation; clipped at a correlation of 0.99.

    Examples
    --------
    >>> fisher_z(np.array([0.0, 0.5, 1.0])).round(2)
    array([0.  , 0.55, 2.65])
    """
    return np.arctanh(np.clip(correlations, -0.99, 0.99))


def standardised(
    values: Float[np.ndarray, "*k n"], among: Bool[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, "*k n"]:
    """Deviation from the median in robust standard deviations; both from the values ``among`` if that is given.

    Examples
    --------
    >>> standardised(np.array([1.0, 2.0, 3.0, 9.0])).round(1)
    array([-1. , -0.3,  0.3,  4.4])
    """
    some = values if among is None else values[..., among]
    if some.shape[-1] == 0:
        return np.zeros_like(values)
    middle = np.median(some, axis=-1, keepdims=True)
    spread = 1.48 * np.median(np.abs(some - middle), axis=-1, keepdims=True) + 1e-9
    deviation: Float[np.ndarray, "*k n"] = (values - middle) / spread
    return deviation
