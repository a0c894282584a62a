"""The forms of *Microscope*: what to connect, and what to take. Fields only; they move nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_focusstack.core.autofocus.methods import FocusMethod
from napari_focusstack.core.stack import Optics
from napari_focusstack.widgets.job import JobBar
from napari_focusstack.widgets.note_label import NoteLabel
from napari_focusstack.widgets.track import TrackPlot

B = TypeVar("B", bound=QWidget)
DEMO, CONFIG = "Demo microscope", "Micro-Manager configuration…"
DEMO_LIMITS = (-40.0, 40.0)
ENDS = ("Lowest", "Highest")
NOWHERE = 1e5
"""Heights in µm lie below; minus this is a limit that was not given."""


@dataclass(frozen=True)
class Wanted:
    """What to connect.

    Attributes
    ----------
    config : Path or None
        A Micro-Manager configuration; None: the demo microscope.
    limits_um : (float, float) or None
        Travel limits; None where one of them was not given.
    y_limits_um, x_limits_um : (float, float) or None
        Those of the x-y stage.
    optics : Optics
        Of a configuration.
    pixel_um : float or None
        In the place of the configuration's.
    toward : {1, -1} or None
        In the place of the configuration's.
    """

    config: Path | None
    limits_um: tuple[float, float] | None
    y_limits_um: tuple[float, float] | None
    x_limits_um: tuple[float, float] | None
    optics: Optics
    pixel_um: float | None
    toward: Literal[1, -1] | None


class ConnectForm(QWidget):
    """Which microscope, its limits, and what Micro-Manager does not know of it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.config: Path | None = None
        self.kind_box = QComboBox()
        self.kind_box.addItems([DEMO, CONFIG])
        self.kind_box.setToolTip("What to connect: the demo microscope needs no hardware")
        self.kind_box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.low, self.high = (limit(f"{end} height that the stage may go to; never passed") for end in ENDS)
        self._set_limits(DEMO_LIMITS)
        self.na = number("Numerical aperture of the objective", 1.7, decimals=3)
        self.wavelength_nm = number("Wavelength of the light that makes the image", 2000, decimals=0)
        self.wavelength_nm.setSuffix(" nm")
        self.pixel_um = number("Size of a pixel in the specimen; ? takes the configuration's", 1000, decimals=4)
        self.pixel_um.setSuffix(" µm")
        self.toward_box = QComboBox()
        for text, sign in (("as configured", None), ("rising z", 1), ("falling z", -1)):
            self.toward_box.addItem(text, sign)
        self.toward_box.setToolTip("Which way the stage brings objective and specimen together")
        self.lens = QWidget()
        lens = QFormLayout(self.lens)
        lens.setContentsMargins(0, 0, 0, 0)
        for label, box in (
            ("NA", self.na),
            ("Wavelength", self.wavelength_nm),
            ("Pixel", self.pixel_um),
            ("Nearer by", self.toward_box),
        ):
            lens.addRow(label, box)
        self.xy_box = QCheckBox("Limits in x and y")
        self.xy_box.setToolTip("Keep the x-y stage within limits, too; without them a scan goes as far as its grid")
        self.x_low, self.x_high = (length(f"{end} x that the stage may go to", -1e6, 1e6, 0) for end in ENDS)
        self.y_low, self.y_high = (length(f"{end} y that the stage may go to", -1e6, 1e6, 0) for end in ENDS)
        self.xy = QWidget()
        xy = QFormLayout(self.xy)
        xy.setContentsMargins(0, 0, 0, 0)
        xy.addRow("X (µm)", _from_to(self.x_low, self.x_high))
        xy.addRow("Y (µm)", _from_to(self.y_low, self.y_high))
        self.xy.hide()
        self.xy_box.toggled.connect(self.xy.setVisible)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Microscope", self.kind_box)
        form.addRow(self.lens)
        form.addRow("Limits (µm)", _from_to(self.low, self.high))
        form.addRow("", self.xy_box)
        form.addRow(self.xy)
        self.lens.hide()
        self.kind_box.activated.connect(self._on_kind)

    @property
    def wanted(self) -> Wanted:
        """What the form says."""
        return Wanted(
            self.config,
            (self.low.value(), self.high.value()) if self.low.given and self.high.given else None,
            (self.y_low.value(), self.y_high.value()) if self.xy_box.isChecked() else None,
            (self.x_low.value(), self.x_high.value()) if self.xy_box.isChecked() else None,
            Optics(na=self.na.value() or None, wavelength_um=self.wavelength_nm.value() / 1000 or None),
            self.pixel_um.value() or None,
            self.toward_box.currentData(),
        )

    def choose(self, config: Path | None) -> None:
        """Choose a configuration, or the demo microscope; the limits of another one are not those of this one."""
        if config != self.config:
            self._set_limits(DEMO_LIMITS if config is None else (-NOWHERE, -NOWHERE))
        self.config = config
        self.kind_box.setItemText(1, CONFIG if config is None else config.name)
        self.kind_box.setCurrentIndex(int(config is not None))
        self.lens.setVisible(config is not None)

    def _set_limits(self, limits: tuple[float, float]) -> None:
        self.low.setValue(limits[0])
        self.high.setValue(limits[1])

    def _on_kind(self, index: int) -> None:
        if index == 0:
            self.choose(None)
            return
        title = "Choose a Micro-Manager configuration"
        path, _ = QFileDialog.getOpenFileName(self, title, str(self.config or ""), "Configurations (*.cfg)")
        self.choose(Path(path) if path else self.config)


