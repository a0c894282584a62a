from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.report import Grid
from napari_focusstack.core.stack import from_array
from napari_focusstack.widgets.layers import (
    METADATA,
    Frame,
    frame_of,
    identity,
    layer_of,
    name_axes,
    place,
    show,
    shown_at,
    source_id,
    stack_of,
)

ORGANOID = {"scale": (200.0, 4.0, 2.0), "units": ("um", "um", "um"), "axis_labels": ("z", "y", "x")}


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint16)


def corner_in_world(layer: Image) -> np.ndarray:
    """World coordinates of the outer corner of the first pixel, not of its centre."""
    return np.asarray(layer.data_to_world([-0.5] * layer.ndim))


def far_corner_in_world(layer: Image) -> np.ndarray:
    return np.asarray(layer.data_to_world(np.asarray(layer.data.shape[: layer.ndim]) - 0.5))


@pytest.mark.parametrize(
    ("labels", "axes"),
    [
        (("-3", "-2", "-1"), "ZYX"),
        (("-4", "-3", "-2", "-1"), "TZYX"),
        (("-5", "-4", "-3", "-2", "-1"), "TCZYX"),
        (("z", "c", "y", "x"), "ZCYX"),
        (("Channel", "Z", "Y", "X"), "CZYX"),
        (("time", "-2", "-1"), "TYX"),
        (("-3", "-2", "z"), "YXZ"),
        (("s", "slice", "row", "col"), "PZYX"),
        (("z", "z", "y", "x"), "ZTYX"),
    ],
)
def test_labels_name_the_axes_and_a_stated_rule_names_the_others(labels: tuple[str, ...], axes: str) -> None:
    named, note = name_axes(labels)
    assert named == axes
    assert axes in note


def test_a_layer_without_y_is_refused() -> None:
    with pytest.raises(InputError, match="y and x"):
        name_axes(("z", "t", "c", "x"))


def test_calibration_comes_in_micrometres_whatever_the_units() -> None:
    layer = Image(zeros(3, 8, 9), scale=(0.2, 4000, 2000), units=("mm", "nm", "nm"))
    stack = stack_of(layer)
    assert (stack.z_um, stack.y_um, stack.x_um) == pytest.approx((200, 4, 2))


def test_pixel_units_are_no_calibration() -> None:
    stack = stack_of(Image(zeros(3, 8, 9), scale=(2, 1, 1)))
    assert (stack.z_um, stack.y_um, stack.x_um) == (None, None, None)


def test_a_scale_inside_the_affine_counts() -> None:
    layer = Image(zeros(3, 8, 9), affine=np.diag([5.0, 0.5, 0.5, 1]), units=("um",) * 3)
    assert stack_of(layer).z_um == pytest.approx(5)
    assert stack_of(layer).y_um == pytest.approx(0.5)


def test_heights_are_those_of_the_slider() -> None:
    layer = Image(zeros(3, 8, 9), scale=(5, 1, 1), translate=(100, 0, 0), units=("um",) * 3)
    assert stack_of(layer).heights_um == pytest.approx([100, 105, 110])


def test_colours_stay_colours_and_alpha_is_left_out() -> None:
    stack = stack_of(Image(np.zeros((4, 8, 9, 4), np.uint8), rgb=True))
    assert stack.axes == "ZYXS"
    assert stack.data.shape == (4, 8, 9, 3)


def test_a_multiscale_layer_gives_its_finest_level() -> None:
    stack = stack_of(Image([zeros(4, 64, 64), zeros(4, 32, 32)], multiscale=True))
    assert stack.data.shape == (4, 64, 64)


def test_a_dask_layer_stays_lazy() -> None:
    def never(block: np.ndarray) -> np.ndarray:
        raise AssertionError("was computed")

    lazy = da.zeros((2, 3, 64, 64), chunks=(1, 1, 64, 64), dtype=np.uint16).map_blocks(never, dtype=np.uint16)
    layer = Image(lazy, contrast_limits=(0, 1), axis_labels=("z", "c", "y", "x"), visible=False)
    stack = stack_of(layer)
    assert stack.axes == "CZYX"
    assert stack.data.shape == (3, 2, 64, 64)


