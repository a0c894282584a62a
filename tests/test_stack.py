from __future__ import annotations

import math

import dask.array as da
import numpy as np
import pytest
from dask.callbacks import Callback

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.pipeline import fuse, score
from napari_focusstack.core.stack import Optics, Stack, as_stack, from_array
from napari_focusstack.io.read import read_stack
from napari_focusstack.io.samples import SAMPLES


def test_planes_are_read_by_position_time_channel_and_slice() -> None:
    data = np.arange(2 * 3 * 2 * 4 * 5 * 6, dtype=np.uint16).reshape(2, 3, 2, 4, 5, 6)
    stack = from_array(data)
    assert stack.axes == "PTCZYX"
    np.testing.assert_array_equal(stack.plane(3, c=1, t=2, p=1), data[1, 2, 1, 3])
    np.testing.assert_array_equal(stack.series(t=2, p=1).only_channel(1).plane(3), data[1, 2, 1, 3])


def test_an_array_of_colour_planes_is_rgb_and_its_alpha_is_dropped() -> None:
    stack = from_array(np.zeros((4, 8, 9, 4), np.uint8))
    assert stack.axes == "ZYXS"
    assert stack.plane(0).shape == (8, 9, 3)


def test_a_plane_is_read_past_the_callbacks_that_others_have_registered_with_dask() -> None:
    data = np.arange(60).reshape(3, 4, 5)
    called: list[object] = []
    with Callback(pretask=lambda key, *_: called.append(key)):
        plane = from_array(da.from_array(data, chunks=(1, 4, 5))).plane(1)
        assert not called
        da.from_array(data)[0].compute()
        assert called
    np.testing.assert_array_equal(plane, data[1])


def test_only_the_plane_asked_for_is_read() -> None:
    class Counting:
        shape, dtype = (5, 8, 8), np.dtype(np.uint8)
        reads: list[object] = []  # noqa: RUF012

        def __getitem__(self, key: tuple[object, ...]) -> np.ndarray:
            self.reads.append(key)
            return np.zeros((8, 8), np.uint8)

    stack = Stack(Counting(), "ZYX")
    stack.plane(3)
    assert Counting.reads == [(3,)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_plane_that_is_not_finite_is_refused_in_a_sentence(bad: float) -> None:
    data = np.zeros((3, 8, 8), np.float32)
    data[1, 2, 3] = bad
    with pytest.raises(InputError, match=r"Slice 1 of 'array' holds a pixel that is NaN or infinite: replace it by"):
        from_array(data).plane(1)


def test_values_whose_squares_are_no_numbers_are_refused() -> None:
    with pytest.raises(InputError, match=r"holds values up to 1e.30.*divide the stack"):
        from_array(np.full((3, 8, 8), -1e30, np.float32)).plane(1)


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [((4, 8, 8), "ZYXS", "3 axes"), ((8, 8), "XY", "can't name the axes"), ((0, 8, 8), "ZYX", "is empty")],
)
def test_axes_that_do_not_fit_are_refused(shape: tuple[int, ...], axes: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Stack(np.zeros(shape, np.uint8), axes)


def test_complex_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="complex64 pixels"):
        from_array(np.zeros((3, 8, 8), np.complex64))


def test_uneven_heights_are_kept_and_must_fit() -> None:
    stack = from_array(np.zeros((3, 8, 8), np.uint8), z_positions_um=(0, 1, 4))
    assert stack.heights_um is not None
    np.testing.assert_allclose(stack.heights_um, [0, 1, 4])
    with pytest.raises(InputError, match="2 z positions were given for the 3 slices"):
        from_array(np.zeros((3, 8, 8), np.uint8), z_positions_um=(0, 1))


def test_a_channel_is_found_by_name_or_index_and_an_unknown_one_lists_the_known() -> None:
    stack = from_array(np.zeros((2, 3, 8, 8), np.uint8), channels=("DAPI", "GFP"))
    assert stack.find_channel("GFP") == stack.find_channel(1) == stack.find_channel("1") == 1
    with pytest.raises(InputError, match=r"no channel 'RFP'.*DAPI.*GFP"):
        stack.find_channel("RFP")


