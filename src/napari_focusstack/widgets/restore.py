"""*Restore*: sharpens a slice or a stack, shows the result beside the original, and wipes from one to the other."""

from __future__ import annotations

import dataclasses
from typing import Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_focusstack.core.deblur import DEBLURRERS, INVENTS, DeblurSettings, deblur_job, default_deblurrer
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job
from napari_focusstack.core.report import Grid
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.desk import selected_source, stack_or_none
from napari_focusstack.widgets.dock import DockedWidget
from napari_focusstack.widgets.fuse_preview import Region, visible_region
from napari_focusstack.widgets.job import JobBar, JobRunner
from napari_focusstack.widgets.known_blur import KnownBlur
from napari_focusstack.widgets.layer_combo import LayerCombo
from napari_focusstack.widgets.layers import METADATA, Frame, Placed, frame_of, place, shown_at, source_id, stack_of
from napari_focusstack.widgets.method_combo import MethodCombo
from napari_focusstack.widgets.note_label import NoteLabel, ProblemLabel
from napari_focusstack.widgets.optics_form import OpticsForm
from napari_focusstack.widgets.overlays import FocusMap
from napari_focusstack.widgets.wipe import Wipe

PREVIEW_PX = 512
"""A preview is as large as this at most, around the middle of what is on screen."""

SEES_BLUR = "It sees the blur itself: a blur that is known helps the classical methods."


@dataclasses.dataclass(frozen=True)
class Sharpened:
    """What a job made, and how it is to be shown.

    Attributes
    ----------
    placed : Placed
        The result as a layer.
    name : str
        Of that layer.
    look : mapping
        Contrast limits, colormap and gamma of its source.
    """

    placed: Placed
    name: str
    look: dict[str, Any]


class SharpenJob:
    """Makes the job that sharpens some planes of a layer.

    Parameters
    ----------
    stack : Stack
        All of it.
    frame : Frame
        How the layer lies.
    settings : DeblurSettings
        How.
    look : mapping
        See `Sharpened`.
    at : mapping of str to int
        Index of the plane along each axis of the layer; empty: all are sharpened.
    region : Region, optional
        The part of the planes that a preview shows.
    """

    def __init__(
        self,
        stack: Stack,
        frame: Frame,
        settings: DeblurSettings,
        look: dict[str, Any],
        *,
        at: dict[str, int],
        region: Region | None = None,
    ) -> None:
        self.stack, self.frame, self.settings, self.look = stack, frame, settings, look
        self.at, self.region = at, region

    def __call__(self) -> Job[Sharpened]:
        """Make the job; called in the thread that runs it."""
        chosen = DEBLURRERS[self.settings.model]
        r = self.region
        within = None if r is None else (slice(r.y0, r.y1), slice(r.x0, r.x1))
        made = yield from deblur_job(self.stack, self.settings, at=self.at, within=within)
        provenance: dict[str, Any] = {
            "role": "preview of restoring" if self.region else "restored",
            "method": chosen.name,
            "parameters": self.settings.model_dump(exclude={"device"}),
        }
        if made.blur_told:
            provenance |= {"blur": made.blur_told, "blur_px": made.blurs_px, "blur_um": made.blurs_um or None}
        if chosen.card is not None:
            provenance |= {"warning": INVENTS, "weights_sha256": chosen.card.sha256}
        grid = None if r is None else Grid((r.y1 - r.y0, r.x1 - r.x0), (1.0, 1.0), (float(r.y0), float(r.x0)))
        placed = place(made.stack.data, made.stack.axes, like=self.frame, grid=grid, at=self.at, provenance=provenance)
        word = "preview" if self.region else "sharpened"
        which = f", slice {self.at['Z']}" if "Z" in self.at else ""
        return Sharpened(placed, f"{word} {self.frame.name} ({chosen.name}{which})", self.look)


