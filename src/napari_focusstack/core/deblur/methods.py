"""What deblurs a plane: classical deconvolution with an estimated kernel, and the networks that are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from napari_focusstack.core.deblur.kernel import disc, estimate_blur
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import Plane32, noise_sigma
from napari_focusstack.core.progress import Job, Progress, by_tiles
from napari_focusstack.core.registry import Registry
from napari_focusstack.networks.zoo import ModelCard

INVENTS = "A network made this image: it can invent detail. Do not measure intensities in it."
PREFIX = "deblur"
"""Architectures of deblurring networks begin with it."""
_SPARSE = 0.1
"""Share of its range that an image deviates by at least where its objects are; most images do by more throughout."""
_MOST_MEMORY = 0.8
"""Share of the free memory that a network may take for a plane that it has to see as a whole."""


Box = tuple[slice, slice]
"""A part of a plane, along y and x; both ends are given."""


@dataclass(frozen=True)
class Wish:
    """What a deblurrer is told beside the pixels.

    Attributes
    ----------
    kernel : (K, K) float32 array or None
        What blurred the image, odd sides, sum 1; where it is not known a disc is estimated from the image. Networks see
        it themselves.
    device : str
        Where a network computes.
    within : (slice, slice) or None
        The part of the plane that is wanted, along y and x; blur and noise are judged by all of it.
    """

    kernel: Plane32 | None = None
    device: str = "auto"
    within: Box | None = None


@dataclass(frozen=True)
class Blur:
    """What was found of the blur of an image; ``Progress.partial`` of the methods that estimate it.

    Attributes
    ----------
    radius_px : float
        Of the disc that a point is blurred to; 0 where no edge tells it.
    """

    radius_px: float


@dataclass(frozen=True)
class Deblurrer:
    """A way to sharpen a plane.

    Attributes
    ----------
    name, title, description, reference : str
        By which it is chosen, what to call it, what it is good for, and where it was published.
    run : callable
        (plane, wish) → job; the plane (Y, X) is scaled to about 0 … 1, and so is the result, which has the size of
        the part that is wanted.
    card : ModelCard or None
        Of the network, where it is one.
    """

    name: str
    title: str
    description: str
    reference: str
    run: Callable[[Plane32, Wish], Job[Plane32]]
    card: ModelCard | None = field(default=None)

    @property
    def learned(self) -> bool:
        """Whether a network does it, which may invent detail."""
        return self.card is not None


@dataclass(frozen=True)
class _Judged:
    """What is seen on a whole plane: its noise, and the deviation of its signal."""

    noise: float
    signal: float


def _judged(plane: Plane32) -> _Judged:
    # Few beads on a wide background hardly count in the deviation, but they are what is looked at.
    signal = max(float(plane.std()), _SPARSE * float(np.ptp(cv2.medianBlur(plane, 3))), 1e-6)
    return _Judged(noise_sigma(plane), signal)


def _around(within: Box | None, shape: tuple[int, ...], margin: int, *, step: int = 1) -> tuple[Box, Box]:
    """The part with a margin, as far as the plane goes and from a whole step on, and where the part lies in that."""
    part = within or (slice(0, shape[0]), slice(0, shape[1]))
    wide = [
        slice(max(0, p.start - margin) // step * step, min(n, p.stop + margin))
        for p, n in zip(part, shape, strict=True)
    ]
    inner = [slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, wide, strict=True)]
    return (wide[0], wide[1]), (inner[0], inner[1])


def _with_kernel(restore: Callable[[Plane32, Plane32, _Judged], Any]) -> Callable[[Plane32, Wish], Job[Plane32]]:
    """Make a deblurrer of a deconvolution (plane, kernel, judged) → plane: margins, kernel and noise are seen to."""

    def run(plane: Plane32, wish: Wish) -> Job[Plane32]:
        judged = _judged(plane)
        kernel = wish.kernel
        if kernel is None:
            radius_px = estimate_blur(plane, noise=judged.noise)
            yield Progress(0, 1, f"a blur of {radius_px:.1f} px", Blur(radius_px))
            kernel = disc(radius_px)
        reach = max(kernel.shape)
        margin = max(reach, min(4 * reach, min(plane.shape)))
        seen, (rows, columns) = _around(wish.within, plane.shape, margin)
        wide = np.pad(plane[seen], margin, mode="symmetric")
        found = np.asarray(restore(wide, kernel, judged), np.float32)[margin:, margin:]
        yield Progress(1, 1, f"blurred over {reach} px")
        inner: Plane32 = np.ascontiguousarray(found[rows, columns])
        return inner

    return run


def _wiener(plane: Plane32, kernel: Plane32, judged: _Judged) -> Any:
    from skimage.restoration import wiener

    # The regulariser is the Laplacian's power: noise over signal, at frequencies where the image has little left.
    return wiener(plane, kernel, max(1e-3, 100 * (judged.noise / judged.signal) ** 2), clip=False)


def _unsupervised_wiener(plane: Plane32, kernel: Plane32, judged: _Judged) -> Any:
    from skimage.restoration import unsupervised_wiener

    # Thirty samples, scikit-image's default, leave a visible grain.
    sampling = {"burnin": 30, "max_num_iter": 200}
    restored, _ = unsupervised_wiener(plane, kernel, user_params=sampling, clip=False, rng=0)
    return restored


def _richardson_lucy(plane: Plane32, kernel: Plane32, judged: _Judged) -> Any:
    from napari_focusstack.core.deblur.lucy import richardson_lucy

    # Noise is amplified from one iteration to the next: fewer of them where there is more.
    return richardson_lucy(plane, kernel, turns=int(np.clip(0.6 / max(judged.noise, 1e-3), 5, 30)))


DEBLURRERS: Registry[Deblurrer] = Registry("deblurring method")
for _name, _title, _what, _reference, _restore in (
    (
        "wiener",
        "Wiener filter",
        "Divides the blur out where the signal exceeds the noise; fast, rings at strong edges.",
        "Wiener 1949; Hunt 1973, IEEE Trans. Comput. C-22:805",
        _wiener,
    ),
    (
        "unsupervised_wiener",
        "Wiener filter, self-tuned",
        "A Wiener filter that estimates noise and signal by sampling.",
        "Orieux et al. 2010, J. Opt. Soc. Am. A 27:1593",
        _unsupervised_wiener,
    ),
    (
        "richardson_lucy",
        "Richardson-Lucy",
        "Finds the image that most likely made this one, photon by photon; keeps it smooth where nothing tells more.",
        "Richardson 1972, J. Opt. Soc. Am. 62:55; Lucy 1974, Astron. J. 79:745; Dey et al. 2006, Microsc. Res. Tech. "
        "69:260",
        _richardson_lucy,
    ),
):
    DEBLURRERS.add(Deblurrer(_name, _title, _what, _reference, _with_kernel(_restore)))


def _by_network(folder: Path, sha256: str) -> Callable[[Plane32, Wish], Job[Plane32]]:
    def run(plane: Plane32, wish: Wish) -> Job[Plane32]:
        from napari_focusstack.core.learned.base import load_network

        network = load_network(str(folder), sha256, wish.device)
        import torch

        from napari_focusstack.networks.infer import device_of, in_one, in_tiles

        # Poolings fall as they do in the whole plane.
        step, device = max(16, network.multiple_px), device_of(network)
        margin = max(plane.shape) if network.sees_whole else network.margin_px
        seen, (rows, columns) = _around(wish.within, plane.shape, margin, step=step)
        image = torch.from_numpy(np.ascontiguousarray(plane[seen]))[None, None]
        if network.sees_whole:
            _check_memory(image.shape[-2:], network.bytes_per_px, device, folder.name)
            yield Progress(0, 1, "the whole plane at once")
            found = in_one(network, image, multiple_px=step, device=device)
        else:
            tiles = in_tiles(
                network,
                image,
                margin_px=network.margin_px,
                feather_px=network.margin_px // 3,
                bytes_per_px=network.bytes_per_px,
                multiple_px=step,
                device=device,
            )
            found = yield from by_tiles(tiles)
        restored: Plane32 = np.ascontiguousarray(found[0, 0].numpy()[rows, columns])
        return restored

    return run


def _check_memory(shape: tuple[int, ...], bytes_per_px: int, device: Any, name: str) -> None:
    """Refuse a plane that a network can't see as a whole."""
    from napari_focusstack.networks.memory import free_bytes

    needed, free = shape[0] * shape[1] * bytes_per_px, free_bytes(device)
    if needed > _MOST_MEMORY * free:
        raise InputError(
            f"'{name}' has to see a plane as a whole, which takes {needed / 1e9:.1f} GB for {shape[0]}×{shape[1]} "
            f"pixels, and {free / 1e9:.1f} GB are free: give a smaller part, or choose a method that works in tiles "
            "(deblur_unet)."
        )


def deblurrers_of(card: ModelCard, folder: Path) -> Iterator[Deblurrer]:
    """The deblurrer of a model; none where it does not deblur. Reads no weights."""
    if card.architecture.startswith(PREFIX):
        run = _by_network(folder, card.sha256)
        yield Deblurrer(card.name, card.title, f"{card.task}. {INVENTS}", card.paper, run, card)


DEBLURRERS.follow_models(deblurrers_of)
_PREFERRED = "deblur_unet"


def default_deblurrer() -> str:
    """Name of the method that measures best (docs/restore.md) among those that are there."""
    return _PREFERRED if _PREFERRED in DEBLURRERS else "wiener"
