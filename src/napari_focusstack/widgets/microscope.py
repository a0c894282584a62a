"""*Microscope*: connect one, see what it sees, autofocus it, take z-stacks and scans into layers.

Nothing moves until a button that moves is pressed: not when this opens, not when a microscope is connected.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning
from napari.utils.theme import get_theme
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QPushButton, QScrollArea, QVBoxLayout, QWidget

from napari_focusstack.core.autofocus import Focused, Seen, Step
from napari_focusstack.core.autofocus.methods import FocusMethod, focus_methods
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Progress
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.dock import DockedWidget
from napari_focusstack.widgets.job import JobBar, JobRunner
from napari_focusstack.widgets.layers import METADATA
from napari_focusstack.widgets.microscope_form import ConnectForm, FocusPart, ScanPart, TakePart
from napari_focusstack.widgets.microscope_jobs import (
    Connecting,
    Disconnecting,
    Focusing,
    Live,
    Placed,
    Scanning,
    Taking,
)
from napari_focusstack.widgets.reader import layers_of

if TYPE_CHECKING:
    from napari_focusstack.microscope.rig import Rig
    from napari_focusstack.microscope.scan import Scan

LIVE = "live"
STACK = "z-stack"
FIELDS = "fields"
NOTES = 3
"""So many fields in which something went another way are told of; the layer's metadata has all."""


