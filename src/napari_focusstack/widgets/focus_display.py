"""What the Focus widget shows of what is known: the curve, the verdict, the layers over the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject

from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.widgets import focus_state as state
from napari_focusstack.widgets.curve import CurveView
from napari_focusstack.widgets.desk import Desk, stack_or_none
from napari_focusstack.widgets.focus_form import OUTLINE, FocusForm
from napari_focusstack.widgets.focus_jobs import judges_one_image
from napari_focusstack.widgets.focus_state import Scored
from napari_focusstack.widgets.layers import frame_of
from napari_focusstack.widgets.overlays import Overlays
from napari_focusstack.widgets.score_flow import ScoreFlow

OUTLINE_OFF = "The region that you drew decides now, not the specimen: its outline is hidden"


class FocusDisplay(QObject):
    """Draws on the form and over the image; decides nothing.

    Parameters
    ----------
    form : FocusForm
        What is drawn on.
    scoring : ScoreFlow
        Knows what was scored, and what is at work.
    overlays : Overlays
        The layers over the image.
    desk : Desk
        The Focus widget.
    """

    def __init__(
        self, form: FocusForm, scoring: ScoreFlow, overlays: Overlays, desk: Desk, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._form, self._scoring, self._overlays, self._desk = form, scoring, overlays, desk
        overlays.recoloured.connect(self._show_legend)

    def _draw(
        self,
        scorer: str,
        values: NDArray[np.float64],
        heights_um: NDArray[np.float64] | None,
        *,
        best: int | None = None,
        good: tuple[int, int] | None = None,
        signed: bool = False,
    ) -> None:
        known = self._scoring.series.of(self._desk.target)
        earlier = {SCORERS[n].title: other.report.values for n, other in known.items() if n != scorer}
        label = state.INDEX_LABEL if signed else _axis_label(scorer)
        crossing = known[scorer].report.extras.get("crossing") if signed else None
        self._form.plot.set_view(
            CurveView(len(values), values, label, heights_um, best, good, earlier, signed=signed, crossing=crossing)
        )

    def draw_scored(self, scored: Scored) -> None:
        """Show the curve of what was scored, and the verdict."""
        report = scored.report
        index = state.distance_index(report)
        values = report.values if index is None else index
        best, good = report.decision.best, report.decision.good
        self._draw(report.scorer, values, report.heights_um, best=best, good=good, signed=index is not None)
        self._form.say(*state.verdict(scored), caution=report.caution)

    def draw_run(self) -> None:
        """Show how far the scoring has come, where it is of what is looked at."""
        run = self._scoring.run
        if run is None or (run.target, run.scorer) != (self._desk.target, self._desk.scorer):
            return
        stack = stack_or_none(self._desk.layer)
        self._draw(run.scorer, run.values.copy(), stack.heights_um if stack else None)
        done, n = int(np.isfinite(run.values).sum()), len(run.values)
        until = " Until all are, the curve is of the whole image." if run.basis == state.SPECIMEN and n > 1 else ""
        self._form.say("", f"{done} of {n} slices are scored.{until}")

    def draw_unscored(self) -> None:
        """Say what has to be done for a curve."""
        layer, scorer = self._desk.layer, self._desk.scorer
        stack = stack_or_none(layer)
        n = stack.n_slices if stack else 0
        heights = stack.heights_um if stack and n > 1 else None
        self._draw(scorer, np.full(n, np.nan), heights)
        if layer is None:
            self._form.say("", "Open a stack: drag a file onto the window, or choose File > Open Sample > Focus Stack.")
        elif n < 2 and not judges_one_image(scorer):
            self._form.say("", f"'{layer.name}' has no slices along z: choose a layer with two or more.")
        else:
            failure = self._scoring.series.failure(self._desk.target, scorer)
            self._form.say(failure, "" if failure else "Press Score slices to see where the stack is sharp.")

    def show_overlays(self) -> None:
        """Show the layers over the image that are wanted, and hide the others."""
        form, scored, target = self._form, self._desk.scored, self._desk.target
        if scored is None or target is None:
            self._overlays.hide_map()
            self._overlays.hide_outline()
            self._overlays.hide_attention()
            form.attention_box.hide()
            form.legend.show_view(None)
            return
        frame = frame_of(self._desk.layer)
        drawn = bool(self._desk.basis.region)
        form.outline_box.setEnabled(not drawn)
        form.outline_box.setToolTip(OUTLINE_OFF if drawn else OUTLINE)
        if form.outline_box.isChecked() and not drawn:
            self._overlays.show_outline(scored, frame, target)
        else:
            self._overlays.hide_outline()
        mapped = form.map_box.isChecked() and scored.whole
        if mapped:
            self._overlays.show_map(scored, frame, target)
        else:
            self._overlays.hide_map()
        self._show_legend()
        form.attention_box.setVisible("cam" in scored.report.layers)
        if form.attention_box.isChecked() and scored.whole:
            self._overlays.show_attention(scored, frame, target)
        else:
            self._overlays.hide_attention()

    def _show_legend(self) -> None:
        """Explain the colours of the map that is shown, as it is coloured now."""
        scored = self._desk.scored
        mapped = scored is not None and self._overlays.map is not None
        self._form.legend.show_view(self._overlays.coloured(scored.view) if mapped and scored is not None else None)


def _axis_label(scorer: str) -> str:
    """Title and units of a scorer."""
    return f"{SCORERS[scorer].title} ({SCORERS[scorer].units})"
