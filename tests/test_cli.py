"""The command as a user types it. All but the last section use a pipeline that finds what was planted."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

import click
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage

import cryosam
from cryosam import segmentation
from cryosam.backends.loading import write_model
from cryosam.cli import main
from cryosam.cli.progress import show_progress
from cryosam.config import Config
from cryosam.io import PointTable, folders, read_points, read_volume, results, write_points, write_volume
from cryosam.io.earlier_results import read_results
from cryosam.io.results import OUTPUTS
from cryosam.masks import InstanceMask
from cryosam.matching.feature_cache import FeatureCache
from cryosam.missing_wedge import MissingWedge
from cryosam.results import ScoreMap, Segmentation
from cryosam.run_report import RunReport, RunWarning
from cryosam.steps import MASKS, SEARCH, Steps
from tiny_models import tiny_dinov2, tiny_sam, tiny_sam2

SHAPE = (24, 30, 42)
CENTRES = ((8, 8, 9), (14, 20, 12), (11, 15, 31))
BALL = np.linalg.norm(np.indices((7, 7, 7)) - 3, axis=0) <= 3


def planted():
    """Labels of three balls."""
    labels = np.zeros(SHAPE, dtype=np.int16)
    for i, centre in enumerate(CENTRES, start=1):
        labels[tuple(slice(c - 3, c + 4) for c in centre)][BALL] = i
    return labels


@pytest.fixture
def tomo(tmp_path):
    """A tomogram with three dark balls, at 10 angstrom a voxel."""
    noise = np.random.default_rng(0).normal(0, 0.4, SHAPE)
    data = ndimage.gaussian_filter(noise - 2.0 * (planted() > 0), 1).astype(np.float32)
    write_volume(tmp_path / "tomo.mrc", data, 10.0)
    return tmp_path / "tomo.mrc"


@pytest.fixture
def calls(monkeypatch):
    """What the pipeline is called with; it finds the three balls."""
    made = []

    def find(tomogram, prompts, config, options):
        made.append({"tomogram": tomogram, "prompts": prompts, "config": config, "search_mask": options.search_mask})
        made[-1]["cache"] = options.cache
        prompts.validate(tomogram.shape)
        return Segmentation(
            shape=tomogram.shape,
            points=np.array(CENTRES, dtype=float),
            scores=np.array([0.9, 0.8, 0.7]),
            masks=tuple(InstanceMask(tuple(c - 3 for c in centre), BALL) for centre in CENTRES),
            score_map=ScoreMap(np.zeros(tuple(-(-n // 2) for n in tomogram.shape), dtype=np.float32), 2),
            threshold=0.55,
            report=RunReport(warnings=(RunWarning("edge", "the click is near the edge"),)),
            voxel_size_angstrom=tomogram.voxel_size_angstrom,
            name=tomogram.name,
        )

    for name in ("segment", "pick", "segment_prompts"):
        monkeypatch.setattr(segmentation, name, find)
    return made


def cli(*words, code=0):
    """Run a command; its result."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    assert "Traceback" not in result.output
    return result


def refused(*words):
    """Run a command that must end with one line on stderr and exit code 2; the line."""
    result = cli(*words, code=2)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("cryosam: error: ")
    return line


def contents(folder):
    """Every file below a folder, and what it holds."""
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


# --- help -------------------------------------------------------------------------------------------------------------


def all_commands():
    commands = [("cryosam", main)]
    for name, command in main.commands.items():
        commands.append((f"cryosam {name}", command))
        commands += [(f"cryosam {name} {sub}", c) for sub, c in getattr(command, "commands", {}).items()]
    return commands


def test_the_commands_are_those_of_the_contract():
    names = "demo serve segment pick mask query batch evaluate convert info simulate models cache"
    assert list(main.commands) == names.split()
    assert list(main.commands["models"].commands) == ["list", "fetch", "import"]


@pytest.mark.parametrize(("name", "command"), all_commands(), ids=[name for name, _ in all_commands()])
def test_help_has_an_example_that_parses(name, command):
    text = cli(*name.split()[1:], "--help").stdout
    lines = text.split("Example:")[1].splitlines()
    examples = [line.split()[1:] for line in lines if line.strip().startswith("cryosam ")]
    assert examples
    for words in examples:
        current = main
        while isinstance(current, click.Group) and words:
            current, words = current.commands[words[0]], words[1:]
        current.make_context("cryosam", list(words))  # raises on an unknown option or a missing one


def test_segment_has_every_option_of_the_contract():
    options = {option for parameter in main.commands["segment"].params for option in parameter.opts}
    wanted = "point negative points query out preset features segmenter diameter voxel-size contrast search-mask "
    wanted += "edge-margin threshold max-false-discovery max-particles export device config overwrite"
    assert {f"--{name}" for name in wanted.split()} <= options


def test_version():
    assert cryosam.__version__ in cli("--version").stdout


def test_help_imports_nothing_heavy():
    code = "import sys\nfrom cryosam.cli import main\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {"torch", "transformers", "scipy", "skimage", "pandas", "rich", "mrcfile"}.isdisjoint(loaded)


