"""Focus masks by networks. One is offered only where its weights are installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import Plane32, noise_sigma, to_grey
from napari_focusstack.core.learned.base import InstalledModel, large_enough, sampling_of
from napari_focusstack.core.learned.classes import ClassScorer
from napari_focusstack.core.masks.base import MaskMethod, SliceMask
from napari_focusstack.core.masks.energy import LOG_GAIN, local_energy, noise_energy
from napari_focusstack.core.progress import Job, Progress, by_tiles, relay
from napari_focusstack.core.scorer import PlaneContext
from napari_focusstack.core.stack import Stack
from napari_focusstack.networks.zoo import ModelCard

SEGMENTERS = ("msegnet", "segnet", "unet_mask")
"""Architectures that say of every pixel whether it is in focus."""
ODDS, SHARE = 2.7, 0.5
"""In a stack, the odds that a network gives are multiplied by ``ODDS · (E / max over z of E / SHARE)²``, E the energy
of detail: the network knows specimen from dirt and background, the energy which of the neighbouring slices is the
sharpest."""
FINE, COARSE = (0.7, 6.92), (1.5, 0.165)
"""Scales in pixels of two Laplacians of Gaussians, and the variance that each leaves of white noise of variance 1."""
CRISP, CRISPEST = 1.4, 8.0
"""Of a plane by itself, the odds are multiplied by ``R / CRISP``, R the energy of fine over that of coarse detail
without what is noise of them, at most `CRISPEST`. A blur of 2 px takes R to two fifths; a network hardly sees it."""
PLAIN = 10.0
"""In both, they are multiplied by the square of the *evidence* ``E / (E + PLAIN · N)``, N what noise alone gives."""
HOLLOW_PX, TIGHTENED_PX = 4000, 2
"""In a stack, hollows of the evidence of up to so many pixels are taken to have it where they are the inside of an
object, see `_hollows`. Then it is taken back by so much on all sides, for windows reach beyond what is in them."""
RIM_PX, APART, FURTHER = 8, 5.0, 1.2
"""A hollow's rim is the evidence so near to it. It differs from the ground by more than so many spreads of that, and
the hollow by so many times as much as its rim."""


@dataclass(frozen=True)
class SegmenterMask(InstalledModel):
    """A network that judges pixels: m-SegNet and its baselines."""

    @property
    def description(self) -> str:
        """What it is good for."""
        return (
            "A network that has learned what focus looks like: follows objects, leaves out empty background and most "
            "dirt, and can judge a single slice."
        )

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Which weights, and the constants."""
        told = {"odds": ODDS, "share": SHARE, "crisp": CRISP, "crispest": CRISPEST, "plain": PLAIN}
        told |= {"hollow_px": HOLLOW_PX, "tightened_px": TIGHTENED_PX, "rim_px": RIM_PX}
        told |= {"apart": APART, "further": FURTHER}
        return {**super().parameters, **told}

    def network(self, device: str) -> Any:
        """The network, ready for inference; loaded once."""
        network = super().network(device)
        from napari_focusstack.networks.infer import hasten

        return hasten(network)

    def plane(self, grey: Plane32, *, device: str) -> Job[Plane32]:
        """Probability of each pixel of a grey plane, as the network says it; a step for each tile."""
        network = self.network(device)
        from napari_focusstack.networks.msegnet import mask_plane

        return (yield from by_tiles(mask_plane(network, grey)))

    def caution(self, stack: Stack) -> str:
        """What the card warns of, and pixels that the model does not know."""
        return self.caution_at(sampling_of(_context(stack)))

    def slices(self, stack: Stack, *, device: str) -> Job[None]:
        """Judge slice by slice, tile by tile, after a look at all for the highest energy of each pixel.

        Where detail does not stand out of the noise, nothing is in focus.
        """
        n = stack.n_slices
        yield Progress(0, n, "loading the network")
        noise, highest = noise_energy(stack), np.full(stack.plane_shape, 1e-30, np.float32)
        for z in range(n if n > 1 else 0):
            cv2.max(highest, local_energy(to_grey(stack.plane(z))), highest)
            yield Progress(0, n, f"slice {z + 1} of {n}: how much detail")
        for z in range(n):
            grey = to_grey(large_enough(stack.plane(z)))
            tiles = self.plane(grey, device=device)
            p = yield from relay(tiles, done=1000 * z / n, total=1000 * (z + 1) / n, message=f"slice {z + 1} of {n}")
            energy = local_energy(grey)
            evidence = energy / (energy + np.float32(PLAIN * noise))
            if n > 1:
                odds = ODDS * np.square(_filled(evidence, grey, noise) * energy / highest / SHARE)
            else:
                odds = crispness(grey, noise) / CRISP * np.square(evidence)
            yield Progress(z + 1, n, f"slice {z + 1} of {n}", SliceMask(z, likelier(p, odds)))


def crispness(grey: Plane32, noise: float) -> Plane32:
    """Energy of fine over that of coarse detail around each pixel, at most `CRISPEST`; it falls as blur grows.

    Parameters
    ----------
    grey : (Y, X) float32
    noise : float
        `noise_energy` of the plane. What it explains of either energy is taken away, a tenth of it stays.
    """
    fine, coarse = (
        np.maximum(local_energy(grey, scale) - gain * noise / LOG_GAIN, 0.1 * gain * noise / LOG_GAIN)
        for scale, gain in (FINE, COARSE)
    )
    crisp: Plane32 = np.minimum(fine / coarse, CRISPEST)
    return crisp


