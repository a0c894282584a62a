from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from qtpy.QtCore import QThread
from qtpy.QtWidgets import QApplication

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.widgets import job as job_module
from napari_focusstack.widgets.dock import DockedWidget
from napari_focusstack.widgets.job import JobBar, JobRunner


def counting(n: int = 5, *, pause_s: float = 0.0, partial: bool = True) -> Job[int]:
    for i in range(n):
        time.sleep(pause_s)
        yield Progress(i + 1, n, f"slice {i}", i if partial else None)
    return n


class Heard:
    """Everything that a runner said, in order."""

    def __init__(self, runner: JobRunner) -> None:
        self.said: list[tuple[str, Any]] = []
        runner.stepped.connect(self.on_step)
        runner.succeeded.connect(self.on_result)
        runner.failed.connect(self.on_failed)
        runner.cancelled.connect(self.on_cancelled)
        runner.busy_changed.connect(self.on_busy)

    def on_step(self, step: Progress) -> None:
        self.said.append(("step", step.done))

    def on_result(self, result: object) -> None:
        self.said.append(("result", result))

    def on_failed(self, text: str) -> None:
        self.said.append(("failed", text))

    def on_cancelled(self) -> None:
        self.said.append(("cancelled", None))

    def on_busy(self, busy: bool) -> None:
        self.said.append(("busy", busy))

    def of(self, kind: str) -> list[Any]:
        return [what for k, what in self.said if k == kind]


@pytest.fixture
def runner(qapp: QApplication) -> JobRunner:
    return JobRunner()


def until_idle(qtbot: Any, runner: JobRunner) -> None:
    qtbot.waitUntil(lambda: not runner.busy, timeout=60_000)


def test_every_step_with_a_partial_result_arrives_and_then_the_result(qtbot: Any, runner: JobRunner) -> None:
    heard = Heard(runner)
    runner.start(lambda: counting(50))
    until_idle(qtbot, runner)
    assert heard.of("step") == list(range(1, 51))
    assert heard.said[-1] == ("result", 50)
    assert heard.of("busy") == [True, False]


