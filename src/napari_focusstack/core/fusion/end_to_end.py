"""Fusion by networks that make the image themselves: IFCNN and FuseGAN. Offered where a model of the kind is installed.

Index, height and confidence are those of the sharpness of the slices, as the image that such a network makes comes from
no slice in particular.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion.guided import LAPLACIAN_GAIN
from napari_focusstack.core.fusion.method import Merged, Plane32, Series
from napari_focusstack.core.fusion.noise import measure_noise
from napari_focusstack.core.fusion.sharpness import NOISE_CONSTANT, SharpnessTrack, summarise
from napari_focusstack.core.learned.base import InstalledModel
from napari_focusstack.core.progress import Job, Progress, by_tiles, drain

_EVERY_PX = 8
"""The range of grey levels is taken of every so many pixels."""
_LOWEST, _HIGHEST = -0.5, 2.0
"""Results beyond these multiples of the slices' range are cut."""


@dataclass(frozen=True)
class _Range:
    """Grey levels of all slices: the network sees them as 0 … 1."""

    low: float
    span: float

    def scaled(self, plane: NDArray[Any]) -> Plane32:
        """(Y, X, K) of a plane (Y, X) or (Y, X, K)."""
        values = (np.asarray(plane, np.float32) - np.float32(self.low)) / np.float32(self.span)
        return values[..., None] if values.ndim == 2 else values

    def back(self, values: Plane32) -> Plane32:
        """Grey levels again."""
        grey: Plane32 = np.clip(values, _LOWEST, _HIGHEST) * np.float32(self.span) + np.float32(self.low)
        return grey


class _Survey:
    """First pass: the range of grey levels, and which slice is sharp where."""

    def __init__(self, series: Series) -> None:
        h, w = series.plane_shape
        self.floor = np.float32(NOISE_CONSTANT * LAPLACIAN_GAIN * measure_noise(series).guide)
        self.track = SharpnessTrack(((h + 1) // 2, (w + 1) // 2), power=1, positions=series.heights)
        self.low, self.high = np.inf, -np.inf

    def add(self, series: Series, i: int) -> None:
        """Take a slice in."""
        few = series.image(i)[::_EVERY_PX, ::_EVERY_PX]
        self.low, self.high = min(self.low, float(few.min())), max(self.high, float(few.max()))
        edges = cv2.Laplacian(series.guide(i), cv2.CV_32F, borderType=cv2.BORDER_REFLECT)
        self.track.add(np.log(cv2.pyrDown(cv2.blur(np.square(edges), (5, 5))) + self.floor))

    @property
    def range(self) -> _Range:
        """Of what was taken in; an even stack has a span all the same."""
        return _Range(self.low, max(self.high - self.low, 1e-6 * max(abs(self.high), 1e-6)))


def fuse_ifcnn(series: Series, network: Any) -> Job[Merged]:
    """Fuse by joint features, in two passes; memory holds them for one image, whatever the number of slices."""
    n = len(series)
    survey = yield from _surveyed(series, passes=2)
    scale = survey.range
    joint: list[Any] = []
    total: Plane32 = np.zeros(0, np.float32)
    for i in range(n):
        image = scale.scaled(series.image(i))
        features = [_dense(network.extract, network, image[None, ..., k]).half() for k in range(image.shape[-1])]
        joint = [network.join(a, b) for a, b in zip(joint, features, strict=True)] if joint else features
        total = total + image if i else image
        yield Progress(n + i + 1, 2 * n, f"slice {i + 1} of {n}: features")

    def rebuild(both: Any) -> Any:
        return network.finish(both[:, :-1], both[:, -1:], n)

    fused = np.empty_like(total)
    for k, features in enumerate(joint):
        fused[..., k] = _dense(rebuild, network, _with(features, total[..., k]))[0, 0].numpy()
    return _merged(series, survey, scale.back(fused))


def fuse_by_groups(series: Series, network: Any) -> Job[Merged]:
    """Fuse by FuseGAN, in two passes: the first slices, then what was fused so far with the next ones, and so on.

    In a mask, what was fused so far counts as much as its slices did together: as if all were in one group. Each colour
    is fused alone, all of them by the same masks, those of the guide: no colour takes from another slice.
    """
    import torch

    from napari_focusstack.networks.fusegan import focus_shares

    n = len(series)
    survey = yield from _surveyed(series, passes=2)
    scale = survey.range

    def fuse(both: Any) -> Any:
        slices, masks = both.chunk(2, dim=1)
        return network(slices, None if network.masks == "none" else masks)

    group: list[Plane32] = []
    shares: list[Any] = []
    for i in range(n):
        guide = scale.scaled(series.guide(i))
        group.append(scale.scaled(series.image(i)))
        shares.append(_dense(focus_shares, network, guide[None, ..., 0])[0, 0])
        if len(group) == network.slots or i == n - 1:
            counted = torch.stack(shares)
            total = counted.sum(dim=0)
            made = []
            for k in range(group[0].shape[-1]):
                slices = torch.from_numpy(np.stack([g[..., k] for g in group]))
                made.append(_dense(fuse, network, torch.cat([slices, counted / total]))[0, 0].numpy())
            group, shares = [np.stack(made, axis=-1)], [total]
        yield Progress(n + i + 1, 2 * n, f"slice {i + 1} of {n}: fusing")
    return _merged(series, survey, scale.back(group[0]))


def _surveyed(series: Series, *, passes: int) -> Job[_Survey]:
    survey, n = _Survey(series), len(series)
    for i in range(n):
        survey.add(series, i)
        yield Progress(i + 1, passes * n, f"slice {i + 1} of {n}: where it is sharp")
    return survey


def _merged(series: Series, survey: _Survey, fused: Plane32) -> Merged:
    index, peak, confidence = summarise([survey.track], series.plane_shape)
    return Merged(fused.reshape(series.shape), index, peak, confidence)


def _with(features: Any, total: Plane32) -> Any:
    import torch

    return torch.cat([features[0].float(), torch.from_numpy(np.ascontiguousarray(total))[None]])


def _dense(run: Callable[[Any], Any], network: Any, planes: Any) -> Any:
    """(C, Y, X) array or tensor → (1, K, Y, X) tensor, in tiles."""
    import torch

    from napari_focusstack.networks.infer import device_of, in_tiles

    image = planes if isinstance(planes, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(planes))
    tiles = in_tiles(
        run,
        image[None].float(),
        margin_px=network.margin_px,
        bytes_per_px=network.bytes_per_px,
        multiple_px=network.multiple_px,
        device=device_of(network),
    )
    return drain(by_tiles(tiles))


@dataclass(frozen=True)
class EndToEndMethod(InstalledModel):
    """A network that makes the fused image, as a fusion method.

    Attributes
    ----------
    description : str
        What it does and when to take it.
    fuse : callable
        (series, network) → job.
    """

    description: str
    fuse: Callable[[Series, Any], Job[Merged]]

    def merge(self, series: Series) -> Job[Merged]:
        """Fuse as a job; the weights are loaded when it starts."""
        return (yield from self.fuse(series, self.network(series.device)))
