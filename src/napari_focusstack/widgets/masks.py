"""*Focus masks*: which pixels of each slice are in focus, as labels over the stack, and how large they are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_info, show_warning
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.masks import MASKS, THRESHOLD, FocusMasks, default_mask
from napari_focusstack.core.progress import Progress
from napari_focusstack.io.map_layers import name_beside
from napari_focusstack.io.masks import MaskPart, areas_table, write_masks_job
from napari_focusstack.io.write import write_text
from napari_focusstack.widgets.curve import CurvePlot, CurveView
from napari_focusstack.widgets.desk import selected_source, stack_or_none
from napari_focusstack.widgets.dock import DockedWidget
from napari_focusstack.widgets.fuse_channels import joined_stack
from napari_focusstack.widgets.job import JobBar, JobRunner
from napari_focusstack.widgets.layer_combo import LayerCombo
from napari_focusstack.widgets.layers import METADATA, frame_of, identity, show, shown_at
from napari_focusstack.widgets.mask_layers import MaskJob, MaskResult, MaskSource, key_of
from napari_focusstack.widgets.method_combo import MethodCombo
from napari_focusstack.widgets.note_label import NoteLabel, ProblemLabel, caution_text
from napari_focusstack.widgets.pick_flow import ask_table
from napari_focusstack.widgets.picks_table import proposed_file


class MasksWidget(DockedWidget):
    """The dock widget *Focus masks*.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that it works on.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.result: MaskResult | None = None
        self._known: dict[tuple[Any, ...], MaskResult] = {}
        self._source: MaskSource | None = None
        self._shares: Any = None
        self.layer_box = LayerCombo("The stack to mask")
        self.method_box = MethodCombo(MASKS, default_mask())
        self.method_note = NoteLabel()
        self.bar = JobBar("Mask focus", tooltip="Mark the pixels of each slice that are in focus")
        self.problem = ProblemLabel()
        self.plot = CurvePlot()
        self.said = QLabel()
        self.said.setWordWrap(True)
        self.slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0.02, 0.98)
        self.slider.setSingleStep(0.02)
        self.slider.setDecimals(2)
        self.slider.setValue(THRESHOLD)
        self.slider.setToolTip("Probability from which on a pixel is in focus; nothing is computed anew")
        self.probability_box = QCheckBox("Probability as a layer")
        self.probability_box.setToolTip("Show what the threshold cuts, from 0 (transparent) to 1")
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip("Write the masks, as they are shown, as TIFF, and their probability beside them")
        self.areas_button = QPushButton("Save areas…")
        self.areas_button.setToolTip("Write the area in focus of each slice as a table")
        self.exporter = JobRunner(self)
        self._lay_out()
        self._connect()
        self._on_method()
        self._on_theme()
        self.reset_choices()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Layer", self.layer_box)
        form.addRow("Method", self.method_box)
        form.addRow(self.method_note)
        self.results = QWidget()
        below = QFormLayout(self.results)
        below.setContentsMargins(0, 0, 0, 0)
        below.addRow("Threshold", self.slider)
        below.addRow("", self.probability_box)
        row = QHBoxLayout()
        row.addWidget(self.export_button)
        row.addWidget(self.areas_button)
        below.addRow(row)
        column = QVBoxLayout(self)
        column.addLayout(form)
        column.addWidget(self.problem)
        column.addWidget(self.bar)
        column.addWidget(self.plot)
        column.addWidget(self.said)
        column.addWidget(self.results)
        column.addStretch(1)
        self.results.setEnabled(False)
        self.setMinimumWidth(300)

    def _connect(self) -> None:
        self.layer_box.currentIndexChanged.connect(self._on_layer)
        self.method_box.currentIndexChanged.connect(self._on_method)
        self.bar.requested.connect(self._on_mask)
        self.bar.runner.stepped.connect(self._on_step)
        self.bar.runner.succeeded.connect(self._on_masked)
        self.bar.runner.cancelled.connect(self._on_cancelled)
        self.bar.runner.failed.connect(self._on_failed)
        self.slider.valueChanged.connect(self._on_threshold)
        self.probability_box.toggled.connect(self._on_probability)
        self.plot.slice_asked.connect(self._on_slice_asked)
        self.export_button.clicked.connect(self._on_export)
        self.areas_button.clicked.connect(self._on_areas)
        self.exporter.succeeded.connect(self._on_exported)
        for event, answer in self._viewer_events():
            event.connect(answer)

    def _viewer_events(self) -> list[tuple[Any, Any]]:
        viewer = self._viewer
        return [
            (viewer.dims.events.point, self._on_point),
            (viewer.layers.events.removed, self._on_removed),
            (viewer.events.theme, self._on_theme),
        ]

    def shut_down(self) -> None:
        """Stop, and let go of the viewer: the dock is closed. The layers stay."""
        self.bar.runner.cancel()
        self.exporter.cancel()
        for result in self._known.values():
            result.release()
        for event, answer in self._viewer_events():
            event.disconnect(answer)

    # What is masked ---------------------------------------------------------------------------------------------

    @property
    def layer(self) -> Any:
        """The chosen layer; None where there is none."""
        return self.layer_box.currentData()

    def choose_layer(self, layer: Any) -> None:
        """Choose a layer, where it is one that can be masked."""
        self.layer_box.choose(layer)

    def reset_choices(self, event: Any = None) -> None:
        """Follow the viewer's list of layers; napari calls this when it changes."""
        chosen = self.layer
        layers = [x for x in self._viewer.layers if isinstance(x, Image) and "role" not in x.metadata.get(METADATA, {})]
        if chosen not in layers:
            chosen = selected_source(self._viewer, layers) or next(iter(layers), None)
        self.layer_box.offer(layers, chosen)
        self._on_layer()

    def _on_layer(self) -> None:
        usable = stack_or_none(self.layer) is not None
        self.problem.say("" if usable else "Open a stack first: drop one onto the window.")
        self.bar.run_button.setEnabled(usable)
        self._draw()

    def _on_method(self) -> None:
        description = MASKS[self.method_box.currentData()].description
        self.method_box.setToolTip(description)
        self.method_note.setText(description)

    def _on_mask(self) -> None:
        layer = self.layer
        self.problem.say("")
        try:
            source, method = _source(layer, self._viewer.dims), MASKS[self.method_box.currentData()]
        except InputError as error:
            show_warning(error.in_napari)
            self.problem.say(error.in_napari)
            return
        self._source = source
        self._shares = np.full(source.stack.n_slices, np.nan)
        self.bar.runner.start(MaskJob(source, method))

    def _on_step(self, step: Progress) -> None:
        if step.partial is not None:
            z, share = step.partial
            self._shares[z] = share
            self._draw()

    def _on_masked(self, masks: FocusMasks) -> None:
        source, threshold = self._source, self.slider.value()
        assert source is not None
        key = key_of(source, masks)
        if key in self._known:
            self.result = self._known[key]
            self.result.renew(source, masks, threshold)
        else:
            self.result = self._known[key] = MaskResult(self._viewer, source, masks, threshold)
        self.results.setEnabled(True)
        self.probability_box.setChecked(self.result.probability is not None)
        self._tell()

    def _on_failed(self, sentence: str) -> None:
        """Show nothing of an earlier run: it would pass for what this one found. Its layers stay."""
        self.problem.say(sentence)
        self.result = None
        self.results.setEnabled(False)
        self.probability_box.setChecked(False)
        self._tell()

    def _on_cancelled(self) -> None:
        show_info("Masking was cancelled; nothing was added.")
        self._tell()

    # What was found ---------------------------------------------------------------------------------------------

    def _on_threshold(self, value: float) -> None:
        if self.result is not None:
            self.result.set_threshold(value)
            self._tell()

    def _on_probability(self, shown: bool) -> None:
        if self.result is not None:
            self.result.show_probability(shown)

    def _on_removed(self, event: Any) -> None:
        for key, result in list(self._known.items()):
            result.forget(event.value)
            if result is not self.result and result.labels is None and result.probability is None:
                del self._known[key]
        if self.result is not None and self.result.probability is None and self.probability_box.isChecked():
            self.probability_box.setChecked(False)

    def _tell(self) -> None:
        """Show the areas at the threshold."""
        if self.result is None:
            self._shares = None
        else:
            self._source = self.result.source
            self._shares = self.result.masks.shares(self.slider.value())
        self._draw()

    def _draw(self) -> None:
        label = "area in focus (%)"
        if self._shares is None or self._source is None:
            stack = stack_or_none(self.layer)
            view = CurveView() if stack is None else CurveView(stack.n_slices, None, label, stack.heights_um)
        else:
            done = np.isfinite(self._shares)
            best = int(np.nanargmax(self._shares)) if done.all() and self._shares.max() > 0 else None
            view = CurveView(len(self._shares), 100 * self._shares, label, self._source.stack.heights_um, best)
        self.plot.set_view(view)
        self.plot.setVisible(view.n_slices > 1)
        self._on_point()

    def _on_point(self, event: Any = None) -> None:
        """The sliders moved: say how much of that slice is in focus; nothing of another layer than what was masked."""
        z, source, shares = self._shown_slice(), self._source, self._shares
        about = source is not None and self.layer is not None and identity(self.layer) == source.frame.layer_id
        self.plot.set_shown(z if about or shares is None else None)
        text = ""
        if about and source is not None and shares is not None:
            at = 0 if len(shares) == 1 else z
            if at is not None and at < len(shares) and np.isfinite(shares[at]):
                share, slice_ = float(shares[at]), f"Slice {at}: " if len(shares) > 1 else ""
                text = f"{slice_}{share:.1%} of the pixels in focus{_area(source, share)}."
        caution = caution_text(self.result.masks.caution) if about and self.result is not None else ""
        self.said.setText(f"{text}<br>{caution}" if caution else text)

    def _shown_slice(self) -> int | None:
        try:
            return None if self.layer is None else shown_at(self.layer, self._viewer.dims).get("Z")
        except InputError:
            return None

    def _on_slice_asked(self, z: int) -> None:
        if self.layer is not None:
            show(self.layer, self._viewer.dims, Z=z)

    def _on_theme(self, event: Any = None) -> None:
        theme = get_theme(self._viewer.theme)
        self.plot.set_colours(background=theme.background.as_hex(), text=theme.text.as_hex())

    # Files ------------------------------------------------------------------------------------------------------

    def _on_export(self) -> None:
        if self.result is None:
            return
        stack = self.result.source.stack
        proposed = proposed_file(stack.source, f"{stack.name}_masks.ome.tif")
        chosen, _ = QFileDialog.getSaveFileName(self, "Export masks", proposed, "TIFF (*.ome.tif *.tif)")
        if not chosen:
            return
        path = Path(chosen if chosen.lower().endswith((".tif", ".tiff")) else f"{chosen}.ome.tif")
        paths: dict[MaskPart, str | Path] = {"masks": path}
        if self.probability_box.isChecked():
            paths["probability"] = path.with_name(name_beside(path, "probability"))
        # The dialog has asked whether to replace the file of the name that was chosen there, and only of that.
        unasked = [Path(p) for p in paths.values() if Path(p) != Path(chosen)]
        if not all(map(self._may_write, unasked)):
            return
        job = partial(
            write_masks_job,
            paths,
            self.result.masks,
            stack,
            threshold=self.result.threshold,
            edited=self.result.edited(),
            overwrite=True,
        )
        self.exporter.start(job)

    def _may_write(self, path: Path) -> bool:
        """Ask before a file that the dialog did not name is replaced."""
        if not path.exists():
            return True
        question = f"'{path.name}' is there already. Replace it?"
        buttons = QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No
        answer = QMessageBox.question(self, "Export masks", question, buttons, QMessageBox.StandardButton.No)
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _on_exported(self, paths: list[Path]) -> None:
        show_info(f"Wrote {', '.join(p.name for p in paths)} in {paths[0].parent}")

    def _on_areas(self) -> None:
        if self.result is None:
            return
        stack = self.result.source.stack
        table = ask_table(self, "Save areas", proposed_file(stack.source, f"{stack.name}_areas.csv"))
        if table is None:
            return
        text = areas_table(self.result.masks, stack, threshold=self.result.threshold)
        try:
            write_text(table.path, text, overwrite=table.overwrite)
        except InputError as error:
            show_warning(error.in_napari)
        else:
            show_info(f"Wrote {table.path.name}")


def _source(layer: Any, dims: Any) -> MaskSource:
    """The series that is shown: its time, position and channel."""
    stack = joined_stack([layer])
    where = shown_at(layer, dims)
    at = {a: where[a] for a in "PT" if a in stack.axes}
    series = stack.series(t=at.get("T", 0), p=at.get("P", 0)).only_channel(where.get("C", 0))
    return MaskSource(replace(series, name=layer.name), frame_of(layer), at)


def _area(source: MaskSource, share: float) -> str:
    """An area in words, where the pixel size is known."""
    stack = source.stack
    if stack.y_um is None or stack.x_um is None:
        return ""
    h, w = stack.plane_shape
    um2 = share * h * stack.y_um * w * stack.x_um
    area, unit = (um2 / 1e6, "mm²") if um2 >= 1e5 else (um2, "µm²")
    return f", {float(f'{area:.3g}'):g} {unit}"
