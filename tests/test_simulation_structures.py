"""Membranes and filaments of a phantom: they lie where the answer says, and particles stay where they were."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage
from scipy.spatial import KDTree

from cryosam.cli import main
from cryosam.errors import ConfigError
from cryosam.evaluation.simulation import (
    FILAMENT_LABEL,
    MEMBRANE_LABEL,
    MICROTUBULE_LABEL,
    STRUCTURE_COUNTS,
    SimulationConfig,
    simulate,
)
from cryosam.evaluation.simulation.specimen import Specimen
from cryosam.evaluation.simulation.structures import MICROTUBULE_RADIUS
from cryosam.io import read_volume
from cryosam.io.lines import read_lines
from cryosam.io.phantoms import write_simulated

SHAPE = (60, 150, 160)


def _specimen(seed: int = 0) -> Specimen:
    return Specimen(SHAPE, 10.0, np.random.default_rng(seed))


def test_membranes_cross_the_volume_and_each_has_its_number() -> None:
    scene = _specimen()
    scene.add_membranes(1)
    scene.add_membranes(1, are_double=True)
    assert np.unique(scene.structures).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(scene.structures > 0, scene.labels == MEMBRANE_LABEL)
    for number in (1, 2, 3):
        sheet = scene.structures == number
        assert ndimage.label(sheet, np.ones((3, 3, 3)))[1] == 1
        assert scene.density[sheet].mean() > 0.2
        reach = np.argwhere(sheet)
        assert max(np.ptp(reach, axis=0) / (np.array(SHAPE) - 1)) > 0.95
    first, second = (np.argwhere(scene.structures == number) for number in (2, 3))
    apart = KDTree(second).query(first)[0].min()
    assert apart == pytest.approx(25 - 2 * 3, abs=2)  # 250 angstrom between the middles, each 60 thick


def test_a_microtubule_is_a_tube_around_its_line() -> None:
    scene = _specimen(1)
    scene.add_microtubules(1)
    (line,) = scene.lines
    wall = np.argwhere(scene.labels == MICROTUBULE_LABEL)
    middle = line.points[4:-4]
    along = (line.points[-1] - line.points[0]) / np.linalg.norm(line.points[-1] - line.points[0])
    near = wall[((wall - middle[0]) @ along > 0) & ((wall - middle[-1]) @ along < 0)]
    dense = np.concatenate([middle, (middle[1:] + middle[:-1]) / 2])
    radius = KDTree(dense).query(near)[0] * 10
    assert np.median(radius) == pytest.approx(MICROTUBULE_RADIUS, abs=8)
    assert radius.min() > 60
    assert scene.density[tuple(np.rint(middle).astype(int).T)].max() < 0.1


@pytest.mark.parametrize(("n", "n_bundles", "n_lines"), [(2, 0, 2), (0, 1, 7)])
def test_actin_lies_on_its_lines(n: int, n_bundles: int, n_lines: int) -> None:
    scene = _specimen(2)
    scene.add_filaments(n, n_bundles)
    names = {line.name for line in scene.lines if len(line.points)}
    assert names == {"actin"}
    assert len(scene.lines) == n_lines
    for line in scene.lines:
        own = np.argwhere(scene.structures == line.instance)
        own = own[((own >= 6) & (own < np.array(SHAPE) - 6)).all(axis=1)]  # at the border a line ends before its blobs
        assert KDTree(line.points).query(own)[0].max() < 6
    assert (scene.structures > 0).sum() == (scene.labels == FILAMENT_LABEL).sum()


def test_a_volume_that_is_too_full_is_refused() -> None:
    scene = Specimen((20, 20, 20), 10.0, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="no room for 1 microtubules"):
        scene.add_microtubules(1)
    scene.add_membranes(1)
    with pytest.raises(ConfigError, match="no room for 9 membranes"):
        scene.add_membranes(9)


def test_the_answer_is_written_and_read_back(tmp_path) -> None:
    config = SimulationConfig(
        shape=SHAPE, counts={"ring": 2}, n_membranes=1, n_microtubules=1, n_filaments=1, n_gold=0, n_debris=0
    )
    found = simulate(config)
    folder = write_simulated(tmp_path / "phantom", found)
    np.testing.assert_array_equal(read_volume(folder / "structures.mrc"), found.structures)
    lines = read_lines(folder / "filaments.csv")
    assert len(lines) == 2
    np.testing.assert_allclose(lines[0], found.lines[0].points, atol=0.01)
    assert read_lines(folder / "filaments.csv", "actin")[0].shape == found.lines[1].points.shape
    bare = simulate(replace(config, n_vesicles=0, n_membranes=0, n_microtubules=0, n_filaments=0))
    names = {path.name for path in write_simulated(tmp_path / "bare", bare).iterdir()}
    assert names == {"tomo.mrc", "labels.mrc", "instances.mrc", "particles.csv"}


def test_every_structure_can_be_asked_for_by_name() -> None:
    for name, field in STRUCTURE_COUNTS.items():
        with pytest.raises(ConfigError, match=f"{field} must not be negative"):
            SimulationConfig(**{field: -1})
        assert hasattr(SimulationConfig(), field), name


def test_the_command_makes_only_what_was_asked_for(tmp_path) -> None:
    words = ["simulate", "--out", str(tmp_path / "out"), "--shape", "40,90,90", "--count", "membrane=1", "--clean"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("0 particles, 1 membranes and filaments in ")
    assert np.unique(read_volume(tmp_path / "out" / "labels.mrc")).tolist() == [0, MEMBRANE_LABEL]