def test_steps_without_partial_results_are_thinned_out(
    qtbot: Any, runner: JobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    milliseconds = count(1000)  # one for each step, however fast the machine
    monkeypatch.setattr(job_module, "time", SimpleNamespace(monotonic=lambda: next(milliseconds) / 1000))
    heard = Heard(runner)
    runner.start(lambda: counting(900, partial=False))
    until_idle(qtbot, runner)
    assert len(heard.of("step")) == pytest.approx(0.9 / job_module.SHORTEST_PAUSE_S, abs=2)


def test_the_job_runs_in_a_thread_and_is_answered_in_the_main_one(qtbot: Any, runner: JobRunner) -> None:
    threads: dict[str, Any] = {}

    def job() -> Job[None]:
        threads["job"] = threading.get_ident()
        yield Progress(1, 1)

    def answered(_: object) -> None:
        threads["answer"] = threading.get_ident()

    runner.succeeded.connect(answered)
    runner.start(job)
    until_idle(qtbot, runner)
    assert threads["job"] != threads["answer"] == threading.get_ident()
    assert QThread.currentThread() is QApplication.instance().thread()


def test_cancel_answers_at_once_and_closes_the_job_in_its_own_thread(qtbot: Any, runner: JobRunner) -> None:
    closed: list[int] = []
    heard = Heard(runner)

    def job() -> Job[None]:
        try:
            yield from counting(10_000, pause_s=0.01)
        finally:
            closed.append(threading.get_ident())

    runner.start(job)
    qtbot.waitUntil(lambda: len(heard.of("step")) > 2, timeout=60_000)
    runner.cancel()
    assert heard.said[-2:] == [("busy", False), ("cancelled", None)]
    qtbot.waitUntil(lambda: bool(closed), timeout=60_000)
    qtbot.wait(50)
    assert closed != [threading.get_ident()]
    assert heard.said[-1] == ("cancelled", None)


def test_answers_of_a_job_that_was_replaced_are_thrown_away(qtbot: Any, runner: JobRunner) -> None:
    heard = Heard(runner)
    gate = threading.Event()

    def slow() -> Job[str]:
        yield Progress(0, 2, partial="slow")
        gate.wait(60)
        yield Progress(1, 2, partial="slow")
        return "old"

    def fast() -> Job[str]:
        yield Progress(1, 1, partial="fast")
        return "new"

    runner.start(slow)
    qtbot.waitUntil(lambda: bool(heard.of("step")), timeout=60_000)
    runner.start(fast)
    gate.set()
    until_idle(qtbot, runner)
    qtbot.wait(50)
    assert heard.of("result") == ["new"]
    assert heard.of("busy") == [True, False]


def test_a_mistake_of_the_user_is_shown_in_its_own_words(qtbot: Any, runner: JobRunner, notes: list[str]) -> None:
    heard = Heard(runner)

    def job() -> Job[None]:
        yield Progress(0, 1)
        raise InputError("Slice 3 holds NaN: replace them first.")

    runner.start(job)
    until_idle(qtbot, runner)
    assert heard.of("failed") == ["Slice 3 holds NaN: replace them first."] == notes


def test_a_fault_of_ours_is_one_line_for_the_user_and_a_traceback_in_the_log(
    qtbot: Any, runner: JobRunner, notes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def job() -> Job[None]:
        yield Progress(0, 1)
        raise ZeroDivisionError("oh\nno")

    runner.start(job)
    until_idle(qtbot, runner)
    assert len(notes) == 1
    assert "ZeroDivisionError: oh" in notes[0]
    assert "\n" not in notes[0]
    assert "Traceback" in caplog.text


def test_a_job_that_can_not_even_be_made_is_reported(qtbot: Any, runner: JobRunner, notes: list[str]) -> None:
    def make() -> Job[None]:
        raise InputError("There is no scorer 'x'.")

    runner.start(make)
    until_idle(qtbot, runner)
    assert notes == ["There is no scorer 'x'."]


def test_a_job_stops_when_its_bar_is_deleted(qtbot: Any) -> None:
    begun, ended = threading.Event(), threading.Event()

    def job() -> Job[None]:
        try:
            begun.set()
            yield from counting(10_000, pause_s=0.01)
        finally:
            ended.set()

    bar = JobBar("Go")
    bar.runner.start(job)
    qtbot.waitUntil(begun.is_set, timeout=60_000)
    bar.deleteLater()
    gone = weakref.ref(bar)
    del bar
    qtbot.waitUntil(ended.is_set, timeout=60_000)
    gc.collect()
    assert gone() is None


def test_a_bar_shows_a_button_then_progress_then_the_button_again(qtbot: Any) -> None:
    bar = JobBar("Score slices", tooltip="Score them")
    qtbot.addWidget(bar)
    bar.show()
    starts: list[Callable[[], Job[int]]] = []

    def start() -> None:
        starts.append(lambda: counting(100_000, pause_s=0.005))
        bar.runner.start(starts[0])

    bar.requested.connect(start)
    bar.run_button.click()
    assert not bar.run_button.isVisible()
    assert bar.cancel_button.isVisible()
    qtbot.waitUntil(lambda: bar.progress_bar.value() > 1, timeout=60_000)
    assert bar.progress_bar.maximum() == 100_000
    assert "slice" in bar.progress_bar.text()
    bar.cancel_button.click()
    assert bar.run_button.isVisible()
    assert not bar.runner.busy


def test_what_a_closed_viewer_leaves_is_collected_before_the_first_job_of_the_next_one(qtbot):
    class Window:
        """What a closed viewer leaves: a cycle."""

        def __init__(self) -> None:
            self.self = self

    job_module._collect_garbage()
    gc.disable()
    left = weakref.ref(Window())
    gone = []
    qtbot.addWidget(DockedWidget())

    def look():
        yield Progress(0, 1)
        gone.append(left() is None)

    runner = JobRunner()
    try:
        with qtbot.waitSignal(runner.succeeded, timeout=60_000):
            runner.start(look)
    finally:
        gc.enable()
    assert gone == [True]


def test_what_a_closed_widget_leaves_is_collected_before_the_next_job_never_in_its_thread(qtbot, monkeypatch):
    collected = []
    monkeypatch.setattr(job_module.gc, "collect", lambda *a: collected.append(threading.current_thread()))
    job_module.note_garbage()
    runner = JobRunner()
    for _ in range(2):
        with qtbot.waitSignal(runner.succeeded, timeout=60_000):
            runner.start(counting)
    assert collected == [threading.main_thread()]
