"""Results of the Fuse widget as layers: where they lie, what they are called, and retouching them."""

from __future__ import annotations

import threading

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel

from fuse_scenes import (
    SLICES,
    channels_of_two,
    fuse,
    named,
    open_in,
    scene,
)
from napari_focusstack.core.by_index import copy_by_index
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import drain
from napari_focusstack.core.settings import FuseSettings
from napari_focusstack.core.stack import Stack, from_array
from napari_focusstack.widgets.fuse_channels import channel_layers, joined_stack, source_of
from napari_focusstack.widgets.fuse_preview import PreviewJob, Region, visible_region
from napari_focusstack.widgets.fuse_run import Made, layers_of_result, layers_of_values
from napari_focusstack.widgets.fuse_values import ValuesJob
from napari_focusstack.widgets.layers import METADATA, stack_of
from napari_focusstack.widgets.retouch import Retoucher


@pytest.fixture
def model() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def two_channels() -> Stack:
    return channels_of_two()


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
    assert image.name == "fused A01 (pyramid)"
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
        "fused A01 DAPI (select, by DAPI)",
        "fused A01 GFP (select, by DAPI)",
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


def test_values_of_an_aligned_range_are_registered_as_they_were_fused(model):
    from scipy.ndimage import gaussian_filter

    still = np.random.default_rng(2).normal(size=(128, 128))
    planes = [gaussian_filter(np.roll(still, 2 * z, axis=1), 1.5 + 0.1 * abs(z - 2)) for z in range(5)]
    (layer,) = open_in(model, named((np.stack(planes) * 2000 + 5000).astype(np.uint16)))
    result = fuse(layer, method="select", last=2, align=True)
    values = drain(ValuesJob(result)())
    inside = np.s_[16:-16, 16:-16]
    away = np.abs(values[inside].astype(float) - result.fused.image[inside])
    assert np.median(away) < 0.1 * result.fused.image[inside].std()


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
    qtbot.waitUntil(lambda: not retoucher.reading, timeout=60_000)


def test_the_fused_image_follows_the_brush_and_its_undo(retoucher, model, qtbot):
    fused = retoucher.made.of_role("fused")[0]
    before = fused.data.copy()
    model.dims.set_current_step(0, 3)
    assert retoucher.slice == 3
    retoucher.labels.data_setitem((np.array([5, 6]), np.array([7, 7])), retoucher.labels.selected_label)
    qtbot.waitUntil(lambda: "retouched" in fused.metadata[METADATA], timeout=60_000)
    assert fused.data[5, 7] == model.layers["A01"].data[3, 5, 7]
    assert retoucher.made.of_role("index")[0].data[6, 7] == 3
    assert retoucher.made.of_role("confidence")[0].data[6, 7] == 1
    assert retoucher.made.of_role("depth")[0].data[6, 7] == 3 * 2.0
    assert fused.metadata[METADATA]["retouched"] == {"slice 3": 2}
    retoucher.labels.undo()
    qtbot.waitUntil(lambda: np.array_equal(fused.data, before), timeout=60_000)


@pytest.mark.parametrize("hasty", [False, True])
def test_no_slice_is_read_in_the_main_thread(model, qtbot, hasty):
    """Nor where the brush is put down (`hasty`) before the painted slice has come."""
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
    if hasty:
        with qtbot.waitSignal(retoucher.left, timeout=60_000):
            retoucher.finish()
            assert retoucher.labels in model.layers
        assert retoucher.labels not in model.layers
        assert made.of_role("fused")[0].data[5, 7] == scene()[3, 5, 7]
    qtbot.waitUntil(lambda: made.retouched == {"slice 3": 2}, timeout=60_000)
    qtbot.waitUntil(lambda: not retoucher.reading, timeout=60_000)
    assert readers
    assert threading.get_ident() not in readers


def test_the_brush_follows_the_slider_of_a_renamed_stack(retoucher, model):
    model.layers["A01"].name = "well A1"
    model.dims.set_current_step(0, 2)
    assert retoucher.slice == 2


def test_what_covers_the_fused_image_is_hidden_while_it_is_painted(model, qtbot):
    (layer,) = open_in(model, named(scene()))
    result = fuse(layer)
    made = Made(result, [(new, model.add_image(new.data, **new.kwargs)) for new in layers_of_result(result)])
    (new,) = layers_of_values(result, drain(ValuesJob(result)()))
    values = model.add_image(new.data, **new.kwargs)
    retoucher = Retoucher(model, made, stack_of(layer))
    assert not values.visible
    assert layer.visible
    assert made.of_role("fused")[0].visible
    qtbot.waitUntil(lambda: not retoucher.reading, timeout=60_000)
    with qtbot.waitSignal(retoucher.left, timeout=60_000):
        retoucher.finish()
    assert values.visible
    assert not made.of_role("index")[0].visible


def test_hidden_slices_are_shown_as_long_as_one_looks_at_them(retoucher, model):
    layer, (fused,) = model.layers["A01"], retoucher.made.of_role("fused")
    layer.visible = False
    retoucher.show_slices(True)
    assert (layer.visible, fused.visible) == (True, False)
    retoucher.show_slices(False)
    assert (layer.visible, fused.visible) == (False, True)


def test_a_hidden_fused_image_is_shown_when_the_brush_is_taken(model, qtbot):
    (layer,) = open_in(model, named(scene()))
    result = fuse(layer)
    made = Made(result, [(new, model.add_image(new.data, **new.kwargs)) for new in layers_of_result(result)])
    made.of_role("fused")[0].visible = False
    retoucher = Retoucher(model, made, stack_of(layer))
    assert made.of_role("fused")[0].visible
    qtbot.waitUntil(lambda: not retoucher.reading, timeout=60_000)


def test_what_was_painted_stays_when_the_brush_is_put_down(retoucher, model, qtbot):
    retoucher.labels.data_setitem((np.array([5]), np.array([90])), 1)
    with qtbot.waitSignal(retoucher.left, timeout=60_000):
        retoucher.finish()
    assert retoucher.made.of_role("fused")[0].data[5, 90] == model.layers["A01"].data[0, 5, 90]
    assert retoucher.labels not in model.layers
