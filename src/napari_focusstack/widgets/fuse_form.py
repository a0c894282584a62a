"""The choices of *Fuse* as a form: method, channels, time points, slices, alignment. Knows stacks, not layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget
from superqt import QLabeledRangeSlider

from napari_focusstack.core.fusion import DEFAULT_METHOD, METHODS
from napari_focusstack.core.settings import FuseSettings
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.method_combo import MethodCombo
from napari_focusstack.widgets.note_label import NoteLabel

ALONE = "alone"
"""Data of the entry that fuses the chosen layer without its other channels."""


@dataclass(frozen=True)
class Choices:
    """What the form says.

    Attributes
    ----------
    settings : FuseSettings
        How to fuse.
    together : bool
        Whether all channels are fused, where they are layers of their own.
    all_times, all_positions : bool
        Whether every time point, every position is fused, or the one that is shown.
    """

    settings: FuseSettings
    together: bool
    all_times: bool
    all_positions: bool


class FuseForm(QWidget):
    """Form for `FuseSettings`, filled for one stack at a time."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._n_slices = 1
        self._split = False
        self.method_box = MethodCombo(METHODS, DEFAULT_METHOD)
        self.method_note = NoteLabel()
        self.channel_box = QComboBox()
        self.channel_box.setToolTip("Which channel's sharpness chooses the slices")
        self.extent_box = QComboBox()
        self.extent_box.setToolTip("What to fuse of a time series or of several positions")
        self.slices = QLabeledRangeSlider(Qt.Orientation.Horizontal)
        self.slices.setToolTip("First and last slice to fuse")
        self.slices.setEdgeLabelMode(QLabeledRangeSlider.EdgeLabelMode.NoLabel)
        self.slices.setHandleLabelPosition(QLabeledRangeSlider.LabelPosition.NoLabel)
        self.slices_note = QLabel()
        self.align_box = QCheckBox("Align the slices first")
        self.align_box.setToolTip(
            "Register the slices to each other: for stacks that shift or change in size through focus. Takes longer."
        )

        slices_area = QWidget()
        column = QVBoxLayout(slices_area)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.slices)
        column.addWidget(self.slices_note)
        for box in (self.channel_box, self.extent_box):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(12)
            box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.form = QFormLayout(self)
        self.form.setContentsMargins(0, 0, 0, 0)
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self.form.addRow("Method", self.method_box)
        self.form.addRow(self.method_note)
        self.form.addRow("Channels", self.channel_box)
        self.form.addRow("Fuse", self.extent_box)
        self.form.addRow("Slices", slices_area)
        self.form.addRow("", self.align_box)

        self.method_box.currentIndexChanged.connect(self._on_method)
        self.slices.valueChanged.connect(self._on_slices)
        self.channel_box.currentIndexChanged.connect(self._on_changed)
        self._on_method()

    def fill(self, stack: Stack | None, *, channels: tuple[str, ...] = ()) -> None:
        """Fit the choices to a stack, keeping those that still make sense.

        Parameters
        ----------
        stack : Stack or None
            The stack of the chosen layer; None where there is none.
        channels : tuple of str
            Names of the layers that are its channels, where there are several.
        """
        self._fill_channels(stack, channels)
        self._fill_extent(stack)
        n = 1 if stack is None else stack.n_slices
        # The edges of the range are no choice: a new stack is fused whole unless slices were left out by hand.
        first, last = self.slices.value()
        whole = (first, last) == (self.slices.minimum(), self.slices.maximum()) or n != self._n_slices
        self._n_slices = n
        self.slices.setRange(0, max(1, n - 1))
        self.slices.setValue((0, max(1, n - 1)) if whole else (first, last))
        self._on_slices()

    def set_usable(self, usable: bool) -> None:
        """Grey the choices out where there is nothing to fuse."""
        for field in (self.method_box, self.channel_box, self.extent_box, self.align_box):
            field.setEnabled(usable)
        self.slices.setEnabled(usable)

    def choices(self) -> Choices:
        """What the form says now."""
        first, last = (round(v) for v in self.slices.value())
        drive = self.channel_box.currentData()
        extent = self.extent_box.currentData() or ""
        settings = FuseSettings(
            method=self.method_box.currentData(),
            drive=None if drive == ALONE else drive,
            first=first or None,
            last=None if last >= self._n_slices - 1 else last,
            align=self.align_box.isChecked(),
        )
        return Choices(settings, self._split and drive != ALONE, "T" in extent, "P" in extent)

    def _fill_channels(self, stack: Stack | None, channels: tuple[str, ...]) -> None:
        self._split = len(channels) > 1
        names = channels
        if stack is not None and stack.n_channels > 1:
            names = stack.channels or tuple(f"channel {i}" for i in range(stack.n_channels))
        entries: list[tuple[str, Any]] = [("this channel alone", ALONE)] if self._split else []
        if len(names) > 1:
            entries.append(("all, each by itself" if self._split else "each by itself", None))
            entries += [(f"all, at the slices of {name}", i) for i, name in enumerate(names)]
        _refill(self.channel_box, entries)
        self._show_row(self.channel_box, len(names) > 1)

    def _fill_extent(self, stack: Stack | None) -> None:
        n_times, n_positions = (1, 1) if stack is None else (stack.n_times, stack.n_positions)
        entries: list[tuple[str, Any]] = [("what is shown", "")]
        if n_times > 1:
            entries.append((f"all {n_times} time points", "T"))
        if n_positions > 1:
            entries.append((f"all {n_positions} positions", "P"))
        if n_times > 1 and n_positions > 1:
            entries.append(("all time points and positions", "TP"))
        _refill(self.extent_box, entries)
        self._show_row(self.extent_box, len(entries) > 1)

    def _show_row(self, field: QWidget, shown: bool) -> None:
        field.setVisible(shown)
        label = self.form.labelForField(field)
        if label is not None:
            label.setVisible(shown)

    def _on_method(self) -> None:
        method = METHODS[self.method_box.currentData()]
        self.method_box.setToolTip(method.description)
        self.method_note.setText(re.split(r"[.;:] ", method.description)[0].rstrip(".") + ".")
        self.changed.emit()

    def _on_slices(self) -> None:
        first, last = (round(v) for v in self.slices.value())
        whole = (first, last) == (0, self._n_slices - 1)
        self.slices_note.setText(
            "" if self._n_slices < 2 else f"all {self._n_slices}" if whole else f"{first} to {last}"
        )
        self.changed.emit()

    def _on_changed(self) -> None:
        self.changed.emit()


def _refill(box: QComboBox, entries: list[tuple[str, Any]]) -> None:
    """Fill a combo box and choose what was chosen, by its words, or else the first."""
    if [box.itemText(i) for i in range(box.count())] == [words for words, _ in entries]:
        return
    chosen = box.currentText()
    box.blockSignals(True)
    box.clear()
    for words, data in entries:
        box.addItem(words, data)
    box.setCurrentIndex(max(0, box.findText(chosen)))
    box.blockSignals(False)