def test_axes_in_any_order_are_put_in_ours() -> None:
    data = np.random.default_rng(0).integers(0, 99, (8, 9, 3))
    stack = stack_of(Image(data, axis_labels=("y", "x", "z"), rgb=False))
    assert stack.axes == "ZYX"
    assert np.array_equal(stack.plane(2), data[..., 2])


def test_a_layer_of_shapes_is_refused() -> None:
    with pytest.raises(InputError, match="not an image layer"):
        stack_of(ViewerModel().add_shapes(name="Shapes"))


def test_uneven_heights_and_channel_names_survive_the_way_through_a_layer() -> None:
    stack = from_array(
        zeros(2, 3, 8, 9),
        axes="CZYX",
        y_um=2,
        x_um=2,
        z_positions_um=(10, 12, 17),
        channels=("DNA", "actin"),
        name="ä b",
    )
    placed = layer_of(stack)
    back = stack_of(Image(placed.data, **placed.kwargs))
    assert back.channels == stack.channels
    assert back.z_positions_um == stack.z_positions_um
    assert (back.name, back.y_um, back.axes) == ("ä b", 2, "CZYX")


@pytest.mark.parametrize("heights", [(60, 50, 40, 30), (60, 50, 45, 30), (7,)])
def test_heights_that_fall_survive_the_way_through_a_layer(heights: tuple[float, ...]) -> None:
    stack = from_array(zeros(len(heights), 8, 9), y_um=2, x_um=2, z_positions_um=heights)
    placed = layer_of(stack)
    assert stack_of(Image(placed.data, **placed.kwargs)).heights_um == pytest.approx(heights)


def test_a_stack_without_calibration_becomes_a_layer_in_pixels() -> None:
    placed = layer_of(from_array(zeros(3, 8, 9)))
    assert set(placed.kwargs["units"]) == {"pixel"}
    assert stack_of(Image(placed.data, **placed.kwargs)).z_um is None


def test_the_slice_shown_follows_the_slider() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(zeros(5, 8, 9), **ORGANOID, translate=(1000, 0, 0))
    viewer.dims.set_point(0, 1600)
    assert shown_at(layer, viewer.dims)["Z"] == 3
    show(layer, viewer.dims, Z=1)
    assert viewer.dims.point[0] == pytest.approx(1200)


def test_the_slice_shown_is_right_beside_a_layer_in_other_units() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(zeros(5, 8, 9), scale=(2, 1, 1), units=("um",) * 3)
    viewer.add_image(zeros(5, 8, 9), scale=(2000, 1000, 1000), units=("nm",) * 3)
    for z in (4, 2, 0):
        show(layer, viewer.dims, Z=z)
        assert shown_at(layer, viewer.dims)["Z"] == z
        shown = layer._slicing_state.data_slice.point[0] if hasattr(layer, "_slicing_state") else z
        assert round(shown) == z


def test_a_slider_beyond_the_layer_shows_its_last_slice() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(zeros(3, 8, 9))
    viewer.add_image(zeros(9, 8, 9))
    viewer.dims.set_point(0, 8)
    assert shown_at(layer, viewer.dims)["Z"] == 2


def test_time_and_z_are_moved_together() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(zeros(4, 5, 8, 9), axis_labels=("t", "z", "y", "x"))
    show(layer, viewer.dims, T=3, Z=2, P=7)
    assert (shown_at(layer, viewer.dims)["T"], shown_at(layer, viewer.dims)["Z"]) == (3, 2)


def test_a_result_covers_its_source_exactly() -> None:
    source = Image(zeros(5, 8, 9), **ORGANOID, translate=(7, 30, 50))
    placed = place(zeros(8, 9), "YX", like=frame_of(source))
    fused = Image(placed.data, **placed.kwargs)
    assert corner_in_world(fused) == pytest.approx(corner_in_world(source)[1:])
    assert far_corner_in_world(fused) == pytest.approx(far_corner_in_world(source)[1:])
    assert fused.units == source.units[1:]
    assert fused.axis_labels == ("y", "x")


