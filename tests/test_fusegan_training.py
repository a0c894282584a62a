"""What FuseGAN's recipes teach: each slot, each term of the loss, each variant."""

import numpy as np
import pytest
import torch

from napari_focusstack.networks.fusegan import FuseGenerator
from napari_focusstack.training import two_planes
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.recipes import RECIPES, end_to_end
from napari_focusstack.training.two_planes import (
    BORDER_PX,
    GroupData,
    GroupSettings,
    PairData,
    PairSettings,
)
from test_patches import cells

VARIANTS = [r.name for r in RECIPES if r.architecture == "fusegan"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sharp():
    return [Sharp("made", f"{i}", ((cells(i) / 255).astype(np.float16),)) for i in range(3)]


def groups(sharp, *, batch=4, seed=0, **settings):
    return GroupData(GroupSettings(**settings)).batches(sharp, batch=batch, seed=seed)


@pytest.fixture
def still(sharp, monkeypatch):
    """Groups without noise, flicker and compression."""
    monkeypatch.setattr(two_planes.camera, "expose", lambda light, *, offset, **_: light + offset)
    return lambda **how: next(groups(sharp, flicker=0.0, jpeg=0.0, blur_px=(4.0, 6.0), both_blurred=0.0, **how))


def sharpness(planes):
    return planes.diff(dim=-1).square().mean(dim=(-2, -1))


def built(name, width=0.1):
    torch.manual_seed(0)
    recipe = RECIPES[name]
    return recipe, recipe.build(width=width, **recipe.arguments).train()


def test_groups_of_two_to_four_slices_come_in_turn(sharp):
    stream = groups(sharp, batch=2)
    counts = {next(stream).slices.shape for _ in range(24)}
    assert counts == {(2, n, 64, 64) for n in (2, 3, 4)}


def test_the_same_seed_gives_the_same_groups(sharp):
    one, other, third = (next(groups(sharp, seed=s)) for s in (1, 1, 2))
    assert torch.equal(one.slices, other.slices)
    assert torch.equal(one.fused, other.fused)
    assert one.slices.shape != third.slices.shape or not torch.equal(one.slices, third.slices)


@pytest.mark.parametrize("kinds", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_the_truth_is_sharper_than_every_slice_and_the_sharpest_stands_anywhere(still, kinds):
    batch = still(kinds=kinds, slices=(4, 4), batch=24)
    best = sharpness(batch.slices)
    assert batch.fused.shape == (24, 1, 64, 64)
    assert float((sharpness(batch.fused)[:, 0] / best.amax(dim=1)).median()) > 0.9
    assert set(best.argmax(dim=1).tolist()) == {0, 1, 2, 3}


def test_steps_need_every_slice(still):
    """Each slice of a group of steps is the nearest to the truth somewhere; without it, something is lost."""
    batch = still(kinds=(0.0, 1.0, 0.0), slices=(4, 4), batch=12)
    errors = torch.nn.functional.avg_pool2d((batch.slices - batch.fused).square(), 7)
    nearest = torch.nn.functional.one_hot(errors.argmin(dim=1), 4).float().mean(dim=(1, 2))
    assert float((nearest > 0.03).float().mean()) > 0.8


def test_pairs_are_groups_of_two(sharp):
    pair = next(PairData(PairSettings(side_px=64)).batches(sharp, batch=2, seed=0))
    assert pair.slices is pair.pair
    assert pair.slices.shape == (2, 2, 64, 64)
    assert GroupSettings().blur_px[1] * (1 + GroupSettings().beyond) * 2 <= BORDER_PX


@pytest.mark.parametrize("masks", ["none", "concatenated", "multiplied"])
def test_the_data_of_the_recipes_teach_every_slot(masks):
    recipe = next(RECIPES[v] for v in VARIANTS if RECIPES[v].arguments["masks"] == masks)
    _, rivals = built(recipe.name)
    images = [Sharp("made", f"{i}", ((cells(i) / 255).astype(np.float16),)) for i in range(2)]
    stream = recipe.data.batches(images, batch=2, seed=0)
    reached = torch.zeros_like(rivals.generator.first[0].weight)
    for _ in range(6):
        rivals.zero_grad()
        recipe.loss(rivals, next(stream), CPU).backward()
        reached += rivals.generator.first[0].weight.grad.abs()
    of_inputs = reached.sum(dim=(0, 2, 3))
    assert len(of_inputs) == rivals.generator.slots * (2 if masks == "concatenated" else 1)
    assert float(of_inputs.min()) > 0.02 * float(of_inputs.max())


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_builds_in_the_papers_size(name):
    with torch.device("meta"):
        recipe = RECIPES[name]
        generator = FuseGenerator(width=1.0, **recipe.arguments)
    assert [m.out_channels for m in generator.bottom if isinstance(m, torch.nn.Conv2d)] == [512, 512, 512]
    assert generator.first[0].out_channels == 64
    _, rivals = built(name, width=1.0)
    masked = rivals.generator.masks == "concatenated"
    assert rivals.generator.first[0].in_channels == generator.slots * (1 + masked)
    assert isinstance(recipe.keep(rivals), FuseGenerator)


def overfit(recipe, rivals, batch, *, steps, rate):
    """Loss before each of some steps on one batch."""
    optimiser = torch.optim.Adam(rivals.parameter_groups(rate))
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = recipe.loss(rivals, batch, CPU)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rivals.parameters(), 5.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.fixture(scope="module")
def batch(sharp):
    return next(groups(sharp, batch=1, seed=3, side_px=32, slices=(3, 3), kinds=(1.0, 0.0, 0.0), blur_px=(3.0, 4.0)))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_learns_one_batch_by_its_own_loss(name, batch):
    recipe, rivals = built(name, width=0.1)
    losses = overfit(recipe, rivals, batch, steps=30, rate=2e-3)
    assert losses[-1] < 0.75 * losses[0]


def only(monkeypatch, kept):
    """Leave one term of the generator's loss."""
    for term in {"L1", "BCE", "PERCEPTUAL"} - {kept}:
        monkeypatch.setattr(end_to_end, term, 0.0)
    if kept == "BCE":
        monkeypatch.setattr(end_to_end, "BCE", 1.0)


def improved(measure, rivals, batch, learner):
    """What a small step of one of the rivals down its gradient of the loss changes."""
    before = float(measure().detach())
    rivals.zero_grad()
    RECIPES["fusegan"].loss(rivals, batch, CPU).backward()
    slopes = [p.grad for p in learner.parameters()]
    size = torch.stack([s.norm() for s in slopes]).norm()
    for parameter, slope in zip(learner.parameters(), slopes, strict=True):
        parameter.data -= 0.02 * slope / size.clamp(min=1e-12)
    return float(measure().detach()) - before


@pytest.mark.parametrize("name", VARIANTS)
def test_the_term_of_pixels_alone_brings_the_image_nearer_to_its_aim(name, batch, monkeypatch):
    _, rivals = built(name)
    only(monkeypatch, "L1")
    slices, target = end_to_end.scaled(batch, CPU)
    masks = end_to_end.fusegan.focus_masks(slices)

    def away():
        made = rivals(slices)
        return (made - target).abs().mean() if rivals.supervised else (masks * (made - slices).abs()).mean()

    assert improved(away, rivals, batch, rivals.generator) < 0


@pytest.mark.parametrize("name", VARIANTS)
def test_the_term_of_features_alone_brings_features_nearer_to_the_truths(name, batch, monkeypatch):
    _, rivals = built(name)
    only(monkeypatch, "PERCEPTUAL")
    slices, target = end_to_end.scaled(batch, CPU)

    def seen(image):
        return [rivals.features(image)] if rivals.features is not None else rivals.critic.features(image)

    def away():
        return torch.stack(
            [(a - b).abs().mean() for a, b in zip(seen(rivals(slices)), seen(target), strict=True)]
        ).mean()

    gain = improved(away, rivals, batch, rivals.generator)
    assert gain == 0 if name == "fusegan_plain" else gain < 0


@pytest.mark.parametrize("name", VARIANTS)
def test_the_critics_verdict_alone_makes_the_image_look_more_real_to_it(name, batch, monkeypatch):
    _, rivals = built(name)
    only(monkeypatch, "BCE")
    slices, _ = end_to_end.scaled(batch, CPU)
    before = {k: v.clone() for k, v in rivals.critic.state_dict().items()}
    assert improved(lambda: rivals.critic(rivals(slices)).mean(), rivals, batch, rivals.generator) > 0
    assert all(torch.equal(v, before[k]) for k, v in rivals.critic.state_dict().items())


@pytest.mark.parametrize("name", VARIANTS)
def test_the_critic_learns_to_call_the_truth_real_and_what_was_made_not(name, batch):
    _, rivals = built(name)
    slices, target = end_to_end.scaled(batch, CPU)
    made = rivals(slices).detach()

    def told():
        return rivals.critic(target).mean() - rivals.critic(made).mean()

    assert improved(told, rivals, batch, rivals.critic) > 0


def test_both_verdicts_of_the_critic_count(batch):
    """A critic that always says the same pays for calling everything real as much as for calling all made."""
    recipe, rivals = built("fusegan_plain")
    for parameter in rivals.critic.parameters():
        torch.nn.init.zeros_(parameter)

    def paid(verdict):
        rivals.critic.head.bias.data.fill_(verdict)
        return float(recipe.loss(rivals, batch, CPU).detach())

    assert paid(8.0) - paid(0.0) == pytest.approx(8.0 - 2 * np.log(2) - 0.001 * np.log(2), abs=1e-2)
    assert paid(-8.0) - paid(0.0) == pytest.approx(8.0 - 2 * np.log(2) + 0.001 * (8 - np.log(2)), abs=1e-2)
    assert paid(-8.0) - paid(8.0) == pytest.approx(0.001 * 8, rel=0.02)


def test_features_of_another_network_are_not_trained():
    recipe, rivals = built("fusegan_perceptual")
    assert rivals.features is not None
    assert not rivals.features.training
    trained = {id(p) for group in rivals.parameter_groups(1e-3) for p in group["params"]}
    assert not trained & {id(p) for p in rivals.features.parameters()}
    assert recipe.keep(rivals) is rivals.generator