class MicroscopeWidget(DockedWidget):
    """The dock widget *Microscope*.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that it works on.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.rig: Rig | None = None
        self._live_layer: Any = None
        self._live_job: Any = None
        self._taken_layer: Any = None
        self._steps: list[Step] = []
        self._scanning: Scanning | None = None
        self._closing = False
        self.connection = ConnectForm()
        self.connect_bar = JobBar("Connect", tooltip="Connect the microscope; nothing moves")
        self.disconnect_button = QPushButton("Disconnect")
        self.disconnect_button.setToolTip("Stop the stages and let go of the microscope")
        self.focus, self.take, self.scan = FocusPart(), TakePart(), ScanPart()
        self.live = JobRunner(self)
        self.leaving = JobRunner(self)
        self.focus.offer(list(focus_methods()))
        self._lay_out()
        self._connect_signals()
        self._on_theme()
        self._show_connected()

    def _lay_out(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        parts = (self.connection, self.connect_bar, self.disconnect_button, self.focus, self.take, self.scan)
        for part in parts:
            column.addWidget(part)
        column.addStretch(1)
        area = QScrollArea()
        area.setWidget(inner)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        self.setMinimumWidth(384)

    def _connect_signals(self) -> None:
        self.connect_bar.requested.connect(self._on_connect)
        self.connect_bar.runner.succeeded.connect(self._on_connected)
        self.disconnect_button.clicked.connect(self.disconnect_rig)
        self.leaving.busy_changed.connect(self._on_leaving)
        self.focus.live_box.toggled.connect(self._on_live)
        self.live.stepped.connect(self._on_image)
        self.live.failed.connect(self._on_live_failed)
        self.focus.bar.requested.connect(self._on_focus)
        self.focus.bar.runner.succeeded.connect(self._on_focused)
        self.focus.bar.runner.cancelled.connect(self._on_stopped)
        self.focus.bar.runner.failed.connect(self._on_failed)
        self.take.bar.requested.connect(self._on_take)
        self.take.bar.runner.succeeded.connect(self._on_taken)
        self.take.score_asked.connect(self._on_score)
        self.take.fuse_asked.connect(self._on_fuse)
        self.scan.bar.requested.connect(self._on_scan)
        self.scan.bar.runner.succeeded.connect(self._on_scanned)
        self.scan.bar.runner.cancelled.connect(self._on_scan_cancelled)
        self.scan.bar.runner.failed.connect(self._on_scan_failed)
        for bar in self._bars:
            bar.runner.stepped.connect(self._on_step)
            bar.runner.busy_changed.connect(self._on_busy)
        self._viewer.events.theme.connect(self._on_theme)
        self._viewer.layers.events.removed.connect(self._on_removed)

    @property
    def _bars(self) -> tuple[JobBar, JobBar, JobBar]:
        return self.focus.bar, self.take.bar, self.scan.bar

    @property
    def busy(self) -> bool:
        """Whether a job that moves is running."""
        return any(bar.runner.busy for bar in self._bars)

    def shut_down(self) -> None:
        """Stop the stages and let go: the dock is closed."""
        self._closing = True
        self.connect_bar.runner.cancel()
        self.disconnect_rig()
        self._viewer.events.theme.disconnect(self._on_theme)
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    # Connecting -------------------------------------------------------------------------------------------------

    def _on_connect(self) -> None:
        self.connect_bar.runner.start(Connecting(self.connection.wanted))

    def _on_connected(self, rig: Rig) -> None:
        self.rig = rig
        self.focus.offer(list(focus_methods()))
        try:
            self.take.step_um.setValue(rig.info.depth_of_field_um / 2)
        except InputError as error:
            show_warning(error.in_napari)
        self._show_connected()
        self.focus.live_box.setChecked(True)

    def disconnect_rig(self) -> None:
        """Stop every job and the stages, and unload the devices, in a thread: the last image may take its time."""
        rig, self.rig = self.rig, None
        for bar in self._bars:
            bar.runner.cancel()
        self.focus.live_box.setChecked(False)
        self.live.cancel()
        if rig is not None:
            self.leaving.start(Disconnecting(rig))
        if not self._closing:
            self._show_connected()

    def _on_leaving(self, _busy: bool) -> None:
        if not self._closing:
            self._show_connected()

    def _show_connected(self) -> None:
        connected, leaving = self.rig is not None, self.leaving.busy
        self.connection.setEnabled(not connected and not leaving)
        self.connect_bar.setVisible(not connected and not leaving)
        self.disconnect_button.setVisible(connected or leaving)
        self.disconnect_button.setEnabled(not leaving)
        self.disconnect_button.setText("Disconnecting…" if leaving else "Disconnect")
        for part in (self.focus, self.take, self.scan):
            part.setEnabled(connected)
        self.scan.setEnabled(self.rig is not None and self.rig.has_xy)
        if not connected:
            self.focus.height.setText("")

    # Live -------------------------------------------------------------------------------------------------------

    def _on_live(self, wanted: bool) -> None:
        if not wanted:
            self.live.cancel()
        elif self.rig is not None and not self.busy:
            self._live_job = Live(self.rig)
            self.live.start(self._live_job)

    def _on_live_failed(self, _problem: str) -> None:
        self.focus.live_box.setChecked(False)

    def _on_image(self, step: Progress) -> None:
        self.focus.height.setText(step.message)
        if step.partial is not None:
            self._show_image(step.partial.partial, step.partial.place_um)
            self._live_job.shown.set()

    def _show_image(self, image: NDArray[Any], place_um: tuple[float, float]) -> None:
        """Show an image in the live layer, which is made with the first one."""
        if self.rig is None:
            return
        pixel = self.rig.info.pixel_um
        layer = self._live_layer
        if layer is not None and layer.data.shape == image.shape:
            self._follow(np.subtract(place_um, layer.translate))
            layer.data = image
            layer.translate = place_um
            return
        if layer is not None:
            self._viewer.layers.remove(layer)
        active = self._viewer.layers.selection.active
        self._live_layer = self._viewer.add_image(
            image,
            name=LIVE,
            rgb=image.ndim == 3,
            scale=(pixel or 1.0,) * 2,
            units=("um" if pixel else "pixel",) * 2,
            axis_labels=("y", "x"),
            translate=place_um,
            metadata={METADATA: {"role": "live", "optics": self.rig.info.optics}},
        )
        if active is not None:
            self._viewer.layers.selection.active = active

    def _follow(self, moved_um: NDArray[np.float64]) -> None:
        """Keep the live image where it is on the screen: the stage would carry it out of sight.

        What was taken stays where it is: where it lies over the live image, that is not what one looks at.
        """
        camera = getattr(self._viewer, "scene", self._viewer).camera  # older ones keep it in the viewer
        if moved_um.any() and self._viewer.layers[-1] is self._live_layer:
            z, *place = camera.center
            camera.center = (z, *np.add(place, moved_um))

    def _on_removed(self, event: Any) -> None:
        if event.value is self._live_layer:
            self._live_layer = None
        if event.value is self._taken_layer:
            self._taken_layer = None
            self.take.allow_use(False)

    # Jobs that move ---------------------------------------------------------------------------------------------

    def _on_busy(self, _busy: bool) -> None:
        """One job at a time; the live image pauses, jobs show their own."""
        busy = self.busy
        for bar in self._bars:
            bar.run_button.setEnabled(not busy)
        if busy:
            self.live.cancel()
            if self._live_layer is not None:  # what was taken before may lie over it
                self._viewer.layers.move(self._viewer.layers.index(self._live_layer), len(self._viewer.layers))
        else:
            self._on_live(self.focus.live_box.isChecked())

    def _on_step(self, step: Progress) -> None:
        if not isinstance(step.partial, Placed):
            return
        seen, place = step.partial.partial, step.partial.place_um
        if isinstance(seen, Seen):
            if seen.step.number == 0:
                self._steps = []
            self._steps.append(seen.step)
            self.focus.height.setText(f"{seen.step.z_um:.1f} µm")
            # A scan tells in its own bar what it does; *Cancel* must not move under the mouse meanwhile.
            if self.focus.bar.runner.busy:
                self._show_track(found=False)
                self.focus.verdict.setText(step.message)
            self._show_image(seen.image, place)
            return
        if seen.image is not None:
            self._show_image(seen.image, place)

    def _clear_focus(self) -> None:
        """What the last autofocus did is no more of interest."""
        self._steps = []
        self._show_track(found=False)
        self.focus.verdict.setText("")

    def _show_track(self, *, found: bool) -> None:
        self.focus.track.show_track([s.seconds for s in self._steps], [s.z_um for s in self._steps], found=found)

    @property
    def _method(self) -> FocusMethod:
        return focus_methods()[str(self.focus.method_box.currentData())]

    def _on_focus(self) -> None:
        if self.rig is not None:
            self.scan.verdict.setText("")
            self.focus.verdict.setText("")
            self.focus.bar.runner.start(Focusing(self.rig, self._method))

    def _on_focused(self, result: Focused) -> None:
        self._steps = list(result.steps)
        self._show_track(found=result.found)
        if result.found and self._live_layer is not None:
            self._live_layer.reset_contrast_limits()  # set for a blurred image so far
        where = f"In focus at {result.z_um:.2f} µm" if result.found else f"Not found; back at {result.z_um:.2f} µm"
        self.focus.verdict.setText(f"{where}: {len(result.steps)} images, {result.seconds:.1f} s. {result.reason}")
        self.focus.height.setText(f"{result.z_um:.1f} µm")

    def _on_stopped(self) -> None:
        self.focus.verdict.setText("Stopped; the stage stays where it is.")

    def _on_failed(self, problem: str) -> None:
        self.focus.verdict.setText(problem)

    def _on_take(self) -> None:
        if self.rig is not None:
            self.take.bar.runner.start(Taking(self.rig, self.take.range_um.value(), self.take.step_um.value()))

    def _on_taken(self, taken: Placed) -> None:
        self._taken_layer = self._add(dataclasses.replace(taken.partial, name=STACK), taken.place_um)
        self.take.allow_use(True)

    def _add(self, stack: Stack, place: tuple[float, float]) -> Any:
        """Add a stack as a layer, where the stage saw it."""
        ((data, kwargs, _),) = layers_of(stack)
        kwargs["translate"] = (*kwargs["translate"][:-2], *place)
        layer = self._viewer.add_image(data, **kwargs)
        self._viewer.dims.axis_labels = (*self._viewer.dims.axis_labels[: -layer.ndim], *layer.axis_labels)
        if "Z" in stack.axes:
            middle = float(layer.translate[-3] + layer.scale[-3] * (stack.n_slices // 2))
            self._viewer.dims.set_point(self._viewer.dims.ndim - 3, middle)
        return layer

    def _on_scan(self) -> None:
        if self.rig is None:
            return
        part = self.scan
        plan = (self.take.range_um.value(), self.take.step_um.value()) if part.stacks_box.isChecked() else None
        method = self._method if part.refocus_box.isChecked() else None
        grid = part.rows.value(), part.columns.value(), part.overlap.value()
        self._clear_focus()
        part.verdict.setText("")
        self._scanning = Scanning(self.rig, grid, method, plan)
        part.bar.runner.start(self._scanning)

    def _on_scanned(self, taken: Scan) -> None:
        """The fields side by side, to look at, and each by itself, hidden below, to work on."""
        y, x = taken.corner_um
        fields = self._add(dataclasses.replace(_with_z(taken), name=FIELDS), (float(y), float(x)))
        fields.visible = False
        layers = fields, self._add(taken.mosaic(), (float(y), float(x)))
        for layer in layers:
            layer.metadata[METADATA] |= {
                "places_um": taken.places_um.tolist(),
                "heights_um": taken.heights_um.tolist(),
                "notes": list(taken.notes),
            }
        if "Z" in taken.stack.axes:
            self._taken_layer = fields
            self.take.allow_use(True)
        self._viewer.reset_view()
        self._clear_focus()
        self._scanning = None
        self.scan.verdict.setText(_scan_told(taken, refocused=self.scan.refocus_box.isChecked()))

    def _on_scan_cancelled(self) -> None:
        """Keep what was taken."""
        so_far = self._scanning.so_far if self._scanning is not None else None
        if self._closing:
            return
        if so_far is None:
            self.scan.verdict.setText("Stopped before a field was taken; the stages stay where they are.")
        else:
            self._on_scanned(so_far.cancelled())

    def _on_scan_failed(self, problem: str) -> None:
        """Say why, and keep what was taken."""
        so_far = self._scanning.so_far if self._scanning is not None else None
        self.scan.verdict.setText(problem)
        if so_far is not None:
            self._on_scanned(so_far.failed(problem.rstrip(".")))

    def _on_score(self) -> None:
        from napari_focusstack.widgets import commands

        self._viewer.layers.selection.active = self._taken_layer
        commands.score_layer()

    def _on_fuse(self) -> None:
        from napari_focusstack.widgets import commands

        self._viewer.layers.selection.active = self._taken_layer
        commands.fuse_layer()

    def _on_theme(self, event: Any = None) -> None:
        theme = get_theme(self._viewer.theme)
        self.focus.track.set_colours(background=theme.background.as_hex(), text=theme.text.as_hex())


def _with_z(taken: Scan) -> Stack:
    """The fields; single images lie at their heights, so that they share no axis with the slices of other layers."""
    stack, heights = taken.stack, taken.heights_um
    if "Z" in stack.axes:
        return stack
    thick = float(np.ptp(heights)) or 1.0
    return dataclasses.replace(
        stack,
        data=stack.data[:, None],
        axes=stack.axes.replace("P", "PZ"),
        z_um=thick,
        z_positions_um=(float(heights.min()) + thick / 2,),
    )


def _scan_told(taken: Scan, *, refocused: bool) -> str:
    """How a scan went, for a person."""
    heights, total = taken.heights_um, len(taken.numbers) + len(taken.lost)
    lowest, highest = (f"{height:.1f}" for height in (heights.min(), heights.max()))
    at = f"z {lowest} µm" if lowest == highest else f"z from {lowest} to {highest} µm"
    verdict = f"{len(taken.numbers)} of {total} fields, {at}"
    unfocused = taken.found.count(False) if refocused else 0
    verdict += f"; focus not found in {unfocused} of them." if unfocused else "."
    said = [f"Field {k + 1}: {note}." for k, note in zip(taken.numbers, taken.notes, strict=True) if note]
    said += [f"{missed}." for missed in taken.missed(first=1)]
    if taken.ended:
        verdict += f" The scan did not run to its end: {taken.ended}."
    return " ".join([verdict, *said[:NOTES], *(["…"] if len(said) > NOTES else [])])
