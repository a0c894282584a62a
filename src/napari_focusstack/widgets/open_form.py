"""`StackForm`: shows what is known of a stack, and asks for the rest with a guess filled in."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.heights import csv_columns, parse_heights
from napari_focusstack.widgets.number_box import NumberBox
from napari_focusstack.widgets.open_values import (
    AXIS_NAMES,
    Calibration,
    Guess,
    calibrate,
)

NOT_KNOWN = "not known"


class LengthField(QWidget):
    """A length in µm, or "not known"; a note beside it says where the value comes from.

    A value that is filled in stays as it is, to the last digit, until the user changes it.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._filled: float | None = None
        self.edited = False
        self.spin = NumberBox()
        self.spin.setDecimals(8)
        self.spin.setRange(0.0, 1e6)
        self.spin.setSuffix(" µm")
        self.spin.setSpecialValueText(NOT_KNOWN)
        self.spin.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        self.spin.setMinimumWidth(130)
        self.note = QLabel()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.spin)
        row.addWidget(self.note, 1)
        self.spin.valueChanged.connect(self._on_changed)

    @property
    def value(self) -> float | None:
        """The length, None where it is not known."""
        return (self.spin.value() or None) if self.edited else self._filled

    def fill(self, known: float | None, guess: float | None = None, guess_from: str = "", *, said_by: str) -> None:
        """Show what is `known`, else a `guess` with where it comes from."""
        self.spin.setValue(known or guess or 0.0)
        self._filled, self.edited = known or guess, False
        if known:
            self.note.setText(f"from the {said_by}")
        elif guess:
            self.note.setText(f"a guess: {guess_from}")
        else:
            self.note.setText(f"not in the {said_by}")

    def _on_changed(self) -> None:
        self.edited = True
        self.note.setText("set by you" if self.value else "")
        self.changed.emit()


