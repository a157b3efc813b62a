"""Project files: which tomograms are meant, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryosam.batch.coordinator import take_shard
from cryosam.batch.project import read_project
from cryosam.errors import ConfigError, CryosamError, InputNotFoundError
from cryosam.io.queries import write_queries
from stand_ins import query


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("t/b.mrc", "t/a.mrc", "t/notes.txt", "runs/TS_01/rec.mrc", "runs/TS_02/rec.mrc", "mask.mrc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    write_queries(tmp_path / "q.npz", [query("ribosome")])
    write_queries(tmp_path / "p.npz", [query("proteasome")])
    return tmp_path


def read(folder: Path, text: str):
    (folder / "project.toml").write_text(text, encoding="utf-8")
    return read_project(folder / "project.toml")


def test_a_pattern_becomes_one_job_a_tomogram(folder) -> None:
    project = read(folder, 'tomograms = "t/*"\nquery = "q.npz"\nout = "results"')
    assert [(job.name, job.path) for job in project.jobs] == [
        ("a", folder / "t" / "a.mrc"),
        ("b", folder / "t" / "b.mrc"),
    ]
    assert {job.out for job in project.jobs} == {project.out} == {folder / "results"}
    assert project.kinds == ("ribosome",)
    assert [job.queries for job in project.jobs] == [(folder / "q.npz",)] * 2


def test_names_and_files_follow_patterns(folder) -> None:
    project = read(
        folder,
        'tomograms = ["runs/**/rec.mrc", { path = "t/a.mrc", name = "old", points = "c.csv", voxel_size = 13.48 }]\n'
        'name = "{folder}"\npoints = "clicks/{name}.csv"\nsearch_mask = "masks/{folder2}-{file}.mrc"\nout = "/o"\n'
        "voxel_size = 10",
    )
    told = [(job.name, job.points, job.search_mask.name, job.voxel_size_angstrom) for job in project.jobs]
    assert told == [
        ("TS_01", folder / "clicks" / "TS_01.csv", "runs-rec.mrc", 10),
        ("TS_02", folder / "clicks" / "TS_02.csv", "runs-rec.mrc", 10),
        ("old", folder / "c.csv", f"{folder.name}-a.mrc", 13.48),
    ]
    assert project.out == Path("/o")


def test_a_name_on_the_command_line_replaces_the_pattern(folder) -> None:
    (folder / "project.toml").write_text('tomograms = "runs/**/rec.mrc"\nname = "{file}"\nquery = "q.npz"\nout = "o"')
    project = read_project(folder / "project.toml", name="{folder}")
    assert [job.name for job in project.jobs] == ["TS_01", "TS_02"]


def test_lists_of_clicks_have_an_order(folder) -> None:
    project = read(folder, 'tomograms = "t/a.mrc"\npoints = "{name}.txt"\naxes = "xyz"\nout = "o"')
    (job,) = project.jobs
    assert job.axes == "xyz"
    (folder / "a.txt").write_text("1 2 3\n")
    assert job.digest() != replace(job, axes="zyx").digest()
    with pytest.raises(ConfigError, match="axes must name x, y and z once, such as xyz, got 'xy'"):
        read(folder, 'tomograms = "t/a.mrc"\npoints = "{name}.txt"\naxes = "xy"\nout = "o"')


def test_two_tomograms_of_one_tilt_series_are_refused_before_they_are_written_for_warp(folder) -> None:
    for size in ("5.00", "10.00"):
        (folder / f"t/TS_01_{size}Apx.mrc").touch()
    text = 'tomograms = "t/TS*.mrc"\nquery = "q.npz"\nout = "o"\n'
    assert len(read(folder, text).jobs) == 2
    with pytest.raises(ConfigError, match="two tomograms have the same name"):
        read(folder, f'{text}export = "warp"')


def test_a_name_may_have_brackets(folder) -> None:
    (folder / "t/a[1].mrc").touch()
    project = read(folder, 'tomograms = "t/a[1].mrc"\nquery = "q.npz"\nout = "o"')
    assert [job.name for job in project.jobs] == ["a[1]"]


def test_results_of_the_batch_are_not_searched(folder) -> None:
    (folder / "results" / "a").mkdir(parents=True)
    (folder / "results" / "a" / "instances.mrc").touch()
    project = read(folder, 'tomograms = ["**/a.mrc", "**/inst*.mrc", "t/b.mrc"]\nquery = "q.npz"\nout = "other"')
    assert len(project.jobs) == 3
    with pytest.raises(InputNotFoundError, match="no tomogram matches"):
        read(folder, 'tomograms = ["**/a.mrc", "**/inst*.mrc"]\nquery = "q.npz"\nout = "results"')


def test_settings_of_all_and_of_one_kind(folder) -> None:
    project = read(
        folder,
        'tomograms = "t/a.mrc"\nquery = ["q.npz", "p.npz"]\nout = "o"\npreset = "embedded"\nretries = 3\n'
        "[settings.matching]\nmax_false_discovery = 0.1\nedge_margin = 4\n"
        '[kinds.proteasome]\ndiameter_angstrom = 160\n[kinds.proteasome.matching]\nmax_false_discovery = "none"\n'
        "threshold = 0.8",
    )
    (job,) = project.jobs
    assert (job.config.matching.max_false_discovery, job.config.matching.edge_margin) == (0.1, 4)
    own = job.kind_configs["proteasome"]
    assert (own.matching.threshold, own.matching.max_false_discovery, own.matching.edge_margin) == (0.8, None, 4)
    assert own.diameter_angstrom == 160
    assert project.kinds == ("ribosome", "proteasome")
    assert project.retries == 3


GOOD = 'tomograms = "t/*.mrc"\nquery = "q.npz"\nout = "o"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('tomograms = "t/*.mrc"\nqueries = "q.npz"', "unknown key 'queries'; there are tomograms, out,"),
        (GOOD + "voxel_size = '10'", "voxel_size has a value of the wrong type: '10'"),
        (GOOD + "voxel_size = -1", "voxel_size must be positive"),
        (GOOD + "retries = true", "retries has a value of the wrong type: True"),
        (GOOD + "retries = -1", "retries must not be negative"),
        ('query = "q.npz"\nout = "o"', "names no tomograms"),
        ('tomograms = "t/*.mrc"\nout = "o"', "does not say what to search for"),
        ('tomograms = "t/*.mrc"\nquery = "q.npz"', "names no folder for the results"),
        (GOOD + 'points = "c.csv"', "query or points, not both"),
        ('tomograms = "t/*.zarr"\nquery = "q.npz"\nout = "o"', r"no tomogram matches 't/\*\.zarr'"),
        ('tomograms = "t/*.txt"\nquery = "q.npz"\nout = "o"', "no tomogram matches"),
        ('tomograms = [3]\nquery = "q.npz"\nout = "o"', "a tomogram is given as a file, a pattern or a table"),
        ('tomograms = [{ path = "t/a.mrc", voxel = 3 }]\nquery = "q.npz"\nout = "o"', "unknown key 'voxel'"),
        (
            'tomograms = "runs/*/rec.mrc"\nquery = "q.npz"\nout = "o"',
            'two tomograms have the same name, rec: .*"{folder}"',
        ),
        ('tomograms = ["t/a.mrc", "t/*.mrc"]\nquery = "q.npz"\nout = "o"', "two tomograms have the same name, a"),
        (GOOD + 'name = "{stem}"', r"unknown field {stem}; there are {file}, {folder}, {folder2}"),
        (GOOD + 'name = "{file"', "{file"),
        (GOOD + 'name = "x/{file}"', "which cannot be a folder; give it another name"),
        (GOOD + 'name = ".{file}"', "which cannot be a folder; give it another name"),
        ('tomograms = "t/*.mrc"\nquery = ["q.npz", "q.npz"]\nout = "o"', "two queries are for the same kind"),
        ('tomograms = "t/*.mrc"\nquery = "nowhere.npz"\nout = "o"', "nowhere.npz: no such file"),
        (GOOD + "[settings.matching]\nthreshhold = 0.5", "settings: unknown setting 'matching.threshhold'"),
        (GOOD + "[settings.matching]\nthreshold = 5", r"settings: threshold is in \[0, 1\]"),
        (GOOD + "[settings]\npreset = 'fast'", "preset must be at the top"),
        (GOOD + "[kinds.thermosome]\ndiameter_angstrom = 3", "no query is for kind 'thermosome'"),
        (GOOD + "kinds = { ribosome = 3 }", "this must be a section of settings"),
        (GOOD + "preset = 'quick'", "unknown preset 'quick'"),
        (GOOD + "export = 'relion'", "export: unknown format 'relion'"),
        (GOOD + "export = ['relion4']", "export: RELION 4 coordinates are in pixels"),
        ("tomograms = ", "is not a TOML file"),
    ],
)
def test_bad_projects_end_in_one_line(folder, text, told) -> None:
    with pytest.raises(CryosamError, match=told) as refused:
        read(folder, text)
    assert len(str(refused.value).splitlines()) == 1


def test_no_project_file(tmp_path) -> None:
    with pytest.raises(InputNotFoundError, match="project file not found"):
        read_project(tmp_path / "project.toml")


def test_shards_together_are_the_whole(folder) -> None:
    for k in range(9):
        (folder / "t" / f"{k}.mrc").touch()
    project = read(folder, GOOD)
    for n in (1, 3, 20):
        names = [job.name for i in range(1, n + 1) for job in take_shard(project, f"{i}/{n}").jobs]
        assert sorted(names) == [job.name for job in project.jobs]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5"])
def test_what_is_no_shard(folder, text) -> None:
    with pytest.raises(ConfigError, match="such as 3/10"):
        take_shard(read(folder, GOOD), text)


def test_the_digest_is_that_of_what_results_depend_on(folder) -> None:
    (folder / "c.csv").write_text("z,y,x\n1,2,3\n")

    def digest(text: str) -> str:
        return next(job.digest() for job in read(folder, text).jobs if job.name == "a")

    first = digest(GOOD)
    assert digest(GOOD + 'retries = 4\nexport = "warp"\n[settings]\ndevice = "cpu"') == first
    assert digest(GOOD.replace('"o"', '"elsewhere"')) == first
    changed = [
        GOOD + "voxel_size = 10",
        GOOD + "[settings.matching]\nthreshold = 0.5",
        GOOD.replace("q.npz", "p.npz"),
        GOOD.replace('query = "q.npz"', 'points = "c.csv"'),
        GOOD + "[kinds.ribosome.matching]\nthreshold = 0.5",
    ]
    assert len({digest(text) for text in changed} | {first}) == len(changed) + 1
    write_queries(folder / "q.npz", [query("ribosome", feature=np.ones(5, dtype=np.float32))])
    assert digest(GOOD) != first