class RestoreWidget(DockedWidget):
    """The dock widget *Restore*.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that it works on.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.layer_box = LayerCombo("The image or stack to sharpen")
        self.model_box = MethodCombo(DEBLURRERS, default_deblurrer())
        self.note = NoteLabel()
        self.warning = ProblemLabel(INVENTS)
        self.known = KnownBlur()
        self.optics = OpticsForm(self._viewer, sided=False)
        self.blur_note = NoteLabel()
        self.whole_box = QCheckBox("All slices")
        self.whole_box.setToolTip("Sharpen every plane of the layer, not only the one shown")
        self.problem = ProblemLabel()
        self.bar = JobBar("Sharpen", tooltip="Add a sharpened copy beside the layer")
        self.preview_button = QPushButton("Preview")
        self.preview_button.setToolTip(f"Sharpen the middle of what is on screen, {PREVIEW_PX} px at most")
        self.preview_runner = JobRunner(self)
        self.compare_box = QCheckBox("Before | after")
        self.compare_box.setToolTip("Wipe between the layer and its sharpened copy")
        self.wipe_slider = QSlider(Qt.Orientation.Horizontal)
        self.wipe_slider.setRange(0, 1000)
        self.wipe_slider.setValue(500)
        self.wipe_slider.setToolTip("Left of here the original is shown, right of here the sharpened image")
        self._wipe = Wipe(self._viewer, self)
        self._lay_out()

        self.layer_box.currentIndexChanged.connect(self._on_layer)
        self.model_box.currentIndexChanged.connect(self._on_model)
        self.known.changed.connect(self._on_known)
        self.optics.given.connect(self._on_optics)
        self.bar.requested.connect(self._on_sharpen)
        self.bar.runner.succeeded.connect(self._on_sharpened)
        self.bar.runner.cancelled.connect(self._on_cancelled)
        self.preview_button.clicked.connect(self._on_preview)
        self.preview_runner.busy_changed.connect(self._on_preview_busy)
        self.preview_runner.succeeded.connect(self._on_sharpened)
        for runner in (self.bar.runner, self.preview_runner):
            runner.failed.connect(self.problem.say)
        self.compare_box.toggled.connect(self._on_compare)
        self.wipe_slider.valueChanged.connect(self._on_wipe)
        self._wipe.removed.connect(self._on_wipe_removed)
        self._on_model()
        self.reset_choices()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Layer", self.layer_box)
        form.addRow("Method", self.model_box)
        form.addRow(self.note)
        form.addRow(self.warning)
        self.known.add_to(form)
        form.addRow(self.optics)
        form.addRow(self.blur_note)
        form.addRow("", self.whole_box)
        self._form = form
        run = QHBoxLayout()
        run.addWidget(self.bar, 3)
        run.addWidget(self.preview_button, 1)
        compare = QHBoxLayout()
        compare.addWidget(self.compare_box)
        compare.addWidget(self.wipe_slider, 1)
        column = QVBoxLayout(self)
        column.addLayout(form)
        column.addWidget(self.problem)
        column.addLayout(run)
        column.addLayout(compare)
        column.addStretch(1)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Wide enough for sentences, and for all fields."""
        return super().minimumSizeHint().expandedTo(QSize(300, 0))

    def shut_down(self) -> None:
        """Stop the jobs and take the comparison away: the dock is closed."""
        self.bar.runner.cancel()
        self.preview_runner.cancel()
        self._wipe.stop()

    def reset_choices(self, event: Any = None) -> None:
        """Follow the viewer's list of layers; napari calls this when it changes."""
        chosen = self.layer
        layers = [layer for layer in self._viewer.layers if _is_source(layer)]
        if chosen not in layers:
            chosen = selected_source(self._viewer, layers) or next(reversed(layers), None)
        self.layer_box.offer(layers, chosen)
        self._on_layer()

    @property
    def layer(self) -> Any:
        """The chosen layer; None where there is none."""
        return self.layer_box.currentData()

    def settings(self) -> DeblurSettings:
        """What the form says."""
        model = self.model_box.currentData()
        if DEBLURRERS[model].learned:
            return DeblurSettings(model=model)
        return DeblurSettings(model=model, **self.known.told())

    def result(self) -> Any:
        """The newest sharpened copy of the chosen layer, by the chosen method if there is one; None without any."""
        made = [x for x in self._made() if _role(x) == "restored"]
        return next(reversed(self._by_method(made) or made), None)

    def _by_method(self, made: list[Any]) -> list[Any]:
        return [x for x in made if x.metadata[METADATA].get("method") == self.model_box.currentData()]

    def _made(self) -> list[Any]:
        """Copies and previews of the chosen layer, the oldest first."""
        own = None if self.layer is None else self.layer.metadata.get(METADATA, {}).get("id")
        roles = ("restored", "preview of restoring")
        return [x for x in self._viewer.layers if own and source_id(x) == own and _role(x) in roles]

    def _on_layer(self) -> None:
        layer = self.layer
        several = layer is not None and layer.ndim > 2
        self.whole_box.setVisible(several)
        for button in (self.bar.run_button, self.preview_button):
            button.setEnabled(layer is not None)
        self._on_known()
        self._refresh_comparison()

    def _on_model(self) -> None:
        chosen = DEBLURRERS[self.model_box.currentData()]
        self.model_box.setToolTip(chosen.description)
        said = chosen.description.replace(INVENTS, "").strip()
        self.note.setText(f"{said} {SEES_BLUR}" if chosen.learned else said)
        self.warning.setVisible(chosen.learned)
        for row in self.known.rows:
            self._form.setRowVisible(row, not chosen.learned)
        self._on_known()
        self._refresh_comparison()

    def _on_known(self) -> None:
        """A defocus takes aperture, wavelength and pixel size: ask for them."""
        self.optics.show_for(self.layer, stack_or_none(self.layer), needed=bool(self.settings().defocus_um))

    def _on_optics(self) -> None:
        self.problem.say("")
        self._on_known()

    def _job(self, *, whole: bool, region: Region | None = None) -> SharpenJob:
        layer = self.layer
        stack, frame = stack_of(layer), frame_of(layer)
        at: dict[str, int] = {}
        if not whole:
            shown = shown_at(layer, self._viewer.dims)
            at = {a: shown[a] for a in stack.axes if a in "PTCZ"}
        look: dict[str, Any] = {"gamma": layer.gamma}
        if not layer.rgb:
            look |= {"contrast_limits": tuple(layer.contrast_limits), "colormap": layer.colormap.name}
        return SharpenJob(stack, frame, self.settings(), look, at=at, region=region)

    def _start(self, runner: JobRunner, *, whole: bool, region: Region | None = None) -> None:
        self.problem.say("")
        try:
            runner.start(self._job(whole=whole, region=region))
        except InputError as error:
            show_warning(error.in_napari)
            self.problem.say(error.in_napari)

    def _on_sharpen(self) -> None:
        if self.layer is not None:
            self._start(self.bar.runner, whole=self.whole_box.isChecked() or self.layer.ndim == 2)

    def _on_preview(self) -> None:
        if self.layer is not None:
            self._start(self.preview_runner, whole=False, region=_middle(visible_region(self.layer)))

    def _on_preview_busy(self, busy: bool) -> None:
        self.preview_button.setText("…" if busy else "Preview")

    def _on_sharpened(self, made: Sharpened) -> None:
        for old in [x for x in self._viewer.layers if _role(x) == "preview of restoring"]:
            self._viewer.layers.remove(old)
        active = self._viewer.layers.selection.active
        self._viewer.add_image(made.placed.data, **made.placed.kwargs, **made.look, name=made.name)
        self._viewer.layers.selection.active = active
        self._refresh_comparison()

    def _on_cancelled(self) -> None:
        show_info("Sharpening was cancelled; nothing was added.")

    def _refresh_comparison(self) -> None:
        made = self._by_method(self._made())
        blur = made[-1].metadata[METADATA].get("blur") if made else None
        self.blur_note.setText(f"Estimated radius: {blur}" if blur else "")
        possible = self.result() is not None
        self.compare_box.setEnabled(possible)
        self.wipe_slider.setEnabled(possible and self.compare_box.isChecked())
        if not possible:
            self.compare_box.setChecked(False)
        elif self.compare_box.isChecked() and not self._wipe.shows(self.layer, self.result()):
            self._on_compare(True)

    def _on_compare(self, wanted: bool) -> None:
        self.wipe_slider.setEnabled(wanted)
        if wanted and self.result() is not None:
            self._wipe.start(self.layer, self.result(), self.wipe_slider.value() / 1000)
        else:
            self._wipe.stop()

    def _on_wipe_removed(self) -> None:
        self.compare_box.setChecked(False)

    def _on_wipe(self, value: int) -> None:
        self._wipe.move(value / 1000)


def _middle(region: Region) -> Region:
    """The middle of a region, `PREVIEW_PX` at most along each side."""

    def span(low: int, high: int) -> tuple[int, int]:
        if high - low <= PREVIEW_PX:
            return low, high
        start = (low + high - PREVIEW_PX) // 2
        return start, start + PREVIEW_PX

    return Region(*span(region.y0, region.y1), *span(region.x0, region.x1))


def _is_source(layer: Any) -> bool:
    """Whether a layer may be sharpened: an image of pixels, a fused one too, but no map and no other result of ours."""
    if getattr(layer, "_type_string", "") != "image" or isinstance(layer, FocusMap):
        return False
    return _role(layer) in ("", "fused")


def _role(layer: Any) -> str:
    return str(layer.metadata.get(METADATA, {}).get("role", ""))
