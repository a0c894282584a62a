"""GMANet's opponents: image quality networks that judge patches of 32 px by themselves.

- **TwostreamIQA** (Yan et al. 2019, IEEE Trans. Image Process. 28:2200): one branch sees the image, one its gradient;
  their features are joined. Layers here: three times two 3×3 convolutions and a 2×2 max-pooling, 32 to 128 channels.
- **WaDIQaM** (Bosse et al. 2018, IEEE Trans. Image Process. 27:206): five times two 3×3 convolutions and a 2×2
  max-pooling, 32 to 512 channels; a quality and a weight for each patch, the image has the weighted mean. The FR kind
  compares with a reference. There is none for a microscope's slice, so, as in GMANet's paper, the slice itself is the
  reference and its Gaussian blur (21×21 px, σ 3.5 px) the distorted image: the sharper a slice, the more it loses.

Both see the z-scored grey image, limited as GMANet's is; scores are 0 … 100 as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.networks.gmanet import TOP, limited, z_scored
from napari_focusstack.networks.infer import device_of, in_batches, plane_to_tensor

PATCH_PX = 32
BLUR_PX, BLUR_SIGMA = 21, 3.5
LEAST_WEIGHT = 1e-6


def _convolutions(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Two 3×3 convolutions and a 2×2 max-pooling for each width."""
    parts: list[nn.Module] = []
    for wide in widths:
        for _ in range(2):
            parts += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()]
            channels = wide
        parts.append(nn.MaxPool2d(2))
    return nn.Sequential(*parts)


def _head(channels: int, middle: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, middle), nn.ReLU(), nn.Dropout(0.5), nn.Linear(middle, 1))


def patches_of(image: Tensor) -> Tensor:
    """(N, C, Y, X), 32 px or more → (N, gy, gx, C, 32, 32): patches side by side from the upper left corner."""
    cut = image.unfold(2, PATCH_PX, PATCH_PX).unfold(3, PATCH_PX, PATCH_PX)
    return cut.permute(0, 2, 3, 1, 4, 5)


def gradient(image: Tensor) -> Tensor:
    """Magnitude of the gradient by Sobel's masks, (N, 1, Y, X) → the same shape."""
    mask = image.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])[None, None] / 8
    wide = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    return torch.hypot(functional.conv2d(wide, mask), functional.conv2d(wide, mask.transpose(2, 3)))


def blurred(image: Tensor) -> Tensor:
    """The distorted image of WaDIQaM-FR: Gaussian of 21×21 px, σ 3.5 px."""
    x = torch.arange(BLUR_PX, dtype=image.dtype, device=image.device) - BLUR_PX // 2
    kernel = torch.exp(-(x**2) / (2 * BLUR_SIGMA**2))
    kernel = (kernel / kernel.sum())[None, None, None]
    half = BLUR_PX // 2
    wide = functional.pad(image, (half, half, half, half), mode="replicate")
    return functional.conv2d(functional.conv2d(wide, kernel), kernel.transpose(2, 3))


class PatchQuality(nn.Module):
    """What the opponents have in common: a quality and a weight for each patch of 32 px."""

    views: int
    """Images that a patch is judged by."""

    def ready(self, image: Tensor) -> Tensor:
        """(N, 1, Y, X) whole grey images of any scale → (N, views, Y, X) that patches are cut from."""
        raise NotImplementedError

    def judge(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(P, views, 32, 32) → (P,) qualities and (P,) weights."""
        raise NotImplementedError

    def grid(self, ready: Tensor) -> tuple[Tensor, Tensor]:
        """Qualities and weights, (N, gy, gx) each, of what `ready` gave."""
        cut = patches_of(ready)
        shape = cut.shape[:3]
        quality, weight = self.judge(cut.flatten(0, 2))
        return quality.reshape(shape), weight.reshape(shape)

    def scores(self, ready: Tensor) -> Tensor:
        """(N,) scores: the weighted means."""
        quality, weight = self.grid(ready)
        return (quality * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, Y, X) whole images → (N,) scores."""
        return self.scores(self.ready(image))


class TwostreamIQA(PatchQuality):
    """A branch for the image and one for its gradient; every patch counts alike.

    Parameters
    ----------
    width : float
        Scales all channels.
    """

    views = 2

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        widths = [max(4, round(n * width)) for n in (32, 64, 128)]
        self.streams = nn.ModuleList(_convolutions(1, widths) for _ in range(2))
        self.head = _head(2 * widths[-1] * (PATCH_PX // 8) ** 2, max(8, round(512 * width)))

    def ready(self, image: Tensor) -> Tensor:
        """The z-scored image and its gradient."""
        scored = z_scored(image)
        return torch.cat([limited(scored), limited(gradient(scored))], dim=1)

    def judge(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Quality by both branches; weight 1."""
        features = [stream(patches[:, i : i + 1]).flatten(1) for i, stream in enumerate(self.streams)]
        quality = TOP * self.head(torch.cat(features, dim=1))[:, 0]
        return quality, torch.ones_like(quality)


class WaDIQaM(PatchQuality):
    """Weighted average of patch qualities, with or without a reference.

    Parameters
    ----------
    width : float
        Scales all channels.
    reference : bool
        FR: the slice beside its blurred copy; else NR, the slice alone.
    """

    def __init__(self, *, width: float = 1.0, reference: bool = False) -> None:
        super().__init__()
        self.reference = reference
        self.views = 2 if reference else 1
        widths = [max(4, round(n * width)) for n in (32, 64, 128, 256, 512)]
        self.features = _convolutions(1, widths)
        joined = widths[-1] * (3 if reference else 1)
        middle = max(8, round(512 * width))
        self.quality, self.weight = _head(joined, middle), _head(joined, middle)

    def ready(self, image: Tensor) -> Tensor:
        """The z-scored image, with its blurred copy where there is a reference."""
        scored = z_scored(image)
        return limited(torch.cat([scored, blurred(scored)], dim=1) if self.reference else scored)

    def judge(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Quality and weight by the features, and by their difference where there is a reference."""
        features = self.features(patches[:, :1]).flatten(1)
        if self.reference:
            other = self.features(patches[:, 1:]).flatten(1)
            features = torch.cat([features, other, features - other], dim=1)
        return TOP * self.quality(features)[:, 0], torch.relu(self.weight(features)[:, 0]) + LEAST_WEIGHT


def judge_plane(network: PatchQuality, plane: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Qualities and weights of a plane's patches, (gy, gx) each; the plane is mirrored to whole patches.

    Parameters
    ----------
    network : PatchQuality
        Ready for inference.
    plane : (Y, X) or (Y, X, 3) array
        Any pixel type.
    """
    below, right = (-n % PATCH_PX for n in plane.shape[:2])
    whole = cv2.copyMakeBorder(np.asarray(plane, np.float32), 0, below, 0, right, cv2.BORDER_REFLECT)
    with torch.inference_mode():
        cut = patches_of(network.ready(plane_to_tensor(whole, device=device_of(network))))
    shape = cut.shape[1:3]
    parts = in_batches(
        lambda x: torch.stack(network.judge(x), dim=1), cut.flatten(0, 2), bytes_each=512 * PATCH_PX * PATCH_PX
    )
    found = torch.cat([part.cpu() for part in parts]).float().numpy()
    return found[:, 0].reshape(shape), found[:, 1].reshape(shape)
