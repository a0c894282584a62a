"""A newcomer's first hour, in a real window and by the mouse alone: open, score, pick, fuse, export, open again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QMenu

from napari_focusstack.io.provenance import read_provenance
from napari_focusstack.widgets.layers import stack_of

PATIENCE_MS = 60_000


class Newcomer:
    """Clicks what can be seen and is enabled, and waits for what happens."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer = viewer
        self.qtbot = qtbot

    def clicks(self, button: Any) -> None:
        assert button.isVisible(), f"'{button.text()}' can't be seen"
        assert button.isEnabled(), f"'{button.text()}' is greyed out"
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def waits_for(self, done: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(done, timeout=PATIENCE_MS)

    def chooses(self, menu: QMenu, *titles: str) -> None:
        """Open a menu, then the menus in it, and click the last entry."""
        for i, title in enumerate(titles):
            menu.popup(self.viewer.window._qt_window.mapToGlobal(self.viewer.window._qt_window.rect().center()))
            self.qtbot.wait(20)
            action = next((a for a in menu.actions() if a.text().replace("&", "").startswith(title)), None)
            assert action is not None, f"there is no '{title}' in {[a.text() for a in menu.actions()]}"
            if i == len(titles) - 1:
                self.qtbot.mouseClick(menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(action).center())
            else:
                menu.hide()
                menu = action.menu()
        while QApplication.activePopupWidget() is not None:
            QApplication.activePopupWidget().hide()

    def finds(self, name: str) -> Any:
        """The widget in the dock of that name."""
        dock = next(d for key, d in self.viewer.window._wrapped_dock_widgets.items() if key.startswith(name))
        self.waits_for(dock.isVisible)
        return dock.inner_widget()


@pytest.fixture
def newcomer(make_napari_viewer, qtbot) -> Newcomer:
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1400, 900)
    return Newcomer(viewer, qtbot)


def test_from_the_sample_to_a_tiff_with_the_right_scale(newcomer, monkeypatch, tmp_path):
    viewer, window = newcomer.viewer, newcomer.viewer.window

    newcomer.chooses(window.file_menu, "Open Sample", "Focus Stack", "Organoids")
    newcomer.waits_for(lambda: len(viewer.layers) == 1)
    source = viewer.layers[0]
    known = stack_of(source)
    assert known.z_um
    assert viewer.dims.axis_labels == ("z", "y", "x")

    newcomer.chooses(window.plugins_menu, "Focus Stack", "Focus")
    focus = newcomer.finds("Focus (")
    assert focus.layer is source
    newcomer.clicks(focus.form.job_bar.run_button)
    newcomer.waits_for(lambda: focus.scored is not None and not focus.form.job_bar.runner.busy)
    assert focus.form.verdict.text()
    newcomer.clicks(focus.form.picks.pick_button)
    assert focus.form.picks.picks

    newcomer.chooses(window.plugins_menu, "Focus Stack", "Fuse")
    fuse = newcomer.finds("Fuse (")
    assert fuse.layer is source
    newcomer.clicks(fuse.bar.run_button)
    newcomer.waits_for(lambda: any("fused" in layer.name for layer in viewer.layers))
    fused = next(layer for layer in viewer.layers if "fused" in layer.name)
    assert fused.visible
    assert fused.name.startswith(f"fused {source.name}")

    target = tmp_path / "Meine Organoide_fused.ome.tif"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", staticmethod(lambda *_, **__: (str(target), "")))
    newcomer.clicks(fuse.results.export_button)
    dialog = fuse.results.export_dialog
    assert Path(dialog.path).name.endswith("_fused.ome.tif")
    newcomer.clicks(dialog.browse_button)
    newcomer.clicks(dialog.bar.run_button)
    newcomer.waits_for(target.exists)
    newcomer.waits_for(lambda: fuse.results.export_dialog is None)
    assert read_provenance(target)["Method"] == fused.metadata["napari_focusstack"]["method"]

    monkeypatch.setattr(QFileDialog, "getOpenFileNames", staticmethod(lambda *_, **__: ([str(target)], "")))
    before = len(viewer.layers)
    newcomer.chooses(window.file_menu, "IO Utilities", "Open z-stack…")
    dialog = next(w for w in window._qt_window.children() if type(w).__name__ == "OpenStackDialog")
    newcomer.clicks(dialog.files_button)
    newcomer.waits_for(dialog.open_button.isEnabled)
    newcomer.clicks(dialog.open_button)
    newcomer.waits_for(lambda: len(viewer.layers) == before + 1)
    again = viewer.layers[-1]
    assert (stack_of(again).y_um, stack_of(again).x_um) == pytest.approx((known.y_um, known.x_um))
    assert np.array_equal(again.data, fused.data)
