"""Scoring: what *Score slices* and *Cancel* do, and what becomes of a layer that is deleted meanwhile."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_info, show_warning
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Progress
from napari_focusstack.core.scoring import SliceScored
from napari_focusstack.widgets.desk import Desk
from napari_focusstack.widgets.focus_jobs import (
    Saved,
    SeriesFailed,
    SeriesScored,
    judges_one_image,
    rests_on_optics,
    reweigh,
    save_scores,
    score_places,
)
from napari_focusstack.widgets.focus_state import Basis, Scored, ScoredSeries, Target
from napari_focusstack.widgets.job import JobBar, JobRunner
from napari_focusstack.widgets.layers import identity, stack_of

REDRAW_MS = 100
"""While slices are scored the curve is drawn this often at most."""


@dataclass
class Run:
    """The scoring that is under way.

    Attributes
    ----------
    layer : napari layer
        What is scored.
    first : Target
        The first series; the others are other time points and positions of it.
    places : list of (int, int)
        (time point, position) of each series.
    scorer : str
        Name of the scorer.
    basis : Basis
        What decided when it began.
    values : (Z,) float64
        Values of the series at work; NaN where not scored yet.
    shown : int or None
        Slice that has been shown since it began; None once the user has gone to another one.
    finished : int
        Series that are done.
    failed : list of str
        Why some could not be scored.
    """

    layer: Any
    first: Target
    places: list[tuple[int, int]]
    scorer: str
    basis: Basis
    values: NDArray[np.float64]
    shown: int | None = None
    finished: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def target(self) -> Target:
        """The series at work."""
        time, position = self.places[min(self.finished, len(self.places) - 1)]
        return Target(self.first.layer, self.first.data, self.first.channel, time, position)


class ScoreFlow(QObject):
    """Scores, decides anew, and remembers what was found.

    Signals
    -------
    grew()
        The curve of the running series has new values (at most every `REDRAW_MS`).
    changed()
        Something was found, or decided anew, or forgotten.
    proposed(int)
        The series that is shown is scored, and this is its best slice; not where the user went to another slice or
        series meanwhile.
    said(str)
        A sentence for the place under the curve.
    """

    grew = Signal()
    changed = Signal()
    proposed = Signal(int)
    said = Signal(str)

    def __init__(self, bar: JobBar, desk: Desk, parent: QObject) -> None:
        super().__init__(parent)
        self._bar = bar
        self._desk = desk
        self.series = ScoredSeries()
        self.run: Run | None = None
        self._reweighing: Target | None = None
        self._reweigher = JobRunner(self)
        self.saver = JobRunner(self)
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(REDRAW_MS)
        self._redraw.timeout.connect(self.grew)
        runner = bar.runner
        runner.stepped.connect(self._on_step)
        runner.succeeded.connect(self._on_done)
        runner.failed.connect(self._on_failed)
        runner.cancelled.connect(self._on_cancelled)
        self._reweigher.succeeded.connect(self._on_reweighed)
        self._reweigher.failed.connect(self.said)
        self.saver.succeeded.connect(self._on_saved)

    def start(self, *, everywhere: bool) -> None:
        """Score the series that is shown, or every time point and position of its layer."""
        layer, target = self._desk.layer, self._desk.target
        if layer is None or target is None:
            self._refuse("There is no image to score: open a stack first.")
            return
        try:
            stack = stack_of(layer)
            if not judges_one_image(self._desk.scorer):
                stack.require_slices("score its focus")
        except InputError as error:
            self._refuse(error.in_napari)
            return
        places = [(target.time, target.position)]
        if everywhere:
            places = [(t, p) for p in range(stack.n_positions) for t in range(stack.n_times)]
        basis, scorer = self._desk.basis, self._desk.scorer
        shown = self._desk.where().get("Z")
        self.run = Run(layer, target, places, scorer, basis, np.full(stack.n_slices, np.nan), shown)
        job = partial(score_places, channel=target.channel, scorer=scorer, basis=basis, patch_px=self._desk.patch_px)
        self._bar.runner.start(partial(job, stack, places))
        self.changed.emit()

    def note_shown(self, z: int | None) -> None:
        """Take note of the slice that is shown: who looks for himself while slices are scored stays where he is."""
        if self.run is not None and z != self.run.shown:
            self.run.shown = None

    def reweigh(self, target: Target, basis: Basis) -> None:
        """Decide anew what is known of a series; `changed` tells when it is done."""
        self._reweighing = target
        self._reweigher.start(partial(reweigh, self.series.of(target), basis))

    def recalibrate(self, layer: Any) -> None:
        """Take note that the slices of a layer lie at other heights, or that its microscope is another."""
        self._stop_reweighing(layer)
        stack = stack_of(layer)
        self.series.recalibrate(identity(layer), stack.heights_um)
        changed = self.series.note_microscope(identity(layer), (stack.optics, stack.x_um), resting=rests_on_optics)
        if changed and self.run is not None and self.run.layer is layer and rests_on_optics(self.run.scorer):
            self._bar.runner.cancel()
            self._refuse(f"The microscope of '{layer.name}' was set while it was scored: score it again.")

    def save(self, path: Path, *, overwrite: bool) -> None:
        """Write the scores of the layer that is shown, all decided by what decides now."""
        layer, target, scorer, basis = self._desk.layer, self._desk.target, self._desk.scorer, self._desk.basis
        if layer is None or target is None:
            return
        stack = stack_of(layer)
        entries = self.series.beside(target, scorer)
        job = partial(save_scores, path, entries, scorer=scorer, basis=basis, overwrite=overwrite)
        self.saver.start(partial(job, stack=stack.name, channels=stack.channels))

    def layer_deleted(self, layer: Any) -> None:
        """Stop scoring a layer that was deleted, and forget what was found there."""
        if self.run is not None and self.run.layer is layer:
            self._bar.runner.cancel()
            self._refuse(f"'{layer.name}' was deleted while it was scored: scoring has stopped.")
        self._forget(layer)

    def layer_changed(self, layer: Any) -> None:
        """Forget what was found in pixels that are no longer there."""
        if self.run is not None and self.run.layer is layer:
            self._bar.runner.cancel()
            self._refuse(f"The pixels of '{layer.name}' changed while it was scored: score it again.")
        self._forget(layer)

    def stop(self) -> None:
        """Give up every job."""
        self._bar.runner.cancel()
        self._reweigher.cancel()
        self.saver.cancel()

    def _forget(self, layer: Any) -> None:
        self._stop_reweighing(layer)
        self.series.drop(identity(layer))

    def _stop_reweighing(self, layer: Any) -> None:
        """What is being decided is of pixels or heights that hold no longer: it must not come back."""
        if self._reweighing is not None and self._reweighing.layer == identity(layer):
            self._reweighing = None
            self._reweigher.cancel()

    def _refuse(self, sentence: str) -> None:
        show_warning(sentence)
        self.said.emit(sentence)

    def _on_step(self, step: Progress) -> None:
        if self.run is None:
            return
        if isinstance(step.partial, SliceScored):
            self.run.values[step.partial.z] = step.partial.value
            if not self._redraw.isActive():
                self._redraw.start()
        elif isinstance(step.partial, (SeriesScored, SeriesFailed)):
            found = step.partial
            target = dataclasses.replace(self.run.first, time=found.time, position=found.position)
            if isinstance(found, SeriesScored):
                self.series.put(target, found.scored)
            else:
                self.series.fail(target, self.run.scorer, found.reason)
                self.run.failed.append(f"position {found.position}, time {found.time}: {found.reason}")
            self.run.finished += 1
            self.run.values = np.full_like(self.run.values, np.nan)
            self.changed.emit()
            if isinstance(found, SeriesScored):
                self._propose(target, found.scored)

    def _propose(self, target: Target, scored: Scored) -> None:
        run, best = self.run, scored.report.decision.best
        if run is None or run.shown is None or best is None or target != run.first:
            return
        if (target, run.scorer) == (self._desk.target, self._desk.scorer):
            self.proposed.emit(best)

    def _on_done(self, count: int) -> None:
        name, failed = (self.run.layer.name, self.run.failed) if self.run else ("", [])
        self.run = None
        self.changed.emit()
        if failed:
            show_warning(f"{count} stacks of '{name}' are scored, {len(failed)} could not be: {failed[0]}")
        elif count > 1:
            show_info(f"{count} stacks of '{name}' are scored.")

    def _on_failed(self, sentence: str) -> None:
        self.run = None
        self.changed.emit()
        self.said.emit(sentence)

    def _on_saved(self, saved: Saved) -> None:
        for target, scored in saved.anew:
            known = self.series.of(target).get(scored.report.scorer)
            if known is not None and known.whole:
                self.series.put(target, scored)
        if saved.otherwise:
            show_warning(
                f"Saved {saved.path}. {saved.otherwise} of its stacks were decided by something else, as the column "
                "'basis' says: their maps are no longer in memory. Score them again to have all alike."
            )
        else:
            show_info(f"Saved {saved.path}.")

    def _on_cancelled(self) -> None:
        if self.run is None:
            return
        done, n = int(np.isfinite(self.run.values).sum()), len(self.run.values)
        self.run = None
        self.changed.emit()
        self.said.emit(f"Cancelled after {done} of {n} slices.")

    def _on_reweighed(self, found: dict[str, Scored]) -> None:
        target, self._reweighing = self._reweighing, None
        if target is not None:
            for scored in found.values():
                self.series.put(target, scored)
        self.changed.emit()
