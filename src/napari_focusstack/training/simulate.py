"""A sharp image and a depth map → a through-focus stack with its truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress, drain
from napari_focusstack.core.stack import Optics, Stack
from napari_focusstack.training import camera
from napari_focusstack.training.library import to_grey
from napari_focusstack.training.optics import (
    Microscope,
    TransferTable,
    as_table_waves,
    bessel_psf,
    gaussian_transfer,
    kernel_transfer,
    lookup,
    refine,
)
from napari_focusstack.training.scene import Map, depth_map, depth_planes
from napari_focusstack.training.settings import SimulationSettings


@dataclass(frozen=True)
class Simulated:
    """A simulated stack and its truth.

    Attributes
    ----------
    stack : Stack
        ZYX or ZYXS, 8 or 16 bit, calibrated.
    all_in_focus : (Y, X) or (Y, X, 3) float32
        What a camera without noise, dirt, drift or shading would see if all of the specimen were in focus; 0 … 1.
    depth_um : (Y, X) float32
        Height of the specimen at each pixel.
    defocus_um : (Z, Y, X) float32
        Height of the slice minus height of the specimen.
    in_focus : (Z, Y, X) bool
        Specimen within half a depth of field; never on dirt or on empty background.
    dirt : (Y, X) bool
        Where dirt lies.
    microscope : Microscope
        The optics.
    """

    stack: Stack
    all_in_focus: NDArray[np.float32]
    depth_um: Map
    defocus_um: NDArray[np.float32]
    in_focus: NDArray[np.bool_]
    dirt: NDArray[np.bool_]
    microscope: Microscope

    @property
    def best_slice(self) -> NDArray[np.intp]:
        """(Y, X) slice nearest to the specimen's height."""
        nearest: NDArray[np.intp] = np.abs(self.defocus_um).argmin(axis=0)
        return nearest


def microscope(settings: SimulationSettings) -> Microscope:
    """The optics that the settings describe."""
    s = settings
    return Microscope(s.na, s.wavelength_um, s.index, s.pixel_um, s.spherical_waves, s.coherence)


def simulate(
    image: NDArray[Any], settings: SimulationSettings | None = None, *, depth_um: Map | None = None
) -> Simulated:
    """Run `simulation` to its end."""
    return drain(simulation(image, settings, depth_um=depth_um))


def simulation(
    image: NDArray[Any], settings: SimulationSettings | None = None, *, depth_um: Map | None = None
) -> Job[Simulated]:
    """Turn a sharp image into a through-focus stack.

    The image is taken for the object. Its highest value is light at 90 % of the camera's range.

    Parameters
    ----------
    image : (Y, X) or (Y, X, 3) array
        In focus all over. Dark or bright background.
    settings : SimulationSettings, optional
        Microscope, specimen, camera.
    depth_um : (Y, X) array, optional
        Height of the specimen; drawn at random as the settings say where not given.

    Raises
    ------
    InputError
        If the image is no plane or `depth_um` has another shape.
    """
    settings = settings or SimulationSettings()
    rng = np.random.default_rng(settings.seed)
    microscope(settings)  # refuses impossible optics before anything is computed
    light = as_light(image)
    shape = light.shape[1], light.shape[2]
    if depth_um is None:
        depth_um = depth_map(settings.relief, shape, relief_um=settings.relief_um, rng=rng)
    if depth_um.shape != shape:
        raise InputError(f"A depth map of {depth_um.shape} was given for an image of {shape}: give the same size.")
    return _run(light, depth_um.astype(np.float32), settings, rng)


