"""Pairs with truth: two photographs or micrographs of one scene, near and far in focus, as published test sets hold.

Three kinds, from sharp images: *step*, one image in front of another with a border between them that the blur of
either reaches across; *slope*, a surface that goes from near to far; *mask*, one image of which either region was
blurred by a Gaussian, as many test sets are made. Noise is that of a good camera, and every other pair went through
JPEG. Photographs come with scikit-image (public domain or CC0). Pairs of the sources in `HELD_OUT` are looked at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from scenes import Image, Layer, Scene, blobs, flat, slope

PHOTOS = ("astronaut", "chelsea", "gravel", "camera", "coffee", "motorcycle_left", "rocket", "coins", "brick", "retina")
HELD_OUT = ("coffee", "motorcycle_left", "rocket", "coins", "brick", "retina", "bccd", "cellprofiler", "board", "pcb")
SOURCES = ("dsb2018", "cellprofiler", "bccd")
STACKS = {"board": ("board.ome.tif", 11), "pcb": ("pcb/pcb_004.jpg", 0)}
KINDS = ("step", "slope", "mask")


@dataclass(frozen=True)
class Pair:
    """Two slices (2, Y, X, 3) uint8, near and far in focus, and what both would show if all were sharp."""

    name: str
    stack: Image
    truth: Image
    held_out: bool


def pairs(shape: tuple[int, int], data: Path | None, *, noise: float = 1.0) -> Iterator[Pair]:
    """Every pair; `data` is a folder with ``sharp/SOURCE/*`` and ``stacks/``, without it there are photographs only.

    `noise` is a factor on the noise of a good camera, 1.5 grey levels of 255.
    """
    for k, (name, images) in enumerate(_images(shape, data)):
        for j, kind in enumerate(KINDS):
            rng = np.random.default_rng([8, k, j])
            jpeg = (k + j) % 2 == 1
            made = _pair(kind, images, rng, noise=noise, jpeg=jpeg)
            yield Pair(f"{name} {kind}{' jpeg' * jpeg}", *made, name in HELD_OUT)


def _images(shape: tuple[int, int], data: Path | None) -> Iterator[tuple[str, list[Image]]]:
    from skimage import data as photographs

    folder = Path(photographs.__file__).parent
    for name in PHOTOS:
        file = next(folder.glob(f"{name}.*"))
        yield name, _crops(cv2.imread(str(file)), shape)
    if data is None or not data.is_dir():
        return
    for name in SOURCES:
        rng = np.random.default_rng([9, len(name)])
        files = sorted((data / "sharp" / name).iterdir())
        chosen = [cv2.imread(str(files[i])) for i in rng.permutation(len(files))[:4]]
        for a, b in ((0, 1), (2, 3)):
            yield name, [_crops(chosen[i], shape)[0] for i in (a, b)]
    for name, (file, z) in STACKS.items():
        yield name, _crops(_frame(data / "stacks" / file, z), shape)


def _frame(path: Path, z: int) -> Image:
    if path.suffix == ".jpg":
        return cv2.imread(str(path))
    import tifffile

    return np.ascontiguousarray(tifffile.imread(path, key=z)[..., ::-1])


def _crops(image: Image, shape: tuple[int, int]) -> list[Image]:
    """Two crops of an image, the second mirrored where there is only one; RGB 0…1."""
    image = image[..., ::-1].astype(np.float32) / 255
    # Half the size where that suffices: photographs are rarely sharp to the pixel.
    while min(image.shape[0] / shape[0], image.shape[1] / shape[1]) > 1.6:
        image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    need = [max(0, s - i) for s, i in zip(shape, image.shape[:2], strict=True)]
    image = np.pad(image, ((0, need[0]), (0, need[1]), (0, 0)), mode="symmetric")
    image = 0.01 + 0.97 * image
    first = image[: shape[0], : shape[1]]
    second = image[-shape[0] :, -shape[1] :][:, ::-1]
    return [np.ascontiguousarray(first), np.ascontiguousarray(second)]


def _pair(kind: str, images: list[Image], rng: np.random.Generator, *, noise: float, jpeg: bool) -> tuple[Image, Image]:
    shape = images[0].shape[:2]
    opaque = np.ones(shape, np.float32)
    blur_px = float(rng.uniform(3, 12))
    light = {"photons": 20000.0 / noise**2, "read": 0.003 * noise, "flicker": 0.0}
    if kind == "slope":
        height = slope(shape, rng, low=0, high=1, waves=1.0)
        scene = Scene(kind, [Layer(images[0], opaque, height)], blur_px=blur_px, **light)
    else:
        near = blobs(rng, shape, cover=float(rng.uniform(0.25, 0.6)), size=float(rng.uniform(40, 80)))
        layers = [Layer(images[0], opaque, flat(shape, 0.0)), Layer(images[1], near, flat(shape, 1.0))]
        scene = Scene(kind, layers, blur_px=blur_px, **light)
    if kind == "mask":
        stack, truth = _masked(images[0], near, blur_px / 2, rng, noise=noise)
    else:
        stack, truth = scene.stack(2), scene.truth()
    if jpeg:
        stack = np.stack([_through_jpeg(plane, int(rng.integers(85, 97))) for plane in stack])
    return stack, truth


def _masked(image: Image, near: Image, sigma: float, rng: np.random.Generator, *, noise: float) -> tuple[Image, Image]:
    """One image, sharp within the mask and blurred outside, and the other way round."""
    blurred = cv2.GaussianBlur(image, (0, 0), sigma)
    mask = near[..., None]
    slices = [mask * image + (1 - mask) * blurred, (1 - mask) * image + mask * blurred]
    noisy = [255 * (s + 0.003 * noise * rng.standard_normal(s.shape)) for s in slices]
    return (
        np.stack([np.clip(np.rint(s), 0, 255).astype(np.uint8) for s in noisy]),
        np.clip(np.rint(255 * image), 0, 255).astype(np.uint8),
    )


def _through_jpeg(plane: Image, quality: int) -> Image:
    _, coded = cv2.imencode(".jpg", plane[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