def test_threads_that_wait_leave_the_cores_to_others(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert CliRunner().invoke(main, ["models", "list"]).exit_code == 0
    assert os.environ["GOMP_SPINCOUNT"] == "3000"


def test_python_m_cryosam_is_the_command():
    done = subprocess.run([sys.executable, "-m", "cryosam", "segment"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "cryosam: error: Missing argument 'TOMOGRAM'. (see cryosam segment --help)\n"


# --- what a run is given ----------------------------------------------------------------------------------------------


def test_segment_writes_everything_and_says_so(tomo, calls, tmp_path):
    result = cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out")
    assert "3 particles" in result.stdout
    assert "threshold 0.550" in result.stdout
    assert str(tmp_path / "out" / "report.html") in result.stdout
    assert result.stderr == "cryosam: warning: the click is near the edge\n"
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(OUTPUTS) - {"candidates.csv", "average.mrc"}
    run = read_results(tmp_path / "out").run
    assert run["command"] == f"cryosam segment {tomo} --point 8,8,9 --out {tmp_path / 'out'}"
    assert run["input"]["path"] == str(tomo)
    np.testing.assert_array_equal(calls[0]["tomogram"].data, read_volume(tomo))


def test_points_of_the_line_and_of_the_file_come_together(tomo, calls, tmp_path):
    (tmp_path / "clicks.csv").write_text("x,y,z\n12,20,14\n")
    clicks = ("--point", "8,8,9", "--points", tmp_path / "clicks.csv", "--negative", "1,2,3", "--negative", "4,5,6.5")
    cli("pick", tomo, *clicks, "--out", tmp_path / "out")
    np.testing.assert_array_equal(calls[0]["prompts"].positive, [[8, 8, 9], [14, 20, 12]])
    np.testing.assert_array_equal(calls[0]["prompts"].negative, [[1, 2, 3], [4, 5, 6.5]])


@pytest.fixture
def kinds(monkeypatch):
    """The clicks of each kind that the pipeline is called with; it finds what was clicked."""
    made = []

    def find(tomogram, kinds, config, options):
        made.extend(kinds)
        parts = [
            Segmentation(
                shape=tomogram.shape,
                points=each.positive,
                scores=np.full(len(each.positive), 0.9 - 0.1 * k),
                masks=tuple(InstanceMask(tuple(int(c) - 3 for c in point), BALL) for point in each.positive),
                threshold=0.5,
                voxel_size_angstrom=tomogram.voxel_size_angstrom,
                kind=each.name,
            )
            for k, each in enumerate(kinds)
        ]
        return Segmentation.combine(parts)

    monkeypatch.setattr(segmentation, "segment_kinds", find)
    return made


def test_points_belong_to_the_kind_that_they_come_after(tomo, kinds, tmp_path):
    words = ["--kind", "big", "--point", "8,8,9", "--negative", "1,2,3", "--kind=small", "--point=14,20,12"]
    said = cli("segment", tomo, *words, "--point", "11,15,31", "--out", tmp_path / "out")
    assert [(each.name, each.positive.tolist(), each.negative.tolist()) for each in kinds] == [
        ("big", [[8, 8, 9]], [[1, 2, 3]]),
        ("small", [[14, 20, 12], [11, 15, 31]], []),
    ]
    assert "big: 1" in said.stdout
    assert "small: 2" in said.stdout
    table = read_points(tmp_path / "out" / "particles.csv")
    assert table.names == ("big", "small", "small")
    semantic = read_volume(tmp_path / "out" / "semantic.mrc")
    assert [int(semantic[place]) for place in ((8, 8, 9), (14, 20, 12), (11, 15, 31))] == [1, 2, 2]
    star = read_points(tmp_path / "out" / "particles.star", shape=SHAPE, voxel_size_angstrom=10.0)
    assert star.names == ("1", "2", "2")
    assert "small" in (tmp_path / "out" / "report.html").read_text()


def test_a_file_with_names_has_several_kinds(tomo, kinds, tmp_path):
    (tmp_path / "p.csv").write_text("z,y,x,name\n8,8,9,a\n14,20,12,b\n11,15,31,a\n")
    cli("pick", tomo, "--points", tmp_path / "p.csv", "--out", tmp_path / "out")
    assert {each.name: len(each.positive) for each in kinds} == {"a": 2, "b": 1}
    assert read_points(tmp_path / "out" / "particles.csv").names == ("a", "a", "b")


def test_the_only_name_in_a_file_is_the_kinds(tomo, calls, tmp_path):
    (tmp_path / "p.csv").write_text("z,y,x,name\n8,8,9,ribosome\n14,20,12,ribosome\n")
    cli("pick", tomo, "--point", "11,15,31", "--points", tmp_path / "p.csv", "--out", tmp_path / "out")
    prompts = calls[0]["prompts"]
    assert (prompts.name, len(prompts.positive)) == ("ribosome", 3)


def test_a_star_file_of_our_own_is_a_points_file(tomo, calls, tmp_path):
    cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "first")
    cli("segment", tomo, "--points", tmp_path / "first" / "particles.star", "--out", tmp_path / "second")
    np.testing.assert_allclose(calls[1]["prompts"].positive, CENTRES)


def test_clicks_come_from_files_of_other_programs(tomo, calls, tmp_path):
    cli("pick", tomo, "--point", "8,8,9", "--out", tmp_path / "first", "--export", "imod,dynamo,em,ndjson,copick")
    names = ["particles-tomo.mod", "particles.tbl", "particles.em", "particles-tomo-particle.ndjson", "copick"]
    for i, name in enumerate(names):
        cli("pick", tomo, "--points", tmp_path / "first" / name, "--out", tmp_path / str(i))
        np.testing.assert_allclose(calls[-1]["prompts"].positive, CENTRES, err_msg=name)


def test_what_cannot_be_exported_is_said_before_the_search(tomo, calls, tmp_path):
    given = ["segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out", "--export"]
    assert "unknown format 'relion' to export; known are relion4, warp" in refused(*given, "warp,relion")
    assert "give their size in angstrom with --tilt-series-pixel-size" in refused(*given, "relion4")
    write_volume(tmp_path / "unsized.mrc", np.random.default_rng(0).random(SHAPE, dtype=np.float32), None)
    line = refused(
        "segment", tmp_path / "unsized.mrc", "--point", "8,8,9", "--out", tmp_path / "out", "--export", "warp"
    )
    assert "give --voxel-size" in line
    both = ["segment", tomo, "--kind", "a b", "--point", "8,8,9", "--kind", "a_b", "--point", "14,20,12"]
    line = refused(*both, "--out", tmp_path / "out", "--export", "ndjson")
    assert "a b and a_b would both be named a-b" in line
    assert not calls
    cli(*given, "relion4", "--tilt-series-pixel-size", "2.5")
    table = read_points(tmp_path / "out" / "particles-relion4.star", voxel_size_angstrom=10.0)
    np.testing.assert_allclose(table.points, CENTRES)
    assert "RELION 3.1 and 4" in (tmp_path / "out" / "report.html").read_text()


def test_a_tomogram_has_the_name_that_other_programs_know(tomo, calls, tmp_path):
    rows = "".join(f"{x} {y} {z} TS_0{k}.tomostar\n" for k, (z, y, x) in enumerate(CENTRES))
    header = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnMicrographName\n"
    (tmp_path / "p.star").write_text(header + rows)
    given = ["segment", tomo, "--points", tmp_path / "p.star", "--export", "warp", "--out", tmp_path / "out"]
    assert "0 of them match 'tomo'; name one with --name" in refused(*given)
    cli(*given, "--name", "TS_01")
    np.testing.assert_array_equal(calls[0]["prompts"].positive, CENTRES[1:2])
    assert "TS_01.tomostar" in (tmp_path / "out" / "particles-warp.star").read_text()
    assert read_results(tmp_path / "out").run["input"]["name"] == "TS_01"


# --- convert ----------------------------------------------------------------------------------------------------------


def test_convert_goes_through_every_format_and_back(tomo, calls, tmp_path):
    cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out")
    source = tmp_path / "out"
    for name in ("a.tbl", "b.star", "c.em", "d.mod", "project", "e.ndjson", "f.csv"):
        said = cli("convert", source, tmp_path / name, "--tomogram", tomo)
        assert f"3 points in {tmp_path / name}" in said.stdout
        source = tmp_path / name
    np.testing.assert_allclose(read_points(source).points, CENTRES, atol=1e-3)


def test_convert_merges_results_of_several_tomograms(tomo, calls, tmp_path):
    second = tomo.rename(tmp_path / "other.mrc")
    write_volume(tomo, read_volume(second), 10.0)
    for path in (tomo, second):
        cli("pick", path, "--point", "8,8,9", "--out", tmp_path / path.stem)
    results_of_both = [tmp_path / "tomo", tmp_path / "other"]
    said = cli("convert", *results_of_both, tmp_path / "all.star", "--star", "warp")
    assert "6 points of 2 tomograms" in said.stdout
    for name in ("tomo", "other"):
        table = read_points(tmp_path / "all.star", voxel_size_angstrom=10.0, tomogram_name=name)
        np.testing.assert_allclose(table.points, CENTRES)
    cli("convert", *results_of_both, tmp_path / "project")
    assert len(read_points(tmp_path / "project", voxel_size_angstrom=10.0, tomogram_name="other")) == 3
    assert "points of one tomogram" in refused("convert", *results_of_both, tmp_path / "all.mod")
    assert "must all be result folders of segment" in refused(
        "convert", tmp_path / "tomo", tmp_path / "all.star", tmp_path / "x.em"
    )


def test_convert_gives_copick_the_masks_too(tomo, calls, tmp_path):
    cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out")
    cli("convert", tmp_path / "out", tmp_path / "project", "--name", "TS_01")
    write_volume(tmp_path / "other.mrc", np.zeros((3, 4, 5), dtype=np.float32), 10.0)
    assert "belongs to a tomogram of (24, 30, 42) voxels" in refused(
        "convert", tmp_path / "out", tmp_path / "p.tbl", "--tomogram", tmp_path / "other.mrc"
    )
    masks = tmp_path / "project/ExperimentRuns/TS_01/InstanceSegmentations/10.000_cryosam_0_particle.zarr"
    np.testing.assert_array_equal(read_volume(masks), planted())


def test_convert_makes_what_relion_5_goes_on_from(tomo, calls, tmp_path):
    cli("pick", tomo, "--point", "8,8,9", "--out", tmp_path / "out")
    depth, height, width = SHAPE
    columns = "".join(f"_rlnTomo{c}\n" for c in ("Name", "TiltSeriesPixelSize", "SizeX", "SizeY", "SizeZ"))
    row = f"tomo 2.5 {4 * width} {4 * height} {4 * depth}\n"
    (tmp_path / "tomograms.star").write_text(f"data_global\nloop_\n{columns}{row}")
    words = ["convert", tmp_path / "out", tmp_path / "picks", "--relion-tomograms", tmp_path / "tomograms.star"]
    cli(*words)
    table = read_points(tmp_path / "picks" / "optimisation_set.star", shape=SHAPE, voxel_size_angstrom=10.0)
    np.testing.assert_allclose(table.points, CENTRES)
    assert "exists already" in refused(*words)
    cli(*words, "--overwrite")


def test_convert_keeps_the_name_in_the_points(tomo, tmp_path):
    write_points(tmp_path / "p.star", PointTable(np.ones((1, 3))), relion=4, tomogram_name="TS_01")
    given = [tmp_path / "p.star", tmp_path / "q.star", "--voxel-size", "10", "--star", "warp", "--overwrite"]
    for words, name in (((), "TS_01"), (("--tomogram", tomo), "tomo"), (("--name", "TS_9"), "TS_9")):
        cli("convert", *given, *words)
        assert f"{name}.tomostar" in (tmp_path / "q.star").read_text()


def test_a_list_without_column_names_needs_its_order(tomo, calls, tmp_path):
    (tmp_path / "p.txt").write_text("9 8 8\n12 20 14\n")
    for words in (("convert", tmp_path / "p.txt", tmp_path / "p.csv"), ("pick", tomo, "--points", tmp_path / "p.txt")):
        words = (*words, "--out", tmp_path / "out") if words[0] == "pick" else words
        assert "--axes xyz" in refused(*words)
        cli(*words, "--axes", "xyz")
    np.testing.assert_array_equal(read_points(tmp_path / "p.csv").points, CENTRES[:2])
    np.testing.assert_array_equal(calls[0]["prompts"].positive, CENTRES[:2])


def test_convert_asks_for_what_it_needs(tomo, tmp_path):
    (tmp_path / "p.csv").write_text("z,y,x\n8,8,9\n")
    assert "needs the shape of tomogram p; give it (--tomogram)" in refused(
        "convert", tmp_path / "p.csv", tmp_path / "p.star"
    )
    words = ["convert", tmp_path / "p.csv", tmp_path / "project"]
    assert "--voxel-size, or --tomogram" in refused(*words)
    assert not (tmp_path / "project").exists()
    cli(*words, "--voxel-size", "10", "--name", "TS_01")
    assert "has picks of TS_01 already" in refused(*words, "--voxel-size", "10", "--name", "TS_01")
    line = refused("convert", tmp_path / "project", tmp_path / "p.tbl", "--name", "TS_01")
    assert "coordinates are in angstrom" in line
    assert "--tomogram" in line
    assert "--tilt-series-pixel-size" in refused(
        "convert", tmp_path / "p.csv", tmp_path / "p.star", "--star", "relion4", "--tomogram", tomo
    )
    assert "exists already" in refused("convert", tmp_path / "p.csv", tmp_path / "p.csv")
    assert "unknown points format" in refused("convert", tomo, tmp_path / "p.tbl")
    assert "unknown points format" in refused("convert", tmp_path / "p.csv", tmp_path / "p.doc")  # no project
    assert "lists are read, not written" in refused("convert", tmp_path / "p.csv", tmp_path / "p.txt")
    (tmp_path / "p.doc").write_text("a letter")
    assert "p.doc exists already" in refused("convert", tmp_path / "p.csv", tmp_path / "p.tbl")
    assert (tmp_path / "p.doc").read_text() == "a letter"


# --- settings ---------------------------------------------------------------------------------------------------------


def test_options_win_over_the_file_and_the_file_over_the_preset(tomo, calls, tmp_path):
    (tmp_path / "c.toml").write_text("[matching]\nthreshold = 0.3\nedge_margin = 5\n")
    given = [
        "--threshold",
        "0.6",
        "--max-particles",
        "9",
        "--diameter",
        "120",
        "--contrast",
        "bright",
        "--tilt-range",
        "-51,57",
        "--tilt-axis",
        "x",
        "--device",
        "cpu",
    ]
    cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out", "--config", tmp_path / "c.toml", *given)
    assert calls[0]["config"] == Config().override(
        matching__threshold=0.6,
        matching__edge_margin=5,
        matching__max_particles=9,
        diameter_angstrom=120.0,
        tomogram__contrast="bright",
        tomogram__tilt_range=(-51.0, 57.0),
        tomogram__tilt_axis="x",
        device="cpu",
    )


def test_a_result_s_own_settings_can_be_used_again(tomo, calls, tmp_path):
    own = ["--edge-margin", "3", "--tilt-range", "-40,60.5", "--tilt-axis", "84.5"]
    cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "a", *own)
    (tmp_path / "c.toml").write_text(read_results(tmp_path / "a").run["configuration_toml"])
    cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "b", "--config", tmp_path / "c.toml")
    assert calls[1]["config"] == calls[0]["config"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--tilt-range", "60"], "lowest and the highest tilt"),
        (["--tilt-range", "60,-60"], "within -90 and 90"),
        (["--tilt-axis", "z"], "x, y or an angle"),
        (["--tilt-axis", "200"], "within -180 and 180"),
    ],
)
def test_tilts_that_cannot_be(tomo, tmp_path, words, expected):
    assert expected in refused("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out", *words)


