import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cryosam import memory
from cryosam.arrays import PLANES
from cryosam.errors import ConfigError
from cryosam.geometry import AXIS, in_plane_axes, level_to_voxel, patch_to_pixel
from cryosam.matching.features import FeatureField, extraction, lattice, triplane
from cryosam.matching.features.extraction import extract_triplane
from cryosam.matching.features.lattice import doubled_squared_norms
from cryosam.matching.features.triplane import PlaneTokens, TriPlaneField, cell_centres
from cryosam.matching.similarity import search_levels
from cryosam.memory import Workspace
from cryosam.tomogram import Tomogram
from oracles import hierarchical_search, triplane_feature, triplane_similarity

SHAPE = (7, 13, 10)
N_TOKENS = (2, 4, 3)  # along z, y, x, in the slices


def random_field(shape=SHAPE, n_tokens=N_TOKENS, stride=3, channels=5, seed=0):
    """Random tokens on slices at the cells' centres, each slice covered by a lattice of tokens."""
    rng = np.random.default_rng(seed)
    planes = []
    for plane in PLANES:
        positions = [patch_to_pixel(np.arange(float(m)), n / m) for n, m in zip(shape, n_tokens, strict=True)]
        positions[AXIS[plane]] = cell_centres(shape, stride)[AXIS[plane]]
        lattice = [len(p) for p in positions]
        rows, cols = (lattice[axis] for axis in in_plane_axes(plane))
        tokens = rng.normal(size=(lattice[AXIS[plane]], rows, cols, channels)).astype(np.float16)
        planes.append(PlaneTokens.measure(plane, tokens, tuple(positions)))
    return TriPlaneField(shape, planes)


def plain(field):
    """What the oracle takes."""
    return [(AXIS[plane.plane], plane.tokens, plane.positions) for plane in field.planes]


def random_query(field, seed=1):
    return np.random.default_rng(seed).normal(size=field.n_channels).astype(np.float32)


def test_squared_norms_lie_on_the_doubled_lattice():
    a, b, c, d = np.random.default_rng(0).normal(size=(4, 6))
    norms = doubled_squared_norms(np.array([[[a, b]], [[c, d]]]))
    expected = [[[a, (a + b) / 2, b]], [[(a + c) / 2, (a + b + c + d) / 4, (b + d) / 2]], [[c, (c + d) / 2, d]]]
    np.testing.assert_allclose(norms, (np.array(expected) ** 2).sum(axis=-1), rtol=1e-5)


@pytest.mark.parametrize("n_numbers", [1, 40, 90])
def test_squared_norms_do_not_depend_on_how_many_rows_are_measured_at_a_time(n_numbers, monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(3, 5, 4, 7)).astype(np.float16)
    whole = doubled_squared_norms(vectors)
    monkeypatch.setattr(lattice, "_WIDE_NUMBERS", n_numbers)
    np.testing.assert_allclose(doubled_squared_norms(vectors), whole, rtol=1e-6)


def test_it_is_a_feature_field():
    field = random_field()
    assert isinstance(field, FeatureField)
    assert field.n_channels == 15


def test_sample_agrees_with_the_oracle():
    field = random_field()
    points = np.random.default_rng(2).uniform(-1, np.array(SHAPE), size=(40, 3))
    expected = [triplane_feature(plain(field), point) for point in points]
    np.testing.assert_allclose(field.sample(points), expected, atol=1e-5)


def test_sample_at_the_centre_of_tokens_of_all_planes_gives_those_tokens():
    field = random_field(shape=(6, 6, 6), n_tokens=(2, 2, 2), stride=3)
    tokens = [plane.tokens for plane in field.planes]
    (feature,) = field.sample(np.array([[1.0, 4.0, 1.0]]))
    np.testing.assert_array_equal(feature, np.concatenate([tokens[0][0, 1, 0], tokens[1][1, 0, 0], tokens[2][0, 0, 1]]))


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_map_agrees_with_the_oracle(stride):
    field = random_field()
    query = random_query(field)
    expected = triplane_similarity(plain(field), query, SHAPE, stride)
    np.testing.assert_allclose(field.similarity_map(query, stride), expected, atol=1e-4)


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("stride", [2, 5])
def test_a_map_of_some_cells_is_that_of_all_and_nan_elsewhere(stride, share):
    field, query = random_field(), random_query(random_field())
    whole = field.similarity_map(query, stride)
    where = np.random.default_rng(3).random(whole.shape) < share
    where[0, -1, 0] = True
    part = random_field().similarity_map(query, stride, where)
    np.testing.assert_array_equal(np.isnan(part), ~where)
    np.testing.assert_allclose(part[where], whole[where], atol=1e-5)