def test_where_there_is_one_channel_none_needs_to_be_chosen() -> None:
    with pytest.raises(InputError, match="leave the choice out"):
        from_array(np.zeros((3, 8, 8), np.uint8)).find_channel(1)


def test_a_time_series_without_z_is_named_as_such() -> None:
    with pytest.raises(InputError, match="a time series without a z axis"):
        from_array(np.zeros((5, 8, 8), np.uint8), axes="TYX").require_slices("fuse it")
    with pytest.raises(InputError, match="a single slice"):
        from_array(np.zeros((8, 8), np.uint8)).require_slices("fuse it")


def test_a_plain_array_of_slices_is_scored_and_fused_as_a_stack_of_it() -> None:
    data = np.random.default_rng(0).random((5, 64, 64))
    assert score(data).values.tolist() == score(from_array(data, axes="ZYX")).values.tolist()
    assert fuse(data).image.shape == (64, 64)
    assert as_stack(np.zeros((5, 64, 64, 3), np.uint8)).axes == "ZYXS"


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 3), (3, 64, 64), (2, 5, 64, 64)])
def test_an_array_that_may_be_something_else_is_refused_with_the_way_to_name_its_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"from_array\(data, axes='ZYX'"):
        score(np.zeros(shape))


def test_a_file_name_in_the_place_of_a_stack_is_refused_with_the_way_to_read_it() -> None:
    with pytest.raises(InputError, match=r"read_stack\('A01.tif'\)"):
        fuse("A01.tif")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["x", "1.5", math.nan, math.inf, -1.0, 0, True, (1, 2), b"1"])
@pytest.mark.parametrize("name", ["z_um", "y_um", "x_um"])
def test_a_calibration_that_is_no_length_is_refused_in_a_sentence(name: str, value: object) -> None:
    with pytest.raises(
        InputError, match=r"^The (z step|pixel height|pixel width) of 'array' is .*: give a length above"
    ):
        from_array(np.zeros((3, 8, 8)), **{name: value})


@pytest.mark.parametrize("value", ["x", math.nan, -0.5, 0, [0.75]])
@pytest.mark.parametrize("name", ["na", "wavelength_um", "immersion_index", "magnification"])
def test_optics_that_are_no_numbers_above_0_are_refused_in_a_sentence(name: str, value: object) -> None:
    with pytest.raises(InputError, match=r"^The .* is .*: give a number above 0, .*, or leave it out\.$"):
        Optics(**{name: value})


def test_the_side_of_the_rings_is_one_of_two() -> None:
    with pytest.raises(InputError, match="side of the rings is 'left'"):
        Optics(rings="left")


@pytest.mark.parametrize("value", ["abc", "x", 2.0, ["a", 1, 2], [0, 1, math.nan], [0, math.inf, 4], [0, 1, None]])
def test_heights_that_are_no_numbers_are_refused_in_a_sentence(value: object) -> None:
    with pytest.raises(InputError, match=r"^The z positions.* the height of each slice in µm"):
        from_array(np.zeros((3, 8, 8)), z_positions_um=value)


def test_numbers_of_numpy_are_numbers() -> None:
    stack = from_array(
        np.zeros((3, 8, 8)), z_um=np.float32(2), x_um=np.int64(1), optics=Optics(na=np.float64(0.5), magnification=20)
    )
    assert stack.heights_um is not None
    assert stack.heights_um.tolist() == [0, 2, 4]
    heights = from_array(np.zeros((3, 8, 8)), z_positions_um=np.array([0.0, 1.0, 3.0])).z_positions_um
    assert heights == (0, 1, 3)


@pytest.mark.parametrize("given", [{"pixel_um": "x"}, {"pixel_um": (1, 2, 3)}, {"z_positions_um": "ab"}, {"z_um": "2"}])
def test_a_reader_s_calibration_is_refused_alike(given: dict[str, object]) -> None:
    with pytest.raises(InputError, match="in µm"):
        read_stack(SAMPLES["beads"].path, **given)