def _filled(evidence: Plane32, grey: Plane32, noise: float) -> Plane32:
    """Evidence without hollows, and tightened."""
    side = 2 * TIGHTENED_PX + 1
    whole = np.where(_hollows(evidence < 0.5, grey, noise), np.float32(1), evidence)
    filled: Plane32 = cv2.erode(whole, np.ones((side, side), np.uint8))
    return filled


def _hollows(without: NDArray[np.bool_], grey: Plane32, noise: float) -> NDArray[np.bool_]:
    """Insides of objects: enclosed places without evidence that differ from the ground, more than their rim does.

    The ground is what has no evidence and touches the plane's border, and the largest such place. So gaps of a mesh,
    which look like the ground, are none.

    Parameters
    ----------
    without : (Y, X) bool
        Where there is no evidence.
    grey : (Y, X) float32
    noise : float
        `noise_energy`.
    """
    n, places, found, _ = cv2.connectedComponentsWithStats(without.astype(np.uint8), connectivity=4)
    size = found[:, cv2.CC_STAT_AREA]
    ground = np.zeros(n, bool)
    for border in (places[0], places[-1], places[:, 0], places[:, -1]):
        ground[border] = True
    ground[1 + np.argmax(size[1:]) if n > 1 else 0] = True
    ground[0] = False
    hollow = ~ground & (size <= HOLLOW_PX)
    hollow[0] = False
    if not hollow.any():
        return np.zeros_like(without)
    levels = grey[ground[places]]
    level = np.median(levels)
    spread = max(1.4826 * float(np.median(np.abs(levels - level))), (noise / LOG_GAIN) ** 0.5)
    reach = np.ones((2 * RIM_PX + 1,) * 2, np.uint8)
    rims = np.where(without, 0, cv2.dilate(places.astype(np.float32), reach).astype(np.int32))
    inside, rim = (_means(grey, of, n) - level for of in (places, rims))
    hollow &= (np.abs(rim) > APART * spread) & (inside * rim > FURTHER * rim * rim)
    return np.asarray(hollow[places])


def _means(grey: Plane32, places: NDArray[np.int32], n: int) -> NDArray[np.float64]:
    """Mean grey level of each of the `n` labels."""
    return np.bincount(places.ravel(), grey.ravel(), n) / np.maximum(np.bincount(places.ravel(), minlength=n), 1)


def likelier(p: Plane32, odds: Plane32 | float) -> Plane32:
    """Probabilities whose odds ``p / (1 - p)`` are multiplied."""
    more = p * odds
    changed: Plane32 = np.asarray(more / np.maximum(more + (1 - p), np.float32(1e-6)), np.float32)
    return changed


@dataclass(frozen=True)
class ClassifierMask:
    """The map of a patch classifier (MMDF), drawn out to pixels: coarse, but the same answer as its score.

    The probability is that of being in focus by the rule in the model's card; 0 where a patch has no evidence.

    Attributes
    ----------
    scorer : ClassScorer
        The classifier.
    """

    scorer: ClassScorer

    description = "The focus classes of 84 px patches, drawn out to pixels: coarse, the same answer as its score."
    step_px = 12

    @property
    def name(self) -> str:
        """``classifier``; that of the model where it is another one than MMDF's own."""
        return "classifier" if self._usual else self.scorer.name

    @property
    def title(self) -> str:
        """What to call it in a list."""
        return "Patch classifier (MMDF)" if self._usual else f"Patch classifier ({self.scorer.name})"

    @property
    def _usual(self) -> bool:
        return self.scorer.card.name == self.scorer.card.architecture

    @property
    def reference(self) -> str:
        """The network's paper."""
        return self.scorer.reference

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Which weights, and how finely they are asked."""
        return {"model": self.scorer.name, "weights_sha256": self.scorer.card.sha256, "step_px": self.step_px}

    def caution(self, stack: Stack) -> str:
        """As of its score."""
        return self.scorer.caution(_context(stack))

    def slices(self, stack: Stack, *, device: str) -> Job[None]:
        """Classify slice by slice."""
        n = stack.n_slices
        yield Progress(0, n, "loading the network")
        noise = min(noise_sigma(stack.plane(z)) for z in {0, n // 2, n - 1})
        context = replace(_context(stack), patch_px=self.step_px, noise=noise, device=device)
        h, w = stack.plane_shape
        for z in range(n):
            score = self.scorer.score_plane(stack.plane(z), context=context)
            p = np.where(score.layers["certainty"] > 0, score.layers["in_focus"], 0)
            fine = cv2.resize(p.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)
            yield Progress(z + 1, n, f"slice {z + 1} of {n}", SliceMask(z, np.ascontiguousarray(fine)))


def _context(stack: Stack) -> PlaneContext:
    return PlaneContext(pixel_um=stack.x_um, optics=stack.optics)


def masks_of(card: ModelCard, folder: Path) -> Iterator[MaskMethod]:
    """The mask method of a model; none where it can't mask. Reads no weights."""
    if card.architecture in SEGMENTERS:
        yield SegmenterMask(card, folder)
    elif card.architecture == "mmdf":
        yield ClassifierMask(ClassScorer(card, folder))
