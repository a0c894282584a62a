"""The deblurring networks of MMDF (Kornilova et al. 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.networks import deblur
from napari_focusstack.training.adversarial import Rivals
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.losses import dissimilarity
from napari_focusstack.training.pairs import Pair, PairData, PairSettings
from napari_focusstack.training.perceptual import perceptual_features
from napari_focusstack.training.recipes.base import Recipe

MATCHING = 1.0
"""Weight with which the coupled autoencoder's codes are to match: the paper's λ."""


def _squared(network: nn.Module, pair: Pair, device: torch.device) -> Tensor:
    return functional.mse_loss(network(pair.blurred.to(device)), pair.sharp.to(device))


def _robust(network: nn.Module, pair: Pair, device: torch.device) -> Tensor:
    """Charbonnier's loss, ``sqrt(d² + 0.01²)``: small errors count as much as a few large ones, edges stay crisp."""
    difference = network(pair.blurred.to(device)) - pair.sharp.to(device)
    return torch.sqrt(difference * difference + 1e-4).mean()


def _stacked(network: nn.Module, pair: Pair, device: torch.device) -> Tensor:
    """The result's error, and each layer's in making the sharp image's code from the blurred image's."""
    assert isinstance(network, deblur.StackedAutoencoder)
    total = _squared(network, pair, device)
    blurred, sharp = pair.blurred.to(device), pair.sharp.to(device)
    for layer in range(len(network.encoders)):
        deeper, restored = network.one_layer(blurred, layer)
        total = total + 0.1 * functional.mse_loss(restored, sharp)
        # Each layer learns alone: no gradient of the next one reaches it.
        blurred, sharp = deeper.detach(), network.one_layer(sharp, layer)[0].detach()
    return total


def _coupled(network: nn.Module, pair: Pair, device: torch.device) -> Tensor:
    """The result's error, both autoencoders' own, and ``λ·|M(code of blurred) - code of sharp|²``."""
    assert isinstance(network, deblur.CoupledAutoencoder)
    blurred, sharp = pair.blurred.to(device), pair.sharp.to(device)
    own = functional.mse_loss(network.source(blurred), blurred) + functional.mse_loss(network.target(sharp), sharp)
    wanted = network.target.encoder(sharp).detach()
    codes = functional.mse_loss(network.mapping(network.source.encoder(blurred)), wanted)
    return _squared(network, pair, device) + 0.1 * own + MATCHING * codes


def _rivals(network: nn.Module, pair: Pair, device: torch.device) -> Tensor:
    assert isinstance(network, Rivals)
    return network.loss(pair, device)


def _alone(network: nn.Module, pair: Pair, device: torch.device) -> Tensor:
    assert isinstance(network, Rivals)
    return network.alone(pair, device)


def _metrics(network: nn.Module, pairs: list[Pair], device: torch.device) -> Mapping[str, float]:
    """Gain in PSNR over the input (dB, mean over images), and SSIM of result and input."""
    blurred, sharp = torch.cat([p.blurred for p in pairs]), torch.cat([p.sharp for p in pairs])
    made = torch.cat([network(p.blurred.to(device)).cpu() for p in pairs])
    before, after = ((a - sharp).square().flatten(1).mean(dim=1).clamp(min=1e-9) for a in (blurred, made))
    return {
        "gain_db": float((10 * torch.log10(before / after)).mean()),
        "psnr": float((-10 * torch.log10(after)).mean()),
        "ssim": 1 - float(dissimilarity(made, sharp)),
        "ssim_input": 1 - float(dissimilarity(blurred, sharp)),
    }


def _standard(*, width: float) -> Rivals:
    return Rivals(deblur.deblurgan(width=width), deblur.Critic(width=width), perceptual_features())


def _upgraded(*, width: float) -> Rivals:
    generator, critic = deblur.deblurgan_upgraded(width=width), deblur.Critic(width=width)
    return Rivals(generator, critic, perceptual_features(), similar=True)


def _generator(network: nn.Module) -> nn.Module:
    assert isinstance(network, Rivals)
    return network.generator


_UNET = Recipe(
    name="deblur_unet",
    title="U-Net for deblurring",
    paper="Kornilova et al. 2020, MMDF: Mobile Microscopy Deep Framework, section 3.2",
    build=deblur.UNet,
    data=PairData(PairSettings()),
    loss=_robust,
    metrics=_metrics,
    fit=FitSettings(epochs=9, steps=100, batch=16, learning_rate=2e-3, weight_decay=0.0, valid_steps=8),
    architecture="deblur_unet",
    task="Sharpen an image blurred by defocus or motion",
    normalisation="0 to 1 between the image's 0.1 % and 99.9 % quantiles; each channel alone",
    outputs="the sharpened image on the same scale",
    input_px=(96, 96),
    width=0.25,
)


def _recipe(name: str, title: str, build: Callable[..., nn.Module], **changes: object) -> Recipe:
    return replace(_UNET, name=name, title=title, architecture=name, build=build, **changes)  # type: ignore[arg-type]


_GENERATOR = _recipe(
    "deblurgan_upgraded-alone",
    "Upgraded DeblurGAN, the generator before it meets its critic",
    _upgraded,
    loss=_alone,
    keep=_generator,
    width=0.125,
    fit=_UNET.fit.model_copy(update={"epochs": 12, "learning_rate": 1e-3}),
)
_GAN = replace(
    _GENERATOR,
    name="deblurgan_upgraded",
    title="Upgraded DeblurGAN",
    loss=_rivals,
    fit=_UNET.fit.model_copy(update={"epochs": 18, "learning_rate": 2e-4}),
    architecture="deblurgan_upgraded",
    before=_GENERATOR,
)
RECIPES = (
    _UNET,
    _recipe("deblur_srcnn", "SRCNN", deblur.SRCNN, loss=_squared, width=1.0),
    _recipe("deblur_autoencoder", "Denoising autoencoder", deblur.DenoisingAutoencoder, loss=_squared),
    _recipe("deblur_stacked", "Stacked denoising autoencoder", deblur.StackedAutoencoder, loss=_stacked),
    _recipe("deblur_coupled", "Deep coupled autoencoder", deblur.CoupledAutoencoder, loss=_coupled),
    _GAN,
    replace(_GAN, name="deblurgan", title="DeblurGAN", architecture="deblurgan", build=_standard, before=None),
)
