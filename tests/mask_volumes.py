"""Masks as whole volumes: any voxels at all, or one block."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryosam.arrays import Mask

SHAPE = (4, 5, 7)
dense = hnp.arrays(bool, SHAPE)
boxes = st.tuples(*[st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted) for n in SHAPE])


def block(*ranges: tuple[int, int]) -> Mask:
    """Volume whose True voxels are one block."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


blocks = boxes.map(lambda ranges: block(*ranges))
masks = st.one_of(dense, blocks)
