"""The Focus masks widget in a window: labels that follow the threshold, areas, files."""

from __future__ import annotations

import csv
import threading

import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QFileDialog, QMessageBox

from fuse_scenes import SLICES, channels_of_two, click, named, open_in, scene
from napari_focusstack.core.masks import MASKS
from napari_focusstack.core.progress import Progress
from napari_focusstack.widgets.layers import METADATA, frame_of, place
from napari_focusstack.widgets.masks import MasksWidget


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def widget(viewer, qtbot) -> MasksWidget:
    _, widget = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus masks")
    widget.show()
    widget.method_box.setCurrentIndex(widget.method_box.findData("energy"))
    return widget


def run(widget: MasksWidget, qtbot) -> None:
    click(qtbot, widget.bar.run_button)
    qtbot.waitUntil(lambda: not widget.bar.runner.busy, timeout=60_000)


def test_one_click_lays_labels_exactly_on_the_stack(viewer, widget, qtbot):
    assert not widget.bar.run_button.isEnabled()
    (layer,) = open_in(viewer, named(scene()))
    layer.translate = (1, 7, 3)
    run(widget, qtbot)
    labels = viewer.layers["in focus A01 (energy)"]
    assert labels.data.shape == layer.data.shape
    assert np.allclose(labels.scale, layer.scale)
    assert np.allclose(labels.translate, layer.translate)
    assert [str(u) for u in labels.units] == [str(u) for u in layer.units]
    stripes = [labels.data[z].mean(axis=0) > 0.5 for z in range(SLICES)]
    middles = [int(np.mean(np.flatnonzero(s))) // (96 // SLICES) for s in stripes]
    assert middles == list(range(SLICES))
    said = labels.metadata[METADATA]
    assert (said["method"], said["role"], said["parameters"]["threshold"]) == ("energy", "focus masks", 0.5)
    assert widget.layer is layer  # its own results are nothing to mask


def test_the_threshold_answers_without_a_new_computation(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    labels = viewer.layers[-1]
    before = int(labels.data.sum())
    widget.slider.setValue(0.9)
    assert not widget.bar.runner.busy
    assert 0 < int(labels.data.sum()) < before
    assert np.array_equal(labels.data, widget.result.masks.mask(0.9))
    shares = widget.plot.view.values
    assert np.allclose(shares, 100 * labels.data.mean(axis=(1, 2)))
    assert len(viewer.layers) == 2


def test_what_was_painted_stays_when_the_threshold_moves(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    painted = viewer.layers[-1]
    painted.paint((0, 10, 60), 1)
    kept = painted.data.copy()
    widget.slider.setValue(0.9)
    assert np.array_equal(painted.data, kept)
    assert len(viewer.layers) == 3
    assert np.array_equal(viewer.layers[-1].data, widget.result.masks.mask(0.9))


def test_the_curve_tells_the_shown_slice_and_goes_to_a_clicked_one(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    widget.plot.slice_asked.emit(3)
    assert viewer.dims.current_step[0] == 3
    assert widget.plot.shown_slice == 3
    assert widget.said.text().startswith("Slice 3: ")
    assert "µm²" in widget.said.text()


def test_nothing_is_said_of_a_layer_that_was_not_masked(viewer, widget, qtbot):
    (layer,) = open_in(viewer, named(scene()))
    run(widget, qtbot)
    said = widget.said.text()
    assert said.startswith("Slice ")
    plane = viewer.add_image(scene()[0], name="plane", axis_labels=("y", "x"))
    widget.choose_layer(plane)
    assert widget.layer is plane
    assert widget.said.text() == ""
    widget.choose_layer(layer)
    assert widget.said.text() == said
    viewer.layers.remove(layer)
    qtbot.wait(100)
    assert widget.said.text() == ""
    assert widget.plot.shown_slice is None


def test_a_single_plane_has_an_area_and_no_curve(viewer, widget, qtbot):
    open_in(viewer, named(scene()[:1], axes="ZYX"))
    assert not widget.plot.isVisible()
    run(widget, qtbot)
    assert widget.said.text().split("<br>")[0].endswith("µm².")
    assert "of the pixels in focus" in widget.said.text()
    assert "e+" not in widget.said.text()
    assert not widget.plot.isVisible()


def test_why_it_failed_stays_in_the_panel(viewer, widget, qtbot, notes):
    data = scene(dtype="float32")
    data[2, 3, 4] = np.nan
    open_in(viewer, named(data))
    run(widget, qtbot)
    assert any("NaN" in note for note in notes)
    assert not widget.problem.isHidden()
    assert "console" in widget.problem.text()


def test_masking_again_renews_the_layers_of_before(viewer, widget, qtbot):
    (layer,) = open_in(viewer, named(scene()))
    run(widget, qtbot)
    widget.probability_box.setChecked(True)
    labels, probability = widget.result.labels, widget.result.probability
    before = int(labels.data.sum())
    layer.data = np.ascontiguousarray(layer.data[::-1])
    widget.slider.setValue(0.9)
    run(widget, qtbot)
    assert len(viewer.layers) == 3
    assert viewer.layers["in focus A01 (energy)"] is labels
    assert 0 < int(labels.data.sum()) < before
    assert np.array_equal(labels.data, widget.result.masks.mask(0.9))
    assert labels.metadata[METADATA]["parameters"]["threshold"] == 0.9
    assert np.array_equal(probability.data, widget.result.masks.probability())
    assert widget.probability_box.isChecked()


def test_each_method_has_its_layer_and_finds_it_again(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    first = widget.result.labels
    widget.method_box.setCurrentIndex(widget.method_box.findData("msegnet"))
    run(widget, qtbot)
    assert len(viewer.layers) == 3
    widget.method_box.setCurrentIndex(widget.method_box.findData("energy"))
    run(widget, qtbot)
    assert len(viewer.layers) == 3
    assert widget.result.labels is first


@pytest.mark.parametrize("by_hand", ["painted", "data"])
def test_masking_again_leaves_what_was_changed_by_hand(viewer, widget, qtbot, by_hand):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    changed = viewer.layers[-1]
    if by_hand == "painted":
        changed.paint((0, 10, 60), 1)
    else:
        changed.data = 1 - changed.data
    kept = changed.data.copy()
    run(widget, qtbot)
    run(widget, qtbot)
    assert np.array_equal(changed.data, kept)
    assert len(viewer.layers) == 3
    assert np.array_equal(viewer.layers[-1].data, widget.result.masks.mask())


def test_after_a_failure_nothing_of_an_earlier_run_is_told_or_exported(viewer, widget, qtbot, notes):
    (layer,) = open_in(viewer, named(scene(dtype="float32")))
    run(widget, qtbot)
    labels, good = widget.result.labels, layer.data
    bad = good.copy()
    bad[2, 3, 4] = np.nan
    layer.data = bad
    run(widget, qtbot)
    assert "NaN" in widget.problem.text()
    assert widget.plot.view.values is None
    assert widget.said.text() == ""
    assert not widget.export_button.isEnabled()
    assert not widget.areas_button.isEnabled()
    assert labels in viewer.layers
    layer.data = good
    run(widget, qtbot)
    assert widget.export_button.isEnabled()
    assert len(viewer.layers) == 2


def test_the_probability_comes_and_goes_as_a_layer(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    widget.probability_box.setChecked(True)
    layer = viewer.layers[-1]
    assert layer.blending == "translucent"
    assert layer.colorbar.visible
    assert layer.name_overlay.visible
    assert layer.colormap.map([0.0, 1.0])[:, 3].tolist() == [0, 1]
    assert layer.data.shape == (SLICES, 64, 96)
    assert 0 <= layer.data.min() < layer.data.max() <= 1
    viewer.layers.remove(layer)
    qtbot.wait(1)
    assert not widget.probability_box.isChecked()


def test_a_channel_of_a_time_series_is_masked_where_it_is_shown(viewer, widget, qtbot):
    stack = np.stack([np.zeros_like(scene()), scene()])
    (layer,) = open_in(viewer, named(stack, axes="TZYX"))
    viewer.dims.set_current_step(0, 1)
    run(widget, qtbot)
    labels = viewer.layers["in focus A01 (energy)"]
    assert labels.data.shape == (1, SLICES, 64, 96)
    assert labels.data.any()
    assert labels.extent.world[0][0] == layer.data_to_world((1, 0, 0, 0))[0]
    open_in(viewer, channels_of_two())


def test_the_stack_of_a_selected_result_is_chosen(viewer, qtbot):
    first, second = (open_in(viewer, named(scene(), name=name))[0] for name in ("A01", "A02"))
    placed = place(np.zeros((64, 96)), "YX", like=frame_of(second), provenance={"role": "fused"})
    viewer.layers.selection.active = viewer.add_image(placed.data, **placed.kwargs)
    for dock in ("Focus masks", "Focus", "Fuse"):
        _, widget = viewer.window.add_plugin_dock_widget("napari-focusstack", dock)
        assert widget.layer is second
    viewer.layers.selection.active = first


def test_cancel_answers_at_once_and_adds_nothing(viewer, widget, qtbot, monkeypatch):
    begun, held = threading.Event(), threading.Event()

    def slices(self, stack, *, device):
        yield Progress(0, 2)
        begun.set()
        held.wait(60)
        yield Progress(1, 2)

    monkeypatch.setattr(type(MASKS["energy"]), "slices", slices)
    open_in(viewer, named(scene()))
    click(qtbot, widget.bar.run_button)
    qtbot.waitUntil(begun.is_set, timeout=60_000)
    widget.bar.runner.cancel()
    assert not widget.bar.runner.busy
    held.set()
    assert len(viewer.layers) == 1


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_whose_name_was_completed_is_replaced_where_that_is_agreed_to(
    viewer, widget, qtbot, tmp_path, monkeypatch, replace
):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    path = tmp_path / "masks.ome.tif"
    path.touch()
    answer = QMessageBox.StandardButton.Yes if replace else QMessageBox.StandardButton.No
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args, **kwargs: (str(tmp_path / "masks"), ""))
    monkeypatch.setattr(QMessageBox, "question", lambda *args, **kwargs: answer)
    click(qtbot, widget.export_button)
    qtbot.waitUntil(lambda: not widget.exporter.busy, timeout=60_000)
    assert bool(path.stat().st_size) == replace


def test_masks_as_painted_and_areas_are_written_with_the_scale(viewer, widget, qtbot, tmp_path, monkeypatch):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    labels = viewer.layers[-1]
    labels.paint((0, 10, 60), 1)
    path, table = tmp_path / "masks.ome.tif", tmp_path / "areas.csv"
    # The dialogs have asked whether to replace them; Qt need not spell a path as Python does.
    for old in (path, table):
        old.touch()
    answers = iter([f"{tmp_path}//{path.name}", f"{tmp_path}//{table.name}"])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args, **kwargs: (next(answers), ""))
    click(qtbot, widget.export_button)
    qtbot.waitUntil(lambda: not widget.exporter.busy, timeout=60_000)
    assert np.array_equal(tifffile.imread(path), labels.data * 255)
    with tifffile.TiffFile(path) as file:
        assert 'PhysicalSizeY="0.5"' in file.ome_metadata
        assert "energy" in file.ome_metadata
    click(qtbot, widget.areas_button)
    rows = list(csv.DictReader(table.read_text("utf-8-sig").splitlines()))
    assert [int(r["slice"]) for r in rows] == list(range(SLICES))
    assert float(rows[0]["area_um2"]) == pytest.approx(float(rows[0]["share"]) * 64 * 0.5 * 96 * 0.25, rel=1e-4)