def test_tokens_that_no_cell_needs_are_not_read():
    field, query = random_field(stride=1), random_query(random_field())
    where = np.zeros(SHAPE, dtype=bool)
    where[2, 3, 4] = True
    expected = field.similarity_map(query, 1)[2, 3, 4]
    for plane in field.planes:  # all that is not next to the cell
        depth = where.nonzero()[AXIS[plane.plane]][0]
        plane.tokens[np.arange(len(plane.tokens)) != depth] = np.nan
    again = TriPlaneField(SHAPE, field.planes)
    np.testing.assert_allclose(again.similarity_map(query, 1, where)[2, 3, 4], expected, atol=1e-6)


@pytest.mark.parametrize("strides", [(4, 2), (6, 3, 1)])
@pytest.mark.parametrize("coarse_similarity", [-1.0, 0.1, 0.3])
def test_levels_agree_with_the_definition(strides, coarse_similarity):
    field, query = random_field(stride=strides[-1]), random_query(random_field())

    def cosine(points):
        features = np.stack([triplane_feature(plain(field), point) for point in points])
        return features @ query / np.linalg.norm(features, axis=1) / np.linalg.norm(query)

    expected = hierarchical_search(cosine, SHAPE, strides, coarse_similarity)
    found = search_levels(field, query, strides, coarse_similarity)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    n_tokens=st.tuples(*[st.integers(1, 4)] * 3),
    stride=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_points_agree_with_the_sampled_features(shape, n_tokens, stride, seed):
    field = random_field(shape, n_tokens, stride, seed=seed)
    query = random_query(field, seed)
    points = np.random.default_rng(seed).uniform(-0.5, np.array(shape) - 0.5, size=(8, 3))
    features = field.sample(points)
    cosine = features @ query / np.linalg.norm(features, axis=1) / np.linalg.norm(query)
    np.testing.assert_allclose(field.similarity_at(query, points), cosine, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 4])
def test_map_is_the_similarity_at_the_cells_centres_however_it_is_cut(stride, monkeypatch):
    field = random_field()
    query = random_query(field)
    whole = field.similarity_map(query, stride)
    points = level_to_voxel(np.argwhere(np.ones(whole.shape, dtype=bool)), stride, SHAPE)
    np.testing.assert_allclose(field.similarity_at(query, points), whole.ravel(), atol=1e-5)
    features = field.sample(points)
    for name in ("_SLAB_CELLS", "_CHUNK_POINTS", "_CHUNK_NUMBERS", "_WIDE_NUMBERS"):
        monkeypatch.setattr(triplane, name, 7)
    field = TriPlaneField(SHAPE, field.planes)  # remembers no dot products
    np.testing.assert_allclose(field.similarity_map(query, stride), whole, atol=1e-6)
    np.testing.assert_allclose(field.similarity_at(query, points), whole.ravel(), atol=1e-5)
    np.testing.assert_array_equal(field.sample(points), features)


def test_a_voxel_is_most_similar_to_itself_and_the_query_has_no_length():
    field = random_field(stride=2)
    cell = (1, 4, 2)
    query = field.sample(level_to_voxel(np.array([cell]), 2))[0]
    similarity = field.similarity_map(query, 2)
    assert np.unravel_index(similarity.argmax(), similarity.shape) == cell
    assert similarity[cell] == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(field.similarity_map(1000 * query, 2), similarity, atol=1e-6)


def test_a_second_query_is_not_answered_with_the_first():
    field = random_field()
    first, second = random_query(field, 1), random_query(field, 2)
    fresh = random_field().similarity_map(second, 2)
    field.similarity_map(first, 2)
    np.testing.assert_array_equal(field.similarity_map(second, 2), fresh)


