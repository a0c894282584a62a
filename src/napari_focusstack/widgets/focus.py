"""The Focus widget: score a stack, see where it is sharp, pick a slice, take it out."""

from __future__ import annotations

from typing import Any

from napari.layers import Image
from napari.utils.theme import get_theme
from qtpy.QtWidgets import QVBoxLayout

from napari_focusstack.core.errors import InputError
from napari_focusstack.widgets import focus_state as state
from napari_focusstack.widgets.desk import selected_source, stack_or_none
from napari_focusstack.widgets.dock import DockedWidget
from napari_focusstack.widgets.extract_flow import ExtractFlow
from napari_focusstack.widgets.focus_display import FocusDisplay
from napari_focusstack.widgets.focus_form import REGION, SPECIMEN, FocusForm
from napari_focusstack.widgets.focus_jobs import better_told, gives_um
from napari_focusstack.widgets.focus_state import Basis, Scored, Target, View
from napari_focusstack.widgets.layers import (
    METADATA,
    UNLABELLED,
    data_number,
    identity,
    name_axes,
    show,
    shown_at,
)
from napari_focusstack.widgets.open_hint import CalibrationHint
from napari_focusstack.widgets.optics_form import OpticsForm
from napari_focusstack.widgets.overlays import Overlays
from napari_focusstack.widgets.pick_flow import PickFlow, ask_table
from napari_focusstack.widgets.picks_table import proposed_file
from napari_focusstack.widgets.regions import RegionTool
from napari_focusstack.widgets.score_flow import ScoreFlow


