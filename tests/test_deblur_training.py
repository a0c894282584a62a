"""How deblurring networks learn: each term of their losses, and each recipe as it is followed."""

import numpy as np
import pytest
import torch

from napari_focusstack.training.adversarial import Rivals
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.losses import dissimilarity
from napari_focusstack.training.pairs import Pair
from napari_focusstack.training.recipes import RECIPES, varied
from test_patches import cells

CPU = torch.device("cpu")


class Still(torch.nn.Module):
    """Answers with its bias alone, whatever the image: a critic, or a generator, whose gradients are known."""

    def __init__(self, *, image):
        super().__init__()
        self.image, self.bias = image, torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x + self.bias if self.image else 0 * x.flatten(1).sum(dim=1) + self.bias


def rivals_of(critic, *, features=None, similar=False):
    return Rivals(Still(image=True), critic, features or Nothing(), similar=similar).train()


class Nothing(torch.nn.Module):
    def forward(self, x):
        return 0 * x


class Slope(torch.nn.Module):
    """A critic that says ``k`` times the sum of the image."""

    def __init__(self, k):
        super().__init__()
        self.k = torch.nn.Parameter(torch.tensor(float(k)))

    def forward(self, x):
        return self.k * x.flatten(1).sum(dim=1)


@pytest.fixture
def one_pair():
    torch.manual_seed(0)
    return Pair(torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32))


def test_a_generator_pleases_its_critic(one_pair):
    """-D(G): a critic that likes brightness drives the generator brighter, and is not driven itself by that."""
    rivals = rivals_of(Slope(0.5))
    rivals.loss(one_pair, CPU).backward()
    assert float(rivals.generator.bias.grad) == pytest.approx(-0.5 * 32 * 32, rel=1e-4)


def test_a_critic_tells_real_from_made_with_a_slope_of_one(one_pair):
    """D(made) - D(real) + 10·(|∇D| - 1)², by hand for a linear critic: the slope is k times the side of the image."""
    rivals = rivals_of(Slope(0.5))
    rivals.loss(one_pair, CPU).backward()
    sums = [p.flatten(1).sum(dim=1).mean() for p in (one_pair.blurred, one_pair.sharp)]
    steep = 10 * 2 * (0.5 * 32 - 1) * 32
    assert float(rivals.critic.k.grad) == pytest.approx(float(sums[0] - sums[1]) + steep, rel=1e-4)


def test_features_and_likeness_are_parts_of_the_generators_loss(one_pair):
    def value(**given):
        return float(rivals_of(Still(image=False), **given).loss(one_pair, CPU).detach())

    plain = value()
    mean = torch.nn.functional.mse_loss(*(torch.nn.AvgPool2d(2)(p) for p in (one_pair.blurred, one_pair.sharp)))
    assert value(features=torch.nn.AvgPool2d(2)) - plain == pytest.approx(100 * float(mean), rel=1e-4)
    unlike = float(dissimilarity(one_pair.blurred, one_pair.sharp))
    assert value(similar=True) - plain == pytest.approx(10 * unlike, rel=1e-4)


def test_before_it_meets_its_critic_a_generator_learns_by_squares_and_likeness(one_pair):
    unlike = float(dissimilarity(one_pair.blurred, one_pair.sharp))
    squares = float(torch.nn.functional.mse_loss(one_pair.blurred, one_pair.sharp))
    rivals = rivals_of(Slope(1.0))
    loss = rivals.alone(one_pair, CPU)
    assert float(loss.detach()) == pytest.approx(squares + 0.1 * unlike, rel=1e-4)
    loss.backward()
    assert rivals.critic.k.grad is None


def test_the_upgraded_generator_meets_its_critic_after_a_stage_of_its_own():
    recipe = RECIPES["deblurgan_upgraded"]
    first = recipe.before
    assert first.data == recipe.data
    assert first.loss is not recipe.loss
    assert varied(recipe, {"blur": "synthetic"}).before.data.settings.blur == "synthetic"


@pytest.mark.parametrize("name", [r.name for r in RECIPES if r.name.startswith("deblur")])
def test_each_recipes_own_loss_falls_on_one_batch(name):
    """By the network, loss and kind of batch that the recipe trains with; both rivals' weights move."""
    clear = {"patch_px": "32", "margin_px": "16", "still": "0", "electrons": "[60000, 60000]"}
    recipe = varied(RECIPES[name], clear)
    torch.manual_seed(0)
    rivals = "gan" in name
    network = recipe.build(width=0.1 if rivals else recipe.width).train()
    batch = next(recipe.data.batches([Sharp("cells", "0", (cells(0) / np.float32(255),))], batch=2, seed=0))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    before = {k: v.clone() for k, v in network.named_parameters()}
    losses = []
    for _ in range(10 if rivals else 120):
        optimiser.zero_grad()
        loss = recipe.loss(network, batch, CPU)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    still = [k for k, v in network.named_parameters() if v.requires_grad and torch.equal(v, before[k])]
    assert set(still) <= {"critic.dense.2.bias"}  # in D(made) - D(real) it has no part
    if not rivals:  # of two who pull against each other, the sum need not fall
        assert losses[-1] < 0.85 * losses[0]