class FocusPart(QGroupBox):
    """Autofocus: the way to find focus, its button, the track, the verdict."""

    def __init__(self) -> None:
        super().__init__("Focus")
        self.live_box = QCheckBox("Live")
        self.live_box.setToolTip("Show what the camera sees; moves nothing")
        self.height = QLabel()
        self.height.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.method_box = QComboBox()
        self.method_box.setToolTip("How to find focus; networks are offered where their weights are installed")
        self.method_box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.bar = JobBar("Autofocus", tooltip="Bring the specimen into focus, within the limits")
        self.bar.cancel_button.setToolTip("Stop the stage at once")
        self.track = TrackPlot()
        self.verdict = NoteLabel()
        row = QHBoxLayout()
        row.addWidget(self.live_box)
        row.addWidget(self.height, 1)
        column = QVBoxLayout(self)
        column.addLayout(row)
        for widget in (self.method_box, self.bar, self.track, self.verdict):
            column.addWidget(widget)

    def offer(self, methods: Sequence[FocusMethod]) -> None:
        """Fill the list, keeping the choice."""
        chosen = self.method_box.currentData()
        self.method_box.clear()
        for method in methods:
            self.method_box.addItem(method.title, method.name)
        self.method_box.setCurrentIndex(max(self.method_box.findData(chosen), 0))


class TakePart(QGroupBox):
    """A z-stack around where the stage stands, and what to do with it."""

    score_asked = Signal()
    fuse_asked = Signal()

    def __init__(self) -> None:
        super().__init__("Z-stack around focus")
        self.range_um = length("From the lowest to the highest slice", 0.1, 1e4, 20.0)
        self.step_um = length("Distance of the slices", 0.01, 1e3, 1.0, decimals=2)
        self.bar = JobBar("Take z-stack", tooltip="Take slices around where the stage stands, into a layer")
        self.bar.cancel_button.setToolTip("Stop the stage at once")
        self.score_button, self.fuse_button = QPushButton("Score it"), QPushButton("Fuse it")
        self.score_button.setToolTip("Open Focus with the stack, and score its slices")
        self.fuse_button.setToolTip("Open Fuse with the stack")
        grid = QGridLayout(self)
        for column, (label, box) in enumerate((("Range µm", self.range_um), ("Step µm", self.step_um))):
            grid.addWidget(QLabel(label), 0, 2 * column)
            grid.addWidget(box, 0, 2 * column + 1)
            grid.setColumnStretch(2 * column + 1, 1)
        grid.addWidget(self.bar, 1, 0, 1, 4)
        grid.addWidget(self.score_button, 2, 0, 1, 2)
        grid.addWidget(self.fuse_button, 2, 2, 1, 2)
        self.allow_use(False)
        self.score_button.clicked.connect(self.score_asked)
        self.fuse_button.clicked.connect(self.fuse_asked)

    def allow_use(self, there: bool) -> None:
        """Whether there is a stack to score and fuse."""
        self.score_button.setEnabled(there)
        self.fuse_button.setEnabled(there)


