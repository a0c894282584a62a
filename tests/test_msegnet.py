"""m-SegNet and its baselines: sizes, full resolution, tiles without seams, learning; and the scenes they learn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_focusstack.networks import infer, msegnet
from napari_focusstack.networks.layers import LocalNorm, normalise_plane
from napari_focusstack.training import layered
from napari_focusstack.training.layered import SceneData, Scenes, SceneSettings
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.losses import focal
from napari_focusstack.training.recipes import RECIPES

BUILDERS = {"msegnet": msegnet.msegnet, "segnet": msegnet.segnet, "unet_mask": msegnet.unet_mask}


def lively(name: str = "msegnet", width: float = 0.125) -> msegnet.FocusSegmenter:
    """A network whose answer varies, ready for inference."""
    torch.manual_seed(0)
    network = BUILDERS[name](width=width)
    network.train()
    for _ in range(3):
        network.levels(torch.rand(2, 1, 64, 64))
    network.eval()
    with torch.inference_mode():
        logits = network.levels(torch.rand(1, 1, 64, 64))[-1]
    difference, head = logits[:, 0] - logits[:, 1], network.heads[-1][0]
    with torch.no_grad():
        for parameter in (head.weight, head.bias):
            parameter /= difference.std()
        head.bias[: len(head.bias) // 2] -= difference.mean() / difference.std()
    return network


def sharp_image(seed: int = 0, side: int = 240) -> Sharp:
    """Blobs with fine grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    amount = np.zeros((side, side))
    for cy, cx, r in rng.uniform((0, 0, 5), (side, side, 16), (40, 3)):
        amount = np.maximum(amount, (np.hypot(y - cy, x - cx) < r) * rng.uniform(0.4, 1))
    amount *= 1 + 0.3 * rng.standard_normal((side, side))
    return Sharp("blobs", f"{seed}.png", (amount.astype(np.float16),))


@pytest.mark.parametrize(("name", "weights"), [("msegnet", 1.08e6), ("segnet", 29.5e6), ("unet_mask", 31e6)])
def test_the_papers_size_builds(name, weights):
    with torch.device("meta"):
        network = BUILDERS[name]()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(weights, rel=0.05)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("shape", [(64, 64), (50, 75), (33, 100)])
def test_a_mask_has_the_images_size(name, shape):
    with torch.inference_mode():
        p = lively(name)(torch.rand(1, 1, *shape))
    assert p.shape == (1, 1, *shape)
    assert 0 <= float(p.min()) <= float(p.max()) <= 1


@pytest.mark.parametrize("name", BUILDERS)
def test_every_level_of_the_decoder_is_supervised(name):
    levels = BUILDERS[name](width=0.125).levels(torch.rand(2, 1, 64, 64))
    sides = [level.shape[-1] for level in levels]
    assert sides == sorted(set(sides))
    assert sides[-1] == 64
    assert all(level.shape[1] == 2 for level in levels)
    assert len(levels) >= 4


@pytest.mark.parametrize("name", BUILDERS)
def test_tiles_leave_no_seams(name, monkeypatch):
    network = infer.hasten(infer.prepare(lively(name), device=torch.device("cpu")))
    plane = np.random.default_rng(1).normal(100, 20, (400, 330)).astype(np.float32)

    def mask() -> tuple[np.ndarray, int]:
        tiles, n = msegnet.mask_plane(network, plane), 0
        while True:
            try:
                next(tiles)
                n += 1
            except StopIteration as end:
                return end.value, n

    whole, one = mask()
    monkeypatch.setattr(infer, "TILE_BYTES", network.bytes_per_px * 200 * 200)
    parts, several = mask()
    assert (one, several > 1) == (1, True)
    assert whole.std() > 0.02
    assert np.allclose(whole, parts, atol=1e-3)


def test_inference_gives_what_training_gave():
    network = lively()
    image = torch.rand(1, 1, 96, 128)
    with torch.inference_mode():
        slow, fast = network(image), infer.hasten(infer.prepare(network, device=torch.device("cpu")))(image)
    assert torch.allclose(slow, fast, atol=1e-4)
    assert float(slow.std()) > 1e-4


