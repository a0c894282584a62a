"""Registration of slices: simulated drift, breathing and turning; nothing where nothing moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from napari_focusstack.core.align import Similarity, align_series, warp
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import to_grey
from napari_focusstack.core.lazy import PlaneArray
from napari_focusstack.core.pipeline import fuse
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import Stack, from_array
from napari_focusstack.io.read import read_stack

SHAPE = (240, 320)


def scene(shape: tuple[int, int] = SHAPE) -> np.ndarray[Any, Any]:
    """Texture of many sizes, 0…1."""
    rng = np.random.default_rng(3)
    noise = rng.random(shape)
    layers = [cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (1.0, 2.5, 6.0)]
    mix = sum((layer - layer.mean()) / layer.std() for layer in layers)
    return np.asarray(np.clip(0.5 + 0.12 * mix, 0, 1))


def through_focus(motion: list[Similarity], *, dtype: str = "uint8", flicker: float = 0.02, rgb: bool = False) -> Stack:
    """The scene in front (left) and behind (right), moved, defocused, exposed unevenly and noisy."""
    rng = np.random.default_rng(0)
    truth, n = scene(), len(motion)
    left = np.arange(SHAPE[1]) < SHAPE[1] // 2
    top = 250 if dtype == "uint8" else 4000
    planes = []
    for z, move in enumerate(motion):
        moved = cv2.warpAffine(
            truth, move.inverse().matrix(SHAPE), SHAPE[::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        front, behind = (cv2.GaussianBlur(moved, (0, 0), 0.3 + 0.8 * abs(z - focus)) for focus in (n / 4, 3 * n / 4))
        plane = np.where(left, front, behind) * (1 + flicker * rng.standard_normal()) + 0.004 * rng.standard_normal(
            SHAPE
        )
        planes.append(np.clip(top * plane, 0, top))
    data = np.stack(planes)
    if rgb:
        data = np.stack([data, 0.8 * data, 0.6 * data], -1)
    return from_array(np.rint(data).astype(dtype) if dtype != "float32" else data.astype(dtype), name="scene")


def corner_errors(found: Stack, motion: list[Similarity]) -> np.ndarray[Any, Any]:
    """How far, in pixels, the corners of each slice are from where they belong, relative to the reference."""
    told = found.metadata["alignment"]
    corners = np.array([[x, y, 1] for x in (0, SHAPE[1] - 1) for y in (0, SHAPE[0] - 1)]).T
    reference = motion[told["reference"]]
    return np.array(
        [
            np.abs(np.asarray(m) @ corners - move.after(reference.inverse()).matrix(SHAPE) @ corners).max()
            for m, move in zip(told["matrices"], motion, strict=True)
        ]
    )


def drift(n: int = 8) -> list[Similarity]:
    rng = np.random.default_rng(1)
    steps = np.cumsum(rng.normal(0, 2.5, (n, 2)), axis=0)
    return [Similarity(1.0, complex(*s)) for s in steps]


def breathing(n: int = 8) -> list[Similarity]:
    return [Similarity(1 + 0.006 * (z - n / 2), complex(0.4 * z, -0.3 * z)) for z in range(n)]


def turning(n: int = 8) -> list[Similarity]:
    return [Similarity(np.exp(0.004j * (z - n / 2)), 0.0) for z in range(n)]


@pytest.mark.parametrize("motion", [drift(), breathing(), turning()], ids=["drift", "breathing", "turning"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_motion_is_found_through_defocus_flicker_and_noise(motion: list[Similarity], dtype: str) -> None:
    stack = through_focus(motion, dtype=dtype)
    still = [np.abs(m.matrix(SHAPE) - motion[4].matrix(SHAPE)).max() for m in motion]
    assert max(still) > 0.01
    assert corner_errors(drain(align_series(stack)), motion).max() < 0.5


def test_a_large_first_shift_is_found() -> None:
    motion = [Similarity(), Similarity(1.0, 24 - 17j), Similarity(1.0, 25 - 17j)]
    assert corner_errors(drain(align_series(through_focus(motion))), motion).max() < 0.5


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_stack_that_does_not_move_stays_bit_for_bit(dtype: str) -> None:
    stack = through_focus([Similarity()] * 8, dtype=dtype)
    found = drain(align_series(stack))
    np.testing.assert_array_equal(np.asarray(found.data), stack.data)
    assert found.metadata["alignment"]["matrices"][0] == [[1, 0, 0], [0, 1, 0]]


def test_blur_that_widens_an_object_on_both_sides_is_no_breathing() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    disc = (np.hypot(y - 120, x - 160) < 70) * (0.5 + 0.5 * scene())
    planes = [200 * cv2.GaussianBlur(disc, (0, 0), 0.5 + 3 * abs(z - 4)) for z in range(9)]
    noise = np.random.default_rng(0).normal(0, 1, (9, *SHAPE))
    stack = from_array(np.clip(np.stack(planes) + 10 + noise, 0, 255).astype(np.uint8))
    matrices = np.array(drain(align_series(stack)).metadata["alignment"]["matrices"])
    np.testing.assert_allclose(np.linalg.det(matrices[:, :, :2]), 1.0, atol=1e-4)


@pytest.mark.parametrize("fill", ["constant", "noise"])
def test_slices_without_detail_are_left_alone(fill: str) -> None:
    rng = np.random.default_rng(0)
    data = np.full((4, *SHAPE), 90, np.uint8) if fill == "constant" else rng.integers(0, 255, (4, *SHAPE), np.uint8)
    stack = from_array(data)
    np.testing.assert_array_equal(np.asarray(drain(align_series(stack)).data), data)


def test_a_slice_of_something_else_does_not_break_the_chain() -> None:
    motion = drift(9)
    stack = through_focus(motion)
    data = stack.data.copy()
    data[8] = np.random.default_rng(5).integers(0, 255, SHAPE)
    errors = corner_errors(drain(align_series(from_array(data))), motion)
    assert errors[:8].max() < 0.5


def test_shape_type_axes_and_calibration_stay() -> None:
    stack = through_focus(drift(), rgb=True)
    found = drain(align_series(stack))
    assert (found.axes, found.data.shape, found.dtype, found.name) == ("ZYXS", stack.data.shape, stack.dtype, "scene")
    assert np.asarray(found.data).shape == stack.data.shape


def test_all_channels_move_with_the_driving_one() -> None:
    motion = drift()
    plain = through_focus(motion)
    other = 255 - plain.data
    stack = from_array(np.stack([np.zeros_like(other), plain.data, other]), axes="CZYX")
    found = drain(align_series(stack, drive=1))
    assert corner_errors(found, motion).max() < 0.5
    inside = (slice(20, -20), slice(20, -20))
    total = found.plane(0, c=1)[inside].astype(int) + found.plane(0, c=2)[inside]
    assert np.abs(total - 255).max() <= 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_values_never_leave_their_range(dtype: str) -> None:
    plane = np.zeros((40, 50), dtype)
    plane[10:20, 10:20] = 200
    moved = warp(plane, np.array([[1.0, 0.0, 0.4], [0.0, 1.0, -0.3]]))
    assert moved.dtype == plane.dtype
    assert moved.min() >= 0
    assert moved.max() <= 200
    assert 0 < moved[10, 15] < 200


def test_the_border_is_repeated() -> None:
    plane = np.tile(np.arange(50, dtype=np.uint8), (40, 1))
    moved = warp(plane, np.array([[1.0, 0.0, 10.0], [0.0, 1.0, 0.0]]))
    assert (moved[:, 45:] == 49).all()


def test_planes_are_read_one_at_a_time_and_warped_when_asked_for() -> None:
    source = through_focus(drift())
    read: list[int] = []

    def one(number: int) -> np.ndarray[Any, Any]:
        read.append(number)
        return np.asarray(source.data[number])

    lazy = Stack(PlaneArray(one, np.arange(8), plane_shape=SHAPE, dtype=np.uint8), "ZYX")
    found = drain(align_series(lazy))
    assert read == list(range(8))
    assert found.plane(0).shape == SHAPE
    assert read == [*range(8), 0]


def test_progress_is_told_for_each_slice() -> None:
    job = align_series(through_focus(drift()))
    assert [(step.done, step.total) for step in job] == [(z + 1, 8) for z in range(8)]


def test_a_slice_with_nan_is_told() -> None:
    data = np.zeros((3, 64, 64), np.float32)
    data[1, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        drain(align_series(from_array(data)))


def likeness(stack: Stack, a: int, b: int) -> float:
    """Correlation of the band-passed middle of two slices."""
    bands = []
    for z in (a, b):
        grey = to_grey(stack.plane(z))
        band = cv2.GaussianBlur(grey, (0, 0), 1.5) - cv2.GaussianBlur(grey, (0, 0), 6)
        bands.append(band[40:-40, 40:-40].ravel())
    return float(np.corrcoef(*bands)[0, 1])


@pytest.mark.parametrize(("name", "far"), [("stacks/board.ome.tif", 4), ("stacks/pcb", 2)])
def test_real_slices_become_more_alike(shared_data: Path, name: str, far: int) -> None:
    stack = read_stack(shared_data / name)
    found = drain(align_series(stack))
    pairs = [(z, z + far) for z in range(0, stack.n_slices - far, max(1, far))]
    gains = [likeness(found, *pair) - likeness(stack, *pair) for pair in pairs]
    assert np.mean(gains) > 0
    assert min(gains) > -0.01


def test_real_slices_that_lie_right_are_moved_by_less_than_a_pixel(shared_data: Path) -> None:
    told = drain(align_series(read_stack(shared_data / "stacks" / "midgut"))).metadata["alignment"]
    assert max(np.abs(np.asarray(m) - [[1, 0, 0], [0, 1, 0]]).max() for m in told["matrices"]) < 1


def test_only_the_slices_asked_for_are_read_and_registered() -> None:
    motion = [Similarity(1.0, 1.5 * z) for z in range(8)]
    stack = through_focus(motion)
    read: list[int] = []

    def plane(number: int) -> np.ndarray[Any, Any]:
        read.append(number)
        return np.asarray(stack.data[number])

    lazy = PlaneArray(plane, np.arange(8), plane_shape=SHAPE, dtype=stack.dtype)
    found = drain(align_series(Stack(lazy, "ZYX"), slices=range(2, 7)))
    assert read == [2, 3, 4, 5, 6]
    told = found.metadata["alignment"]
    assert (told["reference"], told["slices"], len(told["matrices"])) == (4, [2, 3, 4, 5, 6], 5)
    shifts = [matrix[0][2] for matrix in told["matrices"]]
    np.testing.assert_allclose(shifts, [-3, -1.5, 0, 1.5, 3], atol=0.3)
    for z in (0, 1, 4, 7):
        np.testing.assert_array_equal(found.plane(z), stack.plane(z))
    assert (found.plane(2) != stack.plane(2)).any()


def test_fusing_some_slices_registers_those_only() -> None:
    stack = through_focus([Similarity(1.0, 1.5 * z) for z in range(6)], dtype="float32")
    stack.data[5, 3, 4] = np.nan
    fused = fuse(stack, first=0, last=4, align=True)
    assert fused.slices == (0, 1, 2, 3, 4)
    assert fused.parameters["alignment"]["slices"] == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="NaN"):
        fuse(stack, align=True)


def test_a_mask_that_is_moved_does_not_grow() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    moved = warp(mask, Similarity(1.0, 3.4).matrix((40, 40)))
    assert moved.dtype == bool
    wanted = np.roll(mask, -3, axis=1)
    assert (moved != wanted).sum() <= 2
