"""What our dock widgets have in common."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_focusstack.widgets import job
from napari_focusstack.widgets.tab_order import order_tabs


class DockedWidget(QWidget):
    """A widget for a dock that learns when it is closed: napari takes it out of its dock and lets it go."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._docked = parent is not None
        self._closed = False
        job.note_garbage()  # of a viewer that was closed before this one, as notebooks do

    def shut_down(self) -> None:
        """Stop jobs, let go of the viewer. Called once."""

    def event(self, event: Any) -> bool:
        """Notice that napari closes the dock (or that the widget, shown by itself, is closed)."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
                # napari places the dock after it took the widget in.
                QTimer.singleShot(0, self._join_others)
            elif self._docked:
                self._close_once()
        elif event.type() == QEvent.Type.Polish:
            order_tabs(self)
        elif event.type() == QEvent.Type.Close and self.parent() is None:
            self._close_once()
        return bool(super().event(event))

    def _join_others(self) -> None:
        """Put the dock behind that of another of our widgets on the same side: half a window is too low for either."""
        dock = self.parent()
        window = dock.parent() if isinstance(dock, QDockWidget) else None
        if not isinstance(window, QMainWindow) or dock.isFloating() or window.tabifiedDockWidgets(dock):
            return
        side = window.dockWidgetArea(dock)
        for other in window.findChildren(QDockWidget):
            beside = other is not dock and other.isVisible() and window.dockWidgetArea(other) == side
            if beside and isinstance(other.widget(), DockedWidget):
                window.tabifyDockWidget(other, dock)
                dock.show()
                dock.raise_()
                return

    def _close_once(self) -> None:
        if not self._closed:
            self._closed = True
            self.shut_down()
            job.note_garbage()
