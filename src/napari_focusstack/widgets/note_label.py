"""`NoteLabel`: a wrapped sentence that is exactly as high as its lines."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QRect, Qt
from qtpy.QtWidgets import QLabel, QSizePolicy


class NoteLabel(QLabel):
    """A label in small print below a field.

    A form layout gives a wrapped label the height that it had at another width: lines are clipped, or a gap stays.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setEnabled(False)
        self.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def setText(self, text: str) -> None:  # noqa: N802 (Qt's name)
        """Change the sentence."""
        super().setText(text)
        self._fit()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 (Qt's name)
        """Follow the width."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        room = QRect(0, 0, max(1, self.contentsRect().width()), 10_000)
        self.setFixedHeight(self.fontMetrics().boundingRect(room, Qt.TextFlag.TextWordWrap, self.text()).height() + 2)