def test_the_voxel_size_of_the_line_goes_into_every_output(tomo, calls, tmp_path):
    cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out", "--voxel-size", "7.5")
    assert calls[0]["tomogram"].voxel_size_angstrom == 7.5
    assert cryosam.read_tomogram(tmp_path / "out" / "instances.mrc").voxel_size_angstrom == 7.5


def test_memory_and_cache(tomo, calls, tmp_path):
    base = ("segment", tomo, "--point", "8,8,9", "--overwrite", "--out", tmp_path / "out")
    cli(*base)
    cli(*base, "--memory", "500MB", "--cache", tmp_path / "kept")
    cli(*base, "--no-cache")
    assert [call["config"].memory_gb for call in calls] == [None, 0.5, None]
    assert str(calls[0]["cache"].folder) == os.environ["CRYOSAM_CACHE"]
    assert calls[1]["cache"].folder == tmp_path / "kept"
    assert calls[2]["cache"] is None
    assert "8GB" in refused(*base, "--memory", "much")
    assert "leave one out" in refused(*base, "--no-cache", "--cache", tmp_path / "kept")


def test_the_search_mask_is_where_its_file_is_not_zero(tomo, calls, tmp_path):
    mask = np.zeros(SHAPE, dtype=np.int16)
    mask[3:9, 4, 5] = 7
    write_volume(tmp_path / "m.mrc", mask, 10.0)
    cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out", "--search-mask", tmp_path / "m.mrc")
    np.testing.assert_array_equal(calls[0]["search_mask"], mask > 0)


