"""The Fuse widget: what it offers, what it makes, and how it takes bad input."""

from __future__ import annotations

import dataclasses
import itertools
import json
import threading
import weakref
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_focusstack.core.by_index import copy_by_index
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.pipeline import fuse_job
from napari_focusstack.core.progress import drain
from napari_focusstack.core.settings import FuseSettings
from napari_focusstack.core.stack import Stack, from_array
from napari_focusstack.widgets.export import ExportDialog, ExportJob, final_paths, part_path, propose_path
from napari_focusstack.widgets.fuse import FuseWidget
from napari_focusstack.widgets.fuse_channels import channel_layers, joined_stack, source_of
from napari_focusstack.widgets.fuse_preview import PreviewJob, Region, visible_region
from napari_focusstack.widgets.fuse_results import recipe
from napari_focusstack.widgets.fuse_run import FuseJob, FuseResult, Made, layers_of_result
from napari_focusstack.widgets.fuse_values import ValuesJob
from napari_focusstack.widgets.layers import METADATA, stack_of
from napari_focusstack.widgets.open_layer import set_calibration
from napari_focusstack.widgets.open_stack import add_layers
from napari_focusstack.widgets.open_values import Calibration
from napari_focusstack.widgets.reader import layers_of
from napari_focusstack.widgets.retouch import Retoucher

SLICES = 5
ALL_PARTS = ("image", "index", "depth", "confidence")


def scene(*, slices: int = SLICES, height: int = 64, width: int = 96, dtype: str = "uint16") -> np.ndarray:
    """Texture in vertical stripes, stripe i sharp in slice i and flat elsewhere."""
    texture = np.random.default_rng(1).integers(50, 200, (height, width))
    planes = np.full((slices, height, width), 125)
    edges = np.linspace(0, width, slices + 1).astype(int)
    for z, (x0, x1) in enumerate(itertools.pairwise(edges)):
        planes[z, :, x0:x1] = texture[:, x0:x1]
    return planes.astype(dtype)


def named(data: object, **options: object) -> Stack:
    return from_array(data, **{"name": "A01", "z_um": 2.0, "y_um": 0.5, "x_um": 0.25, **options})


def open_in(viewer: object, stack: Stack) -> list:
    return add_layers(viewer, layers_of(stack))


def fuse(*layers: object, times: tuple[int, ...] = (0,), **options: object) -> FuseResult:
    return drain(FuseJob(source_of(layers), FuseSettings(**options), times=times, positions=(0,))())


