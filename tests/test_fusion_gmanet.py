"""Stitching by GMANet's scores, on a network trained for seconds."""

import numpy as np
import pytest

pytest.importorskip("torch")

import napari_focusstack as fs
from napari_focusstack.core.fusion import METHODS
from napari_focusstack.core.fusion.gmanet import ScoreMethod, _spread
from napari_focusstack.networks.zoo import read_card

pytestmark = pytest.mark.usefixtures("networks")


@pytest.fixture
def method(networks):
    folder = networks / "gmanet"
    return ScoreMethod(read_card(folder), folder)


def halves() -> fs.Stack:
    """Texture whose left half is sharp on slice 1, its right half on slice 3."""
    import cv2

    sharp = (np.random.default_rng(0).random((192, 256)) * 20000 + 4000).astype(np.float32)
    planes = []
    for z in range(5):
        left, right = (cv2.GaussianBlur(sharp, (0, 0), 0.3 + 1.5 * abs(z - best)) for best in (1, 3))
        planes.append(np.concatenate([left[:, :128], right[:, 128:]], axis=1))
    return fs.from_array(np.stack(planes).astype(np.uint16), axes="ZYX")


def test_patches_come_from_the_slice_in_which_they_are_clear(method, monkeypatch):
    monkeypatch.setitem(METHODS._entries, method.name, method)
    fused = fs.fuse(halves(), method="gmanet")
    assert fused.image.dtype == np.uint16
    assert (fused.index[:, :96] == 1).mean() > 0.9
    assert (fused.index[:, 160:] == 3).mean() > 0.9
    assert fused.method == "gmanet"
    assert len(fused.parameters["weights_sha256"]) == 64
    sharp = halves().data[[1, 3]].astype(float)
    np.testing.assert_allclose(fused.image[20:170, 20:90], sharp[0][20:170, 20:90], atol=1)
    np.testing.assert_allclose(fused.image[20:170, 166:236], sharp[1][20:170, 166:236], atol=1)


def test_colours_are_kept(method, monkeypatch):
    monkeypatch.setitem(METHODS._entries, method.name, method)
    grey = (halves().data // 256).astype(np.uint8)
    stack = fs.from_array(np.stack([grey, grey // 2, grey // 4], axis=-1), axes="ZYXS")
    fused = fs.fuse(stack, method="gmanet").image
    assert fused.shape == (192, 256, 3)
    assert abs(float(fused[..., 0].mean()) / float(fused[..., 1].mean()) - 2) < 0.05


def test_weights_of_all_slices_sum_to_one():
    winner = np.random.default_rng(0).integers(0, 4, (5, 7))
    total = sum(_spread((winner == i).astype(np.float32), (150, 210), (32.0, 32.0)) for i in range(4))
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_the_method_is_offered_where_the_weights_are(networks):
    assert isinstance(METHODS["gmanet"], ScoreMethod)


def test_progress_is_told_for_every_slice_of_both_passes(method):
    from napari_focusstack.core.fusion.method import Series

    data = halves().data
    job = method.merge(Series(lambda i: data[i], 5, data.shape[1:], data.dtype))
    steps = []
    while True:
        try:
            steps.append(next(job))
        except StopIteration:
            break
    assert [s.done for s in steps] == list(range(1, 11))
