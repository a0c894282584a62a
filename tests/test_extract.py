from __future__ import annotations

import numpy as np
import pytest

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.extract import extract_series
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import Stack, from_array


@pytest.fixture
def stack() -> Stack:
    return from_array(np.random.default_rng(0).integers(0, 65536, (6, 8, 9), np.uint16))


def test_slices_come_out_as_they_are(stack: Stack) -> None:
    assert np.array_equal(drain(extract_series(stack, first=2, last=4)), stack.data[2:5])


def test_a_maximum_is_the_maximum_of_its_slices_and_changes_none(stack: Stack) -> None:
    before = stack.data.copy()
    found = drain(extract_series(stack, first=1, last=5, projection="max"))
    assert np.array_equal(found, before[1:6].max(0))
    assert np.array_equal(stack.data, before)


def test_a_mean_keeps_the_pixel_type_and_does_not_overflow(stack: Stack) -> None:
    found = drain(extract_series(stack, first=0, last=5, projection="mean"))
    assert found.dtype == np.uint16
    assert np.abs(found - stack.data.mean(0)).max() <= 0.5


def test_colours_are_projected_each_by_itself() -> None:
    rgb = from_array(np.random.default_rng(0).integers(0, 256, (4, 8, 9, 3), np.uint8))
    assert np.array_equal(drain(extract_series(rgb, first=0, last=3, projection="max")), rgb.data.max(0))


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (3, 2), (0, 6)])
def test_slices_outside_the_stack_are_refused(stack: Stack, first: int, last: int) -> None:
    with pytest.raises(InputError, match="slices 0 to 5"):
        drain(extract_series(stack, first=first, last=last))


def test_an_unknown_projection_is_refused(stack: Stack) -> None:
    with pytest.raises(InputError, match="max"):
        drain(extract_series(stack, first=0, last=1, projection="median"))
