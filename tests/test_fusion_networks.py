"""IFCNN and FuseGAN: what they take, what they give, and that they can learn."""

import pytest
import torch

from napari_focusstack.networks.fusegan import FuseGenerator, PatchCritic
from napari_focusstack.networks.ifcnn import IFCNN


def learns(network, inputs, target, steps=12, rate=1e-3):
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = torch.nn.functional.l1_loss(network(*inputs), target)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses[-1] < 0.75 * losses[0]


@pytest.mark.parametrize("rule", ["max", "mean"])
def test_ifcnn_in_the_papers_size_learns_a_batch_of_any_number_of_slices(rule):
    torch.manual_seed(0)
    network = IFCNN(channels=3, rule=rule)
    slices = [torch.rand(2, 3, 24, 24) for _ in range(3)]
    assert learns(network, (slices,), slices[0])
    assert network(slices[:2]).shape == (2, 3, 24, 24)


def test_the_maximum_does_not_care_for_the_order_of_slices():
    network = IFCNN(width=0.1).eval()
    stack = torch.rand(1, 4, 20, 30)
    assert torch.allclose(network(stack), network(stack.flip(1)), atol=1e-6)


@pytest.mark.parametrize("masks", ["none", "concatenated", "multiplied"])
def test_fusegan_takes_fewer_slices_than_it_has_slots_with_or_without_masks(masks):
    network = FuseGenerator(width=0.1, slots=4, channels=3, masks=masks)
    slices, given = torch.rand(2, 6, 32, 48), torch.rand(2, 2, 32, 48)
    fused = network(slices, None if masks == "none" else given)
    assert fused.shape == (2, 3, 32, 48)
    assert float(fused.detach().min()) >= -0.1
    assert float(fused.detach().max()) <= 1.1
    if masks != "none":
        with pytest.raises(ValueError, match="masks"):
            network(slices)


def test_fusegan_in_the_papers_size_learns_a_batch():
    torch.manual_seed(0)
    network = FuseGenerator(slots=3, channels=3)
    slices = torch.nn.functional.interpolate(torch.rand(1, 9, 4, 4), size=(16, 16), mode="bilinear")
    assert learns(network, (slices, torch.rand(1, 3, 16, 16)), slices[:, :3], steps=25, rate=3e-4)


def test_the_critic_has_eight_convolutions_and_judges_patches_of_64_px():
    critic = PatchCritic(width=0.2)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in critic.modules()) == 8
    image = torch.rand(1, 1, 256, 256, requires_grad=True)
    scores = critic(image)
    assert scores.shape == (1, 1, 16, 16)
    scores[0, 0, 8, 8].backward()
    rows = torch.nonzero(image.grad[0, 0].abs().sum(dim=1))
    assert 56 <= int(rows.max() - rows.min()) + 1 <= 130
