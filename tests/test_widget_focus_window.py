"""The Focus widget in a real window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, Qt

from focus_bench import CALIBRATED, stack

Make = Callable[..., Any]


def test_the_whole_job_by_mouse_in_a_real_window(make_napari_viewer: Make, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(stack(), name="A01", **CALIBRATED)
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    qtbot.mouseClick(focus.form.job_bar.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: focus.scored is not None, timeout=20_000)
    plot = focus.form.plot
    at = plot.mapFromScene(plot.box.mapViewToScene(plot.box.viewRect().center()))
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(at.x(), at.y()))
    qtbot.waitUntil(lambda: plot.shown_slice == 3, timeout=2000)
    qtbot.mouseClick(focus.form.picks.accept_button, Qt.MouseButton.LeftButton)
    assert focus.form.picks.table.item(0, 0).text() == "A01"
    assert not focus.form.verticalScrollBar().isVisible() or focus.height() < 700


def test_a_stack_is_scored_while_fuse_is_docked_over_the_same_layer(make_napari_viewer: Make, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(stack(), name="A01", **CALIBRATED)
    dock, focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")
    _, fuse = viewer.window.add_plugin_dock_widget("napari-focusstack", "Fuse")
    qtbot.waitUntil(lambda: bool(viewer.window._qt_window.tabifiedDockWidgets(dock)), timeout=5000)
    dock.raise_()
    before = focus.target
    qtbot.mouseClick(focus.form.job_bar.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: focus.scored is not None, timeout=20_000)
    assert focus.layer is fuse.layer is viewer.layers["A01"]
    assert focus.target == before


def test_closing_the_dock_stops_the_job_and_frees_the_widget(make_napari_viewer: Make, qtbot: Any) -> None:
    import gc
    import weakref

    viewer = make_napari_viewer()
    viewer.add_image(stack(n=60, size=512))
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    focus.form.job_bar.run_button.click()
    runner = focus.form.job_bar.runner
    viewer.window.remove_dock_widget(focus)
    assert not runner.busy
    assert "P" not in {str(key) for key in viewer.keymap}
    gone = weakref.ref(focus)
    del focus, runner
    qtbot.wait(100)
    gc.collect()
    assert gone() is None


def test_the_viewer_can_be_closed_while_slices_are_scored(make_napari_viewer: Make, qtbot: Any) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(stack(n=60, size=512))
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    focus.form.job_bar.run_button.click()
    qtbot.waitUntil(lambda: focus.scoring.run is not None and bool(np.isfinite(focus.scoring.run.values).any()))
    runner = focus.form.job_bar.runner
    viewer.close()
    qtbot.waitUntil(lambda: not runner.busy)
    assert focus.scored is None


def test_the_curve_follows_the_theme(make_napari_viewer: Make) -> None:
    viewer = make_napari_viewer()
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    viewer.theme = "light"
    light = focus.form.plot.backgroundBrush().color().lightness()
    viewer.theme = "dark"
    assert focus.form.plot.backgroundBrush().color().lightness() < light