def test_zero_features_and_a_zero_query_have_similarity_zero():
    field = random_field()
    nothing = [PlaneTokens.measure(p.plane, np.zeros_like(p.tokens), p.positions) for p in field.planes]
    assert not TriPlaneField(SHAPE, nothing).similarity_map(random_query(field), 2).any()
    assert not field.similarity_map(np.zeros(field.n_channels, dtype=np.float32), 2).any()


def test_turning_the_volume_permutes_the_planes():
    field = random_field()
    query = random_query(field)
    # z, y, x become y, z, x: the planes z and y change places, and the x plane's slices are transposed
    z, y, x = field.planes
    swapped = [
        PlaneTokens.measure(new, tokens, (p.positions[1], p.positions[0], p.positions[2]))
        for new, tokens, p in (("z", y.tokens, y), ("y", z.tokens, z), ("x", x.tokens.swapaxes(1, 2), x))
    ]
    turned = TriPlaneField((SHAPE[1], SHAPE[0], SHAPE[2]), swapped)
    part_z, part_y, part_x = np.split(query, 3)
    similarity = turned.similarity_map(np.concatenate([part_y, part_z, part_x]), 2)
    np.testing.assert_allclose(similarity.swapaxes(0, 1), field.similarity_map(query, 2), atol=1e-5)


def test_arrays_round_trip_through_memory_mapped_files(tmp_path):
    field = random_field()
    for name, array in field.to_arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
    stored = {path.stem: np.load(path, mmap_mode="r") for path in tmp_path.iterdir()}
    again = TriPlaneField.from_arrays(stored)
    assert isinstance(again.planes[0].tokens, np.memmap)
    query = random_query(field)
    assert again.shape == SHAPE
    np.testing.assert_array_equal(again.similarity_map(query, 2), field.similarity_map(query, 2))


class Brightness:
    """Tokens are the mean intensity of their patch."""

    digest, n_channels = "brightness", 1

    def __init__(self, patch_px=4):
        self.patch_px = patch_px
        self.seen = []

    def extract(self, images):
        self.seen.append(images.shape)
        return torch.nn.functional.avg_pool2d(torch.from_numpy(images)[:, None], self.patch_px)


