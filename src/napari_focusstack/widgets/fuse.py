"""*Fuse*: a z-stack to one image that is sharp everywhere, with the slice and the height that each pixel came from."""

from __future__ import annotations

from typing import Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.desk import selected_source
from napari_focusstack.widgets.dock import DockedWidget
from napari_focusstack.widgets.fuse_channels import channel_layers, channel_name, source_of
from napari_focusstack.widgets.fuse_form import FuseForm
from napari_focusstack.widgets.fuse_preview import PreviewJob, visible_region
from napari_focusstack.widgets.fuse_results import ResultPanel
from napari_focusstack.widgets.fuse_run import FuseJob, FuseResult
from napari_focusstack.widgets.job import JobBar, JobRunner
from napari_focusstack.widgets.layer_combo import LayerCombo
from napari_focusstack.widgets.layers import METADATA, Placed, shown_at, stack_of
from napari_focusstack.widgets.note_label import ProblemLabel
from napari_focusstack.widgets.open_hint import CalibrationHint
from napari_focusstack.widgets.overlays import FocusMap


class FuseWidget(DockedWidget):
    """The dock widget *Fuse*.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that it works on.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        # napari hands out a proxy; the layers it gives are new objects each time, and we tell layers by identity.
        self._viewer = viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._watched: Any = None
        self._previewed: Any = None
        self.layer_box = LayerCombo("The z-stack to fuse")
        self.hint = CalibrationHint(viewer)
        self.problem = ProblemLabel()
        self.form = FuseForm()
        self.bar = JobBar("Fuse", tooltip="Fuse the slices into one image that is sharp everywhere")
        self.preview_runner = JobRunner(self)
        self._calibrated = QTimer(self)
        self._calibrated.setSingleShot(True)
        self.preview_button = QPushButton("Preview")
        self.preview_button.setToolTip("Fuse what is on screen, at a size that takes about a second")
        self.results = ResultPanel(viewer)

        self.form.form.insertRow(0, "Layer", self.layer_box)
        self.form.form.insertRow(1, self.hint)
        run = QHBoxLayout()
        run.addWidget(self.bar, 3)
        run.addWidget(self.preview_button, 1)
        content = QWidget()
        column = QVBoxLayout(content)
        column.addWidget(self.form)
        column.addWidget(self.problem)
        column.addLayout(run)
        column.addWidget(self.results)
        column.addStretch(1)
        # It scrolls where the window is too low.
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)
        self.setMinimumWidth(300)

        self._calibrated.timeout.connect(self.results.recalibrate)
        self.layer_box.currentIndexChanged.connect(self._on_layer)
        self.bar.requested.connect(self._on_fuse)
        self.bar.runner.succeeded.connect(self._on_fused)
        self.bar.runner.cancelled.connect(self._on_cancelled)
        for runner in (self.bar.runner, self.preview_runner):
            runner.failed.connect(self.problem.say)
        self.preview_button.clicked.connect(self._on_preview)
        self.preview_runner.busy_changed.connect(self._on_preview_busy)
        self.preview_runner.succeeded.connect(self._on_previewed)
        self._viewer.layers.selection.events.active.connect(self._on_active)
        self.reset_choices()

    def shut_down(self) -> None:
        """Stop fusing and let go of the viewer: the dock is closed."""
        self.bar.runner.cancel()
        self.preview_runner.cancel()
        self._calibrated.stop()
        self.results.shut_down()
        self._viewer.layers.selection.events.active.disconnect(self._on_active)
        self._watch(None)

    def reset_choices(self, event: Any = None) -> None:
        """Follow the viewer's list of layers; napari calls this when it changes."""
        chosen = self.layer
        layers = [layer for layer in self._viewer.layers if _is_source(layer)]
        if chosen not in layers:
            stacks = [layer for layer in layers if _n_slices(layer) > 1]
            chosen = selected_source(self._viewer, stacks) or next(reversed(stacks), next(reversed(layers), None))
        self.layer_box.offer(layers, chosen)
        self.results.forget_deleted()
        self._on_layer()

    @property
    def layer(self) -> Any:
        """The chosen layer; None where there is none."""
        return self.layer_box.currentData()

    def choose_layer(self, layer: Any) -> None:
        """Choose a layer, where it is one that can be fused."""
        self.layer_box.choose(layer)

    def _on_active(self, event: Any = None) -> None:
        self.results.refresh()

    def _on_layer(self) -> None:
        self._watch(self.layer)
        self._on_lengths()

    def _watch(self, layer: Any) -> None:
        """Follow the calibration of one layer."""
        if self._watched is not layer:
            for emitter in _lengths_of(self._watched):
                emitter.disconnect(self._on_lengths)
            self._watched = layer
            for emitter in _lengths_of(layer):
                emitter.connect(self._on_lengths)

    def _on_lengths(self, event: Any = None) -> None:
        """The layer, its calibration or its axes changed: what the form offers follows, and the results a moment later.

        A calibration comes in several events, the heights of the slices last of all.
        """
        self._calibrated.start(0)
        layer = self.layer
        stack: Stack | None = None
        problem = "Open a z-stack first: File > IO Utilities > Open z-stack…, or drop one onto the window."
        if layer is not None:
            try:
                stack = stack_of(layer)
                stack.require_slices("fuse it")
                problem = ""
            except InputError as error:
                problem = error.in_napari
        channels = [] if layer is None else channel_layers(layer, self._viewer.layers)
        self.form.fill(stack, channels=tuple(channel_name(c) for c in channels) if len(channels) > 1 else ())
        self.hint.show_for(layer, stack)
        self.problem.say(problem)
        self.form.set_usable(not problem)
        self.bar.run_button.setEnabled(not problem)
        self.preview_button.setEnabled(not problem)

    def _on_fuse(self) -> None:
        self.problem.say("")
        layer = self.layer
        if layer is None:
            return
        try:
            choices = self.form.choices()
            taken = channel_layers(layer, self._viewer.layers) if choices.together else [layer]
            source = source_of(taken, self._viewer.layers)
        except InputError as error:
            show_warning(error.in_napari)
            self.problem.say(error.in_napari)
            return
        shown = shown_at(layer, self._viewer.dims)
        times = range(source.stack.n_times) if choices.all_times else [shown.get("T", 0)]
        positions = range(source.stack.n_positions) if choices.all_positions else [shown.get("P", 0)]
        self.bar.runner.start(FuseJob(source, choices.settings, times=times, positions=positions))

    def _on_fused(self, result: FuseResult) -> None:
        for preview in [layer for layer in self._viewer.layers if _role(layer) == "preview"]:
            self._viewer.layers.remove(preview)
        self.results.add(result)

    def _on_preview(self) -> None:
        self.problem.say("")
        layer = self.layer
        if layer is None:
            return
        try:
            settings = self.form.choices().settings
            source = source_of([layer])
        except InputError as error:
            show_warning(error.in_napari)
            self.problem.say(error.in_napari)
            return
        shown = shown_at(layer, self._viewer.dims)
        region = visible_region(layer)
        self._previewed = source
        self.preview_runner.start(
            PreviewJob(source, settings, region, time=shown.get("T", 0), position=shown.get("P", 0))
        )

    def _on_preview_busy(self, busy: bool) -> None:
        self.preview_button.setText("…" if busy else "Preview")

    def _on_previewed(self, placed: Placed) -> None:
        method = placed.kwargs["metadata"][METADATA]["method"]
        name = f"preview {self._previewed.frame.name} ({method})"
        for old in [layer for layer in self._viewer.layers if _role(layer) == "preview"]:
            self._viewer.layers.remove(old)
        look = self._previewed.looks[0]
        more: dict[str, Any] = {"name": name, "blending": "opaque"}
        if look.contrast_limits is not None:
            more |= {"contrast_limits": look.contrast_limits, "colormap": look.colormap, "gamma": look.gamma}
        active = self._viewer.layers.selection.active
        self._viewer.add_image(placed.data, **placed.kwargs, **more)
        self._viewer.layers.selection.active = active

    def _on_cancelled(self) -> None:
        show_info("Fusing was cancelled; nothing was added.")


def _is_source(layer: Any) -> bool:
    """Whether a layer may be fused: an image that is no result of ours."""
    return getattr(layer, "_type_string", "") == "image" and not isinstance(layer, FocusMap) and not _role(layer)


def _role(layer: Any) -> str:
    return str(layer.metadata.get(METADATA, {}).get("role", ""))


def _n_slices(layer: Any) -> int:
    try:
        return stack_of(layer).n_slices
    except InputError:
        return 0


def _lengths_of(layer: Any) -> tuple[Any, ...]:
    """Events of a layer by which its lengths and axes change."""
    if layer is None:
        return ()
    return layer.events.scale, layer.events.translate, layer.events.units, layer.events.axis_labels, layer.events.data
