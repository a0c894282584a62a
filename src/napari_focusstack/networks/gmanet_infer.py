"""GMANet on whole planes: in one pass (`dense`), or as the paper prints it (`protocol`); and what it looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_focusstack.networks.gmanet import STRIDE_PX, GMANet, mean_of_scored
from napari_focusstack.networks.infer import device_of, hasten
from napari_focusstack.networks.memory import kept_memory

Map = NDArray[np.float32]

PROTOCOL_PX = (1024, 1536)
CROP_PX = (512, 768)
STEP_PX = 256


@dataclass(frozen=True)
class Scored:
    """What GMANet says of a plane.

    Attributes
    ----------
    score : float
        0 or more; 100 is as clear as the clearest slice of a stack.
    map : (y, x) float32
        Score of each place.
    cam : (y, x) float32 or None
        Grad-CAM++ of Layer5, 0 … 1, on the same grid.
    cell_px : (float, float)
        Height and width of a place in pixels of the plane; the first begins in its upper left corner, the last may
        reach beyond its border.
    """

    score: float
    map: Map
    cam: Map | None
    cell_px: tuple[float, float]


def quick(network: GMANet) -> GMANet:
    """A network that is ready for inference, its backbone made quicker; in place. Heads keep their gradients."""
    hasten(network.backbone)
    return network


def dense(
    network: GMANet, plane: NDArray[Any], *, scale: float = 1.0, block_px: int | None = None, cells: int = 1
) -> Scored:
    """Score a plane in one pass over all of it.

    Parameters
    ----------
    network : GMANet
        Ready for inference.
    plane : (Y, X) or (Y, X, 3) array
        Any pixel type.
    scale : float
        By which it is made smaller first; at most 1.
    block_px : int, optional
        Side of the block φ, at that scale.
    cells : int
        So many places of the score map along y and x make one of the result.
    """
    h, w = plane.shape[:2]
    small = max(STRIDE_PX, round(h * scale)), max(STRIDE_PX, round(w * scale))
    image = _tensor(_resized(plane, small, cv2.INTER_AREA), network)
    side = STRIDE_PX * cells
    with torch.inference_mode(), kept_memory():
        pixels, attention = network.ready(image, block_px=block_px)
        pixels, attention = _filled(pixels, side), None if attention is None else _filled(attention, side)
        features = network.features(pixels, attention)
        raw = network.heads[0](features)
        score = float(torch.relu(mean_of_scored(raw)))
        scores = functional.avg_pool2d(torch.relu(raw), cells)
    cam = functional.avg_pool2d(grad_cam(network, features)[:, None], cells)
    cell = side * h / small[0], side * w / small[1]
    return Scored(score, _array(scores), _array(cam), cell)


def protocol(network: GMANet, plane: NDArray[Any], *, block_px: int | None = None) -> Scored:
    """Score a plane as printed: made 1024×1536 px large, the mean over 12 crops of 512×768 px every 256 px.

    A plane that is higher than wide is turned, as are its crops. Its map is the mean of the crops' maps.
    """
    h, w = plane.shape[:2]
    turned = h > w
    size, crop = (PROTOCOL_PX[::-1], CROP_PX[::-1]) if turned else (PROTOCOL_PX, CROP_PX)
    image = _tensor(_resized(plane, size, cv2.INTER_LINEAR), network)
    total = np.zeros((size[0] // STRIDE_PX, size[1] // STRIDE_PX), np.float32)
    count, scores = np.zeros_like(total), []
    with torch.inference_mode(), kept_memory():
        pixels, attention = network.ready(image, block_px=block_px)
        for y, x in corners(size, crop):
            cut = (..., slice(y, y + crop[0]), slice(x, x + crop[1]))
            raw = network.heads[0](network.features(pixels[cut], None if attention is None else attention[cut]))
            scores.append(float(torch.relu(mean_of_scored(raw))))
            there = slice(y // STRIDE_PX, (y + crop[0]) // STRIDE_PX), slice(x // STRIDE_PX, (x + crop[1]) // STRIDE_PX)
            total[there] += _array(torch.relu(raw))
            count[there] += 1
    cell = STRIDE_PX * h / size[0], STRIDE_PX * w / size[1]
    return Scored(float(np.mean(scores)), total / count, None, cell)


def corners(size: tuple[int, int], crop: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Upper left corners of the protocol's crops."""
    for y in range(0, size[0] - crop[0] + 1, STEP_PX):
        for x in range(0, size[1] - crop[1] + 1, STEP_PX):
            yield y, x


def grad_cam(network: GMANet, features: Tensor) -> Tensor:
    """Grad-CAM++ of Layer5 (Chattopadhay et al. 2018): where the score comes from.

    With ``A`` the features, ``g`` the gradient of the score by them: ``α = g² / (2 g² + ΣA·g³)``, ``w = Σ α·relu(g)``
    over places, map = ``relu(Σ w·A)`` over channels.

    Parameters
    ----------
    network : GMANet
        Ready for inference.
    features : (N, C, y, x) tensor
        What `GMANet.features` gave.

    Returns
    -------
    (N, y, x) tensor
        0 … 1, on the grid of the score map; all 0 where nothing raises the score.
    """
    with torch.inference_mode(False):
        features = features.clone().detach()  # what was computed in inference mode has no gradient
        with torch.enable_grad():
            features.requires_grad_(True)
            score = mean_of_scored(network.heads[0](features)).sum()
            (g,) = torch.autograd.grad(score, features)
    with torch.no_grad():
        # Their scale cancels in α but for what float32 can hold.
        g = g / g.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-30)
        below = 2 * g**2 + features.sum(dim=(2, 3), keepdim=True) * g**3
        alpha = torch.where(below.abs() > 1e-12, g**2 / torch.where(below.abs() > 1e-12, below, 1.0), 0.0)
        weights = (alpha * torch.relu(g)).sum(dim=(2, 3), keepdim=True)
        cam = torch.relu((weights * features).sum(dim=1))
        return cam / cam.amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)


def _resized(plane: NDArray[Any], shape: tuple[int, int], how: int) -> NDArray[np.float32]:
    """(C, Y, X) float32 of a plane at another size."""
    a = np.asarray(plane, np.float32)
    a = a if a.shape[:2] == shape else cv2.resize(a, shape[::-1], interpolation=how)
    return a[None] if a.ndim == 2 else np.ascontiguousarray(a.transpose(2, 0, 1))


def _tensor(image: NDArray[np.float32], network: GMANet) -> Tensor:
    """(1, C, Y, X) on the network's device; scaled to 0 … 1, which only keeps float32 well conditioned."""
    low, high = float(image.min()), float(image.max())
    return torch.from_numpy((image - low) / max(high - low, 1e-12))[None].to(device_of(network))


def _filled(x: Tensor, side: int) -> Tensor:
    """Fill up to whole cells: below and on the right, with the border's values."""
    below, right = -x.shape[-2] % side, -x.shape[-1] % side
    return functional.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def _array(x: Tensor) -> Map:
    out: Map = np.ascontiguousarray(x[0, 0].float().cpu().numpy())
    return out
