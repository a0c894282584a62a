"""Scenes with truth: layers at known heights, defocused with proper occlusion, with noise and flicker.

A scene is a list of layers from far to near. A layer has colours, an opacity and a height at every pixel; it may be a
slope. In slice s each layer is blurred by a disc of radius ``r = blur_px · |height - focus(s)|`` (colours times
opacity, and opacity, each), then laid over those behind it, ``out = out · (1 - B[a]) + B[a · colour]``; light that is
emitted adds instead. The truth is the same with every layer sharp. Then come the flicker of the lamp, shot noise, read
noise and the rounding of the camera.

Textures are procedural, so that anyone can run this; given a folder of sharp images (``sharp/SOURCE/*.png``) more
scenes are made from those. Each scene belongs to a source; sources marked *held out* were not looked at when settings
were chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

Image = np.ndarray


@dataclass(frozen=True)
class Layer:
    """Colours (Y, X, K) 0…1, opacity (Y, X) 0…1, height (Y, X) 0…1 of the range that the slices span."""

    colour: Image
    alpha: Image
    height: Image


@dataclass(frozen=True)
class Scene:
    """A through-focus stack to be, and its truth."""

    name: str
    layers: list[Layer]
    blur_px: float = 30.0
    emission: bool = False
    bits: int = 8
    photons: float = 4000.0
    read: float = 0.004
    flicker: float = 0.015
    held_out: bool = False
    _ladders: dict[int, list[tuple[float, Image]]] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype:
        """Pixel type of the camera."""
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    @property
    def top(self) -> int:
        """Brightest grey level of the camera."""
        return 2**self.bits - 1

    def truth(self) -> Image:
        """All layers sharp, in the camera's type."""
        return self._camera(self._compose([self._premultiplied(i) for i in range(len(self.layers))]))

    def height(self) -> Image:
        """(Y, X) height of what is seen, 0…1: the nearest opaque layer, or the brightest where light is emitted."""
        height = self.layers[0].height.copy()
        brightest = self.layers[0].colour.sum(axis=-1)
        for layer in self.layers[1:]:
            light = layer.colour.sum(axis=-1)
            np.copyto(height, layer.height, where=light > brightest if self.emission else layer.alpha > 0.5)
            np.maximum(brightest, light, out=brightest)
        return height

    def stack(self, n: int, *, seed: int = 0, flicker: float | None = None) -> Image:
        """(n, Y, X[, 3]) slices, focused from height 0 to 1."""
        rng = np.random.default_rng([seed, n])
        flicker = self.flicker if flicker is None else flicker
        slices = []
        for focus in np.linspace(0, 1, n):
            image = self._compose([self._blurred(i, focus) for i in range(len(self.layers))])
            image *= 1 + rng.uniform(-flicker, flicker)
            np.maximum(image, 0, out=image)
            noisy = rng.poisson(image * self.photons).astype(np.float32) / self.photons
            noisy += self.read * rng.standard_normal(image.shape, np.float32)
            slices.append(self._camera(noisy))
        return np.stack(slices)

    def _camera(self, image: Image) -> Image:
        image = np.clip(np.rint(image * self.top), 0, self.top).astype(self.dtype)
        return image[..., 0] if image.shape[-1] == 1 else image

    def _premultiplied(self, i: int) -> Image:
        layer = self.layers[i]
        alpha = layer.alpha[..., None]
        return np.concatenate([layer.colour * alpha, alpha], axis=-1).astype(np.float32)

    def _compose(self, images: list[Image]) -> Image:
        out = images[0][..., :-1].copy()
        for image in images[1:]:
            if not self.emission:
                out *= 1 - image[..., -1:]
            out += image[..., :-1]
        return out

    def _blurred(self, i: int, focus: float) -> Image:
        ladder = self._ladder(i)
        radius = self.blur_px * np.abs(self.layers[i].height - focus)
        out = np.zeros_like(ladder[0][1])
        for k, (r, image) in enumerate(ladder):
            share = (radius - ladder[k - 1][0]) / (r - ladder[k - 1][0]) if k else np.ones_like(radius)
            if k + 1 < len(ladder):
                share = np.minimum(share, (ladder[k + 1][0] - radius) / (ladder[k + 1][0] - r))
            share = np.clip(share, 0, 1)
            if share.any():
                out += share[..., None].astype(np.float32) * image
        return out

    def _ladder(self, i: int) -> list[tuple[float, Image]]:
        """The layer blurred by radii that grow by 2^(1/2): what lies between is interpolated."""
        if i not in self._ladders:
            sharp = self._premultiplied(i)
            radii = 0.5 * 2 ** (np.arange(0, 40) / 2)
            reach = np.ptp(np.append(self.layers[i].height, (0, 1)))
            last = np.searchsorted(radii, self.blur_px * reach)
            ladder = [(0.0, sharp), *((float(r), _disc_blur(sharp, float(r))) for r in radii[: last + 1])]
            self._ladders[i] = ladder
        return self._ladders[i]

    def forget(self) -> None:
        """Free the blurred layers."""
        self._ladders.clear()


