"""Measures by the power spectrum: a sharp image has power at the frequencies that defocus takes first."""

from __future__ import annotations

import cv2
import numpy as np

from napari_focusstack.core.filters import Plane32, area_mean
from napari_focusstack.core.measures.base import Measure, PlaneInfo
from napari_focusstack.core.report import Map

NYQUIST_PER_PX = 0.5
MIDBAND = (0.125, 0.25)
"""The band, as fractions of the cut-off frequency."""


def cutoff_per_px(info: PlaneInfo, *, default: float = NYQUIST_PER_PX) -> float:
    """Highest spatial frequency in the image, in cycles per pixel: ``min(2 NA / wavelength · pixel, ½)``.

    It is `default` where numerical aperture, wavelength or pixel size are not known.
    """
    na, wavelength_um = info.optics.na, info.optics.wavelength_um
    if not (na and wavelength_um and info.pixel_um):
        return default
    return min(2 * na / wavelength_um * info.pixel_um, NYQUIST_PER_PX)


def midband_power(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean square of the plane's part between 1/8 and 1/4 of the cut-off frequency.

    The cut-off is ``2 NA / wavelength``, at most half a cycle per pixel, and that where the optics are not known (so a
    band of 8 to 16 pixels a cycle). The band is cut out of the cosine transform, whose mirrored borders, unlike the
    Fourier transform's periodic ones, add no jump. By Parseval's theorem the mean of the map is the power in the band.
    """
    import scipy.fft  # slow to load, and most commands do without

    cutoff = cutoff_per_px(info)
    fy, fx = (np.arange(n, dtype=np.float32) / np.float32(2 * n) for n in plane.shape)
    frequency = np.sqrt(np.square(fy)[:, None] + np.square(fx)[None, :])
    spectrum = scipy.fft.dctn(plane, norm="ortho")
    spectrum *= (frequency >= MIDBAND[0] * cutoff) & (frequency < MIDBAND[1] * cutoff)
    band = scipy.fft.idctn(spectrum, norm="ortho", overwrite_x=True)
    return area_mean(cv2.multiply(band, band, dst=band), info.grid.shape)


MEASURES = (
    Measure(
        "midband_power",
        "Mid-band spectral power",
        "spectrum",
        "grey²",
        "The power of detail well within the microscope's resolution, above shading and below most of the noise.",
        "waveorder (mehta-lab), focus from transverse band",
        midband_power,
        needs=("optics",),
    ),
)
