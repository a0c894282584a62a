"""A generator and its critic, trained together: Wasserstein GAN with gradient penalty (Gulrajani et al. 2017).

Both learn in the same step from gradients that do not mix: the critic sees the generator's image detached, the
generator a critic whose weights are held. The critic learns faster (two time scales, Heusel et al. 2017) in place of
several steps of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from napari_focusstack.training.losses import dissimilarity
from napari_focusstack.training.pairs import Pair

GRADIENT_PENALTY = 10.0
PERCEPTUAL = 100.0
SIMILAR, ALONE = 10.0, 0.1
"""Weights of 1 - SSIM beside the critic, and beside the squared error before it."""
CRITIC_RATE = 4.0


class Rivals(nn.Module):
    """Generator and critic as one network to train; calling it calls the generator.

    Parameters
    ----------
    generator, critic : nn.Module
        Image → image, and image → one number for each image.
    features : nn.Module
        Image → features that a perceptual distance is taken in; not trained.
    similar : bool
        Whether the generator is also to be structurally similar to the truth.
    """

    def __init__(self, generator: nn.Module, critic: nn.Module, features: nn.Module, *, similar: bool = False) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic
        self.features = features.eval().requires_grad_(False)
        self.similar = similar

    def forward(self, x: Tensor) -> Tensor:
        """What the generator makes of it."""
        out: Tensor = self.generator(x)
        return out

    def train(self, mode: bool = True) -> Rivals:
        """Switch the mode of generator and critic; the features stay as they are."""
        super().train(mode)
        self.features.eval()
        return self

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """What the optimiser is given: the critic at `CRITIC_RATE` times the generator's rate."""
        return [
            {"params": list(self.generator.parameters()), "lr": rate, "betas": (0.5, 0.999)},
            {"params": list(self.critic.parameters()), "lr": CRITIC_RATE * rate, "betas": (0.5, 0.999)},
        ]

    def alone(self, pair: Pair, device: torch.device) -> Tensor:
        """The generator's loss before it meets its critic: ``MSE + 0.1·(1 - SSIM)``."""
        made, sharp = self(pair.blurred.to(device)), pair.sharp.to(device)
        return nn.functional.mse_loss(made, sharp) + ALONE * dissimilarity(made, sharp)

    def loss(self, pair: Pair, device: torch.device) -> Tensor:
        """``-D(G(x)) + 100·perceptual (+ 10·(1 - SSIM))`` of the generator, plus the critic's; validated by MSE."""
        blurred, sharp = pair.blurred.to(device), pair.sharp.to(device)
        made = self(blurred)
        if not self.training:
            return nn.functional.mse_loss(made, sharp)
        held = {k: v.detach() for k, v in self.critic.named_parameters()}
        judged: Tensor = functional_call(self.critic, held, (made,))
        perceptual = nn.functional.mse_loss(self.features(made), self.features(sharp))
        total = -judged.mean() + PERCEPTUAL * perceptual
        if self.similar:
            total = total + SIMILAR * dissimilarity(made, sharp)
        return total + critic_loss(self.critic, real=sharp, made=made.detach())


def critic_loss(critic: nn.Module, *, real: Tensor, made: Tensor) -> Tensor:
    """``D(made) - D(real) + 10·(|∇D| - 1)²``, the slope taken between the two."""
    share = torch.rand((len(real), 1, 1, 1), device=real.device)
    between = (share * real + (1 - share) * made).requires_grad_(True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    steep = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    total: Tensor = critic(made).mean() - critic(real).mean() + GRADIENT_PENALTY * steep
    return total
