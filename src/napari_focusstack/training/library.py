"""In-focus images to defocus: read once, turned into amounts of specimen on an empty background, at a few scales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress

Image = NDArray[np.float32]
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
SCALES = (1.0, 0.7, 0.5, 0.36, 0.25)
CRISP_PX = 2.9
"""Width of an edge below which a level counts as sharp; a step blurred by 0.9 px (standard deviation) has it."""
_SMALLEST_PX = 96
_STANDS_BACK = 0.1
_MAX_PIXELS = 1_600_000


@dataclass(frozen=True)
class Sharp:
    """One sharp image.

    Attributes
    ----------
    source : str
        The folder it comes from; splits are made by it, never by patch.
    name : str
        File name.
    levels : tuple of (Y, X) float16 arrays
        Amount of specimen, about 0 (background) … 1, at those of `SCALES` that are sharp to the pixel; the least
        blurred one where none is.
    """

    source: str
    name: str
    levels: tuple[NDArray[np.float16], ...]


def image_files(folder: Path) -> dict[str, list[Path]]:
    """Image files by source: the sub-folders of `folder`, or `folder` itself where its images lie in it.

    Raises
    ------
    InputError
        If there is no image.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        # macOS leaves "._name.tif" files that promise an image and hold none.
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
            inside = path.relative_to(folder).parts
            found.setdefault(inside[0] if len(inside) > 1 else folder.name, []).append(path)
    if not found:
        raise InputError(
            f"'{folder}' holds no image ({', '.join(sorted(SUFFIXES))}): give a folder of sharp images, "
            "one sub-folder for each source."
        )
    return found


def to_grey(image: NDArray[np.generic]) -> Image:
    """(Y, X) float32 of an image that may have colour samples (their mean; alpha, a second or fourth, is dropped).

    Raises
    ------
    InputError
        If it is none: a stack of several planes, say.
    """
    a = np.asarray(image, np.float32)
    if a.ndim == 3 and a.shape[-1] <= 4:
        a = a[..., : {2: 1, 4: 3}.get(a.shape[-1])].mean(axis=-1)
    if a.ndim != 2:
        raise InputError(f"An image of shape {image.shape} was given: give (Y, X) or (Y, X, 3).")
    return np.ascontiguousarray(a)


