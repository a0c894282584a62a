"""MMDF's focus classifier (Kornilova et al. 2020, section 3.1), after Yang et al. 2018 (BMC Bioinformatics 19:77).

An 84×84 patch → [convolution 5×5, ReLU, max-pooling 2×2] twice → fully connected layer → dropout → 10 ordered classes,
from in focus (0) to wholly blurred (9). The paper gives no channel counts: 32, 64 and 1024 are Yang's. It prints a
pooling stride of 1, which would make the fully connected layer 1.4 GB large: stride 2 is meant. Convolutions are
not padded, so a whole image can be evaluated as one convolution with exactly the patches' results.

Not of the paper, and an option: what a patch's spectrum and moments tell (`dense_statistics`), which depends less
on what the specimen is, joins the features in the connected layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_focusstack.networks.dense_statistics import REACH_PX, DenseStatistics
from napari_focusstack.networks.infer import device_of, in_strips, mirrored, plane_to_tensor
from napari_focusstack.networks.layers import LocalNorm

PATCH_PX = 84
CLASSES = 10
STRIDE_PX = 4
MARGIN_PX = 22
FEATURES = ((PATCH_PX - 4) // 2 - 4) // 2
FOCUSED_CLASSES = 3
"""Classes 0 to 2 are called in focus."""
CLASS_EDGES_PX = (0.0, 1.2, 2.2, 3.4, 4.8, 6.8, 10.0, 15.0, 23.0, 35.0)
"""Lower edge of each class: radius in pixels of the blur that is seen (`seen_blur_px`).

