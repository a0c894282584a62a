"""Wrapped sentences: `NoteLabel` explains a field, `ProblemLabel` warns or says what went wrong."""

from __future__ import annotations

from html import escape
from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

FRAME = "QLabel { border: 1px solid #d9a300; border-radius: 3px; padding: 4px; }"
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


class ProblemLabel(QLabel):
    """A framed sentence that stays, as a notification fades; hidden while there is none. Its text can be copied."""

    def __init__(self, sentence: str = "") -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        self.setStyleSheet(FRAME)
        self.setText(sentence)
        if not sentence:  # never shown here: without a parent it would be a window
            self.hide()

    def say(self, sentence: str) -> None:
        """Show a sentence, or nothing."""
        self.setText(sentence)
        self.setVisible(bool(sentence))


def caution_text(caution: str) -> str:
    """What to be careful about as a paragraph of rich text, in small letters; empty for nothing."""
    return f"<small><b>Caution:</b> {escape(caution)}</small>" if caution else ""