class ScanPart(QGroupBox):
    """A grid of fields."""

    def __init__(self) -> None:
        super().__init__("Scan")
        self.rows, self.columns = count("Fields along y"), count("Fields along x")
        self.overlap = length("Overlap of neighbouring fields", 0, 80, 10.0, decimals=0)
        self.overlap.setSuffix(" %")
        self.refocus_box = QCheckBox("Refocus at each")
        self.refocus_box.setToolTip("Bring each field into focus, by the way chosen above")
        self.refocus_box.setChecked(True)
        self.stacks_box = QCheckBox("Z-stacks")
        self.stacks_box.setToolTip("Take a z-stack of each field, with the range and step above")
        self.bar = JobBar("Scan", tooltip="Visit a grid of fields around where the stage stands, then go back")
        self.bar.cancel_button.setToolTip("Stop the stages at once; fields that were taken are kept")
        grid = QGridLayout(self)
        fields = (("Rows", self.rows), ("Columns", self.columns), ("Overlap", self.overlap))
        for column, (label, box) in enumerate(fields):
            grid.addWidget(QLabel(label), 0, column)
            grid.addWidget(box, 1, column)
            grid.setColumnStretch(column, 1)
        grid.addWidget(self.refocus_box, 2, 0, 1, 2)
        grid.addWidget(self.stacks_box, 2, 2)
        grid.addWidget(self.bar, 3, 0, 1, 3)
        self.verdict = NoteLabel()
        grid.addWidget(self.verdict, 4, 0, 1, 3)


def _from_to(low: QWidget, high: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.addWidget(low, 1)
    row.addWidget(QLabel("to"))
    row.addWidget(high, 1)
    return row


def length(tooltip: str, low: float, high: float, value: float, *, decimals: int = 1) -> QDoubleSpinBox:
    """A field for µm."""
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(low, high)
    box.setValue(value)
    box.setToolTip(tooltip)
    return narrow(box)


class LimitBox(QDoubleSpinBox):
    """A limit, "?" until it is given: it is typed then, as a turn of the mouse wheel would give one by mistake."""

    @property
    def given(self) -> bool:
        """Whether it is."""
        return bool(self.value() > self.minimum())

    def stepBy(self, steps: int) -> None:  # noqa: N802 (Qt's name)
        """Step from a limit that was given."""
        if self.given:
            super().stepBy(steps)


def limit(tooltip: str) -> LimitBox:
    """A field for a travel limit."""
    box = LimitBox()
    box.setDecimals(1)
    box.setRange(-NOWHERE, NOWHERE)
    box.setSpecialValueText("?")
    box.setToolTip(tooltip)
    return narrow(box)


def number(tooltip: str, most: float, *, decimals: int) -> QDoubleSpinBox:
    """A field that may be left unknown."""
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(0, most)
    box.setSpecialValueText("?")
    box.setToolTip(tooltip)
    return narrow(box)


def narrow(box: B) -> B:
    """A field that takes the room there is, and asks for little."""
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    box.setMinimumWidth(92)
    return box


def count(tooltip: str) -> QSpinBox:
    """A field for a number of fields."""
    box = QSpinBox()
    box.setRange(1, 200)
    box.setValue(2)
    box.setToolTip(tooltip)
    return narrow(box)