def _run(light: Tensor, depth_um: Map, s: SimulationSettings, rng: np.random.Generator) -> Job[Simulated]:
    shape = light.shape[1], light.shape[2]
    specimen = LitSpecimen(light, depth_um, s)
    ink = camera.draw_dirt(rng, shape, pieces=s.dirt) if s.dirt else np.zeros(shape, np.float32)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    shade = camera.uneven(1, shape=shape, strength=s.shading, generator=generator)
    shift = np.cumsum(rng.normal(0, s.drift_px, (s.slices, 2)), axis=0) if s.drift_px else np.zeros((s.slices, 2))
    planes = []
    for z, height in enumerate(s.heights_um):
        seen = specimen.at(float(height))
        if s.dirt:
            seen = seen * (1 - specimen.blur_dirt(ink, float(height)))
        if s.drift_px:
            seen = _shifted(seen, *shift[z])
        seen = (seen * shade * float(np.exp(rng.normal(0, s.flicker)))).clamp(0, 1)
        taken = camera.expose(
            seen, electrons=s.electrons, read_noise=s.read_noise, offset=s.offset, generator=generator
        )
        planes.append(stored(taken, s))
        yield Progress(z + 1, s.slices, f"slice {z + 1} of {s.slices}")
    defocus = (s.heights_um[:, None, None] - depth_um[None]).astype(np.float32)
    dirty = cv2.dilate((np.abs(ink) > 0.02).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    half = microscope(s).depth_of_field_um / 2
    in_focus = (np.abs(defocus) <= half) & _textured(light)[None] & ~dirty[None]
    data = np.stack(planes)
    stack = Stack(
        data,
        "ZYXS" if data.ndim == 4 else "ZYX",
        name="simulated",
        y_um=s.pixel_um,
        x_um=s.pixel_um,
        z_um=s.z_um if s.slices > 1 else None,
        axes_note="simulated",
        optics=Optics(na=s.na, wavelength_um=s.wavelength_um, immersion_index=s.index),
        metadata={"simulation": s.model_dump()},
    )
    return Simulated(stack, _channels_last(specimen.sharp()), depth_um, defocus, in_focus, dirty, microscope(s))


def as_light(image: NDArray[Any]) -> Tensor:
    """(C, Y, X) light, 0 … 0.9, of a (Y, X) or (Y, X, 3) image."""
    a = np.asarray(image, np.float32)
    a = a[..., :3].transpose(2, 0, 1) if a.ndim == 3 and a.shape[-1] in (3, 4) else to_grey(a)[None]
    if not np.isfinite(a).all():
        raise InputError("The image holds NaN or infinity: replace them by numbers first.")
    low, high = min(0.0, float(a.min())), float(a.max())
    return torch.from_numpy(np.ascontiguousarray((a - low) / max(high - low, 1e-9) * 0.9))


def _channels_last(image: Tensor) -> NDArray[np.float32]:
    a = image.numpy()
    out: NDArray[np.float32] = np.ascontiguousarray(a[0] if len(a) == 1 else a.transpose(1, 2, 0))
    return out


def _textured(light: Tensor) -> NDArray[np.bool_]:
    """Where there is specimen: local contrast over 17×17 px above a twentieth of the strongest."""
    grey = light.mean(dim=0).numpy()
    mean = cv2.blur(grey, (17, 17))
    deviation = np.sqrt(np.maximum(cv2.blur(grey * grey, (17, 17)) - mean * mean, 0))
    mask: NDArray[np.bool_] = deviation > max(0.05 * float(np.quantile(deviation, 0.99)), 1e-4)
    return mask


def _shifted(image: Tensor, dy: float, dx: float) -> Tensor:
    """Shift by parts of a pixel; the border is repeated."""
    move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    moved = [
        cv2.warpAffine(c.numpy(), move, c.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        for c in image
    ]
    return torch.from_numpy(np.stack(moved))


def stored(image: Tensor, s: SimulationSettings) -> NDArray[Any]:
    """Rounded to the camera's bits, as the file holds it."""
    if s.jpeg is not None:
        image = torch.stack([camera.compress(c, quality=s.jpeg) for c in image])
    top = 2**s.bits - 1
    values = torch.round(image * top)
    return _channels_last(values).astype(np.uint8 if s.bits == 8 else np.uint16)


@lru_cache(maxsize=4)
def _table(coherence: float) -> TransferTable:
    return TransferTable(coherence=coherence)


class LitSpecimen:
    """The specimen in light: sharp, or as seen with the focus at a height.

    Parameters
    ----------
    light : (C, Y, X) tensor
        See `as_light`.
    depth_um : (Y, X) array
        Height of the specimen.
    s : SimulationSettings
        The optics; margins reach as far as the slices' heights do.
    """

    def __init__(self, light: Tensor, depth_um: Map, s: SimulationSettings) -> None:
        self.s, self.light = s, light
        self.shape = light.shape[1], light.shape[2]
        reach = float(np.abs(s.heights_um).max() + np.abs(depth_um).max())
        m = microscope(s)
        disc = reach * m.na / (m.index * m.pixel_um)
        # Mirrored margins keep light from coming in at the opposite border; half the widest blur is plenty.
        self.margin = int(min(max(16.0, disc), min(self.shape) - 1, 256))
        self.padded = _fast(self.shape[0] + 2 * self.margin), _fast(self.shape[1] + 2 * self.margin)
        self.where = lookup(sampling=m.sampling, shape=self.padded)
        heights, weights = depth_planes(depth_um, spacing_um=m.depth_of_field_um / 2)
        filled = weights.any(axis=(1, 2))
        self.heights, weights = heights[filled], weights[filled]
        bright = float(light.median()) > float(light.max()) / 2
        self.ground = torch.quantile(light.flatten(1)[:, ::7], 0.95 if bright else 0.0, dim=1)[:, None, None]
        if s.blur != "brightfield":
            self.ground = torch.zeros_like(self.ground)
        w = torch.from_numpy(weights)
        if s.occlusion:
            # What lies lower goes on under what hides it, so each layer holds all that is as high or higher.
            w = torch.flip(torch.cumsum(torch.flip(w, (0,)), dim=0), (0,)).clamp(max=1)
            self.cover = torch.stack([self._spectrum(v[None]) for v in w])
        self.spectra = torch.stack([self._spectrum((light - self.ground) * v) for v in w])
        amount = (light - self.ground).abs() / (light - self.ground).abs().max().clamp(min=1e-9)
        if s.blur == "brightfield" and s.phase_rad:
            self.phase = torch.stack([self._spectrum(amount * s.phase_rad * v) for v in w])

    def _spectrum(self, image: Tensor) -> Tensor:
        m, (h, w) = self.margin, self.padded
        below, right = h - m - self.shape[0], w - m - self.shape[1]
        wide = np.pad(image.numpy(), ((0, 0), (m, below), (m, right)), mode="symmetric")
        spectrum: Tensor = torch.fft.rfft2(torch.from_numpy(wide))
        return spectrum

    def _back(self, spectrum: Tensor) -> Tensor:
        m = self.margin
        image: Tensor = torch.fft.irfft2(spectrum, s=self.padded)
        return image[..., m : m + self.shape[0], m : m + self.shape[1]]

    def _transfer(self, defocus_um: Tensor) -> Tensor:
        """(K,) µm → (K, Y, X/2 + 1) transfer; complex for brightfield (imaginary: of phase) and Bessel."""
        s, m, shape = self.s, microscope(self.s), self.padded
        if s.blur == "gaussian":
            sigma = defocus_um.abs() * m.na / (m.index * m.pixel_um) / 2
            return gaussian_transfer(sigma, shape=shape)
        if s.blur == "bessel":
            side = min(shape) - 1 + min(shape) % 2
            kernels = [bessel_psf(m, defocus_um=float(z), size=side) for z in defocus_um]
            return torch.stack([kernel_transfer(k, shape=shape) for k in kernels])
        waves, spherical = as_table_waves(defocus_um, m)
        if s.blur == "fluorescence":
            return refine(_table(1.0)(waves, spherical).real)[:, self.where]
        return refine(_table(s.coherence)(waves, spherical))[:, self.where]

    def at(self, height_um: float) -> Tensor:
        """(C, Y, X) light with the focus at a height."""
        transfer = self._transfer(torch.from_numpy(height_um - self.heights))
        return self._seen(transfer)

    def sharp(self) -> Tensor:
        """(C, Y, X) light with everything in focus."""
        return self._seen(self._transfer(torch.zeros(len(self.heights)))).clamp(0, 1)

    def _seen(self, transfer: Tensor) -> Tensor:
        absorb = transfer.real if self.s.blur == "brightfield" else transfer
        if self.s.occlusion:
            seen = torch.zeros_like(self.light)
            for spectrum, cover, t in zip(self.spectra, self.cover, absorb, strict=True):
                seen = seen * (1 - self._back(cover * t).clamp(0, 1)) + self._back(spectrum * t)
            return self.ground + seen
        total = torch.zeros_like(self.spectra[0])
        for spectrum, t in zip(self.spectra, absorb, strict=True):
            total += spectrum * t
        seen = self.ground + self._back(total)
        if self.s.blur == "brightfield" and self.s.phase_rad:
            seen = seen + 2 * self.ground * self._back((self.phase * transfer.imag[:, None]).sum(dim=0))
        return seen

    def blur_dirt(self, ink: Map, height_um: float) -> Tensor:
        """(1, Y, X) opacity of the dirt as the focus at that height shows it."""
        image = torch.from_numpy(ink)[None]
        if self.s.dirt_um is None:
            return image
        t = self._transfer(torch.tensor([height_um - self.s.dirt_um]))[0]
        return self._back(self._spectrum(image) * (t.real if self.s.blur == "brightfield" else t))


def _fast(n: int) -> int:
    """The next size made of 2, 3 and 5: quick to transform."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1
