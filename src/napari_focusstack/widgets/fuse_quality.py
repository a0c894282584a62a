"""How good a fused image is, in numbers, and what each number means."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_focusstack.core.progress import Job, relay
from napari_focusstack.core.quality import Quality, assess
from napari_focusstack.widgets.fuse_run import FuseResult, Made
from napari_focusstack.widgets.fuse_values import is_single, series_job
from napari_focusstack.widgets.job import JobBar
from napari_focusstack.widgets.layers import METADATA

COMPARED = {"itself": "", "sources": "slices", "reference": "reference"}
WAITING = "Choose a number in the table to read what it means."


@dataclass(frozen=True)
class Rated:
    """The metrics of one channel."""

    channel: str
    found: tuple[Quality, ...]


@dataclass(frozen=True, eq=False)
class QualityJob:
    """Makes the job that rates every channel of a fused image of one time point and position.

    Attributes
    ----------
    result : FuseResult
        What was fused, and how.
    images : tuple of arrays
        The fused image of each channel as it is shown now, retouched or not: (Y, X) or (Y, X, 3).
    channels : tuple of str
        What to call them.
    reference : array, optional
        A sharp image of the same scene, compared with every channel.
    """

    result: FuseResult
    images: tuple[NDArray[Any], ...]
    channels: tuple[str, ...]
    reference: Any = field(default=None)

    def __call__(self) -> Job[list[Rated]]:
        """Make the job; called in the thread that runs it."""
        result, n = self.result, len(self.images)
        aligned = series_job(result, time=result.at.get("T", 0), position=result.at.get("P", 0))
        series = yield from relay(aligned, done=0, total=300 if result.settings.align else 0)
        start = 300 if result.settings.align else 0
        reference = None if self.reference is None else np.squeeze(np.asarray(self.reference))
        rated = []
        for c, (image, channel) in enumerate(zip(self.images, self.channels, strict=True)):
            job = assess(image, sources=series.only_channel(c), reference=reference, slices=result.fused.slices or None)
            first, last = (start + (1000 - start) * k // n for k in (c, c + 1))
            rated.append(Rated(channel, (yield from relay(job, done=first, total=last))))
        return rated


class QualityPanel(QWidget):
    """A button that rates the result at hand, the table of its numbers, and what the chosen one means.

    Parameters
    ----------
    viewer : napari.Viewer
        Where references are looked for.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._made: Made | None = None
        self._asked: Made | None = None
        self.rated: WeakKeyDictionary[Made, list[Rated]] = WeakKeyDictionary()
        self.reference_box = QComboBox()
        self.reference_box.setToolTip("A sharp image of the same scene, of the same size: a reference to measure by")
        self.reference_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.reference_box.setMinimumContentsLength(12)
        self.reference_box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.bar = JobBar("Measure quality", tooltip="Compare the fused image with the slices it was fused from")
        self.table = QTreeWidget()
        self.table.setHeaderLabels(["Metric", "Value", "Against"])
        self.table.setRootIsDecorated(False)
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.table.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.hint = QLabel(WAITING)
        self.hint.setWordWrap(True)

        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Reference", self.reference_box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.bar)
        layout.addWidget(self.table)
        layout.addWidget(self.hint)
        self.hide()

        self.bar.requested.connect(self._on_requested)
        self.bar.runner.succeeded.connect(self._on_rated)
        self.table.currentItemChanged.connect(self._on_chosen)

    def show_for(self, made: Made | None) -> None:
        """Offer to rate a result, and show its numbers if it was rated before."""
        if made is not self._made:
            self.bar.runner.cancel()
            self._made = made
        if made is None:
            return
        single = is_single(made.result)
        self.bar.run_button.setEnabled(single)
        self.bar.run_button.setToolTip(
            "Compare the fused image with the slices it was fused from"
            if single
            else "Fuse one time point by itself to rate it"
        )
        self._offer_references(made)
        self._fill(self.rated.get(made, []))

    def _offer_references(self, made: Made) -> None:
        chosen = self.reference_box.currentData()
        shape = _images_of(made)[0].shape
        self.reference_box.clear()
        self.reference_box.addItem("none", None)
        for layer in self._viewer.layers:
            if _is_reference(layer, shape):
                self.reference_box.addItem(layer.name, layer)
        at = next((i for i in range(self.reference_box.count()) if self.reference_box.itemData(i) is chosen), 0)
        self.reference_box.setCurrentIndex(at)

    def _on_requested(self) -> None:
        made = self._made
        if made is None:
            return
        layer = self.reference_box.currentData()
        source = made.result.source
        images = _images_of(made)
        channels = tuple(source.stack.channels) if len(images) > 1 else ("",)
        self._asked = made
        self.bar.runner.start(QualityJob(made.result, images, channels, None if layer is None else layer.data))

    def _on_rated(self, rated: list[Rated]) -> None:
        if self._asked is not None:
            self.rated[self._asked] = rated
        if self._asked is self._made:
            self._fill(rated)

    def _fill(self, rated: list[Rated]) -> None:
        self.table.clear()
        self.hint.setText(WAITING)
        for one in rated:
            for quality in one.found:
                name = f"{one.channel}: {quality.metric.title}" if one.channel else quality.metric.title
                unit = "" if quality.metric.units == "1" else f" {quality.metric.units}"
                value = "∞" if math.isinf(quality.value) else f"{quality.value:.4g}"
                item = QTreeWidgetItem([name, value + unit, COMPARED[quality.against]])
                item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                item.setData(0, Qt.ItemDataRole.UserRole, f"<b>{escape(name)}.</b> {escape(quality.metric.hint)}")
                item.setToolTip(0, f"{name}: {quality.metric.hint}")  # the column may cut the name
                self.table.addTopLevelItem(item)
        shown = bool(rated)
        self.table.setVisible(shown)
        self.hint.setVisible(shown)
        if shown:
            row = self.table.sizeHintForRow(0)
            self.table.setFixedHeight(
                self.table.header().sizeHint().height() + row * self.table.topLevelItemCount() + 6
            )
            self.table.setCurrentItem(self.table.topLevelItem(0))

    def _on_chosen(self, item: QTreeWidgetItem | None, _: Any = None) -> None:
        self.hint.setText(WAITING if item is None else str(item.data(0, Qt.ItemDataRole.UserRole)))


def _images_of(made: Made) -> tuple[NDArray[Any], ...]:
    """The fused image of each channel as its layer shows it: views, nothing is computed."""
    fused, source = made.result.fused, made.result.source
    plane = fused.image.shape[-3:] if fused.axes.endswith("YXS") else fused.image.shape[-2:]
    data = [layer.data for layer in made.of_role("fused")]
    if not source.split and source.stack.n_channels > 1:
        return tuple(np.asarray(data[0]).reshape(-1, *plane))[: source.stack.n_channels]
    return tuple(np.asarray(d).reshape(-1, *plane)[0] for d in data)


def _is_reference(layer: Any, shape: tuple[int, ...]) -> bool:
    """Whether a layer is a single image of that shape, and no result of ours."""
    if (
        getattr(layer, "_type_string", "") != "image"
        or layer.multiscale
        or layer.metadata.get(METADATA, {}).get("role")
    ):
        return False
    return tuple(n for n in layer.data.shape if n > 1) == tuple(n for n in shape if n > 1)
