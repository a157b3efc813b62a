"""A query that is kept: what is refused, and what its digest tells apart."""

from dataclasses import replace

import numpy as np
import pytest

from cryosam.errors import QueryError
from cryosam.results import Average
from cryosam.saved_query import KnownMembers
from stand_ins import query


@pytest.mark.parametrize(
    "changes",
    [
        {"diameter_angstrom": 0.0},
        {"voxel_size_angstrom": float("nan")},
        {"smoothing_angstrom": -1.0},
        {"scales": (1.5, float("inf"))},
        {"average": Average(np.full((3, 3, 3), np.nan, dtype=np.float32), 1.0)},
        {"average": Average(np.zeros((3, 4, 3), dtype=np.float32), 1.0)},
        {"known_members": KnownMembers(np.array([0.7]), np.array([np.nan]), np.array([True]))},
    ],
)
def test_a_query_without_sense_is_refused(changes) -> None:
    with pytest.raises(QueryError, match="ribosome"):
        query(**changes)


def test_whatever_enters_a_search_changes_the_digest() -> None:
    first = query()
    others = [
        query(feature=first.feature + 1),
        query(diameter_angstrom=211.0),
        query(average=Average(first.average.data + 1, first.average.step)),
        query(known_members=replace(first.known_members, is_kind=np.array([True, True]))),
        query(n_particles=15),
        query(features_digest="0" * 64),
    ]
    assert len({each.digest() for each in [first, *others]}) == len(others) + 1
    assert query(source="elsewhere").digest() == first.digest()
