"""Focus masks by networks. One is offered only where its weights are installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from napari_focusstack.core.filters import Plane32, noise_sigma, to_grey
from napari_focusstack.core.learned.base import InstalledModel, large_enough, sampling_of
from napari_focusstack.core.learned.classes import ClassScorer
from napari_focusstack.core.masks.base import MaskMethod, SliceMask
from napari_focusstack.core.masks.energy import local_energy, noise_energy
from napari_focusstack.core.progress import Job, Progress, by_tiles, relay
from napari_focusstack.core.scorer import PlaneContext
from napari_focusstack.core.stack import Stack
from napari_focusstack.networks.zoo import ModelCard

SEGMENTERS = ("msegnet", "segnet", "unet_mask")
"""Architectures that say of every pixel whether it is in focus."""
ODDS = 1.5
"""By how much more likely real specimens are in focus than a network says: focal loss keeps it from being sure, and
they are softer than what it learned from. Chosen on development stacks, so that ½ is the border there."""
SHARE = 0.5
"""In a stack, the odds are multiplied by ``(E / max over z of E / share)²``, E the energy of detail: the network knows
specimen from dirt and background, the energy knows which of the neighbouring slices is the sharpest."""
EVIDENCE, EVIDENCE_PX = 2.0, 9
"""Detail of less than this many times the energy of noise is no evidence, that of twice as much is; over how many more
pixels it is looked for."""


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
        told = {"odds": ODDS, "share": SHARE, "evidence": EVIDENCE, "evidence_px": EVIDENCE_PX}
        return {**super().parameters, **told}

    def network(self, device: str) -> Any:
        """The network, ready for inference; loaded once."""
        network = super().network(device)
        from napari_focusstack.networks.infer import hasten

        return hasten(network)

    def plane(self, grey: Plane32, *, device: str) -> Job[Plane32]:
        """Probability of each pixel of a grey plane; a step for each tile."""
        network = self.network(device)
        from napari_focusstack.networks.msegnet import mask_plane

        p = yield from by_tiles(mask_plane(network, grey))
        return _likelier(p, np.float32(ODDS))

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
            if n > 1:
                p = _likelier(p, np.square(energy / highest / np.float32(SHARE)))
            evidence = cv2.blur(energy, (EVIDENCE_PX, EVIDENCE_PX)) / np.float32(EVIDENCE * noise) - 1
            p *= np.clip(evidence, 0, 1)
            yield Progress(z + 1, n, f"slice {z + 1} of {n}", SliceMask(z, p))


def _likelier(p: Plane32, odds: Plane32 | np.float32) -> Plane32:
    """Probabilities whose odds ``p / (1 - p)`` are multiplied."""
    more = p * odds
    likelier: Plane32 = np.asarray(more / np.maximum(more + (1 - p), np.float32(1e-6)), np.float32)
    return likelier


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
        context = PlaneContext(patch_px=self.step_px, noise=noise, device=device)
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
