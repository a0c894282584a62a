"""What the demo microscope looks at: a slide whose image is computed for where the stage stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from napari_focusstack.core.stack import Optics
from napari_focusstack.training import camera
from napari_focusstack.training.library import to_grey
from napari_focusstack.training.settings import SimulationSettings
from napari_focusstack.training.simulate import LitSpecimen, as_light, microscope, stored

REACH_UM = 40.0
SLIDE_PX = 1536


def optics_of_demo() -> SimulationSettings:
    """A dry 20×/0.75 in fluorescence with a little spherical aberration, and a 16-bit camera."""
    return SimulationSettings(slices=3, z_um=REACH_UM, relief="flat", spherical_waves=0.1)


@lru_cache(maxsize=2)
def drawn_cells(size_px: int = SLIDE_PX, seed: int = 0) -> NDArray[np.float32]:
    """A slide of cells, in focus all over: bodies with grain, and brighter nuclei; (Y, X), 0 … 1."""
    rng = np.random.default_rng(seed)
    bodies = np.zeros((size_px, size_px), np.float32)
    nuclei = np.zeros_like(bodies)
    for _ in range(round(120 * (size_px / SLIDE_PX) ** 2)):
        y, x = (int(v) for v in rng.integers(0, size_px, 2))
        long, angle = rng.uniform(25, 60), rng.uniform(0, 180)
        axes = int(long), int(long * rng.uniform(0.5, 1))
        cv2.ellipse(bodies, (x, y), axes, angle, 0, 360, float(rng.uniform(0.2, 0.4)), -1, cv2.LINE_AA)
        small = axes[0] // 3, axes[1] // 3
        cv2.ellipse(nuclei, (x, y), small, angle, 0, 360, float(rng.uniform(0.4, 0.6)), -1, cv2.LINE_AA)
    grain = sum(
        cv2.resize(rng.normal(size=(size_px // k, size_px // k)).astype(np.float32), (size_px, size_px))
        for k in (1, 2, 4, 8)
    )
    slide: NDArray[np.float32] = np.clip((bodies + nuclei) * (1 + 0.25 * grain), 0, 1).astype(np.float32)
    return slide


@dataclass
class DemoScene:
    """A tilted slide under a simulated microscope.

    Attributes
    ----------
    slide : (Y, X) array or None
        What lies on it, in focus all over; None: drawn cells. It repeats itself, mirrored, beyond its borders.
    settings : SimulationSettings
        Optics and camera.
    field_px : (int, int)
        Height and width of the camera's image.
    focus_um : float
        Height of the specimen where x and y are 0, a third of the way over the slide.
    tilt : (float, float)
        Rise in µm for each µm along y and x.
    reach_um : float
        Blur is computed for heights this far from the specimen; beyond it looks the same.
    seed : int
        Chance of the camera's noise.
    """

    slide: NDArray[Any] | None = None
    settings: SimulationSettings = field(default_factory=optics_of_demo)
    field_px: tuple[int, int] = (512, 512)
    focus_um: float = 8.0
    tilt: tuple[float, float] = (0.006, 0.01)
    reach_um: float = REACH_UM
    seed: int = 0

    def __post_init__(self) -> None:
        slide = drawn_cells() if self.slide is None else to_grey(np.asarray(self.slide))
        self._light = as_light(slide)
        self._generator = torch.Generator().manual_seed(self.seed)
        self._seen: tuple[tuple[int, int], LitSpecimen] | None = None
        self.image(self.focus_um)  # prepares tables that take a second

    @property
    def optics(self) -> Optics:
        """The microscope."""
        s = self.settings
        return Optics(na=s.na, wavelength_um=s.wavelength_um, immersion_index=s.index)

    @property
    def depth_of_field_um(self) -> float:
        """Total depth of field."""
        return microscope(self.settings).depth_of_field_um

    def focus_at(self, y_um: float, x_um: float) -> float:
        """Height of the stage at which a field is in focus."""
        return self.focus_um + self.tilt[0] * y_um + self.tilt[1] * x_um

    def image(self, z_um: float, *, y_um: float = 0.0, x_um: float = 0.0) -> NDArray[Any]:
        """(Y, X) what the camera sees with the stage at z, y, x."""
        s = self.settings
        specimen = self._specimen(round(y_um / s.pixel_um), round(x_um / s.pixel_um))
        off = float(np.clip(z_um - self.focus_at(y_um, x_um), -self.reach_um, self.reach_um))
        seen = specimen.at(off).clamp(0, 1)
        taken = camera.expose(
            seen, electrons=s.electrons, read_noise=s.read_noise, offset=s.offset, generator=self._generator
        )
        return stored(taken, s)

    def _specimen(self, y_px: int, x_px: int) -> LitSpecimen:
        """The field at a place; the last one is kept."""
        if self._seen is None or self._seen[0] != (y_px, x_px):
            rows, columns = (
                _mirrored(start + n // 3, length, n)
                for start, length, n in zip((y_px, x_px), self.field_px, self._light.shape[1:], strict=True)
            )
            light = self._light[:, rows][:, :, columns]
            specimen = LitSpecimen(light, np.zeros(self.field_px, np.float32), self.settings)
            self._seen = (y_px, x_px), specimen
        return self._seen[1]


def _mirrored(start: int, length: int, n: int) -> NDArray[np.intp]:
    """Indices of `length` pixels from `start` on, on a plane of n that repeats itself mirrored."""
    i = np.arange(start, start + length) % (2 * n)
    return np.where(i < n, i, 2 * n - 1 - i)
