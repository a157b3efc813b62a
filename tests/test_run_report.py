"""What a run found out: typed, and as it is written."""

import numpy as np

from cryosam.run_report import Recorder, RunReport


def test_what_is_written_is_read_again() -> None:
    report = RunReport(
        contrast="dark",
        segmenter_digest="a",
        features_digest="b",
        separation=4.25,
        most_typical=(3.0, 4.0, 5.0),
        click_probability=0.875,
        n_like_negatives=2,
        resolution=6.5,
        whole_diameter=21.0,
        expected_false=0.25,
        diameter=12.5,
        smoothing=1.5,
        seconds={"features": 1.5, "averaging": 0.25},
    )
    told = report.provenance()
    assert told["seconds_features"] == 1.5
    assert told["most_typical"] == "3,4,5"
    assert RunReport.from_provenance(told) == report


def test_what_was_not_found_out_is_not_written() -> None:
    assert RunReport().provenance() == {}
    assert RunReport.from_provenance({}) == RunReport()


def test_seconds_add_up_and_warnings_keep_their_order_and_place() -> None:
    recorder = Recorder()
    for _ in range(2):
        with recorder.timed("features"):
            pass
    recorder.warn("first", "at {point}", np.array([1.0, 2.5, 3.0]))
    recorder.warn("second", "nowhere")
    assert list(recorder.report.seconds) == ["features"]
    assert [str(warning) for warning in recorder.report.warnings] == ["at 1,2.5,3", "nowhere"]
    first, second = (warning.moved_by((1, 1, 1)) for warning in recorder.report.warnings)
    assert (str(first), second.point) == ("at 2,3.5,4", None)


def test_several_kinds_share_what_all_agree_on() -> None:
    first, second = Recorder(RunReport(contrast="dark", diameter=3.0)), Recorder(RunReport(contrast="dark"))
    first.warn("few", "few places")
    first.note(seconds={"features": 1.0})
    second.note(seconds={"features": 2.0, "trials": 1.0})
    both = RunReport.combine([("a", first.report), ("b", second.report)])
    assert both.provenance() == {"contrast": "dark", "seconds_features": 3.0, "seconds_trials": 1.0}
    assert [str(warning) for warning in both.warnings] == ["a: few places"]
