"""Properties of the through-focus series that GMANet is trained on."""

import cv2
import numpy as np
import pytest
import torch

from napari_focusstack.networks.gmanet import GMANet
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.recipes import RECIPES
from napari_focusstack.training.series import CLEAR_PX, Series, SeriesSettings, sharpness
from test_patches import cells

EASY = {"modes": (1, 0, 0, 0), "layers": (1, 0, 0), "dirt": 0, "floor": 0, "haze": 0, "texture": 0}


@pytest.fixture(scope="module")
def images():
    return [Sharp("one", str(i), ((cells(i, size=300) / 255).astype(np.float16),)) for i in range(3)]


def draw(images, *, batches=6, seed=0, batch=14, **settings):
    series = Series(images, SeriesSettings(**settings), batch=batch, seed=seed)
    return [series.draw() for _ in range(batches)]


def test_a_batch_holds_slices_of_a_few_stacks(images):
    (one,) = draw(images, batches=1)
    assert one.image.shape == (14, 1, 256, 256)
    assert one.score.shape == one.steps.shape == (2, 7)
    assert one.crops(one.image).shape == (14, 1, 128, 128)
    assert bool((one.image >= 0).all())
    assert bool((one.image <= 1).all())


def test_the_clearest_slice_comes_first_and_has_100(images):
    for batch in draw(images):
        torch.testing.assert_close(batch.score[:, 0], torch.full((2,), 100.0))
        assert bool((batch.score[:, 1:] <= 100).all())
        assert bool((batch.score >= 0).all())
        assert bool((batch.steps[:, 0] == 0).all())
        assert bool((batch.steps[:, 1:] != 0).all())


def test_labels_fall_with_the_blur_that_is_seen(images):
    """In plain stacks, energy of detail goes with the score."""
    from napari_focusstack.core.agreement import spearman

    found = []
    for batch in draw(images, batches=10, **EASY):
        crops = batch.crops(batch.image).reshape(2, 7, 128, 128)
        energy = (crops.diff(dim=-1) ** 2).mean(dim=(2, 3))
        found += [spearman(e.numpy(), s.numpy()) for e, s in zip(energy, batch.score, strict=True)]
    assert np.mean(found) > 0.6


def test_the_bands_of_the_paper():
    blur = CLEAR_PX * np.array([0.0, 0.5, 1.0, 1.001, 4.0, 32.0, 500.0])
    found = sharpness(blur)
    assert found[0] == 100
    assert 95 <= found[2] <= 100
    assert found[3] < 94
    assert found[4] == pytest.approx(94 * 3 / 5)
    assert found[5] == found[6] == 0
    assert bool((np.diff(found) <= 0).all())


def test_phase_objects_stand_out_of_noise_and_shade_in_focus(images):
    """What counts as the clearest slice has to show the specimen, though contrast may be higher beside focus."""
    seen = []
    for batch in draw(images, batches=10, modes=(0, 0, 1, 0), layers=(1, 0, 0), dirt=0, floor=0, haze=0):
        crops = batch.crops(batch.image).reshape(2, 7, 128, 128).numpy()
        for clearest, *others in crops:
            blurred = min(others, key=lambda plane: float(fine_detail(plane)))
            seen.append(fine_detail(clearest) / fine_detail(blurred))
    assert np.quantile(seen, 0.25) > 1.4


def fine_detail(plane):
    """Standard deviation of detail of some 3 to 12 pixels: noise is averaged away, slow shade taken off."""
    return float((cv2.GaussianBlur(plane, (0, 0), 1.5) - cv2.GaussianBlur(plane, (0, 0), 6)).std())


def test_the_same_seed_gives_the_same_stacks(images):
    a, b, c = (draw(images, batches=2, seed=s)[1] for s in (1, 1, 2))
    torch.testing.assert_close(a.image, b.image)
    assert not torch.equal(a.image, c.image)


def test_a_crop_is_cut_at_the_same_place_of_all_slices_of_a_stack(images):
    (one,) = draw(images, batches=1)
    y, x = one.corner[1].tolist()
    torch.testing.assert_close(one.crops(one.image)[7:], one.image[7:, :, y : y + 128, x : x + 128])


def test_a_step_of_training_lowers_the_loss_of_its_batch(images):
    torch.manual_seed(0)
    recipe = RECIPES["gmanet_l0"]
    network = recipe.build(width=0.0625, **recipe.arguments).train()
    assert isinstance(network, GMANet)
    (batch,) = draw(images, batches=1, batch=7)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = recipe.loss(network, batch, torch.device("cpu"))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_the_second_stage_starts_from_the_first():
    recipe = RECIPES["gmanet"]
    assert recipe.before is RECIPES["gmanet_l0"]
    assert (recipe.before.arguments["attended"], recipe.arguments["attended"]) == (0, 1)
    first, second = (r.build(width=0.0625, **r.arguments) for r in (recipe.before, recipe))
    second.load_state_dict(first.state_dict())