@pytest.mark.parametrize("compress", [None, 3.0])
@pytest.mark.parametrize("shape", [(64, 48), (101, 203)])
def test_a_plane_is_normalised_as_in_training(shape, compress):
    plane = np.random.default_rng(0).normal(500, 100, shape).astype(np.float32)
    plane[:, shape[1] // 2 :] += 3000
    unit = (plane - plane.min()) / np.ptp(plane)
    expected = LocalNorm(60, compress=compress)(torch.from_numpy(unit)[None, None])[0, 0].numpy()
    assert np.allclose(normalise_plane(plane, window_px=60, compress=compress), expected, atol=1e-3)


def test_the_answer_depends_on_neither_brightness_nor_contrast_nor_shading():
    network = lively()
    detail = torch.rand(1, 1, 96, 96)
    slope = torch.linspace(0, 1, 96)[None, None, None]
    with torch.inference_mode():
        plain, other = network(detail), network(40 * detail + 200 + 10 * slope)
    assert float((plain - other).abs().mean()) < 0.02 * max(float(plain.std()), 0.05)


def test_it_learns_a_batch_by_heart():
    torch.manual_seed(0)
    scenes = Scenes([sharp_image()], SceneSettings(patch_px=48, tile_px=80, blank=0, views=2), batch=2, seed=1)
    batch = scenes.draw()
    network, recipe = msegnet.msegnet(width=0.125), RECIPES["msegnet"]
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        loss = recipe.loss(network, batch, torch.device("cpu"))
        loss.backward()
        optimiser.step()
    network.eval()
    with torch.inference_mode():
        right = (network(batch.image) > 0.5) == (batch.clear > 0)
    assert 0.02 < float(batch.clear.mean()) < 0.98
    assert float(right[batch.weight > 0].float().mean()) > 0.85


def test_focal_loss_holds_easy_pixels_back_and_weighs_none_that_do_not_count():
    logits = torch.zeros(1, 2, 1, 3)
    logits[:, 1] = torch.tensor([4.0, -4.0, 0.0])
    clear, ones = torch.zeros(1, 1, 1, 3), torch.ones(1, 1, 1, 3)
    easy, hard, middling = (
        float(focal(logits[..., i : i + 1], clear[..., :1], weight=ones[..., :1])) for i in range(3)
    )
    assert easy < 1e-4 < middling < hard
    entropy = float(focal(logits[..., :1], clear[..., :1], weight=ones[..., :1], gamma=0.0))
    assert easy < entropy / 100
    only_easy = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
    assert float(focal(logits, clear, weight=only_easy)) == pytest.approx(easy)


def test_scenes_are_the_same_for_the_same_seed():
    data = SceneData(SceneSettings(patch_px=48, tile_px=64))
    first, again, other = (next(data.batches([sharp_image()], batch=8, seed=s)) for s in (1, 1, 2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.clear, again.clear)
    assert not torch.equal(first.image, other.image)


def test_what_is_clear_is_sharper_than_what_is_fuzzy():
    scenes = Scenes([sharp_image(), sharp_image(1)], SceneSettings(blank=0, dirt=0, haze=0), batch=16, seed=5)
    ratios = []
    for _ in range(3):
        b = scenes.draw()
        detail = infer_detail(b.image)
        for k in range(len(b.image)):
            judged = (b.weight[k] > 0) & (b.textured[k] > 0)
            clear, fuzzy = judged & (b.clear[k] > 0), judged & (b.clear[k] == 0)
            if int(clear.sum()) > 200 and int(fuzzy.sum()) > 200:
                ratios.append(float(detail[k][clear].mean() / detail[k][fuzzy].mean()))
    assert len(ratios) >= 5
    assert np.median(ratios) > 1.15


def infer_detail(image: torch.Tensor) -> torch.Tensor:
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return torch.nn.functional.conv2d(torch.nn.functional.pad(image, (1, 1, 1, 1), mode="reflect"), kernel).abs()


@pytest.mark.parametrize("kinds", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_blank_scenes_hold_nothing_in_focus(kinds):
    batch = Scenes(
        [sharp_image()], SceneSettings(patch_px=48, tile_px=64, blank=1, kinds=kinds), batch=8, seed=0
    ).draw()
    assert not bool(batch.clear.any())
    assert float(batch.weight.mean()) > 0.5


def test_the_papers_least_blur_is_taught_as_blur(monkeypatch):
    """A Gaussian of 2 px, of which the network would otherwise learn nothing."""
    monkeypatch.setattr(layered, "REGION_SIGMAS", (2.0,))
    monkeypatch.setattr(Scenes, "_step", lambda self, optics: 4.0)
    gaussian = SceneSettings(modes=(0, 0, 0, 1), kinds=(1, 0, 0), blank=0, dirt=0, focused=1, patch_px=64, tile_px=96)
    batch = Scenes([sharp_image(), sharp_image(1)], gaussian, batch=16, seed=0).draw()
    textured = batch.textured > 0
    assert float(batch.weight[textured].mean()) > 0.65
    assert float((batch.weight * (1 - batch.clear))[textured].mean()) > 0.2


def test_dirt_is_never_in_focus():
    settings = SceneSettings(patch_px=64, tile_px=96, dirt=1.0, blank=0)
    clean = settings.model_copy(update={"dirt": 0.0})
    dirty, without = (Scenes([sharp_image()], s, batch=8, seed=7).draw() for s in (settings, clean))
    assert float(dirty.clear.mean()) < float(without.clear.mean())
