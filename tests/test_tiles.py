"""Tiles of known defocus: what LDSE-NET learns from."""

import numpy as np
import pytest
import torch

from napari_focusstack.networks import ldsenet
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.optics import Microscope, as_table_waves
from napari_focusstack.training.tiles import Tiles, TileSettings, high_na_share
from test_patches import cells

CLEAR = {"electrons": (5.0, 5.2), "haze": 0.0, "texture": 0.0, "symmetric": 0.0, "thick": 0.0, "brightfield": 0.0}


@pytest.fixture(scope="module")
def images():
    levels = [(cells(i).astype(np.float32) / 255).astype(np.float16) for i in range(2)]
    return [
        Sharp("made", f"{i}", (level if level.ndim == 2 else level.mean(axis=-1),)) for i, level in enumerate(levels)
    ]


def draw(images, *, seed=0, batch=16, **settings):
    return Tiles(images, TileSettings(**{"tile_px": 64, "margin_px": 16} | settings), batch=batch, seed=seed).draw()


def test_the_same_seed_gives_the_same_tiles(images):
    a, b, c = (draw(images, seed=s) for s in (1, 1, 2))
    torch.testing.assert_close(a.image, b.image)
    assert not torch.equal(a.image, c.image)


def test_tiles_come_in_pairs_about_focus_and_within_the_range(images):
    waves = draw(images, max_waves=5.0, batch=64).waves
    torch.testing.assert_close(waves[::2], -waves[1::2])
    assert float(waves.abs().max()) <= 5


def test_images_are_what_a_camera_gives(images):
    made = draw(images)
    assert made.image.shape == (16, 1, 64, 64)
    assert bool(torch.isfinite(made.image).all())
    assert set(np.round(made.sampling.numpy().astype(float) / ldsenet.SAMPLING, 3)) <= {1.0, 1.5, 2.6}


def test_a_coarse_camera_sees_less_detail(images):
    def detail(coarse):
        image = draw(images, coarse=(coarse,), max_waves=0.01, beads=1.0, **CLEAR).image
        return float((image[..., 2:] + image[..., :-2] - 2 * image[..., 1:-1]).abs().mean())

    assert detail(3.0) < 0.7 * detail(1.0)


@pytest.mark.parametrize("aberration", [0.0, 0.4])
def test_only_aberration_tells_the_sides_apart(images, aberration):
    """A point at ±z: alike under symmetric optics, a bright core on the positive side of aberrated ones."""
    tiles = Tiles(images, TileSettings(tile_px=64, margin_px=16, views=2), batch=2, seed=0)
    point, zeros = torch.zeros(1, 1, 96, 96), torch.zeros(2)
    point[0, 0, 48, 48] = 1
    waves, spherical = torch.tensor([3.0, -3.0]), torch.full((2,), aberration)
    above, below = tiles._blurred(point, torch.zeros(1, 1), waves, spherical, zeros, zeros.long())
    assert (float(above.max() / below.max()) > 1.5) == bool(aberration)


def test_high_apertures_bend_defocus_as_the_exact_phase_does():
    assert float(high_na_share(np.array([0.1]))[0]) < 0.001
    second, fourth = as_table_waves(torch.ones(1), Microscope(0.75, 0.52))
    assert float(high_na_share(np.array([0.75]))[0]) == pytest.approx(float(fourth / second), rel=0.01)


def test_empty_tiles_are_no_evidence():
    empty = [Sharp("made", "0", (np.zeros((128, 128), np.float16),))]
    assert not bool(draw(empty, beads=0.0).evidence.any())
