"""Lines of progress: what is done, how far it is, how long it still takes."""

from __future__ import annotations

import threading
import time

import pytest

from bench import progress as module
from bench.progress import Reporter, each, progress


class Clock:
    """A clock that advances only when it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


def test_a_line_says_what_how_far_and_how_long_still(clock: Clock) -> None:
    reporter = Reporter(lambda line: None)
    reporter.begin("[7/20] vae on digits-knn")
    assert reporter.line() == (
        "[7/20] vae on digits-knn: at work, 0.0 s so far, time left not known yet"
    )
    with reporter.steps(module.Steps("training", 300_000, "images")) as counted:
        counted.update(100_000)
        clock.now += 20
        assert reporter.line() == (
            "[7/20] vae on digits-knn: training (100,000 of 300,000 images), 20.0 s so far, "
            "about 40.0 s left"
        )
    reporter.begin("[8/20] vae on digits-linear", expected=50.0, rest=600.0)
    clock.now += 20
    with reporter.steps(module.Steps("fitting linear", None, "steps")):
        assert reporter.line() == (
            "[8/20] vae on digits-linear: fitting linear, 20.0 s so far, about 30.0 s left "
            "(then about 10 min for the next ones)"
        )
    # What takes longer than it should have gives no negative time.
    clock.now += 100
    assert reporter.line().startswith(
        "[8/20] vae on digits-linear: at work, 2 min so far, time left not known yet"
    )


def test_outer_steps_stand_before_inner_ones_and_the_longer_time_counts(clock: Clock) -> None:
    reporter = Reporter(lambda line: None)
    with (
        reporter.steps(module.Steps("replicates", 5, "done")) as outer,
        reporter.steps(module.Steps("training", 10, "images")) as inner,
    ):
        outer.update()
        inner.update(5)
        clock.now += 10
        assert reporter.line() == (
            "replicates (1 of 5 done), training (5 of 10 images), 10.0 s so far, about 40.0 s left"
        )
    assert reporter.line().startswith("at work")


def test_steps_outside_of_a_run_are_reported_once_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.02)
    with progress("outer", 2, "halves") as outer:
        for _ in each(range(3), "inner", 3, "parts"):
            time.sleep(0.05)
        outer.update()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and 3 <= len(lines) <= 12
    assert all(line.startswith("outer (0 of 2 halves), inner (") for line in lines[:3])
    time.sleep(0.1)
    assert capsys.readouterr().err == ""
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(each(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_work_that_fails_leaves_no_steps_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    with Reporter(lines.append) as reporter:
        with pytest.raises(ValueError, match="half way"), progress("failing", 2):
            raise ValueError("half way")
        assert reporter.line().startswith("at work")
    assert lines == []


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_closed_standard_error_stops_no_work(
    stream: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    import io

    output = io.StringIO()
    output.close()
    monkeypatch.setattr("sys.stderr", None if stream is None else output)
    module.to_stderr("a line")
