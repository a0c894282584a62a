"""Networks that make the fused image themselves: IFCNN-style, and FuseGAN in the variants that MMDF compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.networks import fusegan, ifcnn
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.losses import dissimilarity
from napari_focusstack.training.perceptual import perceptual_features
from napari_focusstack.training.recipes.base import Recipe
from napari_focusstack.training.two_planes import (
    GroupBatch,
    GroupData,
    GroupSettings,
    PairBatch,
    PairData,
    PairSettings,
)

L1, BCE, PERCEPTUAL = 2.0, 0.001, 1.0
"""Weights of the generator's loss, the paper's."""
Perceptual = Literal["none", "critic", "shipped"]
"""Features of the perceptual loss: none, the critic's, or those of a network trained before (VGG16 in the paper)."""
CRITIC_SHARE = 0.8
"""The critic's learning rate over the generator's: 4e-5 to 5e-5."""


class FuseRivals(nn.Module):
    """FuseGAN's generator and its PatchGAN, trained in one step.

    Parameters
    ----------
    generator, critic : nn.Module
        See `networks.fusegan`.
    supervised : bool
        L1 to the true fused image; else only to what is in focus in each slice, by its mask.
    perceptual : bool
        Whether images are compared in features too.
    features : nn.Module, optional
        Image → features for that, not trained; the critic's own where not given.
    """

    def __init__(
        self,
        generator: fusegan.FuseGenerator,
        critic: fusegan.PatchCritic,
        *,
        supervised: bool,
        perceptual: bool,
        features: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic
        self.supervised, self.perceptual = supervised, perceptual
        self.features = None if features is None else features.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> FuseRivals:
        """Switch the mode of generator and critic; the features stay as they are."""
        super().train(mode)
        if self.features is not None:
            self.features.eval()
        return self

    def forward(self, slices: Tensor) -> Tensor:
        """(N, S, Y, X) slices, scaled → (N, 1, Y, X)."""
        masks = fusegan.focus_masks(slices)
        out: Tensor = self.generator(slices, None if self.generator.masks == "none" else masks)
        return out

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """What the optimiser is given."""
        return [
            {"params": list(self.generator.parameters()), "lr": rate, "betas": (0.0, 0.999)},
            {"params": list(self.critic.parameters()), "lr": CRITIC_SHARE * rate, "betas": (0.0, 0.999)},
        ]

    def loss(self, batch: GroupBatch, device: torch.device) -> Tensor:
        """``2·L1 + 0.001·BCE + perceptual`` of the generator plus the critic's BCE; L1 alone in validation."""
        slices, target = scaled(batch, device)
        made = self(slices)
        if not self.training:
            return functional.l1_loss(made, target)
        # The critic's gradients and the generator's do not mix: its weights are held while it judges for the latter.
        held = {f"critic.{k}": v.detach() for k, v in self.critic.named_parameters()}
        *seen, verdict = torch.func.functional_call(_Features(self.critic), held, (made,))
        total = L1 * self._content(made, slices, target) + BCE * _verdict(verdict, real=True)
        if self.perceptual:
            total = total + PERCEPTUAL * self._apart(seen, made, target)
        real, fake = self.critic(target), self.critic(made.detach())
        return total + _verdict(real, real=True) + _verdict(fake, real=False)

    def _content(self, made: Tensor, slices: Tensor, target: Tensor) -> Tensor:
        if self.supervised:
            return functional.l1_loss(made, target)
        masks = fusegan.focus_masks(slices)
        return (masks * (made - slices)).abs().sum(dim=1).mean()

    def _apart(self, seen: Sequence[Tensor], made: Tensor, target: Tensor) -> Tensor:
        """How far an image, of which the critic's features are given, and the truth lie apart in features."""
        if self.features is not None:
            return functional.l1_loss(self.features(made), self.features(target))
        with torch.no_grad():
            wanted = self.critic.features(target)
        return torch.stack([functional.l1_loss(a, b) for a, b in zip(seen, wanted, strict=True)]).mean()


def _verdict(logits: Tensor, *, real: bool) -> Tensor:
    """How far the critic is from finding it real, or made."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


class _Features(nn.Module):
    """A critic that tells its features and, last, its verdict."""

    def __init__(self, critic: fusegan.PatchCritic) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, x: Tensor) -> list[Tensor]:
        found = self.critic.features(x)
        return [*found, self.critic.head(found[-1])]


def scaled(batch: PairBatch | GroupBatch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Slices and true fused image on the slices' common scale, 0 … 1."""
    slices = batch.slices.to(device)
    low, high = (f(slices, dim=(1, 2, 3), keepdim=True) for f in (torch.amin, torch.amax))
    span = (high - low).clamp(min=1e-6)
    return (slices - low) / span, (batch.fused.to(device) - low) / span


def _ifcnn_loss(network: nn.Module, batch: PairBatch, device: torch.device) -> Tensor:
    """Absolute error plus a fifth of the structural dissimilarity."""
    slices, target = scaled(batch, device)
    made = network(slices)
    return functional.l1_loss(made, target) + 0.2 * dissimilarity(made, target)


def _rivals_loss(network: nn.Module, batch: GroupBatch, device: torch.device) -> Tensor:
    assert isinstance(network, FuseRivals)
    return network.loss(batch, device)


def _metrics(
    network: nn.Module, batches: Sequence[PairBatch | GroupBatch], device: torch.device
) -> Mapping[str, float]:
    """PSNR in dB of the fused images, and of the plain mean of the slices."""
    made: list[Tensor] = []
    mean: list[Tensor] = []
    for batch in batches:
        slices, target = scaled(batch, device)
        for found, errors in ((network(slices), made), (slices.mean(dim=1, keepdim=True), mean)):
            errors.append((found - target).square().flatten(1).mean(dim=1).clamp(min=1e-9))
    return {
        "psnr": float(-10 * torch.log10(torch.cat(made)).mean()),
        "psnr_of_mean": float(-10 * torch.log10(torch.cat(mean)).mean()),
    }


def _rivals(*, width: float, masks: fusegan.Masks, supervised: bool, perceptual: Perceptual) -> FuseRivals:
    generator, critic = fusegan.FuseGenerator(width=width, masks=masks), fusegan.PatchCritic(width=width)
    features = perceptual_features() if perceptual == "shipped" else None
    return FuseRivals(generator, critic, supervised=supervised, perceptual=perceptual != "none", features=features)


def _generator(network: nn.Module) -> nn.Module:
    assert isinstance(network, FuseRivals)
    return network.generator


_IFCNN = Recipe(
    name="ifcnn",
    title="IFCNN-style fusion, maximum",
    paper="Zhang et al. 2020, Inf. Fusion 54:99",
    build=ifcnn.IFCNN,
    data=PairData(PairSettings()),
    loss=_ifcnn_loss,
    metrics=_metrics,
    fit=FitSettings(epochs=12, steps=80, batch=16, weight_decay=0.0, valid_steps=8, learning_rate=2e-3),
    architecture="ifcnn",
    task="Fuse any number of slices",
    normalisation="0 to 1 over the range of all slices",
    outputs="the fused image on the same scale",
    input_px=(96, 96),
    width=0.375,
)


def _fusegan(
    name: str, title: str, *, masks: fusegan.Masks, supervised: bool, perceptual: Perceptual = "critic"
) -> Recipe:
    build: Callable[..., nn.Module] = partial(_rivals, supervised=supervised, perceptual=perceptual)
    return replace(
        _IFCNN,
        name=name,
        title=title,
        paper="Kornilova et al. 2020, MMDF: Mobile Microscopy Deep Framework, section 3.3",
        build=build,
        data=GroupData(GroupSettings()),
        input_px=(64, 64),
        loss=_rivals_loss,
        keep=_generator,
        architecture="fusegan",
        arguments={"masks": masks},
        width=0.125,
        fit=_IFCNN.fit.model_copy(update={"learning_rate": 1e-3, "batch": 8, "epochs": 16}),
    )


RECIPES = (
    _IFCNN,
    replace(_IFCNN, name="ifcnn_mean", title="IFCNN-style fusion, mean", arguments={"rule": "mean"}),
    _fusegan("fusegan", "FuseGAN, unsupervised", masks="concatenated", supervised=False),
    _fusegan("fusegan_supervised", "FuseGAN, supervised", masks="concatenated", supervised=True),
    _fusegan(
        "fusegan_perceptual",
        "FuseGAN, perceptual loss by another network",
        masks="concatenated",
        supervised=True,
        perceptual="shipped",
    ),
    _fusegan(
        "fusegan_plain", "FuseGAN without perceptual loss", masks="concatenated", supervised=True, perceptual="none"
    ),
    _fusegan("fusegan_multiplied", "FuseGAN, masks multiplied on", masks="multiplied", supervised=False),
    _fusegan("fusegan_without_masks", "FuseGAN without masks", masks="none", supervised=True),
)
