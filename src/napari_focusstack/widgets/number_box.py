"""`NumberBox`: a field for a number that shows as many decimals as the number has."""

from __future__ import annotations

from qtpy.QtWidgets import QDoubleSpinBox


class NumberBox(QDoubleSpinBox):
    """Shows as many decimals as the value has."""

    def textFromValue(self, value: float) -> str:  # noqa: N802 (Qt's name)
        """The value without idle zeros, with the language's decimal sign."""
        text: str = self.locale().toString(value, "f", self.decimals())
        point = self.locale().decimalPoint()
        return text.rstrip("0").rstrip(point) if point in text else text
