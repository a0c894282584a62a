"""HH-Net (Ge et al. 2020): how far a 300 px patch is from focus and on which side, by a CNN and handcrafted features.

Thirteen convolutions in five groups with max-pooling between them, joined with 18 features of the whole image
(`core.handcrafted`) in a layer of 224 + 32 nodes, then 256 nodes, then 7 ordered classes: 16 layers with weights.

Four things differ from the paper. The classes are -3 … 3 instead of 4 … -2: as many, but a user starts on either side.
The last convolution's map enters the 224 nodes by its mean over all places, which need 0.1 M weights instead of 37 M
and take patches of any size: how blurred a patch is has no place in it. Each convolution has a batch norm. And the
image enters in grey, normalised locally: neither stain, brightness nor shading is focus.

Beside the paper's features, two things may join. Numbers of each patch tell defocus whatever the specimen
(`statistics`). And the objective, as far as it is known: a high aperture brings spherical aberration of its own along
with defocus, so what is seen on one side of focus through one objective is what another shows on the other side.

A class is a band of blur, the radius of the geometrical disc that a point becomes: what the image shows, whatever the
objective, and for each objective a band of z (`blur_px`). The bands have gaps between them; an image in a gap is taught
to be divided between its neighbours, so the mean over classes moves steadily with z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_focusstack.networks.infer import device_of, grey, in_batches, plane_to_tensor
from napari_focusstack.networks.layers import LocalNorm, normalise_plane
from napari_focusstack.networks.statistics import Statistics

PATCH_PX = 300
STATISTICS_PX = 128
"""Side of the blocks that a patch's spectrum is the mean of."""
FEATURES = 18
OBJECTIVE = 2
"""What is told of an objective: pixel size · NA/λ and NA/n; 0 where not known."""
SAMPLINGS, APERTURES = (0.42, 0.58), (0.2, 0.95)
"""Of the objectives that it learns from; any other counts as the nearest of them."""
_TOLD = 6
DISTANCES = (-3, -2, -1, 0, 1, 2, 3)
"""Distance index of each class: below 0 the objective is too near the specimen, above 0 too far."""
BANDS_PX = ((0.0, 1.5), (3.0, 5.0), (7.0, 11.0), (15.0, 27.0))
"""Radius of the blur disc in pixels, from and to, for distances 0, ±1, ±2 and ±3; more blur than that counts as ±3."""
_GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class HHNet(nn.Module):
    """Patch and features of its image → class.

    Parameters
    ----------
    width : float
        Scales the channels of the convolutions (64 … 512 at 1), down to 8 at least.
    dropout : (float, float)
        Behind the first and the second fully connected layer; the paper's by default.
    statistics : bool
        Whether the `Statistics` of each patch join, by 256 nodes of their own; the paper knows nothing of them.
    objective : bool
        Whether it is told the objective beside the statistics, which it takes.
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        dropout: tuple[float, float] = (0.7, 0.5),
        statistics: bool = False,
        objective: bool = False,
    ) -> None:
        super().__init__()
        self.norm = LocalNorm(92, compress=3.0)
        layers: list[nn.Module] = []
        channels = 1
        for i, group in enumerate(_GROUPS):
            if i:
                layers.append(nn.MaxPool2d(2))
            for full in group:
                wide, side = max(8, round(full * width)), 5 if i == 0 else 3
                layers += [nn.Conv2d(channels, wide, side, padding=side // 2, bias=False), nn.BatchNorm2d(wide)]
                layers.append(nn.ReLU(inplace=True))
                channels = wide
        self.widest = max(8, round(_GROUPS[0][0] * width))
        self.convolutions = nn.Sequential(*layers)
        self.seen = nn.Linear(channels, 224)
        self.standardise = nn.BatchNorm1d(FEATURES, affine=False)
        self.known = nn.Linear(FEATURES, 32)
        joined = 256
        self.statistics: Statistics | None = None
        self.objective = objective
        if statistics:
            self.statistics = Statistics(least_px=STATISTICS_PX)
            self.spread = nn.BatchNorm1d(self.statistics.count, affine=False)
            self.measured = nn.Linear(self.statistics.count + (_TOLD if objective else 0), 256)
            joined += 256
        elif objective:
            raise ValueError("an objective joins a patch's statistics: statistics=True")
        self.decide = nn.Sequential(
            nn.Dropout(dropout[0]), nn.Linear(joined, 256), nn.ReLU(), nn.Dropout(dropout[1]), nn.Linear(256, 7)
        )

    def forward(self, patch: Tensor, features: Tensor, objective: Tensor | None = None) -> Tensor:
        """Judge patches.

        Parameters
        ----------
        patch : (N, 1, Y, X) tensor
            Raw grey values of any scale.
        features : (N, 18) tensor
            Handcrafted features of the image that each patch comes from.
        objective : (N, 2) tensor, optional
            Pixel size · NA/λ and NA/n (the sine of the half angle of its light cone); 0 where not known. Without
            effect on a network that is not told it.

        Returns
        -------
        (N, 7) tensor
            Before softmax, in the order of `DISTANCES`.
        """
        return self.judge(self.norm(patch), features, patch, objective)

    def judge(self, normalised: Tensor, features: Tensor, patch: Tensor, objective: Tensor | None = None) -> Tensor:
        """The same for patches that `norm` has seen already, (N, 1, Y, X); `patch` is as it was before."""
        return self.conclude(self.look(normalised, features, patch), objective)

    def look(self, normalised: Tensor, features: Tensor, patch: Tensor) -> Tensor:
        """All that the fully connected layers rest on, of what `judge` takes: (N, 18 + channels [+ statistics])."""
        found = [features, self.convolutions(normalised).mean(dim=(2, 3))]
        if self.statistics is not None:
            found.append(self.statistics(patch))
        return torch.cat(found, dim=1)

    def conclude(self, found: Tensor, objective: Tensor | None = None) -> Tensor:
        """From what `look` found, and the objective, to the classes, (N, 7) logits."""
        ends = FEATURES, FEATURES + self.seen.in_features
        features, seen = found[:, : ends[0]], self.seen(found[:, ends[0] : ends[1]])
        # A feature far from all that was learned from must not drown what the patch shows.
        known = self.known(self.standardise(torch.asinh(features)).clamp(-3.0, 3.0))
        joined = [seen, known]
        if self.statistics is not None:
            if self.training:  # statistics learn to do without convolutions, which know specimens too well
                joined[0] = seen * (torch.rand(len(seen), 1, device=seen.device) < 0.5)
            numbers = self.spread(found[:, ends[1] :]).clamp(-5.0, 5.0)
            if self.objective:
                given = numbers.new_zeros(len(numbers), OBJECTIVE) if objective is None else objective
                numbers = torch.cat([numbers, _told(given)], dim=1)
            joined.append(self.measured(numbers))
        out: Tensor = self.decide(torch.relu(torch.cat(joined, dim=1)))
        return out


def _told(objective: Tensor) -> Tensor:
    """(N, 2) → (N, 6) numbers of about 1: what is known, and by which powers aberrations grow with the aperture."""
    known = (objective > 0).to(objective.dtype)
    sampling = known[:, 0] * torch.log(objective[:, 0].clamp(*SAMPLINGS) / 0.5)
    aperture = objective[:, 1].clamp(*APERTURES)
    grown = [3 * (aperture - 0.6), 2 * aperture**4, 3 * aperture**8]
    return torch.stack([known[:, 0], 6 * sampling, known[:, 1], *(known[:, 1] * g for g in grown)], dim=1)


def class_targets(blur_px: Tensor, *, above: Tensor) -> Tensor:
    """True distributions over the classes.

    One class within its band; between two bands, both, by the place between them.

    Parameters
    ----------
    blur_px : (N,) tensor
        Radius of the blur disc.
    above : (N,) bool tensor
        Whether the plane in focus lies above the specimen.

    Returns
    -------
    (N, 7) tensor
        Sums to 1.
    """
    knots = torch.tensor([edge for band in BANDS_PX for edge in band][1:-1])
    levels = torch.arange(len(knots)) // 2 + torch.arange(len(knots)) % 2
    i = (torch.searchsorted(knots, blur_px.contiguous()) - 1).clamp(0, len(knots) - 2)
    share = ((blur_px - knots[i]) / (knots[i + 1] - knots[i])).clamp(0, 1)
    distance = torch.lerp(levels[i].float(), levels[i + 1].float(), share)
    distance = torch.where(above, distance, -distance)
    return (1 - (distance[:, None] - torch.tensor(DISTANCES)).abs()).clamp(min=0)


@dataclass(frozen=True)
class Patches:
    """Where the patches of a plane lie: one in the middle of each cell of an even grid, none overlapping another.

    Attributes
    ----------
    rows, columns : tuple of int
        First pixels along y and x.
    size : (int, int)
        Height and width of a patch.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    size: tuple[int, int]

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Patches:
        """As many patches of 300 px as fit; a smaller plane is one smaller patch."""
        size = min(PATCH_PX, shape[0]), min(PATCH_PX, shape[1])
        return cls(_starts(shape[0], size[0]), _starts(shape[1], size[1]), size)

    @property
    def slices(self) -> list[tuple[slice, slice]]:
        """Each patch as slices along y and x, row by row."""
        h, w = self.size
        return [(slice(y, y + h), slice(x, x + w)) for y in self.rows for x in self.columns]


