"""What *Fuse* made so far: its layers, and what can be done with them."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QFileDialog, QGridLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.provenance import NOT_FOR_QUANTIFICATION
from napari_focusstack.io.write import write_text
from napari_focusstack.widgets.export import ExportDialog, propose_path
from napari_focusstack.widgets.fading import show_colours
from napari_focusstack.widgets.fuse_busy import BusyLine
from napari_focusstack.widgets.fuse_quality import QualityPanel
from napari_focusstack.widgets.fuse_run import (
    MAPS,
    FuseResult,
    Made,
    NewLayer,
    layers_of_result,
    layers_of_values,
    map_layers,
)
from napari_focusstack.widgets.fuse_values import SliceJob, ValuesJob, is_single
from napari_focusstack.widgets.job import JobRunner
from napari_focusstack.widgets.layers import METADATA, source_id
from napari_focusstack.widgets.retouch import Retoucher


class ResultPanel(QWidget):
    """Adds results to the viewer, and offers what can be done with the one that is selected.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the layers go.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._made: list[Made] = []
        # napari takes a quarter of a second for a large layer: one at a time, and the event loop between them.
        self._waiting: list[tuple[Made, NewLayer]] = []
        self._turn = QTimer(self)
        self._turn.setInterval(0)
        self._turn.timeout.connect(self._on_turn)
        self._asked: tuple[str, Made] | None = None
        self.retoucher: Retoucher | None = None
        self.export_dialog: ExportDialog | None = None
        self.runner = JobRunner(self)
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.note = QLabel(NOT_FOR_QUANTIFICATION)
        self.note.setWordWrap(True)
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip("Write the fused image, and its index and height map, as TIFF")
        self.recipe_button = QPushButton("Save recipe…")
        self.recipe_button.setToolTip("Save these settings, to fuse other stacks alike from the command line")
        self.values_button = QPushButton("Source values")
        self.values_button.setToolTip(
            "Add a layer that copies each pixel from the slice that the index names: its values are those of the source"
        )
        self.retouch_button = QPushButton("Retouch")
        self.retouch_button.setCheckable(True)
        self.retouch_note = QLabel()
        self.retouch_note.setWordWrap(True)
        self.look_box = QCheckBox("Look at the slice beneath")
        self.look_box.setToolTip("Hide the fused image while you look for the slice that is right")
        self.quality_button = QPushButton("Quality")
        self.quality_button.setCheckable(True)
        self.quality_button.setToolTip(
            "Rate the fused image: against its slices, and against a sharp image of the same scene if you have one"
        )
        self.quality = QualityPanel(viewer)
        self.busy = BusyLine(self.runner)

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addWidget(self.title)
        layout.addWidget(self.note)
        grid = QGridLayout()
        buttons = (self.export_button, self.recipe_button, self.values_button, self.retouch_button, self.quality_button)
        for i, button in enumerate(buttons):
            grid.addWidget(button, i // 2, i % 2)
        layout.addLayout(grid)
        layout.addWidget(self.busy)
        layout.addWidget(self.retouch_note)
        layout.addWidget(self.look_box)
        layout.addWidget(self.quality)

        self.export_button.clicked.connect(self._on_export)
        self.recipe_button.clicked.connect(self._on_recipe)
        self.values_button.clicked.connect(self._on_values)
        self.retouch_button.clicked.connect(self._on_retouch)
        self.look_box.toggled.connect(self._on_look)
        self.quality_button.toggled.connect(self._on_quality)
        self.runner.succeeded.connect(self._on_done)
        self.runner.failed.connect(self.refresh)
        self.runner.cancelled.connect(self.refresh)
        self.refresh()

    @property
    def current(self) -> Made | None:
        """The result that the selected layer shows, else the last one."""
        active = self._viewer.layers.selection.active
        for made in self._made:
            if any(layer is active for _, layer in made.layers):
                return made
        return self._made[-1] if self._made else None

    def add(self, result: FuseResult) -> Made:
        """Add the layers of a result; those of an earlier one of the same source and choices are replaced."""
        made = Made(result)
        self.stop_retouching()
        new_layers = layers_of_result(result)
        for new in new_layers:
            if new.role == "fused":
                made.layers.append((new, self._show(new)))
        ours = {id(layer) for _, layer in made.layers}
        self._made = [m for m in self._made if not ours & {id(layer) for _, layer in m.layers}]
        self._made.append(made)
        self._viewer.layers.selection.active = made.of_role("fused")[-1]
        self._waiting += [(made, new) for new in new_layers if new.role != "fused"]
        self._turn.start()
        self.refresh()
        return made

    @property
    def adding(self) -> bool:
        """Whether layers of a result are still to come."""
        return bool(self._waiting)

    def _on_turn(self) -> None:
        if not self._waiting:
            self._turn.stop()
            return
        made, new = self._waiting.pop(0)
        # The user may have deleted the fused image meanwhile: its index would be left alone.
        if made in self._made:
            active = self._viewer.layers.selection.active
            made.layers.append((new, self._show(new)))
            self._viewer.layers.selection.active = active

    def recalibrate(self) -> None:
        """Let the results follow the calibration of their sources: a height map that was made, or could not be yet."""
        for made in self._made:
            if not made.recalibrate(self._viewer.layers):
                continue
            if self.retoucher is not None and self.retoucher.made is made:
                self.stop_retouching()
            self._waiting = [(waits, new) for waits, new in self._waiting if waits is not made or new.role != "depth"]
            shown = {new.channel: layer for new, layer in made.layers if new.role == "depth"}
            made.layers = [(new, layer) for new, layer in made.layers if new.role != "depth"]
            for new in map_layers(made.result, ("depth",)):
                layer = shown.get(new.channel)
                if layer is not None and layer in self._viewer.layers:
                    layer.data = new.data
                    layer.contrast_limits = new.kwargs["contrast_limits"]
                    made.layers.append((new, layer))
                else:
                    self._waiting.append((made, new))
            self._turn.start()
        self.refresh()

    def forget_deleted(self) -> None:
        """Drop results whose fused images are no longer in the viewer."""
        kept = [made for made in self._made if any(layer in self._viewer.layers for layer in made.of_role("fused"))]
        gone = self.retoucher is not None and (
            self.retoucher.made not in kept or self.retoucher.labels not in self._viewer.layers
        )
        if gone:
            self.stop_retouching()
        if gone or len(kept) != len(self._made):
            self._made = kept
            self.refresh()

    def shut_down(self) -> None:
        """Stop what runs and let go of the viewer."""
        self.runner.cancel()
        self.quality.bar.runner.cancel()
        self._turn.stop()
        self._waiting.clear()
        self.stop_retouching()

    def refresh(self, _: Any = None) -> None:
        """Say which result the buttons are for."""
        made = self.current
        self.setVisible(made is not None)
        retouching = self.retoucher is not None
        self.retouch_button.setChecked(retouching)
        self.retouch_note.setVisible(retouching)
        self.look_box.setVisible(retouching)
        self.look_box.setEnabled(self.retoucher is not None and self.retoucher.has_slices)
        if made is not None:
            self.title.setText(f"<b>{escape(made.name)}</b>{self._told_of_maps(made)}")
            single = is_single(made.result)
            self.retouch_button.setEnabled(single or retouching)
            self.retouch_button.setToolTip(
                "Paint slices over the fused image" if single else "Fuse one time point by itself to retouch it"
            )
        self.quality.show_for(made)

    def _told_of_maps(self, made: Made) -> str:
        """Which layers came with the fused image: they are hidden, and nobody looks for what he does not know of."""
        there = [new.role for new, layer in made.layers if layer in self._viewer.layers]
        coming = [new.role for waits, new in self._waiting if waits is made]
        maps = ", ".join(words for role, words in MAPS.items() if role in {*there, *coming})
        return f"<br><small>Added hidden (click the eye in the layer list to see one): {maps}.</small>" if maps else ""

    # Export -----------------------------------------------------------------------------------------------------

    def _on_export(self) -> None:
        made = self.current
        if made is not None:
            made.recalibrate(self._viewer.layers)
            self.export_dialog = ExportDialog(made.result, retouched=made.retouched, parent=self.window())
            self.export_dialog.destroyed.connect(self._on_export_closed)
            self.export_dialog.open()

    def _on_export_closed(self) -> None:
        self.export_dialog = None

    def _on_recipe(self) -> None:
        made = self.current
        if made is None:
            return
        proposed = propose_path(made.result, word="recipe", ending=".json")
        path, _ = QFileDialog.getSaveFileName(self, "Save the recipe", str(proposed), "Recipes (*.json)")
        if not path:
            return
        target = Path(path if path.lower().endswith(".json") else f"{path}.json")
        try:
            # The dialog has asked whether to overwrite.
            write_text(target, recipe(made.result), overwrite=True)
        except InputError as error:
            show_warning(error.in_napari)
        else:
            show_info(f"Wrote {target.name} in {target.parent}")

    # Source values and retouching -------------------------------------------------------------------------------

    def _on_values(self) -> None:
        made = self.current
        if made is not None:
            self._asked = "values", made
            self.runner.start(ValuesJob(made.result))

    def _on_retouch(self) -> None:
        if self.retoucher is not None:
            self.stop_retouching()
            self.refresh()
            return
        made = self.current
        if made is not None:
            self._asked = "retouch", made
            self.runner.start(SliceJob(made.result))

    def _on_done(self, answer: Any) -> None:
        if self._asked is None:
            return
        (what, made), self._asked = self._asked, None
        if what == "values":
            for new in layers_of_values(made.result, answer):
                self._show(new)
        elif made in self._made:
            self._take_brush(made, answer)
        self.refresh()

    def _take_brush(self, made: Made, series: Stack) -> None:
        self.retoucher = Retoucher(self._viewer, made, series, self)
        self.retoucher.slice_changed.connect(self._on_slice)
        self.retoucher.reading_changed.connect(self._on_slice)
        self.retoucher.left.connect(self._on_left)
        self.retoucher.left.connect(self.retoucher.deleteLater)
        self._on_slice()

    def stop_retouching(self) -> None:
        """Put the brush down, once what was painted is in the fused image."""
        if self.retoucher is not None:
            self.look_box.setChecked(False)
            self.retoucher.finish()

    def _on_left(self) -> None:
        self.retoucher = None
        self.refresh()

    def _on_slice(self, _: Any = None) -> None:
        if self.retoucher is not None:
            reading = " (reading it…)" if self.retoucher.reading else ""
            self.retouch_note.setText(
                f"The brush paints <b>slice {self.retoucher.slice}</b>{reading}: the z slider chooses it. Ctrl-Z takes "
                "a stroke back, the eraser gives the fused pixels back."
            )

    def _on_quality(self, wanted: bool) -> None:
        self.quality.setVisible(wanted)

    def _on_look(self, looking: bool) -> None:
        if self.retoucher is not None:
            self.retoucher.show_slices(looking)

    def _show(self, new: NewLayer) -> Any:
        """Put a layer into the viewer, or its data into the layer that shows the same thing already."""
        old = next((layer for layer in self._viewer.layers if _shows(layer, new)), None)
        if old is not None:
            # Limits that the user has set stay.
            untouched = tuple(old.contrast_limits) == old.metadata[METADATA].get("limits")
            old.data = new.data
            for name in ("units", "axis_labels", "scale", "translate", "affine"):
                if name in new.kwargs:
                    setattr(old, name, new.kwargs[name])
            old.metadata = {**old.metadata, **new.kwargs["metadata"]}
            if untouched and "contrast_limits" in new.kwargs:
                old.contrast_limits = new.kwargs["contrast_limits"]
            layer = old
        else:
            layer = self._viewer.add_image(new.data, **new.kwargs)
        if not getattr(layer, "rgb", False):
            layer.metadata[METADATA]["limits"] = tuple(layer.contrast_limits)
        if old is None and new.role in MAPS:
            show_colours(layer)
        return layer


def recipe(result: FuseResult) -> str:
    """The settings of a result as JSON; a channel is told as its file tells it: by name, which other stacks share."""
    settings, keys = result.settings, result.source.keys
    if isinstance(settings.drive, int) and settings.drive < len(keys):
        settings = settings.model_copy(update={"drive": keys[settings.drive]})
    if result.source.alone:
        settings = settings.model_copy(update={"drive": None, "channel": keys[0]})
    return str(settings.model_dump_json(indent=2)) + "\n"


def _shows(layer: Any, new: NewLayer) -> bool:
    """Whether a layer shows an earlier state of the same thing: of the same source, by the same choices."""
    known, wanted = layer.metadata.get(METADATA, {}), new.kwargs["metadata"][METADATA]
    return (
        bool(source_id(layer))
        and all(known.get(key) == wanted[key] for key in ("layer_id", "role", "label", "of_channel"))
        and layer.ndim == _ndim(new)
        # A retouched image is the user's work: the new one stands beside it.
        and "retouched" not in known
    )


def _ndim(new: NewLayer) -> int:
    return int(new.data.ndim) - bool(new.kwargs.get("rgb", False))
