"""`NoteLabel`: a wrapped sentence that is exactly as high as its lines."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

_REFIT = (QEvent.Type.Resize, QEvent.Type.FontChange, QEvent.Type.StyleChange, QEvent.Type.Show)


class NoteLabel(QLabel):
    """A sentence that explains a field; give it a row of its own, in the colour of all text.

    A form layout gives a wrapped label the height that it had at another width, or in another font: lines are clipped,
    or a gap stays.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._fit()

    def setText(self, text: str) -> None:  # noqa: N802 (Qt's name)
        """Change the sentence; an empty one takes no room."""
        super().setText(text)
        self._fit()

    def event(self, event: Any) -> bool:
        """Follow width and font; a theme comes with its own."""
        answer = bool(super().event(event))
        if event.type() in _REFIT:
            self._fit()
        return answer

    def _fit(self) -> None:
        self.setFixedHeight(max(0, self.heightForWidth(self.width())) if self.text() else 0)