def noise_level(image: Image) -> float:
    """Standard deviation of white noise in an image (Immerkær 1996, Comput. Vis. Image Underst. 64:300).

    The tenth percentile over blocks of 16×16 pixels, so that texture does not count.
    """
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6.0
    energy = cv2.filter2D(image, cv2.CV_32F, mask) ** 2
    h, w = (s // 16 * 16 for s in image.shape)
    if min(h, w) == 0:
        return float(np.sqrt(energy.mean()))
    blocks = energy[:h, :w].reshape(h // 16, 16, w // 16, 16).mean(axis=(1, 3))
    return float(np.sqrt(np.quantile(blocks, 0.1)))


def amount_of_specimen(grey: Image) -> Image:
    """How much specimen there is at each pixel: 0 at the background, 1 at the most; either may be the brighter."""
    low, middle, high = (float(v) for v in np.percentile(grey, [1, 50, 99.7]))
    if high - low <= 0:
        return np.zeros_like(grey)
    bright_background = middle - low > high - middle
    background = float(np.percentile(grey, 90 if bright_background else 10))
    amount = (
        (background - grey) / (background - low) if bright_background else (grey - background) / (high - background)
    )
    clipped: Image = np.clip(amount, -0.2, 1.5).astype(np.float32)
    return clipped


def without_noise(image: Image, noise: float) -> Image:
    """Flatten an image where nothing but noise is in it.

    A sharp image's own noise is not specimen: blurred along with it, it would teach that noise is detail. Where the
    local standard deviation is below 1.5 of the noise, the local mean stands; above 3, the image; a blend between.
    """
    if noise <= 0:
        return image
    mean = cv2.blur(image, (9, 9))
    deviation = np.sqrt(np.maximum(cv2.blur(image * image, (9, 9)) - mean * mean, 0))
    keep = cv2.blur(np.clip((deviation / noise - 1.5) / 1.5, 0, 1), (5, 5))
    flat: Image = mean + keep * (image - mean)
    return flat


def edge_width(image: Image) -> float:
    """Median width in pixels of the image's strongest edges: how far it is from sharp to the pixel.

    Of each local maximum of the gradient among the strongest 3 %: range of values within 9×9 px, over gradient.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), 0.5)
    slope = np.array([[-0.5, 0, 0.5]], np.float32)
    gradient = np.hypot(cv2.filter2D(smooth, -1, slope), cv2.filter2D(smooth, -1, slope.T))
    square = np.ones((9, 9), np.uint8)
    values = cv2.dilate(smooth, square) - cv2.erode(smooth, square)
    crest = gradient >= cv2.dilate(gradient, np.ones((5, 5), np.uint8))
    edges = crest & (gradient > np.quantile(gradient, 0.97))
    return float(np.median(values[edges] / gradient[edges])) if edges.any() else float("inf")


def read_sharp(path: Path, *, source: str) -> Sharp:
    """Read one sharp image."""
    try:
        grey = to_grey(iio.imread(path))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path.name}' can't be read as an image ({error}): remove it or save it anew.") from error
    amount = amount_of_specimen(grey)
    h, w = amount.shape
    if h * w > _MAX_PIXELS:  # memory: the middle of a large field has texture enough
        keep = (_MAX_PIXELS / (h * w)) ** 0.5
        dh, dw = int(h * (1 - keep) / 2), int(w * (1 - keep) / 2)
        amount = np.ascontiguousarray(amount[dh : h - dh, dw : w - dw])
        h, w = amount.shape
    levels: list[NDArray[np.float16]] = []
    widths: list[float] = []
    for scale in SCALES:
        if levels and min(h, w) * scale < _SMALLEST_PX:
            break
        level = amount if scale == 1 else cv2.resize(amount, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        clean = without_noise(level, noise_level(level))
        levels.append(clean.astype(np.float16))
        widths.append(edge_width(clean))
    crisp = [level for level, width in zip(levels, widths, strict=True) if width <= CRISP_PX]
    return Sharp(source, path.name, tuple(crisp or [levels[int(np.argmin(widths))]]))


def load(folder: Path, *, sources: Sequence[str] | None = None, limit: int | None = None) -> Job[list[Sharp]]:
    """Read the sharp images of a folder.

    Parameters
    ----------
    folder : Path
        Sub-folders are sources.
    sources : sequence of str, optional
        Only these.
    limit : int, optional
        At most so many of each source, evenly spread over its sorted names.
    """
    found = image_files(folder)
    for name in sources or ():
        if name not in found:
            raise InputError(f"'{folder}' has no source '{name}': choose among {', '.join(sorted(found))}.")
    chosen = {k: v for k, v in found.items() if sources is None or k in sources}
    files = [(k, p) for k, paths in chosen.items() for p in _spread(paths, limit)]
    return _load(files)


def _load(files: Sequence[tuple[str, Path]]) -> Job[list[Sharp]]:
    images = []
    for i, (source, path) in enumerate(files):
        images.append(read_sharp(path, source=source))
        yield Progress(i + 1, len(files), f"reading {path.name}")
    return images


def _spread(paths: Sequence[Path], limit: int | None) -> Iterator[Path]:
    n = len(paths)
    if limit is None or n <= limit:
        yield from paths
    else:
        yield from (paths[i * n // limit] for i in range(limit))


def split(images: Sequence[Sharp], *, every: int = 10) -> tuple[list[Sharp], list[Sharp]]:
    """Training and validation images: every tenth file of each source validates (whole files; at least one).

    That is for the loss curve and early stopping. Accuracy is told by sources that are in neither.
    """
    train: list[Sharp] = []
    valid: list[Sharp] = []
    counts: dict[str, int] = {}
    for image in images:
        k = counts.get(image.source, 0)
        counts[image.source] = k + 1
        (valid if k % every == every - 1 else train).append(image)
    if not valid:
        valid = train[-1:]
        train = train[:-1] or train
    return train, valid


def cut(plane: NDArray[np.float16], side: int, rng: np.random.Generator) -> Image:
    """A random (side, side) part of a plane; a smaller plane is mirrored at its borders first."""
    h, w = plane.shape
    y = int(rng.integers(max(1, h - side + 1)))
    x = int(rng.integers(max(1, w - side + 1)))
    part = plane[y : y + side, x : x + side].astype(np.float32)
    short = side - part.shape[0], side - part.shape[1]
    return part if max(short) <= 0 else np.pad(part, ((0, short[0]), (0, short[1])), mode="symmetric")


def textured_crop(
    image: Sharp, side: int, *, margin: int, rng: np.random.Generator, crisp_px: float | None = None
) -> Image:
    """(side, side) amount of specimen, turned and mirrored by chance, with texture within its margin.

    Of up to six places the one with the most contrast; the first that has enough is taken. Where `crisp_px` is given,
    places with wider edges stand back: a sharp image, too, has places that are out of focus.
    """
    plane = image.levels[int(rng.integers(len(image.levels)))]
    best, best_contrast = np.zeros((side, side), np.float32), -1.0
    for _ in range(6):
        crop = cut(plane, side, rng)
        middle = crop[margin : side - margin, margin : side - margin]
        contrast = float(middle.std())
        if crisp_px is not None and edge_width(middle) > crisp_px:
            contrast *= _STANDS_BACK
        if contrast > best_contrast:
            best, best_contrast = crop, contrast
        if contrast > 0.1:
            break
    crop = np.rot90(best, int(rng.integers(4)))
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def by_source(
    images: Sequence[Sharp],
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Indices of images, and how often to draw each: a source counts with the square root of its images.

    So no folder drowns the others.
    """
    found: dict[str, list[int]] = {}
    for i, image in enumerate(images):
        found.setdefault(image.source, []).append(i)
    share = np.concatenate([np.full(len(v), len(v) ** -0.5) for v in found.values()])
    return np.concatenate([np.asarray(v) for v in found.values()]), share / share.sum()
