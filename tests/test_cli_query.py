"""``cryosam query``, and ``--query`` of the commands that search."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from cryosam.cli import main
from cryosam.io import read_points, write_volume
from cryosam.io.queries import read_queries
from scenes import BALLS, SHELLS, phantom

QUICK = "[averaging]\nis_on = false\n[propagation]\nsmoothing = 1.0\n"


def cli(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def at(point):
    return ",".join(f"{c:g}" for c in point)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("query")
    write_volume(folder / "here.mrc", phantom().data, 10.0)
    write_volume(folder / "there.mrc", phantom(offset=(1, 2, 3)).data, 10.0)
    write_volume(folder / "unknown.mrc", phantom().data, None)
    (folder / "quick.toml").write_text(QUICK)
    clicks = ["--kind", "ball", "--point", at(BALLS[0]), "--kind", "shell", "--point", at(SHELLS[0])]
    done = cli("query", folder / "here.mrc", *clicks, "--config", folder / "quick.toml", "--out", folder / "q.npz")
    assert "ball: 5 particles" in done.stdout
    assert "shell: 2 particles" in done.stdout
    return folder


def test_two_kinds_go_into_one_file(folder) -> None:
    assert [(query.name, query.n_particles) for query in read_queries(folder / "q.npz")] == [("ball", 5), ("shell", 2)]


@pytest.mark.parametrize("command", ["segment", "pick"])
def test_a_query_takes_the_place_of_points(folder, tmp_path, command) -> None:
    out = tmp_path / "out"
    cli(command, folder / "there.mrc", "--query", folder / "q.npz", "--config", folder / "quick.toml", "--out", out)
    found = read_points(out / "particles.csv")
    for name, truth in (("ball", BALLS), ("shell", SHELLS)):
        points = found.select(name).points
        assert len(points) == len(truth)
        distances = np.linalg.norm(points[:, None] - truth - [1, 2, 3], axis=2).min(axis=1)
        assert distances.max() < 1.5
    told = json.loads((out / "run.json").read_text())
    assert told["prompts"] == []
    assert [(q["kind"], q["source"], q["n_particles"]) for q in told["queries"]] == [
        ("ball", "here", 5),
        ("shell", "here", 2),
    ]
    page = (out / "report.html").read_text()
    assert "from a saved query" in page
    assert "ball, from 5 particles in here" in page


def refused(*words):
    (line,) = cli(*words, code=2).stderr.splitlines()
    return line


def test_what_is_missing_or_in_the_way_is_told_in_one_line(folder, tmp_path) -> None:
    point = ("--point", at(BALLS[0]))
    here, query = folder / "here.mrc", folder / "q.npz"
    assert "no particle is given" in refused("query", here, "--out", tmp_path / "q.npz")
    assert "must end in .npz" in refused("query", here, *point, "--out", tmp_path / "q.txt")
    assert "add --overwrite" in refused("query", here, *point, "--out", query)
    assert "--voxel-size" in refused("query", folder / "unknown.mrc", *point, "--out", tmp_path / "q.npz")
    assert "--query" in refused("segment", here, "--out", tmp_path / "out")
    assert "--trials" in refused("segment", here, "--query", query, "--trials", 2, "--out", tmp_path / "out")
    assert "no such file" in refused("segment", here, "--query", tmp_path / "no.npz", "--out", tmp_path / "out")
    assert "segmenter embedded" in refused(
        "segment", here, "--query", query, "--segmenter", "classical", "--out", tmp_path / "out"
    )
    assert list(tmp_path.iterdir()) == []
