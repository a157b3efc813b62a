"""What the command line found, shown in a session."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial.transform import Rotation

from cryosam.cli import main
from cryosam.errors import InputError
from cryosam.io import read_points, read_volume, write_volume
from cryosam.io.results import RunInfo, write_segmentation
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.results import Average, ScoreMap, Segmentation
from cryosam.run_report import RunReport, RunWarning
from cryosam.saved_query import SavedQuery
from cryosam.tomogram import Tomogram
from cryosam.ui.earlier import add_results
from cryosam.ui.exchange import write_all
from cryosam.ui.opening import open_searched
from cryosam.ui.session import Session
from cryosam.ui.viewed import Gallery, ViewedTomogram
from stand_ins import query

SHAPE = (20, 24, 30)
POINTS = np.array([[5.0, 6.0, 7.0], [12.0, 13.0, 20.0], [4.0, 18.0, 25.0]])
TURNS = Rotation.from_euler("ZYZ", [[10, 20, 30], [40, 50, 60]], degrees=True)


def cube(point: np.ndarray) -> InstanceMask:
    z, y, x = (int(c) - 1 for c in point)
    return InstanceMask((z, y, x), np.ones((3, 3, 3), dtype=bool))


def found(kind: str = "particle") -> Segmentation:
    """Two that were accepted, and one that was not."""
    return Segmentation(
        shape=SHAPE,
        points=POINTS[:2] + 0.25,  # refined
        scores=np.array([0.9, 0.7]),
        masks=(cube(POINTS[0]), cube(POINTS[1])),
        rotations=TURNS,
        score_map=ScoreMap(np.where(np.arange(6 * 8 * 5).reshape(5, 6, 8) % 2, 0.5, np.nan).astype(np.float32), 4),
        candidate_points=POINTS,
        candidate_scores=np.array([0.9, 0.7, 0.2]),
        candidate_masks=tuple(cube(point) for point in POINTS),
        threshold=0.5,
        average=Average(np.ones((4, 4, 4), dtype=np.float32), 1.5, np.array([1.0, 0.9, 0.25])),
        prompt_masks=(cube(POINTS[0]),),
        report=RunReport(diameter=6.0, smoothing=1.25, warnings=(RunWarning("doubt", "look twice"),)),
        voxel_size_angstrom=10.0,
        name="tomo",
        kind=kind,
    )


def written(
    folder: Path, segmentation: Segmentation, prompts: PointPrompts | SavedQuery | Sequence[PointPrompts]
) -> Path:
    """A tomogram and, beside it, a result."""
    volume = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    write_volume(folder / "tomo.mrc", volume, 10.0)
    run = RunInfo(input_path=str(folder / "tomo.mrc"))
    tomogram = Tomogram(volume, 10.0, "tomo")
    return write_segmentation(folder / "out", segmentation, tomogram=tomogram, prompts=prompts, run=run)


def shown(*files: Path) -> Session:
    return Session(Gallery([ViewedTomogram(file) for file in files]))


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    prompts = PointPrompts(np.array([POINTS[0], [1.0, 2.0, 3.0]]), np.array([True, False]))
    folder = written(tmp_path, found(), prompts)
    session = shown(tmp_path / "tomo.mrc")
    add_results(session, [folder])
    (kind,) = session.state.kinds
    view = session.state.view(0, kind.id)
    assert [(click.point, click.is_positive, click.mask.n_voxels) for click in view.clicks] == [
        (tuple(POINTS[0]), True, 27),
        ((1.0, 2.0, 3.0), False, 0),
    ]
    np.testing.assert_allclose([c.point for c in view.candidates], [*(POINTS[:2] + 0.25), POINTS[2]])
    np.testing.assert_allclose([c.score or 0 for c in view.candidates], [0.9, 0.7, 0.2])
    assert [c.mask.n_voxels for c in view.candidates] == [27, 27, 0]
    assert view.candidates[1].mask.iou(cube(POINTS[1])) == 1
    assert (view.threshold, view.is_stale, view.warnings) == (0.5, False, ("look twice",))
    assert view.size is not None
    assert view.size.diameter == 6.0
    assert view.average is not None
    assert view.average.fsc is not None
    assert view.average.fsc.tolist() == [1.0, 0.9, 0.25]
    write_all(session, 0, tmp_path / "again")
    for name in ("particles.csv", "particles.star"):
        assert (tmp_path / "again" / name).read_text() == (folder / name).read_text()
    for name in ("instances.mrc", "score.mrc", "average.mrc"):
        np.testing.assert_array_equal(read_volume(tmp_path / "again" / name), read_volume(folder / name))


def test_several_kinds_come_back_apart(tmp_path: Path) -> None:
    parts = [found("disc"), found("rod")]
    folder = written(tmp_path, Segmentation.combine(parts), [PointPrompts(POINTS[:1], name=p.kind) for p in parts])
    session = shown(tmp_path / "tomo.mrc")
    add_results(session, [folder])
    assert [kind.name for kind in session.state.kinds] == ["disc", "rod"]
    for kind in session.state.kinds:
        view = session.state.view(0, kind.id)
        assert len(view.candidates) == 3
        assert view.warnings == ("look twice",)
        assert view.score_map is not None
        assert view.score_map.stride == 4


def test_results_of_one_tomogram_and_of_several(tmp_path: Path) -> None:
    """Kinds are shared by tomograms; two results of one tomogram are told apart."""
    folders = []
    for name in "ab":
        (tmp_path / name).mkdir()
        folders.append(written(tmp_path / name, found(), PointPrompts(POINTS[:1])))
    session = shown(*(tmp_path / name / "tomo.mrc" for name in "ab"))
    add_results(session, [folders[1], folders[0], folders[0]])
    first, second = session.state.kinds
    assert (first.name, second.name) == ("particle", "particle 2")
    assert [len(session.state.view(t, first.id).candidates) for t in (0, 1)] == [3, 3]
    assert [len(session.state.view(t, second.id).candidates) for t in (0, 1)] == [3, 0]


def test_a_result_of_another_tomogram_is_refused_and_nothing_is_shown(tmp_path: Path) -> None:
    folder = written(tmp_path, found(), PointPrompts(POINTS[:1]))
    write_volume(tmp_path / "other.mrc", np.zeros((5, 6, 7), dtype=np.float32), 10.0)
    session = shown(tmp_path / "other.mrc")
    with pytest.raises(InputError, match="20 x 24 x 30 voxels; give that tomogram"):
        add_results(session, [folder])
    assert session.state.kinds == ()


def test_the_command_shows_results_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path, found(), PointPrompts(POINTS[:1]))
    served: list[int] = []

    def look(session: Session, **_: object) -> None:
        (kind,) = session.state.kinds
        served.append(len(session.state.view(0, kind.id).candidates))
        session.close()

    monkeypatch.setattr("cryosam.ui.server.running.serve", look)
    monkeypatch.setenv("CRYOSAM_SESSIONS", str(tmp_path / "sessions"))
    words = ["serve", str(tmp_path / "tomo.mrc"), "--results", str(folder), "--no-browser"]
    first, second = (CliRunner().invoke(main, words) for _ in range(2))
    assert (first.exit_code, second.exit_code, served) == (0, 0, [3, 3])
    assert "continuing the saved session" in second.stderr
    wrong = CliRunner().invoke(main, [*words[:2], "--results", str(tmp_path / "sessions")])
    assert wrong.exit_code == 2
    assert "has no run.json" in wrong.stderr
    assert read_points(folder / "particles.csv").points.shape == (2, 3)


def test_a_result_of_a_query_has_no_click(tmp_path: Path) -> None:
    folder = written(tmp_path, found("ribosome"), query("ribosome"))
    session = shown(tmp_path / "tomo.mrc")
    add_results(session, [folder])
    (kind,) = session.state.kinds
    view = session.state.view(0, kind.id)
    assert kind.name == "ribosome"
    assert (view.clicks, view.is_stale, len(view.candidates)) == ((), False, 3)
    assert view.current_warnings == ("look twice",)
    write_all(session, 0, tmp_path / "again")
    assert (tmp_path / "again" / "particles.csv").read_text() == (folder / "particles.csv").read_text()


def batch(folder: Path, names: str) -> Path:
    """The results of several tomograms, in a folder of their own."""
    for name in names:
        (folder / name).mkdir(parents=True)
        written(folder / name, found("ribosome"), query("ribosome")).rename(folder / f"results-{name}")
    (folder / "batch").mkdir()
    for name in names:
        (folder / f"results-{name}").rename(folder / "batch" / name)
    return folder / "batch"


def test_a_batch_opens_with_all_its_tomograms(tmp_path: Path) -> None:
    folder = batch(tmp_path, "abc")
    (tmp_path / "c" / "tomo.mrc").unlink()
    opened, missing = open_searched([folder])
    assert [viewed.name for viewed in opened] == ["a/tomo.mrc", "b/tomo.mrc"]
    assert [viewed.voxel_size_angstrom for viewed in opened] == [10.0, 10.0]
    session = Session(Gallery(opened))
    left_out = add_results(session, [folder])
    (kind,) = session.state.kinds
    assert [len(session.state.view(t, kind.id).candidates) for t in (0, 1)] == [3, 3]
    for sentences in (missing, left_out):
        assert len(sentences) == 1
        assert str(tmp_path / "c" / "tomo.mrc") in sentences[0]


def test_tomograms_that_are_gone_are_asked_for(tmp_path: Path) -> None:
    folder = batch(tmp_path, "a")
    (tmp_path / "a" / "tomo.mrc").unlink()
    with pytest.raises(InputError, match="were moved"):
        open_searched([folder])


def test_the_command_opens_a_batch_without_its_tomograms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, served = batch(tmp_path, "ab"), []

    def look(session: Session, **_: object) -> None:
        served.extend(len(session.state.view(t, session.state.kinds[0].id).candidates) for t in (0, 1))
        session.close()

    monkeypatch.setattr("cryosam.ui.server.running.serve", look)
    monkeypatch.setenv("CRYOSAM_SESSIONS", str(tmp_path / "sessions"))
    assert CliRunner().invoke(main, ["serve", "--results", str(folder), "--no-browser"]).exit_code == 0
    assert served == [3, 3]
    nothing = CliRunner().invoke(main, ["serve"])
    assert nothing.exit_code == 2
    assert "give a file or a folder, or --results DIR" in nothing.stderr