@pytest.mark.parametrize("plane_shape", [(64, 96), (70, 95)])
def test_a_map_of_patches_covers_the_image_exactly(plane_shape: tuple[int, int]) -> None:
    source = Image(zeros(5, *plane_shape), **ORGANOID, translate=(7, 30, 50))
    grid = Grid.covering(plane_shape, 32)
    placed = place(np.zeros((5, *grid.shape), np.float32), "ZYX", like=frame_of(source), grid=grid)
    heat = Image(placed.data, **placed.kwargs)
    assert corner_in_world(heat) == pytest.approx(corner_in_world(source))
    assert far_corner_in_world(heat) == pytest.approx(far_corner_in_world(source))


@pytest.mark.parametrize("turned", [{"rotate": 30}, {"shear": [0.1, 0, 0]}, {"affine": np.diag([1.0, -1, 2, 1])}])
def test_a_map_on_a_turned_source_turns_with_it(turned: dict[str, object]) -> None:
    source = Image(zeros(5, 64, 96), **ORGANOID, translate=(7, 30, 50), **turned)
    grid = Grid((2, 3), (32, 32))
    placed = place(np.zeros((5, 2, 3), np.float32), "ZYX", like=frame_of(source), grid=grid)
    heat = Image(placed.data, **placed.kwargs)
    assert corner_in_world(heat) == pytest.approx(corner_in_world(source))
    assert far_corner_in_world(heat) == pytest.approx(far_corner_in_world(source))


def test_slices_cut_out_lie_where_they_were() -> None:
    source = Image(zeros(9, 8, 9), **ORGANOID)
    placed = place(zeros(3, 8, 9), "ZYX", like=frame_of(source), at={"Z": 4})
    assert Image(placed.data, **placed.kwargs).data_to_world([0, 0, 0]) == pytest.approx((800, 0, 0))


def test_a_result_of_one_time_point_shows_at_that_time_only() -> None:
    source = Image(zeros(4, 5, 8, 9), axis_labels=("t", "z", "y", "x"))
    placed = place(zeros(1, 5, 8, 9), "TZYX", like=frame_of(source), at={"T": 2})
    assert Image(placed.data, **placed.kwargs).extent.world[:, 0] == pytest.approx((2, 2))


def test_a_result_follows_the_order_of_its_source() -> None:
    source = Image(zeros(8, 9, 5), axis_labels=("y", "x", "z"), scale=(1, 2, 3), rgb=False)
    placed = place(zeros(5, 8, 9), "ZYX", like=frame_of(source))
    assert placed.data.shape == (8, 9, 5)
    assert placed.kwargs["scale"] == pytest.approx((1, 2, 3))


def test_an_rgb_result_is_rgb() -> None:
    source = Image(np.zeros((4, 8, 9, 3), np.uint8), rgb=True)
    layer = Image(*[(p := place(np.zeros((8, 9, 3), np.uint8), "YXS", like=frame_of(source))).data], **p.kwargs)
    assert layer.rgb
    assert layer.ndim == 2


def test_a_result_says_where_it_comes_from() -> None:
    frame: Frame = frame_of(Image(zeros(4, 8, 9), name="A01"))
    said = place(zeros(8, 9), "YX", like=frame, provenance={"method": "pyramid"}).kwargs["metadata"][METADATA]
    assert (said["layer"], said["method"]) == ("A01", "pyramid")
    assert said["version"]


def test_the_file_of_a_layer_is_the_source_of_the_stack(tmp_path: Path) -> None:
    from napari.layers._source import Source

    layer = Image(zeros(3, 8, 9))
    layer._set_source(Source(path=str(tmp_path / "ä b.tif")))
    assert stack_of(layer).source == tmp_path / "ä b.tif"


def test_a_result_knows_its_source_whatever_that_is_called() -> None:
    source = Image(zeros(4, 8, 9), name="A01")
    placed = place(zeros(8, 9), "YX", like=frame_of(source))
    source.name = "renamed"
    assert source_id(Image(placed.data, **placed.kwargs)) == identity(source)


def test_a_duplicate_is_told_from_its_original() -> None:
    source = Image(zeros(4, 8, 9))
    identity(source)
    copy = Image.create(*source.as_layer_data_tuple())
    assert identity(copy) != identity(source)
    assert identity(copy) == identity(copy)