A patch shows its blur in pixels and nothing else, so that is what classes are made of. With any sampling from 0.25
(Nyquist's limit) to 1.4, half a depth of field is below 3.1 px and two depths are above 3.4 px, so classes 0 to 2 hold
all of the one and none of the other.
"""
HIDDEN = 256
"""Nodes of the layer that reads a patch's statistics."""
LARGEST = 5.0
"""Of a statistic, in standard deviations: a specimen unlike all others must not carry the answer away."""
SLOWNESS = 0.01
"""Share of each batch in the means and deviations that statistics are told by."""
ALONE = 0.5
"""Share of the patches in training that are judged by their statistics alone."""
_DIFFRACTION_PX = 0.43
"""Radius of a disc as wide (by its standard deviation) as the Airy pattern, times sampling."""


class StatisticsStream(nn.Module):
    """Images → what the statistics of their patches add to the connected layer.

    Parameters
    ----------
    nodes : int
        Of the connected layer.
    dropout : float
        Share of the hidden layer's outputs dropped in training.
    """

    def __init__(self, nodes: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.statistics = DenseStatistics(patch_px=PATCH_PX)
        self.norm = nn.BatchNorm2d(self.statistics.count, affine=False, momentum=SLOWNESS)
        self.layers = nn.Sequential(
            nn.Conv2d(self.statistics.count, HIDDEN, 1), nn.ReLU(), nn.Dropout(dropout), nn.Conv2d(HIDDEN, nodes, 1)
        )

    def forward(self, raw: Tensor, *, step_px: int, margin_px: int) -> Tensor:
        """As `DenseStatistics`: (N, 1, Y, X) → (N, nodes, y, x)."""
        with torch.no_grad():
            found = self.statistics(raw, step_px=step_px, margin_px=margin_px)
        mean, variance = self.norm.running_mean, self.norm.running_var
        if self.training:
            # A batch's own mean is that of a few crops: what is told by it in training is told otherwise afterwards.
            self.norm(found)
        even = nn.functional.batch_norm(found, mean, variance, eps=self.norm.eps).clamp(-LARGEST, LARGEST)
        out: Tensor = self.layers(even)
        return out


class FocusClassifier(nn.Module):
    """Patches → logits of ordered focus classes.

    Parameters
    ----------
    width : float
        1 is the paper's size (20.9 million weights); 0.25 has 1.3 million.
    classes : int
        Number of ordered classes.
    dropout : float
        Share of the fully connected layer's outputs dropped in training.
    statistics : bool
        Whether a patch's statistics join in the connected layer; the paper has none.
    """

    def __init__(
        self, *, width: float = 1.0, classes: int = CLASSES, dropout: float = 0.5, statistics: bool = False
    ) -> None:
        super().__init__()
        a, b, c = (max(1, round(n * width)) for n in (32, 64, 1024))
        self.norm = LocalNorm(2 * MARGIN_PX)
        self.bytes_per_px = 8 * a + (48 if statistics else 0)
        self.features = nn.Sequential(
            nn.Conv2d(1, a, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(a, b, 5), nn.ReLU(), nn.MaxPool2d(2)
        )
        # A fully connected layer over the 18×18 features of a patch, written as a convolution: dense evaluation.
        self.connected = nn.Conv2d(b, c, FEATURES)
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Conv2d(c, classes, 1))
        self.stream = StatisticsStream(c) if statistics else None

    def ready(self, raw: Tensor) -> Tensor:
        """What patches are cut from: (N, 1, Y, X) → the normalised image, and beside it the raw one if it is needed."""
        normalised: Tensor = self.norm(raw)
        return normalised if self.stream is None else torch.cat([normalised, raw], dim=1)

    def forward(self, tile: Tensor) -> Tensor:
        """(N, 1, 128, 128) raw tiles, of which the middle 84×84 px are judged → (N, classes) logits."""
        return self.grid(self.ready(tile), margin_px=(tile.shape[-1] - PATCH_PX) // 2)[..., 0, 0]

    def grid(self, ready: Tensor, *, step: int = 1, margin_px: int = 0) -> Tensor:
        """Logits of patches every ``4·step`` pixels: what `ready` gives, 84 px or more → (N, classes, y, x).

        The features are computed once for the whole image; the fully connected layer, the costly part, and the
        statistics only where a patch is wanted. A border of `margin_px` is in no patch, but statistics know of it.
        """
        inner = slice(margin_px, ready.shape[-2] - margin_px), slice(margin_px, ready.shape[-1] - margin_px)
        features = self.features(ready[:, :1, inner[0], inner[1]])
        connected = nn.functional.conv2d(features, self.connected.weight, self.connected.bias, stride=step)
        if self.stream is not None:
            if self.training:  # statistics learn to do without convolutions, which know specimens too well
                connected = connected * (torch.rand(len(ready), 1, 1, 1, device=ready.device) > ALONE)
            connected = connected + self.stream(ready[:, 1:], step_px=STRIDE_PX * step, margin_px=margin_px)
        out: Tensor = self.head(connected)
        return out


def seen_blur_px(disc_px: Tensor, sampling: Tensor) -> Tensor:
    """Radius of the blur that an image shows: of defocus and of diffraction, added as variances.

    Parameters
    ----------
    disc_px : (K,) tensor
        Radius of the geometrical blur disc.
    sampling : (K,) tensor
        Pixel size · NA/λ.
    """
    return torch.hypot(disc_px, _DIFFRACTION_PX / sampling)


def class_of(seen_px: Tensor) -> Tensor:
    """Class by the radius of the blur that is seen."""
    return torch.searchsorted(torch.tensor(CLASS_EDGES_PX), seen_px.contiguous(), right=True) - 1


def level(probabilities: Tensor, *, dim: int = 1) -> Tensor:
    """Expected class, 0 (in focus) … 9."""
    shape = [1] * probabilities.ndim
    shape[dim] = -1
    classes = torch.arange(probabilities.shape[dim], dtype=probabilities.dtype, device=probabilities.device)
    return (probabilities * classes.reshape(shape)).sum(dim=dim)


def certainty(probabilities: Tensor, *, dim: int = 1) -> Tensor:
    """1 − entropy / log(number of classes): 0 where every class is equally likely, 1 where one is sure."""
    p = probabilities.clamp(min=1e-12)
    entropy = -(p * p.log()).sum(dim=dim)
    return 1 - entropy / torch.log(torch.tensor(float(p.shape[dim])))


def classify_plane(network: FocusClassifier, plane: NDArray[Any], *, step_px: int = 40) -> NDArray[np.float32]:
    """Class probabilities all over a plane.

    Parameters
    ----------
    network : FocusClassifier
        Ready for inference.
    plane : (Y, X) or (Y, X, 3) array
        Any pixel type.
    step_px : int
        Distance between the middles of neighbouring patches, a multiple of 4 (84 px patches overlap below 84).

    Returns
    -------
    (ceil(Y/step), ceil(X/step), classes) float32 array
        Of the patch around the middle of each cell of `step_px`; beyond the border the image is mirrored.
    """
    if step_px % STRIDE_PX:
        raise ValueError(f"a step of {step_px} px is no multiple of {STRIDE_PX}")
    image = network.ready(plane_to_tensor(plane, device=device_of(network)))
    h, w = image.shape[-2:]
    rows, columns = -(-h // step_px), -(-w // step_px)
    margin = 0 if network.stream is None else REACH_PX
    before = PATCH_PX // 2 - step_px // 2 + margin
    after = [(n - 1) * step_px + PATCH_PX + 2 * margin - before - size for n, size in ((rows, h), (columns, w))]
    padded = mirrored(image, before=(before, before), after=(after[0], after[1]))
    parts = in_strips(
        lambda x: torch.softmax(network.grid(x, step=step_px // STRIDE_PX, margin_px=margin), dim=1),
        padded,
        field_px=PATCH_PX + 2 * margin,
        stride_px=step_px,
        bytes_per_px=network.bytes_per_px,
    )
    p = torch.cat([part.cpu() for part in parts], dim=2)
    out: NDArray[np.float32] = np.ascontiguousarray(p[0].permute(1, 2, 0).numpy())
    return out
