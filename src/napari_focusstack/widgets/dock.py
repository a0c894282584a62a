"""What our dock widgets have in common."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget


class DockedWidget(QWidget):
    """A widget for a dock that learns when it is closed: napari takes it out of its dock and lets it go."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._docked = parent is not None
        self._closed = False

    def shut_down(self) -> None:
        """Stop jobs, let go of the viewer. Called once."""

    def event(self, event: Any) -> bool:
        """Notice that napari closes the dock (or that the widget, shown by itself, is closed)."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
            elif self._docked:
                self._close_once()
        elif event.type() == QEvent.Type.Close and self.parent() is None:
            self._close_once()
        return bool(super().event(event))

    def _close_once(self) -> None:
        if not self._closed:
            self._closed = True
            self.shut_down()