class Depth(Brightness):
    """Tokens are their distance to the nearest border of the image, in tokens."""

    def extract(self, images):
        n, rows, cols = (s // d for s, d in zip(images.shape, (1, self.patch_px, self.patch_px), strict=True))
        row, col = torch.arange(float(rows)), torch.arange(float(cols))
        depth = torch.minimum(torch.minimum(row, rows - 1 - row)[:, None], torch.minimum(col, cols - 1 - col))
        return depth.expand(n, 1, rows, cols)


LAYOUTS = {
    "small tokens, many tiles": {"token_voxels": 1.7, "slice_px": 34},
    "large tokens, many tiles": {"token_voxels": 6.3, "slice_px": 18},
    "one tile": {"token_voxels": 3.0, "slice_px": 400},
    "stretched": {"token_voxels": 0.0, "slice_px": 50},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("stride", [1, 4])
def test_a_ramp_is_read_back_at_every_voxel(layout, stride):
    # intensities are linear in z, y and x, so a token's mean is the intensity at its centre, and interpolation is exact
    shape = (31, 46, 57)
    z, y, x = np.indices(shape)
    volume = ((3 * z + 2 * y + x) / 300).astype(np.float32)
    field = extract_triplane(Tomogram(volume), Brightness(), stride=stride, **layout)
    points = np.random.default_rng(0).uniform(8, np.array(shape) - 9, size=(200, 3))
    expected = points @ [3, 2, 1] / 300
    # half precision near 1 is 0.0005; a tenth of a voxel in x is 0.0003, in z 0.001
    np.testing.assert_allclose(field.sample(points), np.stack([expected] * 3, axis=1), atol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_blob_is_found_where_it_is_in_all_planes(layout):
    shape, centre = (33, 50, 61), np.array([15.0, 31.0, 22.0])
    voxels = np.argwhere(np.ones(shape, dtype=bool)).astype(float)
    blob = np.exp(-((voxels - centre) ** 2).sum(axis=1) / (2 * 4.0**2)).astype(np.float32)
    field = extract_triplane(Tomogram(blob.reshape(shape)), Brightness(), stride=3, **layout)
    brightness = field.sample(voxels)
    for plane in range(3):
        centroid = brightness[:, plane] @ voxels / brightness[:, plane].sum()
        np.testing.assert_allclose(centroid, centre, atol=0.15)


def test_tokens_are_kept_from_the_tile_they_lie_deeper_in():
    shape = (4, 61, 90)
    field = extract_triplane(Tomogram(np.zeros(shape)), Depth(), stride=4, token_voxels=1.0, slice_px=16 * 4)
    depth = field.planes[0].tokens[0, :, :, 0]
    assert depth.shape == (61, 90)
    assert depth[2:-2, 2:-2].min() >= 2  # tiles of 16 tokens overlap by 4 at least
    assert depth.max() == 7


def test_only_the_slices_of_the_finest_level_are_shown(monkeypatch):
    monkeypatch.setattr(extraction, "_TILES_AT_ONCE", 2)
    shape, told = (9, 17, 21), []
    extractor = Brightness(patch_px=2)
    field = extract_triplane(
        Tomogram(np.zeros(shape)),
        extractor,
        stride=4,
        token_voxels=0,
        slice_px=9,
        progress=lambda *state: told.append(state),
    )
    assert [plane.tokens.shape for plane in field.planes] == [(3, 4, 4, 1), (5, 4, 4, 1), (6, 4, 4, 1)]
    assert extractor.seen == [(n, 8, 8) for n in (2, 1, 2, 2, 1, 2, 2, 2)]
    assert told[0] == ("features", 2, 14)
    assert told[-1] == ("features", 14, 14)
    np.testing.assert_array_equal(field.planes[0].positions[0], [1.5, 5.5, 8.0])


def test_a_centre_between_two_slices_is_their_mean():
    volume = np.zeros((4, 4, 4), dtype=np.float32)
    volume[1], volume[2] = 0.25, 0.75
    field = extract_triplane(Tomogram(volume), Brightness(1), stride=4, token_voxels=1.0, slice_px=4)
    assert (field.planes[0].tokens == 0.5).all()


NOISE, MANY_TILES = (9, 17, 21), {"stride": 2, "token_voxels": 1.3, "slice_px": 24}


def noise():
    return Tomogram(np.random.default_rng(0).random(NOISE, dtype=np.float32))


def test_tokens_in_a_file_are_those_in_memory(monkeypatch):
    monkeypatch.setattr(memory, "_LEAST", 1)
    in_memory = extract_triplane(noise(), Brightness(), **MANY_TILES)
    in_files = extract_triplane(noise(), Brightness(), workspace=Workspace(limit=1), **MANY_TILES)
    for a, b in zip(in_memory.planes, in_files.planes, strict=True):
        assert isinstance(b.tokens, np.memmap)
        assert not isinstance(a.tokens, np.memmap)
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_array_equal(a.squared_norms, b.squared_norms)
        np.testing.assert_array_equal(a.squared_norms, doubled_squared_norms(a.tokens))
    query = in_memory.sample(np.array([[3.0, 8.0, 11.0]]))[0]
    np.testing.assert_array_equal(in_memory.similarity_map(query, 2), in_files.similarity_map(query, 2))


def test_batches_do_not_change_the_tokens(monkeypatch):
    many = extract_triplane(noise(), Brightness(), **MANY_TILES)
    monkeypatch.setattr(extraction, "_TILES_AT_ONCE", 1)
    one = extract_triplane(noise(), Brightness(), **MANY_TILES)
    for a, b in zip(one.planes, many.planes, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)


@pytest.mark.parametrize("slice_px", [16, 20, 36, 400])
def test_tiles_do_not_change_tokens_that_see_their_patch_alone(slice_px):
    one_tile = extract_triplane(noise(), Brightness(), stride=2, token_voxels=1.3, slice_px=1000)
    tiles = extract_triplane(noise(), Brightness(), stride=2, token_voxels=1.3, slice_px=slice_px)
    for a, b in zip(one_tile.planes, tiles.planes, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)


def test_a_slice_smaller_than_a_patch_is_an_error():
    with pytest.raises(ConfigError, match="at least the model's patch of 4 pixels, got 3"):
        extract_triplane(Tomogram(np.zeros((3, 4, 5))), Brightness(), stride=1, token_voxels=1.0, slice_px=3)