def _disc_blur(image: Image, radius: float) -> Image:
    half = int(np.ceil(radius)) + 1
    fine = np.abs(np.arange(-half * 4 - 2, half * 4 + 2) + 0.5) / 4
    disc = (np.hypot(fine[:, None], fine) <= radius).astype(np.float32)
    kernel = cv2.resize(disc, (2 * half + 1, 2 * half + 1), interpolation=cv2.INTER_AREA)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


# Textures, each (Y, X, K) 0…1 ---------------------------------------------------------------------------------------


def octaves(rng: np.random.Generator, shape: tuple[int, int], *, slope: float = 1.0, coarsest: float = 64) -> Image:
    """(Y, X) noise of many scales, mean 0, standard deviation 1; a higher slope is smoother."""
    total, sigma = np.zeros(shape, np.float32), 0.7
    while sigma <= coarsest:
        step = max(1, int(sigma / 2))
        small = rng.standard_normal((shape[0] // step + 2, shape[1] // step + 2), np.float32)
        small = cv2.GaussianBlur(small, (0, 0), sigma / step)
        grown = cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
        total += grown / grown.std() * sigma ** (slope - 0.5) / 8
        sigma *= 2
    return (total - total.mean()) / total.std()


def coloured(grey: Image, dark: tuple[float, ...], bright: tuple[float, ...], tint: Image | None = None) -> Image:
    """Map grey 0…1 to a line of colours; `tint` (Y, X) shifts it across."""
    a, b = np.asarray(dark, np.float32), np.asarray(bright, np.float32)
    out = a + (b - a) * np.clip(grey, 0, 1)[..., None]
    if tint is not None:
        out *= 1 + 0.15 * tint[..., None] * np.asarray((1.0, -0.5, 0.7), np.float32)[: len(a)]
    return np.clip(out, 0.01, 0.98).astype(np.float32)


def cells(rng: np.random.Generator, shape: tuple[int, int], *, spacing: int = 26) -> Image:
    """(Y, X) 0…1: cells with dark borders and darker, textured nuclei."""
    h, w = shape
    points = rng.uniform((0, 0), (h, w), (h * w // spacing**2, 2)).astype(np.float32)
    seeds = np.full(shape, 255, np.uint8)
    seeds[points[:, 0].astype(int), points[:, 1].astype(int)] = 0
    distance, _ = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5)
    border = np.exp(-((np.abs(cv2.Laplacian(cv2.GaussianBlur(distance, (0, 0), 1), cv2.CV_32F)) / 0.4) ** 2))
    nucleus = 1 / (1 + np.exp(distance - spacing * 0.22))
    return np.clip(0.55 + 0.35 * border - 0.45 * nucleus * (1 + 0.3 * octaves(rng, shape, slope=0.3)), 0, 1)


def blobs(rng: np.random.Generator, shape: tuple[int, int], *, cover: float, size: float) -> Image:
    """(Y, X) opacity 0…1 of irregular islands with crisp borders that cover a share of the area."""
    field_ = cv2.resize(
        cv2.GaussianBlur(rng.standard_normal((shape[0] // 4 + 1, shape[1] // 4 + 1), np.float32), (0, 0), size / 4),
        (shape[1], shape[0]),
        interpolation=cv2.INTER_CUBIC,
    )
    edge = np.quantile(field_, 1 - cover)
    slope = np.hypot(*np.gradient(field_)) + 1e-6
    return np.clip((field_ - edge) / slope + 0.5, 0, 1).astype(np.float32)


def filaments(rng: np.random.Generator, shape: tuple[int, int], *, count: int, width: float = 2.0) -> Image:
    """(Y, X) 0…1: smooth thin curves."""
    out = np.zeros((shape[0] * 2, shape[1] * 2), np.uint8)
    for _ in range(count):
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, 200))
        path = rng.uniform((0, 0), (out.shape[1], out.shape[0])) + np.cumsum(
            8 * np.stack([np.cos(heading), np.sin(heading)], -1), 0
        )
        cv2.polylines(out, [path.astype(np.int32)], False, 255, max(1, round(2 * width)), cv2.LINE_AA)
    return cv2.resize(out, (shape[1], shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def spots(rng: np.random.Generator, shape: tuple[int, int], *, count: int, sigma: float = 1.3) -> Image:
    """(Y, X): Gaussian spots of very different brightness, up to about 1."""
    out = np.zeros(shape, np.float32)
    y, x = rng.integers(0, shape[0], count), rng.integers(0, shape[1], count)
    np.maximum.at(out, (y, x), rng.uniform(0.03, 1, count).astype(np.float32) ** 2)
    return np.clip(cv2.GaussianBlur(out, (0, 0), sigma) * (2 * np.pi * sigma**2) * 0.9, 0, 1)


def slope(shape: tuple[int, int], rng: np.random.Generator, *, low: float, high: float, waves: float = 0.0) -> Image:
    """(Y, X) height: a tilted plane between two heights, with hills."""
    h, w = shape
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    plane = np.cos(angle) * xx / w + np.sin(angle) * yy / h
    if waves:
        plane += waves * octaves(rng, shape, slope=3, coarsest=256) * 0.3
    plane = (plane - plane.min()) / np.ptp(plane)
    return (low + (high - low) * plane).astype(np.float32)


def flat(shape: tuple[int, int], height: float) -> Image:
    return np.full(shape, height, np.float32)


# Scenes ------------------------------------------------------------------------------------------------------------


def _opaque(shape: tuple[int, int]) -> Image:
    return np.ones(shape, np.float32)


def tissue(shape: tuple[int, int], seed: int, **options) -> Scene:
    """Stained tissue under islands of other tissue, which hide what is behind them. RGB 8 bit."""
    rng = np.random.default_rng([1, seed])
    back = coloured(cells(rng, shape), (0.35, 0.12, 0.45), (0.95, 0.75, 0.9), octaves(rng, shape))
    layers = [Layer(back, _opaque(shape), slope(shape, rng, low=0, high=0.5, waves=0.5))]
    for height, cover, size in ((0.6, 0.15, 30), (0.95, 0.1, 18)):
        grey = 0.5 + 0.2 * octaves(rng, shape, slope=0.5)
        front = coloured(grey, tuple(rng.uniform(0.05, 0.4, 3)), tuple(rng.uniform(0.5, 0.95, 3)))
        layers.append(Layer(front, blobs(rng, shape, cover=cover, size=size), flat(shape, height)))
    return Scene(f"tissue {seed}", layers, **options)


def weak(shape: tuple[int, int], seed: int, **options) -> Scene:
    """Weak texture under noise, with a few strong objects. RGB 8 bit."""
    rng = np.random.default_rng([2, seed])
    grey = 0.5 + 0.03 * octaves(rng, shape, slope=0.8)
    back = coloured(grey, (0.3, 0.3, 0.35), (0.9, 0.85, 0.8))
    layers = [Layer(back, _opaque(shape), slope(shape, rng, low=0, high=0.9, waves=1))]
    front = coloured(0.5 + 0.15 * octaves(rng, shape, slope=0.4), (0.1, 0.15, 0.1), (0.7, 0.6, 0.3))
    layers.append(Layer(front, blobs(rng, shape, cover=0.08, size=20), flat(shape, 0.8)))
    return Scene(f"weak {seed}", layers, **{"photons": 1500.0, "read": 0.008, **options})


def relief(shape: tuple[int, int], seed: int, **options) -> Scene:
    """A textured landscape without steps. RGB 8 bit, little noise."""
    rng = np.random.default_rng([3, seed])
    grey = 0.5 + 0.18 * octaves(rng, shape, slope=0.8)
    colour = coloured(grey, (0.15, 0.2, 0.1), (0.9, 0.8, 0.6), octaves(rng, shape, slope=1.2))
    height = slope(shape, rng, low=0, high=1, waves=2)
    return Scene(f"relief {seed}", [Layer(colour, _opaque(shape), height)], **{"blur_px": 15.0, **options})


def web(shape: tuple[int, int], seed: int, **options) -> Scene:
    """Thin filaments far above a textured ground: at full blur they turn translucent. RGB 8 bit."""
    rng = np.random.default_rng([4, seed])
    ground = coloured(0.55 + 0.12 * octaves(rng, shape, slope=0.6), (0.25, 0.15, 0.1), (0.95, 0.9, 0.75))
    layers = [Layer(ground, _opaque(shape), slope(shape, rng, low=0, high=0.3))]
    for height, width in ((0.55, 2.0), (0.75, 3.0), (1.0, 4.0)):
        threads = filaments(rng, shape, count=shape[0] * shape[1] // 60000, width=width)
        colour = coloured(
            0.5 + 0.2 * octaves(rng, shape, slope=0.5), (0.05, 0.05, 0.1), tuple(rng.uniform(0.2, 0.9, 3))
        )
        layers.append(Layer(colour, threads, flat(shape, height)))
    return Scene(f"web {seed}", layers, **options)


def fluorescence(shape: tuple[int, int], seed: int, **options) -> Scene:
    """Nuclei, filaments and spots that shine through each other on black. Grey 12 in 16 bit."""
    rng = np.random.default_rng([5, seed])
    layers = [Layer(np.full((*shape, 1), 0.02, np.float32), _opaque(shape), flat(shape, 0.5))]
    for height in (0.1, 0.35, 0.6, 0.85):
        nuclei = blobs(rng, shape, cover=0.06, size=16) * np.clip(0.35 + 0.1 * octaves(rng, shape, slope=0.6), 0.02, 1)
        threads = 0.15 * filaments(rng, shape, count=shape[0] * shape[1] // 90000, width=1.0)
        light = nuclei + threads + 0.6 * spots(rng, shape, count=shape[0] * shape[1] // 8000)
        layers.append(Layer(light[..., None].astype(np.float32), _opaque(shape), flat(shape, height)))
    defaults = {"emission": True, "bits": 12, "photons": 1200.0, "read": 0.002, "blur_px": 20.0}
    return Scene(f"fluorescence {seed}", layers, **{**defaults, **options})


def sparse(shape: tuple[int, int], seed: int, **options) -> Scene:
    """Bright spots, each at its own height, on a faint uneven background: rings and ghosts. Grey 16 bit."""
    rng = np.random.default_rng([6, seed])
    ground = 0.03 + 0.008 * octaves(rng, shape, slope=2)
    layers = [Layer(np.clip(ground, 0.005, 1)[..., None], _opaque(shape), flat(shape, 0.2))]
    layers += [
        Layer(
            spots(rng, shape, count=shape[0] * shape[1] // 9000, sigma=1.6)[..., None], _opaque(shape), flat(shape, h)
        )
        for h in np.linspace(0.05, 0.95, 6)
    ]
    defaults = {"emission": True, "bits": 16, "photons": 2000.0, "read": 0.002, "blur_px": 24.0}
    return Scene(f"sparse {seed}", layers, **{**defaults, **options})


PROCEDURAL: dict[str, Callable[..., Scene]] = {f.__name__: f for f in (tissue, weak, relief, web, fluorescence, sparse)}


def photographed(folder: Path, shape: tuple[int, int], seed: int, **options) -> Scene:
    """Crops of sharp images of one source as ground and islands. RGB or grey, 8 bit."""
    rng = np.random.default_rng([7, seed])
    files = sorted(p for p in folder.iterdir() if p.suffix in (".png", ".jpg"))
    images = [_tile(cv2.imread(str(files[i])), shape) for i in rng.permutation(len(files))[:3]]
    while len(images) < 3:
        images.append(images[len(images) % len(files)][::-1, ::-1])
    layers = [Layer(images[0], _opaque(shape), slope(shape, rng, low=0, high=0.6, waves=0.7))]
    for image, height, cover in zip(images[1:], (0.7, 1.0), (0.15, 0.08), strict=True):
        layers.append(Layer(image, blobs(rng, shape, cover=cover, size=24), flat(shape, height)))
    return Scene(f"{folder.name} {seed}", layers, **options)


def _tile(image: Image, shape: tuple[int, int]) -> Image:
    """RGB 0…1 of a shape: cropped, or repeated in mirror image."""
    need = [max(0, s - i) for s, i in zip(shape, image.shape[:2], strict=True)]
    image = np.pad(image, ((0, need[0]), (0, need[1]), (0, 0)), mode="symmetric")[: shape[0], : shape[1], ::-1]
    image = image.astype(np.float32)
    return np.ascontiguousarray(0.02 + 0.94 * image / max(1.0, float(image.max())))


HELD_OUT_SEEDS = (1,)
HELD_OUT_SOURCES = ("bccd", "cellprofiler")
SOURCES = ("qupath_he", "bccd", "dsb2018", "cellprofiler", "neubias")


def scenes(shape: tuple[int, int] = (640, 768), sharp: Path | None = None) -> Iterator[Scene]:
    """Every scene: of each kind one to choose settings on and one held out; of photographs, whole sources held out."""
    for seed in (0, *HELD_OUT_SEEDS):
        for make in PROCEDURAL.values():
            yield make(shape, seed, held_out=seed in HELD_OUT_SEEDS)
    if sharp is not None and sharp.is_dir():
        for k, source in enumerate(SOURCES):
            if (sharp / source).is_dir():
                yield photographed(sharp / source, shape, k, held_out=source in HELD_OUT_SOURCES)