class FocusWidget(DockedWidget):
    """Dock widget *Focus*: chooses what is looked at and shows what is known of it.

    Scoring, regions, picking and extracting are done by parts of its own (`scoring`, `regions`, `picking`,
    `extracting`).

    Parameters
    ----------
    napari_viewer : napari viewer or ViewerModel
        The viewer it works on.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        # napari hands out a proxy; the layers it gives are new objects each time, and we tell layers by identity.
        self.viewer = viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.form = FocusForm()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.form)
        self.hint = CalibrationHint(viewer)
        self.form.add_hint(self.hint)
        self.optics = OpticsForm(viewer)
        self.form.add_optics(self.optics)
        self.overlays = Overlays(viewer, self)
        self.scoring = ScoreFlow(self.form.job_bar, self, self)
        self.regions = RegionTool(viewer, self)
        self.picking = PickFlow(self.form.picks, self, self)
        self.extracting = ExtractFlow(self.form.extract, self.form.picks, self, self)
        self.display = FocusDisplay(self.form, self.scoring, self.overlays, self, self)
        self._layer: Any = None
        self._layers: list[Any] = []
        self._names: dict[int, str] = {}
        self._view: View | None = None
        self._scored: Scored | None = None
        self._connect_form()
        for event, answer in self._viewer_events():
            event.connect(answer)
        self.picking.bind_keys()
        self._on_theme()
        self.reset_choices()

    def shut_down(self) -> None:
        """Stop jobs and let go of the viewer; called when the dock is closed."""
        self.scoring.stop()
        self.extracting.runner.cancel()
        self.picking.unbind_keys()
        self._take(None)
        for event, answer in self._viewer_events():
            event.disconnect(answer)

    # What is looked at ------------------------------------------------------------------------------------------

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self._layer

    @property
    def target(self) -> Target | None:
        """The series that is shown."""
        if self._layer is None:
            return None
        where = self.where()
        channel = max(self.form.channel_box.currentIndex(), 0)
        return Target(identity(self._layer), data_number(self._layer), channel, where.get("T", 0), where.get("P", 0))

    @property
    def scorer(self) -> str:
        """Name of the chosen scorer."""
        return self.form.scorer_box.scorer

    @property
    def patch_px(self) -> int:
        """Size of the patches of the focus map."""
        return int(self.form.patch_box.value())

    @property
    def basis(self) -> Basis:
        """What decides."""
        chosen = self.form.basis.checkedId()
        if chosen == REGION and self.regions.region:
            return Basis(region=self.regions.region)
        # Until something is drawn, the specimen decides.
        return state.SPECIMEN if chosen in (SPECIMEN, REGION) else state.WHOLE

    @property
    def scored(self) -> Scored | None:
        """What is known of the series that is shown, by the chosen scorer."""
        return self._scored

    def where(self) -> dict[str, int]:
        """Index of the layer's data that the sliders show, by axis letter."""
        try:
            return {} if self._layer is None else shown_at(self._layer, self.viewer.dims)
        except InputError:
            return {}

    def candidates(self) -> list[Any]:
        """Image layers that can be scored: those that are no results."""
        images = [x for x in self.viewer.layers if isinstance(x, Image)]
        return [x for x in images if "role" not in x.metadata.get(METADATA, {})]

    # Choosing ---------------------------------------------------------------------------------------------------

    def choose_layer(self, layer: Any) -> None:
        """Choose a layer."""
        if layer in self._layers:
            self.form.layer_box.setCurrentIndex(self._layers.index(layer))

    def reset_choices(self, _event: Any = None) -> None:
        """Take over napari's layer list: new, deleted, moved and renamed layers. napari calls it."""
        for layer in self.viewer.layers:
            old = self._names.get(id(layer), layer.name)
            if old != layer.name:
                self.form.picks.rename(old, layer.name)
        self._names = {id(x): x.name for x in self.viewer.layers}
        self._layers = self.candidates()
        chosen = self._layer if self._layer in self._layers else None
        if chosen is None or (_slices(chosen) < 2 and any(_slices(x) > 1 for x in self._layers)):
            chosen = self._default_layer()
        self.form.layer_box.offer(self._layers, chosen)
        self._take(chosen)
        self.picking.offer_next()
        self.refresh()

    def _default_layer(self) -> Any:
        stacks = [x for x in self._layers if _slices(x) > 1]
        return selected_source(self.viewer, stacks) or next(iter(stacks or self._layers), None)

    def _on_layer_chosen(self, index: int) -> None:
        self._take(self._layers[index] if 0 <= index < len(self._layers) else None)

    def _take(self, layer: Any) -> None:
        if layer is not self._layer:
            for event, answer in self._layer_events():
                event.disconnect(answer)
            self._layer = layer
            for event, answer in self._layer_events():
                event.connect(answer)
            self._fill_layer_rows()
            # It may have been calibrated while another one was looked at.
            self._recalibrate()
            self.regions.follow(layer)
            self.refresh()

    def _fill_layer_rows(self) -> None:
        """Offer channels, time points and a choice of z, where there is something to choose."""
        form, stack = self.form, stack_or_none(self._layer)
        self.picking.offer_next()
        n = stack.n_channels if stack else 1
        names = stack.channels if stack and stack.channels else [f"channel {c}" for c in range(n)]
        _refill(form.channel_box, list(names))
        form.show_row(form.channel_box, n > 1)
        form.show_row(form.all_box, stack is not None and stack.n_times * stack.n_positions > 1)
        form.layer_box.setToolTip(f"The image layer to score ({stack.axes_note})" if stack else "")
        labels = () if self._layer is None else tuple(self._layer.axis_labels)
        ask = len(labels) > 3 and not any(str(label).isalpha() for label in labels)
        if ask:
            sizes = _shape(self._layer)
            _refill(form.z_box, [f"axis {i} ({sizes[i]} long)" for i in range(len(labels) - 2)])
            form.z_box.blockSignals(True)
            form.z_box.setCurrentIndex(name_axes(labels)[0].index("Z"))
            form.z_box.blockSignals(False)
        form.show_row(form.z_box, ask)

    def _on_z_chosen(self, index: int) -> None:
        """Write the choice into the layer's axis labels, where every widget and napari's sliders see it."""
        n = self._layer.ndim
        others = iter(UNLABELLED[n].replace("Z", "").lower())
        self._layer.axis_labels = tuple("z" if i == index else next(others) for i in range(n))

    # Showing ----------------------------------------------------------------------------------------------------

    def refresh(self, _event: Any = None) -> None:
        """Compare what should be shown with what is shown, and do what is missing."""
        z = self.where().get("Z")
        self.scoring.note_shown(z)
        self.form.plot.set_shown(z)
        view = View(self.target, self.scorer, self.basis)
        if view != self._view:
            self._view = view
            self._show(view)
        decision = self._scored.report.decision if self._scored else None
        self.form.picks.set_shown(z, proposal=decision.best if decision else None)

    def _redo(self) -> None:
        """Show all anew, whether or not the view is the same."""
        self._view = None
        self.refresh()

    def _show(self, view: View) -> None:
        known = self.scoring.series.of(view.target)
        self._scored = known.get(view.scorer)
        stack = stack_or_none(self._layer)
        self.hint.show_for(self._layer, stack)
        self.optics.show_for(self._layer, stack, needed=gives_um(view.scorer), of_use=better_told(view.scorer))
        self.form.save_scores_button.setEnabled(self._scored is not None)
        self.form.job_bar.run_button.setEnabled(not self.optics.missing)
        run = self.scoring.run
        if run is not None and (run.target, run.scorer) == (view.target, view.scorer):
            self.display.draw_run()
        elif self._scored is None:
            self.display.draw_unscored()
            if self.optics.missing:
                self.form.say("", f"Fill in the {self.optics.missing} above and press Set; then score the slices.")
        elif view.target is not None and any(s.whole and s.basis != view.basis for s in known.values()):
            self.scoring.reweigh(view.target, view.basis)
        else:
            self.display.draw_scored(self._scored)
        self.display.show_overlays()

    # Answers to the form ----------------------------------------------------------------------------------------

    def _connect_form(self) -> None:
        form = self.form
        form.layer_box.currentIndexChanged.connect(self._on_layer_chosen)
        form.z_box.currentIndexChanged.connect(self._on_z_chosen)
        form.channel_box.currentIndexChanged.connect(self._on_choice)
        form.scorer_box.chosen.connect(self._on_choice)
        form.basis.idClicked.connect(self._on_basis)
        form.outline_box.clicked.connect(self._on_overlay)
        form.map_box.clicked.connect(self._on_map)
        form.attention_box.clicked.connect(self._on_overlay)
        form.save_scores_button.clicked.connect(self._on_save_scores)
        form.job_bar.requested.connect(self._on_score)
        form.plot.slice_asked.connect(self._on_slice_asked)
        self.scoring.grew.connect(self.display.draw_run)
        self.scoring.changed.connect(self._redo)
        self.scoring.proposed.connect(self._on_slice_asked)
        self.scoring.said.connect(form.say)
        self.regions.changed.connect(self._on_choice)
        self.optics.given.connect(self._on_optics)
        self.extracting.extracted.connect(self._on_extracted)

    def _on_choice(self, _choice: Any = None) -> None:
        self.refresh()

    def _on_optics(self) -> None:
        self._recalibrate()
        self._redo()

    def _on_score(self) -> None:
        self.scoring.start(everywhere=not self.form.all_box.isHidden() and self.form.all_box.isChecked())

    def _on_slice_asked(self, z: int) -> None:
        if self._layer is not None:
            show(self._layer, self.viewer.dims, Z=z)

    def _on_basis(self, chosen: int) -> None:
        if chosen == REGION:
            self.regions.draw()
        self.refresh()
        if chosen == REGION and not self.regions.region and self._layer is not None:
            self.form.say("", "Draw around what counts: press the mouse on the image and drag.")

    def _on_extracted(self) -> None:
        """What lies over the stack does not belong to the slice that is shown now."""
        for box in (self.form.outline_box, self.form.map_box, self.form.attention_box):
            box.setChecked(False)
        self.display.show_overlays()

    def _on_overlay(self) -> None:
        self.display.show_overlays()

    def _on_map(self, shown: bool) -> None:
        self.display.show_overlays()
        # napari's status bar tells the value under the mouse for the selected layer only.
        selected = self.overlays.map if shown else self._layer
        if selected is not None:
            self.viewer.layers.selection.active = selected

    def _on_save_scores(self) -> None:
        if self._scored is None or self._layer is None:
            return
        stack = stack_or_none(self._layer)
        proposed = proposed_file(stack.source if stack else None, f"{self._layer.name}_{self.scorer}.csv")
        chosen = ask_table(self, "Save scores", proposed)
        if chosen is not None:
            self.scoring.save(chosen.path, overwrite=chosen.overwrite)

    # Answers to napari ------------------------------------------------------------------------------------------

    def _viewer_events(self) -> list[tuple[Any, Any]]:
        viewer = self.viewer
        return [
            (viewer.dims.events.point, self.refresh),
            (viewer.layers.events.removed, self._on_removed),
            (viewer.events.theme, self._on_theme),
        ]

    def _layer_events(self) -> list[tuple[Any, Any]]:
        if self._layer is None:
            return []
        events = self._layer.events
        moved = (events.scale, events.translate, events.rotate, events.shear, events.affine, events.units)
        return [
            (events.data, self._on_layer_data),
            (events.axis_labels, self._on_layer_axes),
            *((event, self._on_layer_moved) for event in moved),
        ]

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        if self.overlays.owns(layer):
            form, overlays = self.form, self.overlays
            boxes = {
                overlays.attention: form.attention_box,
                overlays.outline: form.outline_box,
                overlays.map: form.map_box,
            }
            boxes[layer].setChecked(False)
            overlays.forget(layer)
        self.regions.forget(layer)
        self.scoring.layer_deleted(layer)
        if layer is self._layer:
            self.reset_choices()

    def _on_layer_data(self, _event: Any = None) -> None:
        self.scoring.layer_changed(self._layer)
        self._fill_layer_rows()
        self._redo()

    def _on_layer_axes(self, _event: Any = None) -> None:
        self.scoring.layer_changed(self._layer)
        self._fill_layer_rows()
        self._redo()

    def _on_layer_moved(self, _event: Any = None) -> None:
        self._recalibrate()
        self.overlays.out_of_date()
        self._redo()

    def _recalibrate(self) -> None:
        if stack_or_none(self._layer) is not None:
            self.scoring.recalibrate(self._layer)

    def _on_theme(self, _event: Any = None) -> None:
        theme = get_theme(self.viewer.theme)
        self.form.plot.set_colours(background=theme.background.as_hex(), text=theme.text.as_hex())


def _refill(box: Any, texts: list[str]) -> None:
    box.blockSignals(True)
    box.clear()
    box.addItems(texts)
    box.blockSignals(False)


def _shape(layer: Any) -> tuple[int, ...]:
    return tuple((layer.data[0] if layer.multiscale else layer.data).shape)


def _slices(layer: Any) -> int:
    stack = stack_or_none(layer)
    return stack.n_slices if stack else 0
