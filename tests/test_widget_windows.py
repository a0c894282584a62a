"""Opening a dock shows no window beside napari's own: a part that is shown before it has a parent is one."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QApplication, QWidget


class Shows(QObject):
    """Notes the windows that are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[str] = []

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802 (Qt's name)
        if event.type() == QEvent.Type.Show and isinstance(watched, QWidget) and watched.isWindow():
            self.windows.append(type(watched).__name__)
        return False


@pytest.mark.parametrize("dock", ["Focus", "Fuse", "Focus masks", "Restore", "Microscope"])
def test_a_dock_opens_without_a_stray_window(make_napari_viewer: Any, qapp: QApplication, dock: str) -> None:
    if dock == "Microscope":
        pytest.importorskip("pymmcore_plus")
    viewer, shows = make_napari_viewer(), Shows()
    qapp.installEventFilter(shows)
    try:
        viewer.window.add_plugin_dock_widget("napari-focusstack", dock)
    finally:
        qapp.removeEventFilter(shows)
    assert shows.windows == []
