"""Whole phantoms: the same by seed, dark where the answer says, and clear refusals."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from cryosam.errors import ConfigError, InputError
from cryosam.evaluation.simulation import (
    DEMO_KIND,
    SimulationConfig,
    TiltSeries,
    demo_config,
    make_complex,
    normalise_density,
    simulate,
)

SMALL = SimulationConfig(
    shape=(45, 82, 91), counts={"clamp": 4, "barrel": 3}, n_vesicles=0, n_gold=1, n_debris=2, n_filaments=1, snr=0.5
)


@pytest.fixture(scope="module")
def small():
    return simulate(SMALL)


def _same(first, second):
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("points", "rotations", "instances", "labels")
    )


def test_the_same_seed_gives_the_same_phantom(small):
    again = simulate(SMALL)
    assert _same(small, again)
    np.testing.assert_array_equal(again.tomogram.data, small.tomogram.data)
    assert again.names == small.names


def test_another_seed_gives_another_phantom(small):
    other = simulate(replace(SMALL, seed=1))
    assert not np.array_equal(other.instances, small.instances)
    assert np.linalg.norm(other.points - small.points, axis=1).min() > 1
    assert np.abs(other.rotations - small.rotations).max(axis=(1, 2)).min() > 0.05
    noise = np.corrcoef(other.tomogram.data.ravel(), small.tomogram.data.ravel())[0, 1]
    assert abs(noise) < 0.1


def test_how_it_is_recorded_does_not_move_the_answer(small):
    assert _same(small, simulate(replace(SMALL, snr=0.05, defocus_um=2, smoothing=0, tilt_range_degrees=(-40, 45))))
    assert _same(small, simulate(replace(SMALL, tilt_series=TiltSeries(), defocus_um=3)))


def test_a_crowd_does_not_move_the_answer(small):
    crowded = simulate(replace(SMALL, crowding=0.01))
    assert _same(small, crowded)
    assert (crowded.tomogram.data != small.tomogram.data).any()


def test_points_instances_and_labels_agree(small):
    assert small.kinds == ("clamp", "barrel")
    assert sorted(small.names) == ["barrel"] * 3 + ["clamp"] * 4
    assert small.instances.max() == len(small.points) == 7
    np.testing.assert_array_equal(small.instances > 0, (small.labels == 1) | (small.labels == 2))
    for name, instance, point in zip(small.names, small.instances_of_points, small.points, strict=True):
        mask = small.instances == instance
        assert set(small.labels[mask]) == {small.kinds.index(name) + 1}
        np.testing.assert_allclose(ndimage.center_of_mass(mask), point, atol=0.6)


@pytest.mark.parametrize("tilt_series", [None, TiltSeries()])
def test_protein_is_dark_as_recorded_or_bright_if_asked(small, tilt_series):
    dark = simulate(replace(SMALL, tilt_series=tilt_series)).tomogram.data
    bright = simulate(replace(SMALL, tilt_series=tilt_series, contrast="bright")).tomogram.data
    np.testing.assert_array_equal(bright, -dark)
    ice = dark[small.labels == 0].astype(float)
    for instance in small.instances_of_points:
        inside = dark[small.instances == instance].astype(float)
        assert inside.mean() < ice.mean() - 0.5 * ice.std()


def test_signal_to_noise_ratio_of_a_whole_phantom():
    """Against the same phantom without noise; the noise has standard deviation 1."""
    config = replace(SMALL, dtype="float32", smoothing=0, snr=0.25, contrast="bright", n_gold=0)
    noisy = simulate(config).tomogram.data
    clean = simulate(replace(config, snr=float("inf")))
    signal, particles = clean.tomogram.data, clean.instances > 0
    scale = (noisy * signal).sum() / (signal**2).sum()
    noise = noisy - scale * signal
    np.testing.assert_allclose(
        (scale * signal[particles]) @ (scale * signal[particles]) / particles.sum(), 0.25, rtol=0.1
    )
    np.testing.assert_allclose(noise.std(), 1, rtol=0.05)


def test_int8_is_the_float_tomogram_scaled(small):
    real = simulate(replace(SMALL, dtype="float32")).tomogram.data
    data = small.tomogram.data
    assert data.dtype == np.int8
    assert real.dtype == np.float32
    kept = np.abs(data.astype(int)) < 127
    assert kept.mean() > 0.99
    assert data.min() == -127  # uses the range, but not -128, which has no opposite
    scale = (data[kept] * real[kept]).sum() / (real[kept] ** 2).sum()
    np.testing.assert_allclose(data[kept], scale * real[kept], atol=0.51)


def test_maps_of_the_user(small):
    """They go before a built-in of the same name, and their scale does not matter."""
    density = make_complex("tripod", 10.0)
    counts = {"mine": 2, "clamp": 1}
    config = replace(SMALL, counts=counts, n_gold=0)
    first = simulate(config, {"mine": density, "clamp": make_complex("ring", 10.0)})
    second = simulate(config, {"mine": 256 * density, "clamp": make_complex("ring", 10.0)})
    assert first.kinds == ("mine", "clamp")
    assert _same(first, second)
    np.testing.assert_array_equal(first.tomogram.data, second.tomogram.data)
    sizes = [np.count_nonzero(first.labels == number) / counts[name] for number, name in enumerate(first.kinds, 1)]
    expected = [np.count_nonzero(normalise_density(make_complex(name, 10.0)) > 0.3) for name in ("tripod", "ring")]
    np.testing.assert_allclose(sizes, expected, rtol=0.15)


def test_a_map_without_protein_is_refused_by_its_name():
    with pytest.raises(InputError, match="blank must have finite values and positive protein"):
        simulate(replace(SMALL, counts={"blank": 1}), {"blank": np.zeros((5, 5, 5), dtype=np.float32)})


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="no built-in complex is called 'torus'"):
        simulate(replace(SMALL, counts={"torus": 1}))


def test_a_phantom_without_particles_has_an_empty_answer():
    nothing = simulate(replace(SMALL, counts={}, snr=1.0))
    assert nothing.points.shape == (0, 3)
    assert nothing.rotations.shape == (0, 3, 3)
    assert not nothing.instances.any()
    assert nothing.tomogram.data.std() > 1


def test_progress_reaches_its_end():
    calls = []
    simulate(SMALL, progress=lambda *call: calls.append(call))
    for stage in {stage for stage, _, _ in calls}:
        done = [(d, total) for s, d, total in calls if s == stage]
        assert done[-1][0] == done[-1][1]
        assert [d for d, _ in done] == sorted(d for d, _ in done)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (0, 5, 5)}, "shape must be three positive numbers"),
        ({"voxel_size_angstrom": -1.0}, "the voxel size must be positive, got -1"),
        ({"voxel_size_angstrom": float("nan")}, "the voxel size must be positive, got nan"),
        ({"counts": {"ring": -1}}, "counts must not be negative"),
        ({"counts": {f"kind {i}": 1 for i in range(97)}}, "at most 95 kinds, got 97"),
        ({"n_gold": -1}, "n_gold must not be negative, got -1"),
        ({"crowding": 1.0}, "crowding must be a share from 0 to 1, got 1"),
        ({"tilt_range_degrees": (60.0, -60.0)}, "tilts must ascend"),
        ({"tilt_range_degrees": (-90.0, 60.0)}, "between -90 and 90"),
        ({"tilt_step_degrees": 0.0}, "step between tilts must be positive and at most their range, got 0"),
        ({"tilt_step_degrees": 121.0}, "step between tilts"),
        ({"snr": 0.0}, "snr must be positive, got 0"),
        ({"snr": float("nan")}, "snr must be positive, got nan"),
        ({"defocus_um": -2.0}, "defocus_um must not be negative"),
        ({"contrast": "grey"}, "contrast must be dark or bright, got grey"),
        ({"dtype": "uint8"}, "dtype must be int8 or float32, got uint8"),
    ],
)
def test_settings_out_of_range(change, message, unchecked):
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change)


def test_the_demonstration_has_its_kind_among_others():
    config = demo_config(7)
    assert config.seed == 7
    assert config.counts[DEMO_KIND] >= 10
    assert len(config.counts) >= 4
    assert config.n_vesicles > 0
    assert config.n_gold > 0
