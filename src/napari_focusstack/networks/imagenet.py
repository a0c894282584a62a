"""ImageNet's weights for the backbones, where the user has torchvision's file: never needed, never fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from napari_focusstack.networks.gmanet import GMANet


def load_imagenet(network: GMANet, path: Path) -> None:
    """Take ImageNet's weights for the backbone, in the paper's size and with three channels.

    Parameters
    ----------
    network : GMANet
        Width 1, 3 channels, VGG16; changed in place.
    path : Path
        torchvision's file of ``vgg16_bn`` or ``vgg16`` (``.pth``), or the same names in safetensors.

    Raises
    ------
    ValueError
        If the file holds something else, or the network has another size.
    """
    state = _read_state(path)
    blocks = network.backbone.blocks()
    names = [n.removesuffix(".weight") for n, v in state.items() if n.endswith(".weight") and v.ndim == 4]
    shapes = [tuple(block.convolution.weight.shape) for block in blocks]
    if not blocks or [tuple(state[f"{n}.weight"].shape) for n in names] != shapes:
        raise ValueError(
            f"'{path}' does not fit: give torchvision's vgg16_bn or vgg16, for a VGG16 of width 1 with 3 channels"
        )
    with torch.no_grad():
        for block, name in zip(blocks, names, strict=True):
            norm = block.norm
            block.convolution.weight.copy_(state[f"{name}.weight"])
            head, number = name.rsplit(".", 1)
            after = f"{head}.{int(number) + 1}"
            if f"{after}.running_mean" in state:
                for part in ("weight", "bias", "running_mean", "running_var"):
                    getattr(norm, part).copy_(state[f"{after}.{part}"])
                norm.running_mean -= state.get(f"{name}.bias", torch.zeros(()))
            elif f"{name}.bias" in state:
                norm.bias.copy_(state[f"{name}.bias"])


def _read_state(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"'{path}' holds no weights by name")
    return state
