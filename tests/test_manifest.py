"""The manifest: valid, its commands exist, its menus are ones that napari shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManager, PluginManifest

ROOT = Path(__file__).parents[1]
NAME = "napari-focusstack"


@pytest.fixture
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution(NAME)


@pytest.fixture
def plugins(manifest) -> PluginManager:
    manager = PluginManager()
    manager.register(manifest)
    return manager


def test_npe2_finds_nothing_wrong():
    said = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", NAME, "--imports"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_manifest_at_the_top_is_the_package_s_own():
    assert (ROOT / "napari.yaml").resolve() == (ROOT / "src/napari_focusstack/napari.yaml").resolve()


def test_every_command_names_something_that_exists(manifest):
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(__import__(module, fromlist=[name]), name)), command.id


def test_every_menu_is_one_that_napari_lets_plugins_fill(manifest):
    from napari._app_model.constants._menus import is_menu_contributable

    assert manifest.contributions.menus
    assert all(is_menu_contributable(menu) for menu in manifest.contributions.menus)


@pytest.mark.parametrize("name", ["A.ome.tif", "a.TIF", "a.tiff", "a.png", "a.JPG", "a.jpeg", "a.bmp", "Über öl 1.tif"])
def test_a_reader_is_offered_for(name, tmp_path, plugins):
    path = tmp_path / name
    path.touch()
    offered = {reader.command for reader in plugins.iter_compatible_readers([str(path)])}
    assert "napari-focusstack.reader" in offered


def test_a_reader_is_offered_for_folders(tmp_path, plugins):
    offered = {reader.command for reader in plugins.iter_compatible_readers([str(tmp_path)])}
    assert "napari-focusstack.reader" in offered


@pytest.mark.parametrize("kind", ["image", "labels"])
def test_ome_tiff_is_written_by_us(kind, plugins):
    writer, _ = plugins.get_writer("A01.ome.tif", [kind])
    assert writer.command == f"napari-focusstack.write_{'image' if kind == 'image' else 'labels'}"


def test_the_menus_of_a_real_window_show_the_entries(make_napari_viewer):
    viewer = make_napari_viewer()
    window = viewer.window

    def entries(menu) -> list[str]:
        found = []
        for action in menu.actions():
            found.append(action.text().replace("&", ""))
            if action.menu() is not None:
                action.menu().aboutToShow.emit()
                found += entries(action.menu())
        return found

    menus = {
        title: "\n".join(entries(menu))
        for title, menu in (
            ("file", window.file_menu),
            ("layers", window.layers_menu),
            ("plugins", window.plugins_menu),
        )
    }
    assert "Open z-stack…" in menus["file"]
    assert "Organoids" in menus["file"]
    for entry in ("Set calibration…", "Score focus", "Fuse stack…"):
        assert entry in menus["layers"]
    for entry in ("Focus Stack", "Focus", "Fuse"):
        assert entry in menus["plugins"]


def test_the_layer_menu_docks_the_widgets_once_with_the_layer_chosen(make_napari_viewer):
    from napari_focusstack.widgets import commands

    viewer = make_napari_viewer()
    first = viewer.add_image(np.random.default_rng(0).random((4, 32, 32)), name="A01")
    viewer.add_image(np.random.default_rng(0).random((4, 32, 32)), name="A02")
    viewer.layers.selection.active = first
    for command in (commands.score_layer, commands.fuse_layer):
        widget = command()
        assert widget.layer is first
        assert command() is widget
    assert sorted(viewer.window.dock_widgets) == ["Focus (Focus Stack)", "Fuse (Focus Stack)"]


def test_score_focus_scores_the_selected_layer(make_napari_viewer, qtbot):
    from napari_focusstack.widgets import commands

    viewer = make_napari_viewer()
    viewer.add_image(np.random.default_rng(0).random((4, 32, 32)), name="A01")
    widget = commands.score_layer()
    qtbot.waitUntil(lambda: widget.scored is not None, timeout=60_000)


def test_widgets_from_the_plugins_menu_stand_behind_each_other(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    focus, _ = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")
    qtbot.waitUntil(focus.isVisible, timeout=60_000)
    fuse, _ = viewer.window.add_plugin_dock_widget("napari-focusstack", "Fuse")
    qtbot.waitUntil(lambda: focus in fuse.parent().tabifiedDockWidgets(fuse), timeout=60_000)


def test_a_calibration_without_a_layer_is_refused_in_a_sentence(make_napari_viewer, notes):
    from napari_focusstack.widgets import commands

    make_napari_viewer()
    assert commands.set_calibration() is None
    assert any("select" in note for note in notes)