def click(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.fixture
def model() -> ViewerModel:
    return ViewerModel()


# Results as layers --------------------------------------------------------------------------------------------------


def test_the_fused_image_lies_on_its_source_and_looks_like_it(model):
    (layer,) = open_in(model, named(scene()))
    layer.contrast_limits, layer.colormap, layer.translate = (10, 90), "magma", (0, 7, 3)
    fused = layers_of_result(fuse(layer))[0]
    image = model.add_image(fused.data, **fused.kwargs)
    assert tuple(image.scale) == (0.5, 0.25)
    assert tuple(image.translate) == (7, 3)
    assert image.units == layer.units[1:]
    assert image.axis_labels == ("y", "x")
    assert tuple(image.contrast_limits) == (10, 90)
    assert image.colormap.name == "magma"
    assert image.name == "A01 fused (pyramid)"
    assert image.dtype == np.uint16


def test_index_and_height_are_hidden_until_they_are_wanted(model):
    (layer,) = open_in(model, named(scene()))
    _, index, *others = layers_of_result(fuse(layer))
    assert [index.role, *(new.role for new in others)] == ["index", "depth", "confidence"]
    assert not any(new.kwargs["visible"] for new in (index, *others))
    assert index.kwargs["contrast_limits"] == (0, SLICES - 1)


def test_the_index_names_the_slice_that_is_sharp(model):
    (layer,) = open_in(model, named(scene()))
    result = fuse(layer, method="select")
    inside = result.fused.index[:, np.linspace(0, 96, SLICES + 1).astype(int)[:-1] + 9]
    assert (inside == np.arange(SLICES)).mean() > 0.95


def test_without_z_step_there_is_no_height_map(model):
    (layer,) = open_in(model, named(scene(), z_um=None))
    assert [new.role for new in layers_of_result(fuse(layer))] == ["fused", "index", "confidence"]


def test_heights_without_evidence_are_not_shown_but_kept(model):
    data = scene()
    data[:, :32] = 125
    (layer,) = open_in(model, named(data))
    result = fuse(layer)
    height = layers_of_result(result)[2].data
    assert np.isnan(height[4:20, 8:-8]).all()
    assert np.isfinite(height[44:-4, 8:-8]).mean() > 0.9
    assert np.isfinite(result.measured().depth_um).all()


def test_the_name_tells_what_is_not_the_default(model):
    (layer,) = open_in(model, named(scene()))
    assert fuse(layer, first=1, last=3).label == "pyramid, slices 1–3"


def test_provenance_tells_method_slices_and_settings(model):
    (layer,) = open_in(model, named(scene()))
    known = layers_of_result(fuse(layer, first=1))[0].kwargs["metadata"][METADATA]
    assert known["method"] == "pyramid"
    assert known["slices"] == [1, 2, 3, 4]
    assert FuseSettings(**known["settings"]).first == 1


def test_colours_stay_three(model):
    rgb = np.stack([scene(dtype="uint8")] * 3, axis=-1)
    (layer,) = open_in(model, named(rgb, axes="ZYXS"))
    new = layers_of_result(fuse(layer))[0]
    image = model.add_image(new.data, **new.kwargs)
    assert image.rgb
    assert image.data.shape == (64, 96, 3)


# Channels and time --------------------------------------------------------------------------------------------------


@pytest.fixture
def two_channels() -> Stack:
    first = scene()
    return named(np.stack([first, first[::-1]]), axes="CZYX", channels=("DAPI", "GFP"))


def test_channels_that_are_layers_are_found_and_joined(model, two_channels):
    layers = open_in(model, two_channels)
    assert channel_layers(layers[0], model.layers) == layers
    joined = joined_stack(layers)
    assert joined.axes == "CZYX"
    assert joined.channels == ("DAPI", "GFP")
    assert np.array_equal(joined.plane(2, c=1), two_channels.plane(2, c=1))


def test_a_second_stack_is_no_channel_of_the_first(model, two_channels):
    layers = open_in(model, two_channels)
    open_in(model, two_channels)
    assert channel_layers(layers[0], model.layers) == layers


def test_the_driving_channel_chooses_the_slices_of_all(model, two_channels):
    layers = open_in(model, two_channels)
    result = fuse(*layers, method="select", drive=0)
    assert result.fused.index.shape == (64, 96)
    assert [new.kwargs["name"] for new in layers_of_result(result)][:2] == [
        "A01 DAPI fused (select, by DAPI)",
        "A01 GFP fused (select, by DAPI)",
    ]


def test_each_channel_by_itself_has_an_index_of_its_own(model, two_channels):
    layers = open_in(model, two_channels)
    roles = [new.role for new in layers_of_result(fuse(*layers))]
    assert roles.count("index") == 2


def test_the_new_channels_hide_the_old_ones(model, two_channels):
    layers = open_in(model, two_channels)
    blendings = [new.kwargs["blending"] for new in layers_of_result(fuse(*layers)) if new.role == "fused"]
    assert blendings == ["opaque", "additive"]


def test_all_time_points_become_a_series_that_lies_on_the_source(model):
    series = np.stack([scene(), scene()[::-1], scene()])
    (layer,) = open_in(model, named(series, axes="TZYX"))
    new = layers_of_result(fuse(layer, times=(0, 1, 2)))[0]
    image = model.add_image(new.data, **new.kwargs)
    assert image.data.shape == (3, 1, 64, 96)
    for z in range(SLICES):
        at = image.world_to_data(layer.data_to_world((2, z, 10, 20)))
        assert tuple(np.round(at).astype(int)) == (2, 0, 10, 20)


def test_one_time_point_of_several_shows_at_that_one_only(model):
    (layer,) = open_in(model, named(np.stack([scene(), scene()]), axes="TZYX"))
    result = fuse(layer, times=(1,))
    new = layers_of_result(result)[0]
    image = model.add_image(new.data, **new.kwargs)
    assert round(image.world_to_data(layer.data_to_world((1, 0, 0, 0)))[0]) == 0
    assert "t 1" in image.name


# By index, preview, retouch -----------------------------------------------------------------------------------------


def test_values_by_index_are_those_of_the_source(model):
    (layer,) = open_in(model, named(scene()))
    result = fuse(layer)
    values = drain(ValuesJob(result)())
    rows, columns = np.indices((64, 96))
    assert np.array_equal(values, layer.data[result.fused.index, rows, columns])


def test_an_index_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="slices 0 to 4"):
        drain(copy_by_index(from_array(scene()), np.full((64, 96), 9)))