def _starts(size: int, patch: int) -> tuple[int, ...]:
    n = size // patch
    return tuple(round((i + 0.5) * size / n - patch / 2) for i in range(n))


def classify_plane(
    network: HHNet,
    plane: NDArray[Any],
    features: NDArray[np.float32],
    *,
    sampling: float | None = None,
    aperture: float | None = None,
) -> NDArray[np.float32]:
    """Classify the patches of a plane.

    Parameters
    ----------
    network : HHNet
        Ready for inference.
    plane : (Y, X) or (Y, X, 3) array
        Any pixel type.
    features : (18,) array
        Its handcrafted features.
    sampling, aperture : float, optional
        Pixel size · NA/λ and NA/n, where known.

    Returns
    -------
    (gy, gx, 7) float32
        Distribution of each of `Patches.of(plane.shape[:2])`; all classes alike where all pixels are.
    """
    device = device_of(network)
    raw = plane_to_tensor(plane, device=device)
    if device.type == "cpu":
        n = network.norm
        image = torch.from_numpy(normalise_plane(grey(plane), window_px=n.window_px, compress=n.compress))[None, None]
    else:
        with torch.inference_mode():
            image = network.norm(raw)
    places = Patches.of((image.shape[-2], image.shape[-1]))
    patches, seen = (torch.cat([i[:, :, ys, xs] for ys, xs in places.slices]) for i in (image, raw))
    known = torch.from_numpy(features).to(image).expand(len(patches), -1)
    told = torch.tensor([[sampling or 0.0, aperture or 0.0]]).to(image).expand(len(patches), -1)
    each = 8 * network.widest * patches[0].numel()
    logits = torch.cat([part.cpu() for part in in_batches(network.judge, patches, known, seen, told, bytes_each=each)])
    p: NDArray[np.float32] = torch.softmax(logits, dim=1).numpy()
    p[(patches.abs().amax(dim=(1, 2, 3)) < 1e-3).cpu().numpy()] = 1 / len(DISTANCES)
    return p.reshape(len(places.rows), len(places.columns), len(DISTANCES))


def hhnet(
    *,
    width: float = 1.0,
    dropout: tuple[float, float] = (0.7, 0.5),
    statistics: bool = False,
    objective: bool = False,
) -> HHNet:
    """HH-Net; 10.1 M weights at width 1, the published size but for its 224 nodes."""
    return HHNet(width=width, dropout=dropout, statistics=statistics, objective=objective)
