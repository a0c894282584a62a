"""Runs one long job of the core in a thread, with progress and *Cancel*: once, for all widgets.

`JobRunner` does the work and tells of it by signals; `JobBar` is the button that starts it, which turns into a
progress bar with *Cancel* while it runs.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QSizePolicy, QStackedLayout, QVBoxLayout, QWidget
from superqt.utils import GeneratorWorker, create_worker

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress

log = logging.getLogger(__name__)

_GARBAGE = threading.Event()
SHORTEST_PAUSE_S = 0.03
"""Steps that only move the bar are passed on this often at most: the event loop has better things to do."""


def note_garbage() -> None:
    """Widgets were closed: what is left of them has to be collected in the main thread, before the next job.

    Ours tell when they are closed; a viewer that is closed as a whole tells nobody, so they tell when they open, too.

    Python collects cycles in whichever thread happens to run. Qt objects that are destroyed in a worker's thread, by an
    import of torch say, take the whole program down.
    """
    _GARBAGE.set()


def _collect_garbage() -> None:
    if _GARBAGE.is_set():
        _GARBAGE.clear()
        gc.collect()


@dataclass(frozen=True)
class _Run:
    """One start of a job. `number` tells its answers from those of the runs before it."""

    number: int
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class _Outcome:
    """How a run ended: a result, or a sentence for the user (`fault` where it is ours, not the user's)."""

    run: _Run
    result: Any = None
    problem: str | None = None
    fault: bool = False
    cancelled: bool = False


class _Switch:
    """Holds the current run without holding the runner, so that it can still be stopped when that is gone."""

    def __init__(self) -> None:
        self.run: _Run | None = None

    def off(self) -> None:
        if self.run is not None:
            self.run.stop.set()
            self.run = None


def _switch_off(switch: _Switch, *_: object) -> None:
    switch.off()


class _JobWorker(GeneratorWorker):
    """A worker that closes its generator in its own thread; by itself it would be closed later, in the main thread."""

    def work(self) -> Any:
        try:
            return super().work()
        finally:
            self._gen.close()


def _steps(
    run: _Run, make_job: Callable[[], Job[Any]]
) -> Generator[tuple[_Run, Progress], None, _Outcome]:  # runs in the worker's thread
    """Make the job, run it step by step, and turn every way in which it can end into an `_Outcome`."""
    passed_on = 0.0
    try:
        with contextlib.closing(make_job()) as job:
            while not run.stop.is_set():
                try:
                    step = next(job)
                except StopIteration as end:
                    return _Outcome(run, result=end.value)
                now = time.monotonic()
                if step.partial is not None or now - passed_on >= SHORTEST_PAUSE_S:
                    passed_on = now
                    yield run, step
    except InputError as error:
        return _Outcome(run, problem=error.in_napari)
    except MemoryError:
        log.exception("out of memory")
        return _Outcome(run, problem="There is not enough memory for this: close other programs, or crop the stack.")
    except Exception as error:
        log.exception("the job failed")
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        return _Outcome(
            run, problem=f"This failed, and the fault is ours ({said}); the log has the details.", fault=True
        )
    return _Outcome(run, cancelled=True)


def _log_warning(shown: tuple[Any, ...]) -> None:
    log.warning("%s: %s", shown[1].__name__, shown[0])


def _log_error(error: BaseException) -> None:
    log.error("a worker failed while it was being closed", exc_info=error)


class JobRunner(QObject):
    """Runs one job at a time in a thread. A new job, or `cancel`, makes every answer of the one before void.

    All signals arrive in the main thread, and only for the job that was started last.

    Signals
    -------
    busy_changed(bool)
        A job began (True) or ended in whatever way (False).
    stepped(Progress)
        The job moved on. Steps with a `Progress.partial` all arrive; others are thinned out.
    succeeded(object)
        The job's result.
    failed(str)
        A sentence for the user, already shown as a notification.
    cancelled()
        *Cancel* was pressed, or `cancel` called. Answers at once; the thread leaves at its next step.
    """

    busy_changed = Signal(bool)
    stepped = Signal(object)
    succeeded = Signal(object)
    failed = Signal(str)
    cancelled = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._number = 0
        self._switch = _Switch()
        # Not a bound method of ours: by the time it is called, we are gone.
        self.destroyed.connect(partial(_switch_off, self._switch))

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._switch.run is not None

    def start(self, make_job: Callable[[], Job[Any]]) -> None:
        """Run the job that `make_job` makes; a job that is running is given up without a signal.

        Parameters
        ----------
        make_job : callable
            Called in the worker's thread, and the place for heavy imports. It must not touch napari's objects: take
            what it needs from layers (references to their data) before.
        """
        _collect_garbage()
        was_busy = self.busy
        self._switch.off()
        self._number += 1
        run = self._switch.run = _Run(self._number)
        worker = create_worker(_steps, run, make_job, _worker_class=_JobWorker, _ignore_errors=True)
        worker.yielded.connect(self._on_step)
        worker.returned.connect(self._on_outcome)
        worker.warned.connect(_log_warning)
        worker.errored.connect(_log_error)
        if not was_busy:
            self.busy_changed.emit(True)
        worker.start()

    def cancel(self) -> None:
        """Give up the job that is running, if one is."""
        if self.busy:
            self._switch.off()
            self.busy_changed.emit(False)
            self.cancelled.emit()

    def _is_current(self, run: _Run) -> bool:
        return self._switch.run is run

    def _on_step(self, said: tuple[_Run, Progress]) -> None:
        run, step = said
        if self._is_current(run):
            self.stepped.emit(step)

    def _on_outcome(self, outcome: _Outcome) -> None:
        if not self._is_current(outcome.run):
            return
        self._switch.run = None
        self.busy_changed.emit(False)
        if outcome.problem is not None:
            (show_error if outcome.fault else show_warning)(outcome.problem)
            self.failed.emit(outcome.problem)
        elif outcome.cancelled:
            self.cancelled.emit()
        else:
            self.succeeded.emit(outcome.result)


REDRAW_MS = 100
"""The bar is drawn this often at most: Qt draws it at once, and the whole window with it where that holds a canvas."""


class JobBar(QWidget):
    """One prominent button; while its job runs, a progress bar with *Cancel* in its place.

    Parameters
    ----------
    label : str
        What the button says.
    tooltip : str
        What the button does, in a sentence.

    Attributes
    ----------
    runner : JobRunner
        What runs the job; connect to its signals.
    requested : signal
        The button was pressed: answer with ``bar.runner.start(...)``.
    """

    requested = Signal()

    def __init__(self, label: str, *, tooltip: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.runner = JobRunner(self)
        self.run_button = QPushButton(label)
        self.run_button.setToolTip(tooltip)
        self.run_button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.run_button.setMinimumHeight(30)
        font = self.run_button.font()
        font.setBold(True)
        self.run_button.setFont(font)
        self.progress_bar = QProgressBar()
        self.progress_bar.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop at once; nothing is changed")

        running = QWidget()
        row = QHBoxLayout(running)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.progress_bar, 1)
        row.addWidget(self.cancel_button)
        idle = QWidget()
        column = QVBoxLayout(idle)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.run_button)
        self._pages = QStackedLayout(self)
        self._pages.addWidget(idle)
        self._pages.addWidget(running)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

        self._step: Progress | None = None
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(REDRAW_MS)
        self._redraw.timeout.connect(self._draw)
        self.run_button.clicked.connect(self._on_clicked)
        self.cancel_button.clicked.connect(self.runner.cancel)
        self.runner.busy_changed.connect(self._on_busy)
        self.runner.stepped.connect(self._on_step)

    def _on_clicked(self) -> None:
        self.requested.emit()

    def _on_busy(self, busy: bool) -> None:
        self._step = None
        self._redraw.stop()
        self.progress_bar.setRange(0, 0)  # a moving stripe until the first step tells how many there are
        self.progress_bar.setFormat("")
        self._pages.setCurrentIndex(int(busy))

    def _on_step(self, step: Progress) -> None:
        self._step = step
        if not self._redraw.isActive():
            self._redraw.start()

    def _draw(self) -> None:
        if self._step is not None:
            self.progress_bar.setFormat(self._step.message or "%p %")
            self.progress_bar.setRange(0, self._step.total)
            self.progress_bar.setValue(self._step.done)