def test_a_preview_lies_on_the_region_it_shows(model):
    (layer,) = open_in(model, named(scene()))
    job = PreviewJob(source_of([layer]), FuseSettings(), Region(8, 40, 16, 80), time=0, position=0)
    placed = drain(job())
    assert placed.data.shape == (32, 64)
    assert placed.kwargs["translate"] == pytest.approx((8 * 0.5, 16 * 0.25))


def test_a_region_off_the_screen_means_all_of_the_image(model):
    (layer,) = open_in(model, named(scene()))
    layer.corner_pixels = np.zeros((2, 3), int)
    assert visible_region(layer) == Region(0, 64, 0, 96)


@pytest.fixture
def retoucher(model, qtbot) -> Retoucher:
    (layer,) = open_in(model, named(scene()))
    result = fuse(layer)
    made = Made(result, [(new, model.add_image(new.data, **new.kwargs)) for new in layers_of_result(result)])
    retoucher = Retoucher(model, made, stack_of(layer))
    yield retoucher
    qtbot.waitUntil(lambda: not retoucher.reading, timeout=10_000)


def test_the_fused_image_follows_the_brush_and_its_undo(retoucher, model, qtbot):
    fused = retoucher.made.of_role("fused")[0]
    before = fused.data.copy()
    model.dims.set_current_step(0, 3)
    assert retoucher.slice == 3
    retoucher.labels.data_setitem((np.array([5, 6]), np.array([7, 7])), retoucher.labels.selected_label)
    qtbot.waitUntil(lambda: "retouched" in fused.metadata[METADATA], timeout=10_000)
    assert fused.data[5, 7] == model.layers["A01"].data[3, 5, 7]
    assert retoucher.made.of_role("index")[0].data[6, 7] == 3
    assert retoucher.made.of_role("confidence")[0].data[6, 7] == 1
    assert retoucher.made.of_role("depth")[0].data[6, 7] == 3 * 2.0
    assert fused.metadata[METADATA]["retouched"] == {"slice 3": 2}
    retoucher.labels.undo()
    qtbot.waitUntil(lambda: np.array_equal(fused.data, before), timeout=10_000)


def test_no_slice_is_read_in_the_main_thread(model, qtbot):
    readers = set()

    def note(block: np.ndarray) -> np.ndarray:
        readers.add(threading.get_ident())
        return block

    lazy = da.from_array(scene(), chunks=(1, 64, 96)).map_blocks(note, meta=scene()[:0])
    layer = model.add_image(lazy, name="A01", contrast_limits=(0, 255), visible=False)
    result = fuse(layer)
    made = Made(result, [(new, model.add_image(new.data, **new.kwargs)) for new in layers_of_result(result)])
    readers.clear()
    retoucher = Retoucher(model, made, stack_of(layer))
    model.dims.set_current_step(0, 3)
    retoucher.labels.data_setitem((np.array([5, 6]), np.array([7, 7])), 4)
    qtbot.waitUntil(lambda: made.retouched == {"slice 3": 2}, timeout=10_000)
    qtbot.waitUntil(lambda: not retoucher.reading, timeout=10_000)
    assert readers
    assert threading.get_ident() not in readers


