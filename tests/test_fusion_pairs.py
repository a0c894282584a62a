"""Fusion of two slices: pixels copied by the default method, and networks that decide between slices."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_focusstack.core.fusion import METHODS, ClassicalMethod, Series
from napari_focusstack.core.fusion.learned import (
    PairMethod,
    fuse_by_pairs,
    without_specks,
)
from napari_focusstack.core.progress import drain
from napari_focusstack.core.quality import psnr, qabf
from napari_focusstack.networks.zoo import find_models
from test_fusion_opponents import LUMA, texture


def scene(n: int = 2, *, colours: int = 0, noise: float = 0.0, dtype: str = "uint8") -> tuple[np.ndarray, np.ndarray]:
    """Truth, and n slices that are each sharp in a band of their own."""
    shape = (128, 160, colours) if colours else (128, 160)
    truth = np.clip(texture(shape), 0, 255)
    soft = cv2.GaussianBlur(truth, (0, 0), 3)
    edge = np.linspace(0, 160, n + 1).astype(int)
    slices = np.stack([soft] * n)
    for z in range(n):
        slices[z, :, edge[z] : edge[z + 1]] = truth[:, edge[z] : edge[z + 1]]
    slices += noise * np.random.default_rng(3).normal(size=slices.shape)
    scale = 256 if dtype == "uint16" else 1
    return np.rint(truth * scale).astype(dtype), np.rint(np.clip(slices, 0, 255) * scale).astype(dtype)


def series(slices: np.ndarray) -> Series:
    mix = LUMA if slices.ndim == 4 else (1.0,)
    return Series(lambda i: slices[i], len(slices), slices.shape[1:], slices.dtype, mix)


def merge(slices: np.ndarray, **changed: float):
    method = METHODS["pyramid"]
    return drain(method.function(series(slices), **{**method.parameters, **changed}))


def copied(image: np.ndarray, slices: np.ndarray) -> float:
    """Share of pixels that are those of a slice, in all colours."""
    same = np.isclose(image, slices.astype(np.float32), atol=1e-2)
    return float((same.all(axis=-1) if slices.ndim == 4 else same).any(axis=0).mean())


@pytest.mark.parametrize(("colours", "dtype"), [(0, "uint8"), (3, "uint8"), (0, "uint16")])
def test_pixels_of_two_quiet_slices_are_copied_but_at_the_seam(colours, dtype):
    truth, slices = scene(colours=colours, dtype=dtype)
    merged = merge(slices)
    assert copied(merged.image, slices) > 0.8
    assert copied(merge(slices, copied_noise=0.0).image, slices) < 0.3
    assert psnr(merged.image.astype(np.float32), truth.astype(np.float32)) > 30


def test_copies_keep_more_of_the_edges_than_mixing_does():
    _, slices = scene()
    assert qabf(merge(slices).image, slices) > qabf(merge(slices, copied_noise=0.0).image, slices)


def test_the_index_names_the_slice_that_was_copied():
    _, slices = scene()
    merged = merge(slices)
    named = np.take_along_axis(slices, merged.index[None].astype(int), 0)[0]
    assert np.isclose(merged.image, named, atol=1e-2).mean() > 0.8
    assert np.abs(merged.peak - merged.index).max() <= 0.5


def test_noisy_slices_are_mixed_not_copied():
    _, slices = scene(noise=12)
    assert np.array_equal(merge(slices).image, merge(slices, copied_noise=0.0).image)


def test_more_than_two_slices_are_never_copied():
    _, slices = scene(3)
    assert np.array_equal(merge(slices).image, merge(slices, copied_noise=0.0).image)


def test_two_empty_slices_stay_empty():
    flat = np.full((2, 64, 64), 7, np.uint8)
    assert np.allclose(merge(flat).image, 7, atol=1e-3)


def test_specks_and_holes_go_to_what_lies_around_them():
    mask = np.zeros((40, 40), bool)
    mask[:, 20:] = True
    clean = mask.copy()
    mask[5:7, 5:7] = True
    mask[30:33, 30:33] = False
    assert np.array_equal(without_specks(mask, smallest_px=20), clean)


class Contrast:
    """Stands for a network: the slice whose Laplacian is stronger around a pixel."""

    margin_px, multiple_px, bytes_per_px = 16, 16, 64

    def parameters(self):
        import torch

        yield torch.zeros(1)

    def decide(self, pair):
        import torch
        from torch.nn import functional

        kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
        edges = functional.conv2d(pair.transpose(0, 1), kernel, padding=1) ** 2
        energy = functional.avg_pool2d(edges, 9, 1, 4)
        return (energy[:1] > energy[1:]).float()


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("colours", [0, 3])
def test_a_network_that_compares_two_slices_fuses_any_number(n, colours):
    pytest.importorskip("torch")
    truth, slices = scene(n, colours=colours)
    merged = drain(fuse_by_pairs(series(slices), Contrast(), smallest_share=0.001))
    bands = np.arange(160) * n // 160
    assert (merged.index == bands).mean() > 0.9
    worse = max(psnr(s, truth) for s in slices)
    assert psnr(merged.image.astype(np.float32), truth.astype(np.float32)) > worse + 5


def test_networks_are_offered_only_where_their_weights_are(monkeypatch, tmp_path):
    monkeypatch.setattr("napari_focusstack.networks.zoo.BUNDLED", tmp_path / "none")
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "none"))
    assert not find_models()
    assert all(isinstance(method, ClassicalMethod) for method in METHODS)


def test_a_trained_network_becomes_a_method(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    import imageio.v3 as iio

    from napari_focusstack.training.recipes import RECIPES, TINY, save_trained, train
    from test_patches import cells

    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "models"))
    (tmp_path / "sharp").mkdir()
    for i in range(2):
        iio.imwrite(tmp_path / "sharp" / f"{i}.png", cells(i))
    settings = TINY.model_copy(update={"steps": 2, "batch": 4, "epochs": 1})
    for name in ("cnn", "unet"):
        job = train(RECIPES[name], tmp_path / "sharp", folder=tmp_path / name, settings=settings, width=0.07)
        save_trained(drain(job), RECIPES[name], name=f"tiny-{name}")
    _, slices = scene()
    for name in ("tiny-cnn", "tiny-unet"):
        merged = drain(METHODS[name].merge(series(slices)))
        assert np.isfinite(merged.image).all()
        assert merged.index.max() <= 1


BUNDLED_METHODS = [m.name for m in METHODS if isinstance(m, PairMethod)]


@pytest.mark.parametrize("name", BUNDLED_METHODS)
def test_bundled_networks_find_the_sharper_slice(name):
    pytest.importorskip("torch")
    truth, slices = scene(2, colours=3)
    merged = drain(METHODS[name].merge(series(slices)))
    bands = np.arange(160) * 2 // 160
    assert (merged.index == bands).mean() > 0.9
    assert psnr(merged.image.astype(np.float32), truth.astype(np.float32)) > max(psnr(s, truth) for s in slices) + 5


@pytest.mark.parametrize("name", BUNDLED_METHODS)
def test_bundled_networks_leave_equal_slices_as_they_are(name):
    pytest.importorskip("torch")
    flat = np.full((3, 64, 64), 117, np.uint8)
    merged = drain(METHODS[name].merge(series(flat)))
    assert (np.rint(merged.image) == 117).all()
    assert (merged.index == 0).all()
    assert (merged.confidence == 0).all()