def test_overwrite_keeps_what_is_not_ours(tomo, calls, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for _ in range(2):
        cli("mask", tomo, "--point", "8,8,9", "--out", tmp_path / "out", "--overwrite")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert len(read_results(tmp_path / "out").particles) == 3


# --- bad input: one line, exit code 2, nothing written ----------------------------------------------------------------


def missing_file(folder):
    return [folder / "absent.mrc"], "no such file"


def truncated_mrc(folder):
    path = folder / "tomo.mrc"
    path.write_bytes(path.read_bytes()[:-1000])
    return [path], "truncated|shorter|bytes|incomplete"


def not_an_mrc(folder):
    (folder / "tomo.mrc").write_text("hello")
    return [folder / "tomo.mrc"], "tomo.mrc"


def unknown_format(folder):
    (folder / "tomo.xyz").write_text("hello")
    return [folder / "tomo.xyz"], "unknown volume format"


def image_2d(folder):
    write_volume(folder / "image.mrc", np.random.default_rng(0).random((1, 30, 42)).astype(np.float32), 10.0)
    return [folder / "image.mrc"], "2D"


def with_nan(folder):
    data = np.array(read_volume(folder / "tomo.mrc"))
    data[3, 4, 5] = np.nan
    write_volume(folder / "nan.mrc", data, 10.0)
    return [folder / "nan.mrc"], "NaN"


def constant(folder):
    write_volume(folder / "flat.mrc", np.full(SHAPE, 3.0, dtype=np.float32), 10.0)
    return [folder / "flat.mrc"], "same value"


def point_outside(folder):
    return [folder / "tomo.mrc", "--point", "8,8,42"], "8,8,42 lies outside .* 23,29,41"


def point_negative(folder):
    return [folder / "tomo.mrc", "--point", "-1,8,8"], "-1,8,8 lies outside"


def point_of_two_numbers(folder):
    return [folder / "tomo.mrc", "--point", "8,8"], "three numbers .* '8,8'"


def point_not_a_number(folder):
    return [folder / "tomo.mrc", "--point", "8,8,nine"], "three numbers"


def point_nan(folder):
    return [folder / "tomo.mrc", "--point", "8,8,nan"], "finite"


def no_point(folder):
    return [folder / "tomo.mrc", None], "--point Z,Y,X or --points FILE"


def unknown_preset(folder):
    return [folder / "tomo.mrc", "--preset", "fastest"], "'fastest'.*embedded"


def unknown_features(folder):
    return [folder / "tomo.mrc", "--features", "dino9"], "'dino9'.*invariants"


def unknown_segmenter(folder):
    return [folder / "tomo.mrc", "--segmenter", "sam-vit-x"], "'sam-vit-x'.*classical"


def weights_absent(folder):
    return [folder / "tomo.mrc", "--preset", "fast"], "cryosam models fetch .*default preset .*needs no download"


def segmenter_weights_absent(folder):
    return [folder / "tomo.mrc", "--segmenter", "sam-vit-b"], "cryosam models fetch sam-vit-b"


def unknown_device(folder):
    return [folder / "tomo.mrc", "--device", "tpu"], "tpu"


def unknown_option(folder):
    return [folder / "tomo.mrc", "--treshold", "0.5"], "--treshold"


def threshold_out_of_range(folder):
    return [folder / "tomo.mrc", "--threshold", "1.5"], "threshold .* 1.5"


def no_voxel_size_but_a_diameter(folder):
    write_volume(folder / "bare.mrc", np.array(read_volume(folder / "tomo.mrc")), None)
    return [folder / "bare.mrc", "--diameter", "100"], "--voxel-size"


def negative_diameter(folder):
    return [folder / "tomo.mrc", "--diameter", "-5"], "diameter"


def zero_voxel_size(folder):
    return [folder / "tomo.mrc", "--voxel-size", "0"], "voxel size must be positive"


def star_without_coordinates(folder):
    (folder / "p.star").write_text("data_\n\nloop_\n_rlnTomoName #1\n_rlnAngleRot #2\ntomo 3.0\n")
    return [folder / "tomo.mrc", "--points", folder / "p.star"], "p.star.*coordinates"


def points_file_absent(folder):
    return [folder / "tomo.mrc", "--points", folder / "p.csv"], "p.csv"


def points_of_two_kinds(folder):
    (folder / "p.csv").write_text("z,y,x,name\n8,8,9,a\n14,20,12,b\n")
    return [folder / "tomo.mrc", "--points", folder / "p.csv"], "of several kinds; put --kind NAME before"


def point_before_its_class(folder):
    return [
        folder / "tomo.mrc",
        None,
        "--point",
        "8,8,9",
        "--kind",
        "a",
        "--point",
        "8,8,9",
    ], "before the first --kind"


def class_without_a_point(folder):
    return [folder / "tomo.mrc", None, "--kind", "a", "--point", "8,8,9", "--kind", "b"], "kind b has no point"


def class_that_is_no_file_name(folder):
    return [folder / "tomo.mrc", None, "--kind", "a/b", "--point", "8,8,9"], "letters, digits"


def empty_points_file(folder):
    (folder / "p.csv").write_text("z,y,x\n")
    return [folder / "tomo.mrc", None, "--points", folder / "p.csv"], "no points"


def mask_of_another_shape(folder):
    write_volume(folder / "m.mrc", np.ones((5, 6, 7), dtype=np.int8), 10.0)
    return [folder / "tomo.mrc", "--search-mask", folder / "m.mrc"], r"\(5, 6, 7\).*\(24, 30, 42\)"


def unknown_setting(folder):
    (folder / "c.toml").write_text("[matching]\ntreshold = 0.3\n")
    return [folder / "tomo.mrc", "--config", folder / "c.toml"], "matching.treshold"


def settings_of_another_preset(folder):
    (folder / "c.toml").write_text('preset = "paper"\n')
    return [folder / "tomo.mrc", "--config", folder / "c.toml", "--preset", "fast"], "--preset fast.*paper"


def output_not_empty(folder):
    (folder / "out").mkdir()
    (folder / "out" / "thesis.txt").write_text("mine")
    return [folder / "tomo.mrc"], "not empty.*--overwrite"


def output_below_a_file(folder):
    return [folder / "tomo.mrc", "--out", folder / "tomo.mrc" / "out"], "cannot write to"


def output_is_a_file(folder):
    return [folder / "tomo.mrc", "--out", folder / "tomo.mrc", "--overwrite"], "is a file"


BAD = [
    missing_file,
    truncated_mrc,
    not_an_mrc,
    unknown_format,
    image_2d,
    with_nan,
    constant,
    point_outside,
    point_negative,
    point_of_two_numbers,
    point_not_a_number,
    point_nan,
    no_point,
    unknown_preset,
    unknown_features,
    unknown_segmenter,
    weights_absent,
    segmenter_weights_absent,
    unknown_device,
    unknown_option,
    threshold_out_of_range,
    no_voxel_size_but_a_diameter,
    negative_diameter,
    zero_voxel_size,
    star_without_coordinates,
    points_file_absent,
    points_of_two_kinds,
    point_before_its_class,
    class_without_a_point,
    class_that_is_no_file_name,
    empty_points_file,
    mask_of_another_shape,
    unknown_setting,
    settings_of_another_preset,
    output_not_empty,
    output_below_a_file,
    output_is_a_file,
]


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_input_is_one_line_and_nothing_is_written(make, tomo):
    folder = tomo.parent
    words, expected = make(folder)
    if None in words:
        words = [word for word in words if word is not None]
    else:
        words += ["--point", "8,8,9"]
    if "--out" not in words:
        words += ["--out", folder / "out"]
    before = contents(folder)
    line = refused("segment", *words)
    assert re.search(expected, line), line
    assert contents(folder) == before


# --- failures that are nobody's input ---------------------------------------------------------------------------------


def test_no_space_is_found_before_the_work(tomo, tmp_path, monkeypatch):
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    monkeypatch.setattr(segmentation, "segment", None)
    assert "not enough space" in refused("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_permission_is_found_before_the_work(tomo, tmp_path, monkeypatch):
    def deny(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(folders.tempfile, "TemporaryFile", deny)
    monkeypatch.setattr(segmentation, "segment", None)
    assert "Permission denied" in refused("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left on device"),
        (MemoryError("cannot allocate 9 GB"), 2, "not enough memory (cannot allocate 9 GB)"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nmore"), 2, "not enough memory (CUDA out of"),
        (KeyboardInterrupt(), 130, "interrupted; no half-written file is left"),
    ],
)
@pytest.mark.parametrize("when", ["computing", "writing"])
def test_a_run_that_breaks_off_says_why_and_leaves_nothing(tomo, calls, tmp_path, monkeypatch, error, code, said, when):
    def fail(*_, **__):
        raise error

    place = (segmentation, "segment") if when == "computing" else (results, "write_mrc_labels")
    monkeypatch.setattr(*place, fail)
    before = contents(tmp_path)
    result = cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out", code=code)
    line = result.stderr.strip()  # Ctrl-C begins a new line, after the ^C of the terminal
    assert "\n" not in line
    assert said in line
    assert contents(tmp_path) == before


def test_a_fault_of_the_program_keeps_its_traceback(tomo, tmp_path, monkeypatch):
    monkeypatch.setattr(segmentation, "segment", lambda *_, **__: 1 / 0)
    result = CliRunner().invoke(main, ["segment", str(tomo), "--point", "8,8,9", "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, ZeroDivisionError)


SLOW = """
import sys, time
from cryosam import segmentation
from cryosam.cli import main
def wait(*_, **__):
    print("started", flush=True)
    time.sleep(60)
segmentation.segment = wait
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_at_once(tomo, tmp_path, number, code):
    words = ["segment", str(tomo), "--point", "8,8,9", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells let background jobs ignore it
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in said
    assert {p.name for p in tmp_path.iterdir()} == {"tomo.mrc"}


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m cryosam segment --help | true"
    assert subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stderr == ""


# --- models in folders ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["paper", "fast"])
def test_presets_of_2d_models_run_with_models_in_folders(tomo, tmp_path, preset):
    write_model(tiny_dinov2(), tmp_path / "dino")
    write_model((tiny_sam if preset == "paper" else tiny_sam2)(), tmp_path / "sam")
    models = ["--features", tmp_path / "dino", "--segmenter", tmp_path / "sam"]
    words = ["--preset", preset, *models, "--diameter", "70", "--threshold", "0", "--max-particles", "5"]
    cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out", *words)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written >= {"particles.star", "instances.mrc", "semantic.mrc", "score.mrc", "report.html"}
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["configuration"]["preset"] == preset
    assert run["configuration"]["features"]["backend"] == str(tmp_path / "dino")
    assert len(read_points(tmp_path / "out" / "particles.csv").points) == run["n_particles"] <= 5


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["segment", "pick", "mask", "query"])
def test_help_lists_options_in_groups(command):
    sections = re.split(r"\n(?=\S.*:\n)", cli(command, "--help").stdout)
    titles = [section.partition(":\n")[0] for section in sections]
    assert [title for title in titles if title in ("What to find", "Size and tomogram", "Results")] == [
        "What to find",
        "Size and tomogram",
        "Results",
    ]
    (others,) = [section for section in sections if section.startswith("Other options")]
    assert re.findall(r"^  (?:-h, )?(--[\w-]+)", others, re.MULTILINE) == ["--help"]
    named = [
        option
        for section in sections
        for option in re.findall(r"^  (--[\w-]+)", section, re.MULTILINE)
        if section is not others
    ]
    assert len(named) == len(set(named)) == len(main.commands[command].params) - 1  # the tomogram


@pytest.mark.parametrize(("option", "meant"), [("--gpu", "--device cuda"), ("--diametr", "--diameter")])
def test_a_wrong_option_is_told_the_right_one(option, meant):
    result = CliRunner().invoke(main, ["segment", "tomo.mrc", option])
    assert result.exit_code == 2
    assert meant in result.stderr
    assert "--out" not in result.stderr


# --- progress ---------------------------------------------------------------------------------------------------------


def test_a_log_gets_a_line_only_for_what_takes_long(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with show_progress(Steps(MASKS)) as progress:
        for done in range(129):
            progress("segmenting", done, 128)
            now[0] += 0.5
    assert capsys.readouterr().err.splitlines() == [
        "cryosam: segmenting, 3 %, about 62 s left",
        "cryosam: segmenting, 34 %, about 42 s left",
        "cryosam: segmenting, 66 %, about 22 s left",
        "cryosam: segmenting, 97 %, about 2 s left",
    ]


def test_a_terminal_gets_one_bar_on_stderr(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with show_progress(Steps(SEARCH)) as progress:
        progress("describing", 4, 4)
        progress("matching", 1, 1)
        progress("segmenting", 33, 66)
        progress("segmenting", 1, 9)
    output = capsys.readouterr()
    assert output.out == ""
    assert "4/7 segmenting them" in output.err
    assert "35%" in output.err


# --- the other commands -----------------------------------------------------------------------------------------------


@pytest.fixture
def answer(tmp_path):
    """A folder with the truth: the balls, of two kinds."""
    folder = tmp_path / "truth"
    folder.mkdir()
    rows = [f"{name},{i},{z},{y},{x}" for i, ((z, y, x), name) in enumerate(zip(CENTRES, "aab", strict=True), start=1)]
    (folder / "particles.csv").write_text("\n".join(["name,instance,z,y,x", *rows]))
    write_volume(folder / "instances.mrc.gz", planted(), 10.0)
    return folder


def scores(*words):
    return json.loads(cli("evaluate", *words, "--json").stdout)


def test_evaluate_a_result_against_each_kind(tomo, calls, answer, tmp_path):
    cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out")
    both = scores(tmp_path / "out", answer)
    assert list(both["detections"]) == list(both["instances"]) == ["a", "b"]
    assert both["detections"]["a"]["n_matched"] == 2
    assert both["detections"]["a"]["precision"] == pytest.approx(2 / 3)
    assert both["detections"]["a"]["recall"] == 1
    assert both["detections"]["a"]["average_precision"] == 1
    assert both["detections"]["a"]["best_threshold"] == 0.8
    assert both["instances"]["b"]["mean_iou"] == 1
    assert both["instances"]["b"]["recognition_quality"] == pytest.approx(2 / 4)
    table = cli("evaluate", tmp_path / "out", answer, "--name", "b").stdout
    row = next(line.split() for line in table.splitlines() if line.startswith("b "))
    assert row[:7] == ["b", "3", "1", "1", "0.333", "1.000", "0.500"]


def test_evaluate_files_of_other_programs(tomo, calls, tmp_path):
    cli("pick", tomo, "--point", "8,8,9", "--out", tmp_path / "out", "--export", "dynamo,em,imod,warp")
    for name in ("particles.tbl", "particles.em", "particles-tomo.mod", "particles-warp.star"):
        said = cli("evaluate", tmp_path / "out" / name, tmp_path / "out" / "particles.csv", "--json").stdout
        assert json.loads(said)["detections"]["all"]["f1"] == 1


def test_evaluate_tables_of_points(answer, tmp_path):
    (tmp_path / "picks.csv").write_text("z,y,x\n8,8,12\n14,20,12\n11,15,38\n")
    picks = (tmp_path / "picks.csv", answer / "particles.csv")
    assert scores(*picks, "--name", "a", "--distance", "3")["detections"]["a"]["n_matched"] == 2
    assert scores(*picks, "--name", "a", "--distance", "2.9")["detections"]["a"]["n_matched"] == 1
    assert scores(*picks)["detections"]["b"]["n_matched"] == 0
    assert scores(*picks)["instances"] == {}


def test_evaluate_lists_without_column_names(answer, tmp_path):
    """The order of the axes is that of the lists; files that name their columns do not need it."""
    (tmp_path / "picks.csv").write_text("z,y,x\n8,8,9\n")
    (tmp_path / "picks.txt").write_text("# x y z\n9 8 8\n")
    for picks in (("picks.csv", "picks.txt"), ("picks.txt", "picks.csv"), ("picks.txt", "picks.txt")):
        found = scores(*(tmp_path / name for name in picks), "--axes", "xyz", "--distance", "0.1")
        assert found["detections"]["all"]["n_matched"] == 1
    assert "give it, such as --axes xyz" in refused("evaluate", tmp_path / "picks.txt", answer)


@pytest.mark.parametrize("content", ["nonsense", "[1]", '{"other": 1}'])
def test_evaluate_beside_a_damaged_run_json(answer, tmp_path, content):
    (tmp_path / "picks.csv").write_text("z,y,x\n8,8,9\n")
    (tmp_path / "run.json").write_text(content)
    assert "run.json" in refused("evaluate", tmp_path / "picks.csv", answer)


def test_evaluate_names_the_kind_that_picks_without_names_hit(tmp_path):
    """And leaves out the kinds that they do not hit."""
    (tmp_path / "picks.csv").write_text("z,y,x\n8,8,9\n14,20,12\n")
    rows = "\n".join(f"kind{i},{9 * i + 8},8,9" for i in range(5))
    (tmp_path / "truth.csv").write_text(f"name,z,y,x\n{rows}\n")
    said = cli("evaluate", tmp_path / "picks.csv", tmp_path / "truth.csv")
    assert "for one kind: --name kind0" in said.stderr
    assert "kind0" in said.stdout
    assert "kind1" not in said.stdout
    assert len(scores(tmp_path / "picks.csv", tmp_path / "truth.csv")["detections"]) == 5


def test_evaluate_takes_the_star_file_of_a_result(tomo, calls, answer, tmp_path):
    cli("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out")
    found = scores(tmp_path / "out" / "particles.star", answer)["detections"]["a"]
    assert found["mean_distance"] == pytest.approx(0, abs=1e-3)


UNBINNED = """data_optics

loop_
_rlnOpticsGroup
_rlnTomoTiltSeriesPixelSize
1 2.5

data_particles

loop_
_rlnCoordinateX
_rlnCoordinateY
_rlnCoordinateZ
_rlnOpticsGroup
36 32 32 1
48 80 56 1
"""


def test_pixels_without_a_voxel_size_are_asked_about_in_every_command(answer, tomo, calls, tmp_path):
    (tmp_path / "p.star").write_text(UNBINNED)
    data = read_volume(tomo)
    write_volume(tmp_path / "bare.mrc", data, None)
    question = r"pixels of 2\.5 angstrom, and the voxel size is unknown; give it \(--voxel-size"
    for words in (
        ("convert", tmp_path / "p.star", tmp_path / "p.csv"),
        ("evaluate", tmp_path / "p.star", answer / "particles.csv"),
        ("evaluate", answer / "particles.csv", tmp_path / "p.star"),
        ("segment", tmp_path / "bare.mrc", "--points", tmp_path / "p.star", "--out", tmp_path / "out"),
        ("mask", tmp_path / "bare.mrc", "--points", tmp_path / "p.star", "--out", tmp_path / "out"),
        ("query", tmp_path / "bare.mrc", "--points", tmp_path / "p.star", "--out", tmp_path / "q.npz"),
    ):
        assert re.search(question, refused(*words)), words
    assert not (tmp_path / "p.csv").exists()
    assert not (tmp_path / "out").exists()


def test_evaluate_takes_the_voxel_size_from_an_option_or_the_tomogram(answer, tomo, tmp_path):
    (tmp_path / "p.star").write_text(UNBINNED)
    for option in (("--voxel-size", "10"), ("--tomogram", tomo)):
        found = scores(tmp_path / "p.star", answer / "particles.csv", "--name", "a", "--distance", "0.1", *option)
        assert found["detections"]["a"]["n_matched"] == 2
    line = refused("evaluate", tmp_path / "p.star", answer / "particles.csv", "--voxel-size", "0")
    assert "must be positive" in line


def test_two_contradicting_voxel_sizes_are_said(answer, tomo, calls, tmp_path, caplog):
    (tmp_path / "p.star").write_text(UNBINNED)
    header = "header says that voxels are 10 angstrom; the given 5 are used"
    both = ("--tomogram", tomo, "--voxel-size", "5")
    segment = ("segment", tomo, "--point", "8,8,9", "--out", tmp_path / "out", "--overwrite", "--voxel-size")
    for said, words in (
        (header, ("convert", tmp_path / "p.star", tmp_path / "p.csv", *both)),
        (header, ("evaluate", tmp_path / "p.star", answer / "particles.csv", *both)),
        (header, (*segment, "5")),
        ("run.json says that voxels are 5", ("convert", tmp_path / "out", tmp_path / "p.tbl", "--tomogram", tomo)),
    ):
        caplog.clear()
        cli(*words)
        assert said in caplog.text, words
    caplog.clear()
    cli(*segment, "10.05")
    assert "says that voxels" not in caplog.text


def test_evaluate_picks_that_name_their_kind(answer, tmp_path):
    (tmp_path / "picks.csv").write_text("name,z,y,x\na,8,8,9\nb,14,20,12\n")
    by_kind = scores(tmp_path / "picks.csv", answer / "particles.csv")["detections"]
    assert (by_kind["a"]["n_predicted"], by_kind["a"]["n_matched"]) == (1, 1)
    assert (by_kind["b"]["n_predicted"], by_kind["b"]["n_matched"]) == (1, 0)


def test_evaluate_volumes_of_labels(answer, tmp_path):
    moved = np.roll(planted(), 1, axis=2)
    write_volume(tmp_path / "moved.mrc", moved, 10.0)
    found = scores(tmp_path / "moved.mrc", answer / "instances.mrc.gz")
    overlap = (moved & planted() > 0).sum()
    assert found["detections"] == {}
    assert found["instances"]["all"]["semantic_dice"] == pytest.approx(2 * overlap / (moved > 0).sum() / 2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["absent", "{truth}"], "no such file or folder"),
        (["{truth}/particles.csv", "{truth}/instances.mrc.gz"], "cannot be compared"),
        (["{truth}", "{truth}", "--name", "c"], "'c'.*a, b"),
        (["{truth}/instances.mrc.gz", "{truth}/instances.mrc.gz", "--name", "a"], "have no kind names"),
        (["{truth}", "{truth}", "--distance", "-1"], "distance"),
        (["{truth}/..", "{truth}"], "no particles.csv"),
    ],
)
def test_evaluate_refuses_what_cannot_be_compared(answer, words, expected):
    line = refused("evaluate", *(word.format(truth=answer) for word in words))
    assert re.search(expected, line), line


def test_info(tomo):
    text = cli("info", tomo).stdout
    assert "24 x 30 x 42 (z, y, x)" in text
    assert "10 angstrom" in text
    assert "24 x 30 x 42 nm" in text
    assert "protein looks dark" in text
    assert "not visible" in next(line for line in text.splitlines() if line.startswith("tilts"))
    assert "note:" not in text


def test_info_tells_the_tilts(tmp_path):
    grid = np.meshgrid(*map(np.fft.fftfreq, (60, 40, 62)), indexing="ij")
    noise = np.fft.fftn(np.random.default_rng(0).normal(size=(60, 40, 62)))
    wedge = MissingWedge(tilt_range=(-50.0, 60.0), beam="y")
    path = tmp_path / "unrotated.mrc"
    write_volume(path, np.fft.ifftn(noise * wedge.is_sampled(*grid)).real.astype(np.float32), 10.0)
    lines = cli("info", path).stdout.splitlines()
    (tilts,) = (line for line in lines if line.startswith("tilts"))
    assert re.search(r"-5\d to \+6\d degrees about z, beam along y; the missing wedge is visible", tilts)
    assert any("beam seems to be along y" in line for line in lines if line.startswith("note:"))


@pytest.mark.parametrize(
    ("make", "expected"), [(with_nan, "NaN"), (constant, "same value"), (no_voxel_size_but_a_diameter, "--voxel-size")]
)
def test_info_says_what_is_wrong(tomo, make, expected):
    path = make(tomo.parent)[0][0]
    assert any(expected in line for line in cli("info", path).stdout.splitlines() if line.startswith("note:"))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's account of memory is read")
def test_info_does_not_read_a_large_file(tmp_path):
    """A sparse file of 2 GB: its blocks are only on disk where they were written."""
    write_volume(tmp_path / "large.mrc", np.zeros((1, 2, 2), dtype=np.float32), 10.0)
    header = bytearray((tmp_path / "large.mrc").read_bytes()[:1024])
    nx, ny, nz = 1000, 1000, 500
    for offset in (0, 28):
        header[offset : offset + 12] = np.array([nx, ny, nz], dtype="<i4").tobytes()
    header[40:52] = (np.array([nx, ny, nz]) * 10).astype("<f4").tobytes()
    with (tmp_path / "large.mrc").open("wb") as file:
        file.write(header)
        file.truncate(1024 + 4 * nx * ny * nz)
    # not of getrusage: the largest memory of the process that started this one counts there
    code = "import sys\nfrom cryosam.cli import main\ntry: main(['info', sys.argv[1]])\n"
    code += "except SystemExit: pass\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "large.mrc")], capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - start < 10
    assert "500 x 1000 x 1000 (z, y, x)" in done.stdout
    assert int(done.stdout.split()[-1]) < 1_000_000  # kilobytes


def test_simulate_and_its_seed(tmp_path):
    words = "--clean --shape 40,44,48 --count ring=2 --voxel-size 12 --snr 0.2 --tilt 50 --seed".split()  # noqa: SIM905
    text = cli("simulate", "--out", tmp_path / "a", *words, "3").stdout
    assert "2 particles of 1 kinds (ring)" in text
    cli("simulate", "--out", tmp_path / "b", *words, "3")
    cli("simulate", "--out", tmp_path / "c", *words, "4")
    same, other = (read_volume(tmp_path / name / "tomo.mrc") for name in "bc")
    first = cryosam.read_tomogram(tmp_path / "a" / "tomo.mrc")
    assert first.shape == (40, 44, 48)
    assert first.voxel_size_angstrom == 12
    np.testing.assert_array_equal(first.data, same)
    assert (first.data != other).any()
    assert read_points(tmp_path / "a" / "particles.csv").names == ("ring", "ring")


def test_simulate_a_tilt_series(tmp_path):
    """Each option changes the tomogram, and none the answer."""
    words = ["--clean", "--shape", "40,44,48", "--count", "ring=2"]
    series = [*words, "--imaging", "tilt-series"]
    runs = {
        "fourier": words,
        "series": series,
        "lopsided": [*series, "--tilt", "-40,50"],
        "coarse": [*series, "--tilt-step", "6"],
        "deconvolved": [*series, "--deconvolve"],
        "crowded": [*series, "--crowd", "0.01"],
    }
    for name, given in runs.items():
        cli("simulate", "--out", tmp_path / name, *given)
    tomograms = [read_volume(tmp_path / name / "tomo.mrc") for name in runs]
    assert len({tomogram.tobytes() for tomogram in tomograms}) == len(runs)
    assert len({(tmp_path / name / "particles.csv").read_text() for name in runs}) == 1


def test_simulate_with_the_user_s_own_maps(tmp_path):
    (tmp_path / "maps").mkdir()
    write_volume(tmp_path / "maps" / "1abc.mrc", BALL.astype(np.float32), 10.0)
    words = ["--clean", "--shape", "40,44,48", "--densities", tmp_path / "maps", "--count", "1abc=3"]
    cli("simulate", "--out", tmp_path / "out", *words)
    assert read_points(tmp_path / "out" / "particles.csv").names == ("1abc",) * 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--count", "ring"], "ring=20"),
        (["--count", "unicorn=3"], "unicorn"),
        (["--shape", "40,44"], "three whole numbers"),
        (["--snr", "0"], "snr"),
        (["--densities", "absent"], "absent"),
        (["--tilt", "95"], "90"),
        (["--tilt", "-40,50,60"], "both ends, such as -51,57"),
        (["--tilt", "steep"], "the largest tilt, such as 60"),
        (["--crowd", "-1"], "crowding"),
        (["--deconvolve"], "--imaging tilt-series"),
    ],
)
def test_simulate_refuses(tmp_path, words, expected):
    assert expected in refused("simulate", "--out", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_the_cache_is_told_of_and_cleared(tmp_path):
    kept = FeatureCache(tmp_path / "kept")
    kept.get_or_compute("0123456789abcdef", lambda: {"a": np.zeros(2_500_000)})
    told = cli("cache", "info", "--cache", kept.folder).output.splitlines()
    assert told[0] == f"{kept.folder}: entries 1, size 0.02 GB, limit 50 GB"
    assert re.fullmatch(r"0123456789ab +0\.02 GB  last used \d{4}-\d\d-\d\d \d\d:\d\d", told[1])
    assert cli("cache", "clear", "--cache", kept.folder).output == f"{kept.folder}: 0.02 GB deleted\n"
    assert cli("cache", "info", "--cache", kept.folder).output.startswith(f"{kept.folder}: entries 0, size 0.00 GB")


def test_models_list_says_what_is_ready():
    rows = {line.split()[0]: line for line in cli("models", "list").stdout.splitlines() if line.strip()}
    assert rows["invariants"].rstrip().endswith("yes")
    assert rows["classical"].rstrip().endswith("yes")
    assert "cryosam models fetch sam-vit-b" in rows["sam-vit-b"]


def test_models_fetch_and_import_refuse(tmp_path):
    assert "no model 'sam-vit-x'" in refused("models", "fetch", "sam-vit-x")
    assert "absent.pth" in refused("models", "import", tmp_path / "absent.pth")


# --- the real thing ---------------------------------------------------------------------------------------------------


def test_from_one_click_to_a_score(tmp_path):
    """simulate, segment, evaluate: real code from end to end on a small phantom."""
    counts = ["--count", "bilobe=5", "--count", "tetramer=2"]
    cli(
        "simulate", "--out", tmp_path / "truth", "--clean", "--shape", "64,96,104", *counts, "--snr", "1", "--seed", "1"
    )
    table = read_points(tmp_path / "truth" / "particles.csv").select("bilobe")
    inside = ((table.points > 14) & (table.points < np.array([50, 82, 90]))).all(axis=1)
    point = ",".join(f"{c:.0f}" for c in table.points[inside][0])
    cli("segment", tmp_path / "truth" / "tomo.mrc", "--point", point, "--out", tmp_path / "out")
    result = scores(tmp_path / "out", tmp_path / "truth", "--name", "bilobe")
    assert result["detections"]["bilobe"]["f1"] >= 0.75
    assert result["instances"]["bilobe"]["mean_dice"] > 0.5
    cli("mask", tmp_path / "truth" / "tomo.mrc", "--point", point, "--out", tmp_path / "one")
    mask = read_results(tmp_path / "one").read_instances() > 0
    truth = read_volume(tmp_path / "truth" / "instances.mrc") == table.instances[inside][0]
    assert 2 * (mask & truth).sum() > 0.5 * (mask.sum() + truth.sum())


def test_the_demo(tmp_path, monkeypatch):
    """The demo's steps, on a smaller phantom than its own."""
    import cryosam.evaluation.simulation as simulation

    small = simulation.SimulationConfig(
        shape=(56, 88, 96), counts={simulation.DEMO_KIND: 5, "ring": 2}, n_vesicles=0, n_gold=0, n_debris=2, snr=1.0
    )
    monkeypatch.setattr(simulation, "demo_config", lambda _: small)
    out = tmp_path / "demo"
    text = cli("demo", "--out", out).stdout
    assert "clicking one" in text
    assert "F1" in text
    not_always = {"candidates.csv", "average.mrc"}
    assert {p.name for p in out.iterdir()} - not_always == {*OUTPUTS, "truth"} - not_always
    assert "not empty" in refused("demo", "--out", out)
    assert "F1" in cli("demo", "--out", out, "--overwrite").stdout