def test_the_brush_follows_the_slider_of_a_renamed_stack(retoucher, model):
    model.layers["A01"].name = "well A1"
    model.dims.set_current_step(0, 2)
    assert retoucher.slice == 2


def test_what_was_painted_stays_when_the_brush_is_put_down(retoucher, model):
    retoucher.labels.data_setitem((np.array([5]), np.array([90])), 1)
    retoucher.finish()
    assert retoucher.made.of_role("fused")[0].data[5, 90] == model.layers["A01"].data[0, 5, 90]
    assert retoucher.labels not in model.layers


# Export -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def result(model, tmp_path) -> FuseResult:
    path = tmp_path / "A01 für Öl.ome.tif"
    tifffile.imwrite(path, scene(), ome=True, metadata={"axes": "ZYX"})
    (layer,) = open_in(model, named(scene()))
    layer.metadata[METADATA] |= {"source": str(path), "files": [str(path)]}
    return fuse(layer)


def test_the_proposal_lies_beside_the_source_under_another_name(result, tmp_path):
    assert propose_path(result) == tmp_path / "A01 für Öl_fused.ome.tif"


def test_parts_are_named_after_the_fused_image(tmp_path):
    assert part_path(tmp_path / "A.b_fused.ome.tif", "index").name == "A.b_index.ome.tif"
    assert part_path(tmp_path / "mine.tif", "depth").name == "mine_height.tif"


def test_an_export_has_scale_method_and_the_source_s_hash(result, tmp_path):
    from napari_focusstack.io.provenance import read_provenance
    from napari_focusstack.io.read import read_stack

    job = ExportJob(result, propose_path(result), parts=ALL_PARTS, overwrite=False)
    paths = drain(job())
    assert len(paths) == 4
    again = read_stack(paths[0])
    assert (again.y_um, again.x_um) == pytest.approx((0.5, 0.25))
    assert np.array_equal(again.plane(), result.fused.image)
    said = read_provenance(paths[0])
    assert said["Method"] == "pyramid"
    assert len(said["Source SHA-256"]) == 64


def test_an_export_that_is_given_up_leaves_nothing(result, tmp_path):
    there = sorted(tmp_path.iterdir())
    target = propose_path(result)
    job = ExportJob(result, target, parts=ALL_PARTS, overwrite=False)
    steps = sum(1 for _ in job())
    for path in set(tmp_path.iterdir()) - set(there):
        path.unlink()
    for n in range(1, steps + 1):
        given_up = job()
        for _ in range(n):
            next(given_up)
        given_up.close()
        assert sorted(tmp_path.iterdir()) == there


def test_several_positions_are_said_checked_and_written_under_the_same_names(model, tmp_path):
    (layer,) = open_in(model, named(np.stack([scene(), scene()]), axes="PZYX"))
    result = drain(FuseJob(source_of([layer]), FuseSettings(), times=(0,), positions=(0, 1))())
    target = tmp_path / "A01_fused.ome.tif"
    said = final_paths(result, target, ALL_PARTS)
    assert said[0].name == "A01_fused_p0.ome.tif"
    assert sorted(drain(ExportJob(result, target, parts=ALL_PARTS, overwrite=False)())) == sorted(said)
    with pytest.raises(InputError, match="exists already"):
        drain(ExportJob(result, target, parts=ALL_PARTS, overwrite=False)())


