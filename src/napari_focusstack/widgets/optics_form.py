"""`OpticsForm`: asks for what defocus in µm rests on, while a scorer that needs it is chosen."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QGridLayout, QLabel, QPushButton, QSizePolicy, QWidget

from napari_focusstack.core.defocus import calibration_of, check_objective, missing_optics
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Optics, Stack
from napari_focusstack.io.rings import with_known_rings
from napari_focusstack.widgets.layers import METADATA
from napari_focusstack.widgets.number_box import NumberBox
from napari_focusstack.widgets.open_layer import set_calibration
from napari_focusstack.widgets.open_values import Calibration

UNKNOWN = "?"
MARGINS_PX = 28
"""What a field needs around its text."""
SIDES: tuple[tuple[str, Literal["below", "above"] | None], ...] = (
    (UNKNOWN, None),
    ("below", "below"),
    ("above", "above"),
)


class OpticsForm(QWidget):
    """Numerical aperture, wavelength, pixel size and the side of the rings of a layer, in a few fields.

    Attributes
    ----------
    missing : str
        What a scorer that is chosen still needs, in words; empty where it has all.

    Signals
    -------
    given()
        The user has given them; the layer knows them now.

    Parameters
    ----------
    viewer : napari viewer or ViewerModel
        The viewer of the layers.
    sided : bool
        Whether the side of the rings is asked for: for who needs the sign of defocus.
    """

    given = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None, *, sided: bool = True) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Any = None
        self._stack: Stack | None = None
        self._shown: tuple[Any, ...] | None = None
        self._sided: tuple[QWidget, ...] = ()
        self._needed = True
        self.missing = ""
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.na = _field("Numerical aperture of the objective", "", decimals=3, most=1.7, step=0.05)
        light = "Wavelength of the light that makes the image"
        self.wavelength_nm = _field(light, " nm", decimals=0, most=2000, step=10)
        self.pixel_um = _field("Size of a pixel in the specimen", " µm", decimals=4, most=1000, step=0.01)
        self.rings = QComboBox(self)
        self.rings.addItems([text for text, _ in SIDES])
        self.rings.setToolTip(
            "On which side of focus points show rings: gives a single image its sign.\n"
            "A stack tells it by itself; 'focusstack rings' finds and remembers it."
        )
        self.button = QPushButton("Set")
        self.button.setToolTip("Remember this for the layer")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.label, 0, 0, 1, 4)
        for column, (text, box) in enumerate(
            (("NA", self.na), ("Wavelength", self.wavelength_nm), ("Pixel", self.pixel_um))
        ):
            grid.addWidget(QLabel(text), 1, column)
            grid.addWidget(box, 2, column)
            grid.setColumnStretch(column, 1)
            box.valueChanged.connect(self._on_value)
        if sided:  # in a row of their own: beside the others they would widen the dock
            named = QLabel("Rings")
            self._sided = (named, self.rings)
            grid.addWidget(named, 3, 0)
            grid.addWidget(self.rings, 3, 1)
            grid.addWidget(self.button, 3, 2)
        else:
            self.rings.hide()
            grid.addWidget(self.button, 2, 3)
        self.button.clicked.connect(self._on_set)
        self.hide()

    def show_for(self, layer: Any, stack: Stack | None, *, needed: bool, of_use: bool = False) -> None:
        """Show what is known of `layer`; hide where no scorer has a use for it, or there is no layer.

        `of_use`: who asks does without where it is not known.
        """
        self._layer, self._stack = layer, stack
        self.setVisible((needed or of_use) and stack is not None)
        self.missing = missing_optics(stack.optics, stack.x_um) if needed and stack is not None else ""
        if not (needed or of_use) or stack is None:
            return
        self._needed = needed
        for part in self._sided:
            part.setVisible(needed)
        optics = with_known_rings(stack.optics, pixel_um=stack.x_um)
        known = (id(layer), optics.na, optics.wavelength_um, stack.x_um, optics.rings, needed)
        if known == self._shown:  # what the user is typing stays
            return
        self._shown = known
        for box, value in (
            (self.na, stack.optics.na),
            (self.wavelength_nm, 1000 * stack.optics.wavelength_um if stack.optics.wavelength_um else None),
            (self.pixel_um, stack.x_um),
        ):
            box.blockSignals(True)
            box.setValue(value or 0)
            box.blockSignals(False)
        self.rings.setCurrentIndex([side for _, side in SIDES].index(optics.rings))
        lacking = missing_optics(stack.optics, stack.x_um)
        asked = f"For µm of defocus, please give the {lacking}." if needed else f"Answers better if told the {lacking}."
        self.label.setText(asked if lacking else "")
        self.label.setVisible(bool(lacking))
        self._on_value()

    def _optics(self) -> Optics:
        old = self._stack.optics if self._stack is not None else Optics()
        return dataclasses.replace(
            old,
            na=_value(self.na, old.na),
            wavelength_um=_value(self.wavelength_nm, old.wavelength_um, per_um=1000),
            rings=SIDES[self.rings.currentIndex()][1],
        )

    def _pixel_um(self) -> float | None:
        return _value(self.pixel_um, self._stack.x_um if self._stack is not None else None)

    def _on_value(self, _changed: Any = None) -> None:
        """Only what a microscope can be is taken: all of it where it is needed, any of it where it is of use."""
        optics, pixel_um = self._optics(), self._pixel_um()
        try:
            if self._needed or not missing_optics(optics, pixel_um):
                calibration_of(optics, pixel_um)
            check_objective(optics)
            problem = ""
        except InputError as error:
            problem = error.in_napari
        self.button.setEnabled(not problem)
        self.button.setToolTip(problem or "Remember this for the layer")

    def _on_set(self) -> None:
        layer, stack = self._layer, self._stack
        if stack is None or layer not in self._viewer.layers:
            return
        layer.metadata[METADATA] = {**layer.metadata.get(METADATA, {}), "optics": self._optics()}
        pixel_um = self._pixel_um()
        if pixel_um != stack.x_um:
            named = dataclasses.replace(Calibration.of(stack), y_um=pixel_um, x_um=pixel_um)
            set_calibration(self._viewer, layer, stack, named)
        self.given.emit()


def _value(box: QDoubleSpinBox, known: float | None, *, per_um: float = 1.0) -> float | None:
    """What a field says; what is known is kept to its last digit where the field shows it, if with fewer digits."""
    if known is not None and abs(box.value() - per_um * known) <= 0.5001 * 10.0 ** -box.decimals():
        return known
    return box.value() / per_um or None


def _field(tooltip: str, unit: str, *, decimals: int, most: float, step: float) -> QDoubleSpinBox:
    box = NumberBox()
    box.setDecimals(decimals)
    box.setRange(0, most)
    box.setSingleStep(step)
    box.setSpecialValueText(UNKNOWN)
    box.setToolTip(tooltip)
    # Arrows would take the room of the last digits.
    box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    box.setSuffix(unit)
    box.setMinimumWidth(box.fontMetrics().horizontalAdvance(f"0.{decimals * '0'}{unit}") + MARGINS_PX)
    return box
