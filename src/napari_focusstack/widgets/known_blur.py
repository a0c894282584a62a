"""`KnownBlur`: what is known of the blur, as fields of *Restore*."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QWidget


class KnownBlur(QObject):
    """Radius or defocus, and a movement during the exposure. One of radius and defocus tells the other.

    Signals
    -------
    changed()
        The user has told something else.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.blur_box = _field("Radius of the disc that a point is blurred to", " px", most=100, decimals=1)
        self.defocus_box = _field(
            "Distance from focus, in the place of the blur: takes aperture, wavelength and pixel size of the layer",
            " µm",
            most=10_000,
            decimals=2,
        )
        self.motion_box = _field("How far the specimen moved during the exposure", " px", most=200, decimals=1)
        self.angle_box = _field("Direction of that: 0 along x, 90 along y (down)", "°", most=360, decimals=0)
        self.angle_box.setRange(-360, 360)
        self.angle_box.setSingleStep(5)
        for box in (self.defocus_box, self.motion_box):
            box.setSpecialValueText("not known")
        for box in (self.blur_box, self.defocus_box, self.motion_box):
            box.valueChanged.connect(self._on_value)
        self._on_value()

    @property
    def rows(self) -> tuple[QWidget, ...]:
        """The fields of the form's rows."""
        return self.blur_box, self.defocus_box, self.motion_box, self.angle_box

    def add_to(self, form: QFormLayout) -> None:
        """Add the rows to a form."""
        for label, row in zip(("Blur", "Defocus", "Motion", "Direction"), self.rows, strict=True):
            form.addRow(label, row)

    def told(self) -> dict[str, Any]:
        """Fields of `DeblurSettings`."""
        motion_px = self.motion_box.value() or None
        return {
            "blur_px": self.blur_box.value() or None,
            "defocus_um": self.defocus_box.value() or None,
            "motion_px": motion_px,
            "motion_degrees": self.angle_box.value() if motion_px else 0.0,
        }

    def _on_value(self) -> None:
        """Offer what goes together, and say what becomes of what is not given."""
        blur, defocus, motion = (box.value() for box in (self.blur_box, self.defocus_box, self.motion_box))
        self.blur_box.setEnabled(not defocus)
        self.defocus_box.setEnabled(not blur)
        self.angle_box.setEnabled(bool(motion))
        self.blur_box.setSpecialValueText("by defocus" if defocus else "none" if motion else "estimated")
        self.changed.emit()


def _field(tooltip: str, unit: str, *, most: float, decimals: int) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(0.0, most)
    box.setDecimals(decimals)
    box.setSingleStep(0.5)
    box.setSuffix(unit)
    box.setToolTip(tooltip)
    return box