def test_a_long_series_is_not_held_twice(model, monkeypatch):
    import napari_focusstack.core.pipeline as pipeline

    (layer,) = open_in(model, named(np.stack([scene()] * 4), axes="TZYX"))
    whole, before, alive = pipeline.fuse_job, [], []

    def watched(*args: object, **kwargs: object):
        alive.append(sum(ref() is not None for ref in before))
        fused = yield from whole(*args, **kwargs)
        before.append(weakref.ref(fused))
        return fused

    monkeypatch.setattr(pipeline, "fuse_job", watched)
    result = fuse(layer, times=(0, 1, 2, 3))
    assert alive == [0, 0, 0, 0]
    monkeypatch.undo()
    assert np.array_equal(result.fused.index[2], fuse(layer, times=(2,)).fused.index[0])


def test_the_recipe_is_the_settings(result):
    assert FuseSettings(**json.loads(recipe(result))) == result.settings


def test_the_recipe_names_the_channel(model, two_channels):
    assert json.loads(recipe(fuse(*open_in(model, two_channels), drive=1)))["drive"] == "GFP"


@pytest.mark.parametrize("names", [(), ("GFP", "GFP")])
def test_the_recipe_counts_channels_that_the_file_does_not_tell_apart(model, two_channels, names):
    stack = dataclasses.replace(two_channels, channels=names)
    written = json.loads(recipe(fuse(*open_in(model, stack), drive=1, method="select")))
    assert written["drive"] == 1
    again = drain(fuse_job(stack, FuseSettings(**written)))
    assert np.array_equal(again.index, fuse(*model.layers, drive=1, method="select").fused.index)


@pytest.mark.parametrize("names", [(), ("DAPI", "GFP")])
def test_the_recipe_of_a_channel_alone_fuses_that_channel_alone(model, two_channels, names):
    stack = dataclasses.replace(two_channels, channels=names)
    second = open_in(model, stack)[1]
    source = source_of([second], model.layers)
    result = drain(FuseJob(source, FuseSettings(method="select"), times=(0,), positions=(0,))())
    again = drain(fuse_job(stack, FuseSettings(**json.loads(recipe(result)))))
    assert np.array_equal(again.image, result.fused.image)


def test_one_channel_and_one_that_drives_all_contradict_each_other(two_channels):
    with pytest.raises(InputError, match="give channel to fuse one"):
        drain(fuse_job(two_channels, FuseSettings(channel=0, drive=1)))


def test_channels_without_names_count_from_0(model, two_channels):
    layers = open_in(model, dataclasses.replace(two_channels, channels=()))
    assert [layer.name for layer in layers] == ["A01 channel 0", "A01 channel 1"]


# The window ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def widget(viewer, qtbot) -> FuseWidget:
    _, widget = viewer.window.add_plugin_dock_widget("napari-focusstack", "Fuse")
    widget.show()
    return widget


def run(widget: FuseWidget, qtbot) -> None:
    click(qtbot, widget.bar.run_button)
    qtbot.waitUntil(lambda: not widget.bar.runner.busy, timeout=20_000)
    qtbot.waitUntil(lambda: not widget.results.adding, timeout=20_000)


def test_the_stack_is_chosen_already_and_one_click_fuses_it(viewer, widget, qtbot):
    assert not widget.bar.run_button.isEnabled()
    (layer,) = open_in(viewer, named(scene()))
    assert widget.layer is layer
    run(widget, qtbot)
    assert [x.name for x in viewer.layers] == [
        "A01",
        "A01 fused (pyramid)",
        "A01 index (pyramid)",
        "A01 height µm (pyramid)",
        "A01 confidence (pyramid)",
    ]
    assert viewer.layers.selection.active.name == "A01 fused (pyramid)"
    assert widget.layer is layer
    assert "quantification" in widget.results.note.text()


