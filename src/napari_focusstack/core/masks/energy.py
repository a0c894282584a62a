"""Focus masks without training: where a slice has most of the detail that the stack has at that place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import Plane32, noise_sigma, to_grey
from napari_focusstack.core.masks.base import THRESHOLD, SliceMask
from napari_focusstack.core.measures import harris_response
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack

LOG_GAIN = 1.301
"""Variance of the Laplacian (kernel size 3) of a Gaussian (σ 1) of white noise of variance 1."""
HARRIS_GAIN = 0.161
"""Mean modified Harris response to white noise of variance 1."""
ROUNDING = 0.29
"""Standard deviation of rounding to whole grey levels."""
ALONE = (
    "A single plane has no other slices to compare with: what is marked stands out of its noise, be it in focus or not."
)


class EnergyMask:
    """Local energy, as per-pixel fusion weighs slices by it: probability = share · evidence.

    With E the mean square of a Laplacian of Gaussian (σ 1 px) over about 11 px, ``share = E / max over z of E`` and
    ``evidence = E / (E + c·N)``, N what noise alone gives. So ½ is where a slice has half of the highest energy, and
    that stands well out of noise. A single plane has a share of 1: there only noise decides, and nothing can be told
    where no detail stands out of it.
    """

    name = "energy"
    title = "Local energy"
    description = (
        "Marks where a slice has at least half of the detail that any slice has there; needs no training, but takes "
        "sharp dirt for specimen and spreads some pixels beyond objects."
    )
    reference = "Forster et al. 2004, Microsc. Res. Tech. 65:33"
    parameters: Mapping[str, Any] = {"noise_constant": 16.0}

    @staticmethod
    def energy(grey: Plane32) -> Plane32:
        """How much detail there is around each pixel; grows with the square of the contrast."""
        return local_energy(grey)

    def caution(self, stack: Stack) -> str:
        """A single plane has nothing to compare with."""
        return ALONE if stack.n_slices == 1 else ""

    def slices(self, stack: Stack, *, device: str) -> Job[None]:
        """Two passes: the highest energy of each pixel first.

        Raises
        ------
        InputError
            If a single plane has no detail that stands out of its noise.
        """
        n = stack.n_slices
        highest = np.full(stack.plane_shape, 1e-30, np.float32)
        for z in range(n):
            cv2.max(highest, self.energy(to_grey(stack.plane(z))), highest)
            yield Progress(z + 1, 2 * n, f"slice {z + 1} of {n}: how much detail")
        constant = max(self.parameters["noise_constant"] * noise_energy(stack), 1e-6 * float(highest.max()))
        for z in range(n):
            energy = self.energy(to_grey(stack.plane(z)))
            p = energy / highest * (energy / (energy + np.float32(constant)))
            if n == 1 and float(p.max()) < THRESHOLD:
                raise InputError(
                    f"No detail of '{stack.name}' stands out of its noise, and a single plane has no other slices to "
                    "compare with: give the stack that it is from, or a method that knows what focus looks like "
                    "(msegnet, classifier)."
                )
            yield Progress(n + z + 1, 2 * n, f"slice {z + 1} of {n}", SliceMask(z, p))


class HarrisMask(EnergyMask):
    """`EnergyMask` with the modified Harris corner response as its energy, MMDF's masks for fusion.

    The response is averaged over about 11 px and scaled so that white noise gives what it gives there. MMDF cuts the
    response of each image by itself, which passes noise where an image has nothing sharper; here the stack decides.
    """

    name = "harris"
    title = "Modified Harris response"
    description = (
        "Marks where a slice has at least half of the corners and texture that any slice has there; needs no training, "
        "single straight edges count less than with local energy."
    )
    reference = "Sigdel et al. 2015, IEEE/ACM Trans. Comput. Biol. Bioinform.; Kornilova et al. 2020, MMDF"

    @staticmethod
    def energy(grey: Plane32) -> Plane32:
        """Mean of `harris_response` around each pixel, scaled."""
        response = cv2.blur(cv2.blur(harris_response(grey), (7, 7)), (5, 5))
        energy: Plane32 = response * np.float32(LOG_GAIN / HARRIS_GAIN)
        return energy


def noise_energy(stack: Stack) -> float:
    """`local_energy` of the noise of the first, middle or last slice, whichever has least."""
    n = stack.n_slices
    least = min(noise_sigma(stack.plane(z)) for z in {0, n // 2, n - 1})
    return float(LOG_GAIN * max(least, ROUNDING if stack.dtype.kind in "ui" else 1e-6) ** 2)


def local_energy(grey: Plane32, scale_px: float = 1.0) -> Plane32:
    """Mean square of the Laplacian of Gaussian (σ `scale_px`) over about 11 px."""
    size = 2 * round(3 * scale_px) + 1
    detail = cv2.Laplacian(cv2.GaussianBlur(grey, (size, size), scale_px), cv2.CV_32F, ksize=3)
    energy: Plane32 = cv2.blur(cv2.blur(cv2.multiply(detail, detail), (7, 7)), (5, 5))
    return energy
