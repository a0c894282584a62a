"""Tiles of dense networks: no seams, any size, bounded memory, a step for each tile."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_focusstack.networks import infer

RADIUS = 2 + 4 + 8 + 4 + 2
"""More than what an output pixel of `EncoderDecoder` sees around it."""


class EncoderDecoder(nn.Module):
    """Two poolings, skip connections: a small cousin of those that are used."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)])
        self.deep = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ModuleList([nn.Conv2d(16, 4, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)])

    def forward(self, x):
        first = torch.relu(self.down[0](x))
        second = torch.relu(self.down[1](nn.functional.max_pool2d(first, 2)))
        deep = torch.tanh(self.deep(nn.functional.max_pool2d(second, 2)))
        back = torch.relu(self.up[0](torch.cat([second, nn.functional.interpolate(deep, scale_factor=2)], 1)))
        return self.up[1](torch.cat([first, nn.functional.interpolate(back, scale_factor=2)], 1))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return EncoderDecoder().eval().requires_grad_(False)


def finish(tiles):
    steps = []
    while True:
        try:
            steps.append(next(tiles))
        except StopIteration as end:
            return end.value, steps


def tiled(network, image, *, margin_px=RADIUS, **options):
    return finish(infer.in_tiles(network, image, margin_px=margin_px, bytes_per_px=16, multiple_px=4, **options))


def small_tiles(monkeypatch, side=96):
    monkeypatch.setattr(infer, "TILE_BYTES", 16 * side * side)


@pytest.mark.parametrize("shape", [(200, 260), (203, 97), (96, 400), (333, 31)])
@pytest.mark.parametrize("feather_px", [0, 16])
def test_tiles_leave_no_seams(network, monkeypatch, shape, feather_px):
    image = torch.rand(1, 1, *shape)
    whole, _ = tiled(network, image)
    small_tiles(monkeypatch)
    parts, steps = tiled(network, image, feather_px=feather_px)
    assert len(steps) > 1
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (96, 96), (97, 5)])
def test_any_size_comes_back_in_its_size(network, monkeypatch, shape):
    small_tiles(monkeypatch)
    result, _ = tiled(network, torch.rand(1, 1, *shape))
    assert result.shape == (1, 2, *shape)
    assert bool(torch.isfinite(result).all())


def test_without_a_margin_there_are_seams_and_feathering_softens_them(network, monkeypatch):
    image = torch.rand(1, 1, 256, 256)
    whole, _ = tiled(network, image)
    small_tiles(monkeypatch)
    bare, feathered = (tiled(network, image, margin_px=0, feather_px=width)[0] for width in (0, 16))
    assert float((bare - whole).abs().max()) > 1e-3
    assert float((feathered - whole).abs().max()) < 0.6 * float((bare - whole).abs().max())


@pytest.mark.parametrize("margin_px", [0, RADIUS])
def test_tiles_stay_within_their_memory(monkeypatch, margin_px):
    small_tiles(monkeypatch)
    seen = []

    def watch(tile):
        seen.append(tile.shape[-2] * tile.shape[-1] * 16)
        return tile

    image = torch.rand(1, 3, 350, 410)
    result, steps = tiled(watch, image, margin_px=margin_px, feather_px=8)
    assert max(seen) <= infer.TILE_BYTES
    assert steps == [(i + 1, len(seen)) for i in range(len(seen))]
    torch.testing.assert_close(result, image)


@pytest.mark.parametrize("size", [100, 132, 388, 404])
@pytest.mark.parametrize("feather_px", [8, 64, 100])
def test_blended_tiles_count_each_pixel_once(monkeypatch, size, feather_px):
    small_tiles(monkeypatch)
    result, _ = tiled(
        lambda tile: torch.ones_like(tile), torch.rand(1, 1, size, 40), margin_px=8, feather_px=feather_px
    )
    torch.testing.assert_close(result, torch.ones_like(result))


def test_sides_are_multiples_of_what_the_network_needs(monkeypatch):
    small_tiles(monkeypatch, side=128)
    shapes = []

    def watch(tile):
        shapes.append(tile.shape[-2:])
        return tile

    finish(infer.in_tiles(watch, torch.rand(1, 1, 300, 205), margin_px=9, bytes_per_px=16))
    assert len(shapes) > 2
    assert all(side % 32 == 0 for shape in shapes for side in shape)


def test_stopping_between_tiles_computes_no_more(monkeypatch):
    small_tiles(monkeypatch)
    seen = []

    def watch(tile):
        seen.append(1)
        return tile

    job = infer.in_tiles(watch, torch.rand(1, 1, 400, 400), margin_px=8, bytes_per_px=16, multiple_px=4)
    next(job)
    job.close()
    assert len(seen) == 1


@pytest.mark.parametrize("size", [1, 2, 7])
def test_mirroring_goes_on_for_as_long_as_it_takes(size):
    row = torch.arange(float(size))[None, :]
    np.testing.assert_array_equal(
        infer.mirrored(row, before=(0, 5), after=(0, 9)), np.pad(row, ((0, 0), (5, 9)), "symmetric")
    )