def test_fusing_again_replaces_the_layers_of_the_same_name(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    run(widget, qtbot)
    assert len(viewer.layers) == 5


def test_fusing_again_finds_its_layers_when_the_stack_is_renamed_and_its_look_changed(viewer, widget, qtbot):
    (layer,) = open_in(viewer, named(scene()))
    run(widget, qtbot)
    layer.name, layer.contrast_limits, layer.translate = "well A1", (10, 90), (0, 7, 3)
    run(widget, qtbot)
    assert len(viewer.layers) == 5
    fused = viewer.layers[1]
    assert tuple(fused.contrast_limits) == (10, 90)
    assert tuple(fused.translate) == (7, 3)


def test_the_result_of_a_deleted_stack_of_the_same_name_stays(viewer, widget, qtbot):
    (first,) = open_in(viewer, named(scene()))
    run(widget, qtbot)
    fused = viewer.layers["A01 fused (pyramid)"]
    before = fused.data.copy()
    viewer.layers.remove(first)
    open_in(viewer, named(scene()[:, ::-1] + np.uint16(9)))
    run(widget, qtbot)
    assert fused in viewer.layers
    assert np.array_equal(fused.data, before)
    assert len(viewer.layers) == 9


def test_results_follow_a_calibration_that_comes_later(viewer, widget, qtbot, tmp_path):
    from napari_focusstack.io.read import read_stack

    (layer,) = open_in(viewer, named(scene(), y_um=None, x_um=None, z_um=None))
    run(widget, qtbot)
    assert not any("height" in x.name for x in viewer.layers)
    set_calibration(viewer, layer, stack_of(layer), Calibration("ZYX", 0.25, 0.25, 3.0))
    qtbot.waitUntil(lambda: "A01 height µm (pyramid)" in viewer.layers, timeout=10_000)
    height = viewer.layers["A01 height µm (pyramid)"]
    before = height.data.copy()
    uneven = (0.0, 1.0, 4.0, 9.0, 16.0)
    set_calibration(viewer, layer, stack_of(layer), Calibration("ZYX", 0.25, 0.25, None, uneven))
    qtbot.waitUntil(lambda: not np.array_equal(height.data, before, equal_nan=True), timeout=10_000)
    assert np.nanmax(height.data) == pytest.approx(16, abs=0.5)
    assert tuple(height.scale) == (0.25, 0.25)

    click(qtbot, widget.results.export_button)
    dialog = widget.results.export_dialog
    dialog.path_edit.setText(str(tmp_path / "A01_fused.ome.tif"))
    click(qtbot, dialog.bar.run_button)
    qtbot.waitUntil(lambda: widget.results.export_dialog is None, timeout=20_000)
    written = read_stack(tmp_path / "A01_height.ome.tif")
    assert (written.y_um, written.x_um) == pytest.approx((0.25, 0.25))
    shown = np.isfinite(height.data)
    assert np.allclose(written.plane()[shown], height.data[shown])


def test_an_export_takes_the_scale_of_the_fused_layer_when_the_stack_is_gone(viewer, widget, qtbot):
    (layer,) = open_in(viewer, named(scene(), y_um=None, x_um=None))
    run(widget, qtbot)
    viewer.layers.remove(layer)
    fused = viewer.layers["A01 fused (pyramid)"]
    fused.units, fused.scale = ("um", "um"), (0.5, 0.5)
    made = widget.results.current
    made.recalibrate(viewer.layers)
    assert (made.result.source.stack.y_um, made.result.source.stack.x_um) == (0.5, 0.5)


def test_fusing_by_another_method_adds_all_its_layers_beside_the_first(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    widget.form.method_box.setCurrentIndex(widget.form.method_box.findData("select"))
    run(widget, qtbot)
    names = [layer.name for layer in viewer.layers]
    for words in ("fused", "index", "height µm", "confidence"):
        assert f"A01 {words} (pyramid)" in names
        assert f"A01 {words} (select)" in names


def test_channels_are_asked_for_only_where_there_are_several(viewer, widget, two_channels):
    open_in(viewer, named(scene()))
    assert widget.form.channel_box.isHidden()
    layers = open_in(viewer, two_channels)
    widget.choose_layer(layers[0])
    assert not widget.form.channel_box.isHidden()
    assert "GFP" in widget.form.channel_box.itemText(widget.form.channel_box.count() - 1)


def test_a_range_of_slices_is_fused(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    widget.form.slices.setValue((1, 3))
    run(widget, qtbot)
    assert viewer.layers["A01 index (pyramid, slices 1–3)"].data.min() >= 1


def test_the_hint_goes_when_the_lengths_are_set(viewer, widget, qtbot):
    (layer,) = open_in(viewer, named(scene(), z_um=None))
    assert "z step" in widget.hint.label.text()
    click(qtbot, widget.hint.button)
    widget.hint.dialog.form.z_step.spin.setValue(3.0)
    click(qtbot, widget.hint.dialog.ok_button)
    assert stack_of(layer).z_um == 3.0
    assert widget.hint.isHidden()


def test_the_focus_widget_gives_the_same_hint(viewer):
    (layer,) = open_in(viewer, named(scene(), z_um=None))
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    assert "z step" in focus.hint.label.text()
    assert not focus.hint.isHidden()
    set_calibration(viewer, layer, stack_of(layer), Calibration("ZYX", 0.5, 0.25, 2.0))
    assert focus.hint.isHidden()


@pytest.mark.parametrize(
    ("data", "axes", "said"),
    [(scene()[0], "YX", "single slice"), (scene(), "TYX", "time series without a z axis")],
)
def test_what_can_t_be_fused_says_why(viewer, widget, data, axes, said):
    open_in(viewer, from_array(data, axes=axes, name="flat"))
    assert said in widget.problem.text()
    assert not widget.bar.run_button.isEnabled()


def test_a_constant_stack_is_fused_to_the_constant(viewer, widget, qtbot):
    open_in(viewer, named(np.full((4, 32, 32), 7, np.uint8)))
    run(widget, qtbot)
    assert (viewer.layers["A01 fused (pyramid)"].data == 7).all()


def test_nan_is_told_in_a_sentence(viewer, widget, qtbot, notes):
    data = scene(dtype="float32")
    data[2, 3, 4] = np.nan
    open_in(viewer, named(data))
    run(widget, qtbot)
    assert len(viewer.layers) == 1
    assert any("NaN" in note for note in notes)


class Gate:
    """Planes that wait until they are let through."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data
        self.open = threading.Event()
        self.asked = threading.Event()

    def block(self, block: np.ndarray) -> np.ndarray:
        self.asked.set()
        assert self.open.wait(10)
        return block

    def lazy(self) -> da.Array:
        return da.from_array(self.data, chunks=(1, *self.data.shape[1:])).map_blocks(self.block, meta=self.data[:0])


@pytest.fixture
def slow(viewer) -> Gate:
    gate = Gate(scene())
    gate.open.set()
    um = {"scale": (2.0, 0.5, 0.25), "units": "um", "axis_labels": ("z", "y", "x")}
    viewer.add_image(gate.lazy(), name="A01", contrast_limits=(0, 255), visible=False, **um)
    gate.open.clear()
    gate.asked.clear()
    yield gate
    gate.open.set()


def test_cancel_in_the_middle_adds_nothing_and_answers_at_once(viewer, widget, qtbot, slow):
    click(qtbot, widget.bar.run_button)
    qtbot.waitUntil(slow.asked.is_set, timeout=10_000)
    click(qtbot, widget.bar.cancel_button)
    assert not widget.bar.runner.busy
    slow.open.set()
    qtbot.wait(50)
    assert len(viewer.layers) == 1


def test_a_layer_deleted_while_it_is_fused_still_gives_its_result(viewer, widget, qtbot, slow):
    click(qtbot, widget.bar.run_button)
    qtbot.waitUntil(slow.asked.is_set, timeout=10_000)
    viewer.layers.clear()
    slow.open.set()
    qtbot.waitUntil(lambda: not widget.bar.runner.busy, timeout=20_000)
    assert "A01 fused (pyramid)" in viewer.layers
    assert tuple(viewer.layers["A01 fused (pyramid)"].scale) == (0.5, 0.25)


def test_the_preview_shows_and_goes_when_all_is_fused(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    click(qtbot, widget.preview_button)
    qtbot.waitUntil(lambda: "A01 preview" in viewer.layers, timeout=20_000)
    run(widget, qtbot)
    assert "A01 preview" not in viewer.layers


def test_retouching_starts_and_ends_with_its_button(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    results = widget.results
    click(qtbot, results.retouch_button)
    qtbot.waitUntil(lambda: results.retoucher is not None, timeout=10_000)
    labels = results.retoucher.labels
    assert viewer.layers.selection.active is labels
    assert labels.mode == "paint"
    labels.paint((30, 90), labels.selected_label)
    qtbot.waitUntil(lambda: "retouched" in viewer.layers["A01 fused (pyramid)"].metadata[METADATA], timeout=5_000)
    click(qtbot, results.retouch_button)
    assert labels not in viewer.layers


def test_deleting_the_painted_layer_ends_the_retouching(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    click(qtbot, widget.results.retouch_button)
    qtbot.waitUntil(lambda: widget.results.retoucher is not None, timeout=10_000)
    viewer.layers.remove(widget.results.retoucher.labels)
    assert widget.results.retoucher is None


def test_an_export_asks_before_it_overwrites(viewer, qtbot, monkeypatch, result, tmp_path):
    target = propose_path(result)
    target.write_bytes(b"mine")
    monkeypatch.setattr(QMessageBox, "question", staticmethod(lambda *_: QMessageBox.StandardButton.No))
    dialog = ExportDialog(result, parent=viewer.window._qt_window)
    dialog.show()
    click(qtbot, dialog.bar.run_button)
    assert target.read_bytes() == b"mine"
    dialog.reject()


def test_a_read_only_folder_is_told_in_one_sentence_and_nothing_is_lost(
    viewer, qtbot, monkeypatch, result, tmp_path, notes
):
    import napari_focusstack.io.atomic as atomic

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Root may write anywhere: the refusal comes from where the probe is made.
    monkeypatch.setattr(atomic.Path, "touch", refuse)
    dialog = ExportDialog(result, parent=viewer.window._qt_window)
    dialog.show()
    with qtbot.waitSignal(dialog.bar.runner.failed, timeout=10_000):
        click(qtbot, dialog.bar.run_button)
    assert "may not be written" in dialog.problem.text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["A01 für Öl.ome.tif"]
    dialog.reject()


def test_the_source_can_t_be_chosen_as_target(viewer, qtbot, monkeypatch, result, tmp_path, notes):
    source = Path(result.source.stack.source)
    before = source.read_bytes()
    monkeypatch.setattr(QMessageBox, "question", staticmethod(lambda *_: QMessageBox.StandardButton.Yes))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", staticmethod(lambda *_, **__: (str(source), "")))
    dialog = ExportDialog(result, parent=viewer.window._qt_window)
    dialog.show()
    click(qtbot, dialog.browse_button)
    with qtbot.waitSignal(dialog.bar.runner.failed, timeout=10_000):
        click(qtbot, dialog.bar.run_button)
    assert source.read_bytes() == before
    dialog.reject()


def test_closing_the_dock_stops_the_job(viewer, qtbot, slow):
    # Not by the fixture: pytest would keep the widget alive after napari has let it go.
    widget = viewer.window.add_plugin_dock_widget("napari-focusstack", "Fuse")[1]
    click(qtbot, widget.bar.run_button)
    qtbot.waitUntil(slow.asked.is_set, timeout=10_000)
    runner = widget.bar.runner
    viewer.window.remove_dock_widget(widget)
    assert not runner.busy
    slow.open.set()
