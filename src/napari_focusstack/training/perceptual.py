"""Features in which two images are compared as eyes would: the focus classifier's, or VGG19's where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.core.errors import InputError
from napari_focusstack.networks.zoo import ModelError, load_model

VGG19_VARIABLE = "FOCUSSTACK_VGG19"
_VGG19 = (64, 64, 0, 128, 128, 0, 256, 256, 256)
"""Channels up to the third convolution of the third stage, 0 for a pooling: DeblurGAN's choice."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FocusFeatures(nn.Module):
    """The convolutions of the focus classifier, each channel scaled to unit length at every place.

    They were trained to tell sharp from blurred, which is what a perceptual distance is wanted for here.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, Y, X) images, about 0 … 1 → features."""
        return functional.normalize(self.layers(6 * (x - 0.5)), dim=1)


class Vgg19Features(nn.Module):
    """VGG19's features after the third convolution of its third stage (conv3_3), for images of about 0 … 1."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels in _VGG19:
            if channels:
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(_STD)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1 or 3, Y, X) → (N, 256, Y/4, X/4)."""
        out: Tensor = self.features((x.expand(-1, 3, -1, -1) - self.mean) / self.std)
        return out / 10


def perceptual_features() -> nn.Module:
    """VGG19's features where `FOCUSSTACK_VGG19` names its file (torchvision's), else the focus classifier's.

    Raises
    ------
    InputError
        If the file is not VGG19's, or no focus classifier is installed.
    """
    named = os.environ.get(VGG19_VARIABLE)
    if named:
        return _vgg19(Path(named))
    try:
        classifier, _ = load_model("mmdf")
    except ModelError as error:
        raise InputError(
            f"A perceptual loss needs the focus classifier ({error}): train 'mmdf' first, "
            f"or name VGG19's file in {VGG19_VARIABLE}."
        ) from None
    return FocusFeatures(classifier.features)


def _vgg19(path: Path) -> Vgg19Features:
    network = Vgg19Features()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        wanted = {k: content[k] for k in network.state_dict() if k.startswith("features.")}
        network.load_state_dict(wanted, strict=False)
    except (OSError, KeyError, TypeError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise InputError(
            f"'{path}' ({VGG19_VARIABLE}) does not hold VGG19's weights ({error}): give torchvision's vgg19 file."
        ) from None
    return network
