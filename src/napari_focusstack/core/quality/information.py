"""Mutual information: how much the fused image tells of its sources."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import to_grey
from napari_focusstack.core.quality.base import Image, Metric, check_pair, require_partners

BINS = 256


def _entropy(counts: NDArray[np.int64]) -> float:
    """Entropy in bits of a histogram."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum())


class InformationTally:
    """Mutual information at work: the fused image's grey levels and two sums."""

    def __init__(self, fused: Image) -> None:
        self.fused = fused
        grey = to_grey(fused)
        self.low, self.high = (0.0, 255.0) if fused.dtype == np.uint8 else (float(grey.min()), float(grey.max()))
        self.levels = self._levels(fused)
        self.entropy = _entropy(np.bincount(self.levels, minlength=BINS))
        self.information = 0.0
        self.share = 0.0
        self.n = 0

    def _levels(self, image: Image) -> NDArray[np.int64]:
        """Number of the bin of each pixel; a grey level each for 8 bits, 256 over the fused image's range otherwise."""
        scale = (BINS - 1) / (self.high - self.low) if self.high > self.low else 0.0
        levels = np.rint((to_grey(image).ravel() - np.float32(self.low)) * np.float32(scale))
        bins: NDArray[np.int64] = np.clip(levels, 0, BINS - 1).astype(np.int64)
        return bins

    def add(self, other: Image) -> None:
        """Take one source into account."""
        check_pair(self.fused, other)
        levels = self._levels(other)
        joint = _entropy(np.bincount(levels * BINS + self.levels, minlength=BINS * BINS))
        own = _entropy(np.bincount(levels, minlength=BINS))
        information = own + self.entropy - joint
        self.information += information
        self.share += 2 * information / (own + self.entropy) if own + self.entropy > 0 else 1.0
        self.n += 1

    def value(self) -> float:
        """Sum over the sources, in bits."""
        require_partners(self.n)
        return self.information

    def mean_share(self) -> float:
        """Mean over the sources of ``2·I / (H(S) + H(F))``, 0…1."""
        require_partners(self.n)
        return self.share / self.n


class NormalisedInformationTally(InformationTally):
    """Mutual information as a share of what there is to tell."""

    def value(self) -> float:
        """Mean over the sources, 0…1."""
        return self.mean_share()


def mutual_information(fused: Image, sources: Iterable[Image]) -> float:
    """Mutual information between the fused image and its sources, in bits, summed over the sources.

    ``MI = Σ_S H(S) + H(F) − H(S, F)``, with the entropies of histograms of 256 bins: a bin a grey level for 8 bits;
    for other types 256 equal bins over the fused image's range, sources clipped to it. For two sources it
    is the published measure. (m-SegNet's eq. 20 prints a plus before the joint entropy.) As a sum it grows with the
    number of sources, and it is highest for an image that copies one source: compare methods on one stack only.

    Parameters
    ----------
    fused : (Y, X) or (Y, X, 3) array
        Colours are reduced to luma.
    sources : iterable of arrays
        Images of the fused image's shape, read one at a time.

    Raises
    ------
    InputError
        If there is no source, or a source has another shape.

    References
    ----------
    Qu, Zhang & Yan 2002, Electron. Lett. 38:313
    """
    tally = InformationTally(fused)
    for source in sources:
        tally.add(source)
    return tally.value()


def normalised_mutual_information(fused: Image, sources: Iterable[Image]) -> float:
    """Mean over the sources of ``2·I(S; F) / (H(S) + H(F))``, 0 (nothing in common) … 1 (the same image).

    For two sources it is half the measure of Hossny et al. (which sums). See `mutual_information`.

    References
    ----------
    Hossny, Nahavandi & Creighton 2008, Electron. Lett. 44:1066
    """
    tally = InformationTally(fused)
    for source in sources:
        tally.add(source)
    return tally.mean_share()


MUTUAL_INFORMATION = Metric(
    "mi",
    "Mutual information",
    "bit",
    "sources",
    "How much knowing the fused image tells of the slices, summed over them. Pixels copied from a slice score highest, "
    "blended ones lower, whether or not they look better; it grows with the number of slices.",
    "Qu, Zhang & Yan 2002, Electron. Lett. 38:313",
    InformationTally,
)
NORMALISED_MUTUAL_INFORMATION = Metric(
    "nmi",
    "Normalised mutual information",
    "1",
    "sources",
    "The same as a share of all there is to tell, averaged over the slices: 0 nothing in common, 1 the same image. "
    "Independent of the number of slices and of bright or dark images.",
    "Hossny, Nahavandi & Creighton 2008, Electron. Lett. 44:1066",
    NormalisedInformationTally,
)
