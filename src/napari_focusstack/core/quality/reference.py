"""How good a fused image is, against a reference: PSNR and SSIM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.quality.base import Image, MeanOverPartners, Metric


def data_range(reference: Image) -> float:
    """Span of values that PSNR and SSIM refer to.

    255 for 8 bit. A camera of 10, 12 or 14 bit fills only a part of uint16, so for 16 bit it is the smallest of
    2¹⁰-1, 2¹²-1, 2¹⁴-1 and 2¹⁶-1 that holds the reference's maximum. For floats, the reference's maximum minus its
    minimum (1 where it is constant).
    """
    if reference.dtype.kind == "f":
        return float(np.ptp(reference)) or 1.0
    if reference.dtype.itemsize == 1:
        return 255.0
    top = int(reference.max())
    return float(next((2**bits - 1 for bits in (10, 12, 14, 16) if top < 2**bits), np.iinfo(reference.dtype).max))


def psnr(image: Image, reference: Image, *, span: float | None = None) -> float:
    """Peak signal-to-noise ratio in dB, ``10·log₁₀(span² / mean((image - reference)²))``.

    Parameters
    ----------
    image, reference : (Y, X) or (Y, X, 3) array
        Same shape.
    span : float, optional
        Span of values; `data_range` of the reference by default.

    Returns
    -------
    float
        Infinity for equal images.
    """
    return _decibels(_relative_error(image, reference, span=span))


class MeanErrorTally(MeanOverPartners):
    """A tally of PSNR: that of the mean error, so that one slice that the image equals doesn't swamp the others."""

    def value(self) -> float:
        """PSNR in dB over the partners."""
        return _decibels(super().value())


def ssim(image: Image, reference: Image, *, span: float | None = None) -> float:
    """Mean structural similarity, -1…1, with the Gaussian window of σ 1.5 of Wang et al. 2004; mean over colours.

    Parameters
    ----------
    image, reference : (Y, X) or (Y, X, 3) array
        Same shape, 11 pixels or more along y and x.
    span : float, optional
        Span of values; `data_range` of the reference by default.
    """
    from skimage.metrics import structural_similarity

    a, b = _pair(image, reference)
    if min(a.shape[:2]) < 11:
        raise InputError(
            f"SSIM needs images of 11×11 pixels or more, these are {a.shape[0]}×{a.shape[1]}: give larger images."
        )
    return float(
        structural_similarity(
            a,
            b,
            data_range=span or data_range(reference),
            channel_axis=2 if a.ndim == 3 else None,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def _relative_error(image: Image, reference: Image, *, span: float | None = None) -> float:
    """Mean squared error in units of the squared span."""
    a, b = _pair(image, reference)
    error = float(np.mean(np.square(a - b), dtype=np.float64))
    return error / float(span or data_range(reference)) ** 2


def _decibels(error: float) -> float:
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def _pair(image: Image, reference: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if image.shape != reference.shape:
        raise InputError(
            f"The image is {image.shape} and the reference {reference.shape}: "
            "give two images of the same size and colours."
        )
    return image.astype(np.float32), reference.astype(np.float32)


PSNR = Metric(
    "psnr",
    "PSNR",
    "dB",
    "reference",
    "How close the pixels are to the reference's: 40 dB is hard to tell from it by eye, 30 dB shows small errors, "
    "20 dB is plainly wrong. Against the slices (without a reference) it only says how like them the image is.",
    "ITU-T J.340",
    lambda fused: MeanErrorTally(fused, _relative_error),
)
SSIM = Metric(
    "ssim",
    "SSIM",
    "1",
    "reference",
    "How alike the structures are as an eye sees them: 1 the same, above 0.95 very alike, 0 nothing in common. "
    "Against the slices (without a reference) blurred slices pull it down.",
    "Wang et al. 2004, IEEE Trans. Image Process. 13:600",
    lambda fused: MeanOverPartners(fused, ssim),
)