class StackForm(QWidget):
    """Form for the axes, pixel size, z step and channel names of one stack.

    Parameters
    ----------
    said_by : str
        What told the values that are known: ``"file"`` or ``"layer"``.
    """

    changed = Signal()

    def __init__(self, *, said_by: str = "file", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._said_by = said_by
        self._stack: Stack | None = None
        self._square = True
        self._filled = "", ""
        self._axis_boxes: list[tuple[int, QComboBox]] = []
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.summary.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.pixel = LengthField()
        self.pixel.setToolTip("Width and height of a pixel in the specimen")
        self.pixel_y = LengthField()
        self.pixel_y.setToolTip("Height of a pixel in the specimen")
        self.z_step = LengthField()
        self.z_step.setToolTip("Distance from slice to slice")
        self.uneven = QCheckBox("the steps are uneven")
        self.uneven.setToolTip("Give the height of each slice instead of one step")
        self.heights = QPlainTextEdit()
        self.heights.setPlaceholderText("Paste the height of each slice in µm: 0, 0.5, 1.2 …")
        self.heights.setFixedHeight(64)
        self.heights.setFrameShape(QFrame.Shape.Box)
        self.csv_button = QPushButton("From a table (CSV)…")
        self.channels = QLineEdit()
        self.channels.setPlaceholderText("DAPI, GFP …")
        self.axes_area = QWidget()
        self.axes_layout = QFormLayout(self.axes_area)
        self.axes_layout.setContentsMargins(0, 0, 0, 0)

        self.heights_area = QWidget()
        column = QVBoxLayout(self.heights_area)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.heights)
        column.addWidget(self.csv_button, 0, Qt.AlignmentFlag.AlignLeft)
        self.form = QFormLayout()
        self.form.addRow("Pixel size", self.pixel)
        self.form.addRow("Pixel height", self.pixel_y)
        self.form.addRow("z step", self.z_step)
        self.form.addRow("", self.uneven)
        self.form.addRow("Heights", self.heights_area)
        self.form.addRow("Channel names", self.channels)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.summary)
        layout.addWidget(self.axes_area)
        layout.addLayout(self.form)

        self.uneven.toggled.connect(self._on_edited)
        self.heights.textChanged.connect(self._on_edited)
        self.channels.textChanged.connect(self._on_edited)
        self.csv_button.clicked.connect(self._on_csv)
        for field in (self.pixel, self.pixel_y, self.z_step):
            field.changed.connect(self._on_edited)

    def fill(self, stack: Stack, *, guess: Guess | None = None, summary: str | None = None) -> None:
        """Show what `stack` knows, and `guess` for the rest."""
        self._stack = stack
        guess = guess or Guess()
        self.summary.setText(summary or describe(stack))
        self._fill_axes(stack)
        self.pixel.fill(stack.x_um, guess.pixel_um, guess.pixel_from, said_by=self._said_by)
        self.pixel_y.fill(stack.y_um, guess.pixel_um, guess.pixel_from, said_by=self._said_by)
        self._square = stack.x_um is None or stack.y_um is None or abs(stack.x_um - stack.y_um) < 1e-6 * stack.x_um
        self.z_step.fill(stack.z_um, guess.z_um, guess.z_from, said_by=self._said_by)
        self.uneven.setChecked(stack.z_positions_um is not None)
        self.heights.setPlainText(", ".join(f"{h:.10g}" for h in stack.z_positions_um or ()))
        self.channels.setText(", ".join(stack.channels))
        self._filled = self.heights.toPlainText(), self.channels.text()
        self._on_edited()

    def calibration(self) -> Calibration:
        """What the form says.

        Raises
        ------
        InputError
            If the heights or channel names don't fit.
        """
        if self._stack is None:
            raise InputError("There is no stack yet: choose a file or a folder first.")
        axes = self._axes()
        n = self._length(axes, "Z")
        x_um = self.pixel.value
        heights = self._heights(n) if "Z" in axes and self.uneven.isChecked() else None
        return Calibration(
            axes=axes,
            y_um=x_um if self._square and self.pixel.edited else self.pixel_y.value,
            x_um=x_um,
            z_um=self.z_step.value if "Z" in axes and heights is None else None,
            z_positions_um=heights,
            channels=self._names() if "C" in axes else (),
        )

    def _heights(self, n: int) -> tuple[float, ...]:
        text = self.heights.toPlainText()
        known = None if self._stack is None else self._stack.z_positions_um
        return known if known is not None and len(known) == n and text == self._filled[0] else parse_heights(text, n=n)

    def _names(self) -> tuple[str, ...]:
        text = self.channels.text()
        if self._stack is not None and text == self._filled[1]:
            return self._stack.channels
        return tuple(name.strip() for name in text.split(",") if name.strip())

    def calibrated(self) -> Stack:
        """Give the stack with what the form says; `InputError` where that does not fit."""
        calibration = self.calibration()
        assert self._stack is not None
        return calibrate(self._stack, calibration)

    def _fill_axes(self, stack: Stack) -> None:
        while self.axes_layout.rowCount():
            self.axes_layout.removeRow(0)
        self._axis_boxes = []
        for i, letter in enumerate(stack.axes):
            if letter in AXIS_NAMES and stack.data.shape[i] > 1:
                box = QComboBox()
                for name, words in AXIS_NAMES.items():
                    box.addItem(words, name)
                box.setCurrentIndex(box.findData(letter))
                box.setToolTip("What this axis of the data is")
                box.currentIndexChanged.connect(self._on_axis)
                self._axis_boxes.append((i, box))
                self.axes_layout.addRow(f"The {stack.data.shape[i]} images are", box)
        self._named = self._axes()

    def _axes(self) -> str:
        assert self._stack is not None
        letters = list(self._stack.axes)
        for i, box in self._axis_boxes:
            letters[i] = box.currentData()
        return "".join(letters)

    def _length(self, axes: str, letter: str) -> int:
        assert self._stack is not None
        return int(self._stack.data.shape[axes.index(letter)]) if letter in axes else 1

    def _on_axis(self) -> None:
        """An axis took the name of another: that one takes the name that has come free."""
        axes = self._axes()
        taken = next((i for i, a in enumerate(axes) if a != self._named[i]), None)
        if taken is not None:
            freed = self._named[taken]
            for i, box in self._axis_boxes:
                if i != taken and box.currentData() == axes[taken]:
                    box.blockSignals(True)
                    box.setCurrentIndex(box.findData(freed))
                    box.blockSignals(False)
        self._named = self._axes()
        self._on_edited()

    def _on_edited(self) -> None:
        axes = self._axes() if self._stack is not None else ""
        has_z, uneven = "Z" in axes, self.uneven.isChecked()
        self._show_row(self.pixel_y, self._stack is not None and not self._square)
        self._show_row(self.z_step, has_z and not uneven)
        self._show_row(self.uneven, has_z)
        self._show_row(self.heights_area, has_z and uneven)
        self._show_row(self.channels, "C" in axes)
        self.changed.emit()

    def _show_row(self, field: QWidget, shown: bool) -> None:
        field.setVisible(shown)
        label = self.form.labelForField(field)
        if label is not None:
            label.setVisible(shown)

    def _on_csv(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Table of heights", "", "Tables (*.csv *.tsv *.txt);;All files (*)")
        if not path:
            return
        try:
            columns = csv_columns(Path(path), n=self._length(self._axes(), "Z"))
        except InputError as error:
            self.csv_button.setToolTip(error.in_napari)
            self.summary.setText(error.in_napari)
            return
        name = self._choose_column(list(columns))
        if name is not None:
            self.heights.setPlainText(", ".join(f"{h:.10g}" for h in columns[name]))

    def _choose_column(self, names: Sequence[str]) -> str | None:
        if len(names) == 1:
            return names[0]
        name, ok = QInputDialog.getItem(self, "Table of heights", "Which column holds the heights in µm?", names, 0)
        return str(name) if ok else None


def describe(stack: Stack) -> str:
    """What a stack is, in two sentences for the user."""
    sizes = " × ".join(map(str, stack.data.shape))
    kind = {"u": f"{8 * stack.dtype.itemsize} bit", "f": "float"}.get(stack.dtype.kind, str(stack.dtype))
    colour = ", colour" if stack.is_rgb else ""
    note = stack.axes_note.strip().rstrip(".")
    return f"<b>{escape(stack.name)}</b>: {sizes} ({kind}{colour})." + (
        f"<br>{escape(note[0].upper() + note[1:])}." if note else ""
    )


def without_icons(buttons: QDialogButtonBox) -> None:
    """Take the icons off: the desktop's own don't go with napari's themes."""
    for button in buttons.buttons():
        button.setIcon(QIcon())
