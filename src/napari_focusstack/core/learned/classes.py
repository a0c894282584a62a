"""MMDF's focus classes as a scorer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import to_grey
from napari_focusstack.core.learned.base import NetworkScorer, large_enough, sampling_of, stacked
from napari_focusstack.core.learned.evidence import blank_cells, detail_energy, noise_of, octaves_below_peak, onto_image
from napari_focusstack.core.report import PlaneScore
from napari_focusstack.core.scorer import Joined, PlaneContext
from napari_focusstack.core.slice_extras import SHARPEST

CLASS_NAMES = ("in focus",) * 3 + ("slightly blurred",) + ("blurred",) * 3 + ("strongly blurred",) * 3
"""What to call the classifier's ten classes."""
PLAIN_RULE = {"level": CLASS_NAMES.count("in focus") - 0.5, "slope": 2.0}
"""For a model whose card has no rule: even odds between the last class in focus and the next."""
REFERENCE_SAMPLING = 0.5
"""Pixel size · NA/λ at which a calibrated rule's level holds."""
SAMPLINGS = (0.25, 1.6)
GUESS = 0.05
"""Below this certainty a patch has no answer: white noise alone makes it 0.015 (median), 0.047 in 1 of 100 patches."""
STEP_PX = 4
"""Grids of the classifier are multiples of this."""


@dataclass(frozen=True)
class ClassScorer(NetworkScorer):
    """Classes of focus, 0 (in focus) to 9 (wholly blurred), of 84 px patches (MMDF).

    The map is the expected focus level, ``9 - Σ k·p(k)``; 9 is in focus. A slice's number is the mean of
    ``level + log2(energy / maximum of the energy over z)`` over the patches, with Tenengrad's energy: the level tells
    how far a patch is from focus and is blunt near it, the energy is the other way round, but has no level of its own.
    Both count doublings of blur. A single plane has no maximum over z: its number is the mean level.

    Patches in which nothing stands out of the noise on any slice have no evidence, and do not count. A patch beside an
    object has evidence in its surroundings and may yet show noise alone: below a certainty of `GUESS` it has no answer.

    Whether a patch is in focus is decided by the rule in the model's card: a logistic function of the expected class,
    fitted on validation images. A network's classes lean to what was frequent in training; the rule takes that out.
    Classes are blur in pixels, focus is defocus in depths of field: where aperture and pixel size are known, the rule
    goes by the sampling too.
    """

    @property
    def units(self) -> str:
        """Units of the map."""
        return "focus level, 9 is in focus"

    @property
    def description(self) -> str:
        """What it is good for."""
        return (
            "Puts each patch into one of ten classes from in focus to wholly blurred, and says how certain it is; "
            "knows what sharp looks like, so it can judge a single image."
        )

    @property
    def needs(self) -> Collection[str]:
        """The stack's noise tells empty patches."""
        return ("noise",)

    @property
    def better_told(self) -> bool:
        """A depth of field is the more pixels of blur the finer the sampling."""
        return "calibrated_level" in (self.card.decision or {})

    def check(self, context: PlaneContext) -> None:
        """Nothing is needed beyond the pixels."""

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Classify the patches of one plane."""
        from napari_focusstack.networks import mmdf

        grey = to_grey(large_enough(plane))
        step = max(STEP_PX, STEP_PX * round(context.patch_px / STEP_PX))
        p = mmdf.classify_plane(self.network(context.device), plane, step_px=step)
        p, grid = onto_image(p, (step, step), grey.shape)
        # Patches without evidence were taught to be all classes alike.
        entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=-1)
        certainty = (1 - entropy / np.log(p.shape[-1])).astype(np.float32)
        certainty[blank_cells(grey, grid.shape, grid.cell_px, noise=noise_of(plane, context.noise))] = 0
        expected = p @ np.arange(p.shape[-1], dtype=np.float32)
        layers = {
            "class": p.argmax(axis=-1).astype(np.uint8),
            "certainty": certainty.clip(0, 1),
            "in_focus": in_focus(expected, self.card.decision or PLAIN_RULE, sampling=sampling_of(context)),
        }
        return PlaneScore(
            (SHARPEST - expected).astype(np.float32),
            grid,
            layers=layers,
            energy=detail_energy(grey, grid.shape, grid.cell_px),
        )

    def join(
        self, scores: Sequence[PlaneScore], *, exposure: NDArray[np.float32], heights_um: NDArray[np.float64] | None
    ) -> Joined:
        """Join the level with the energy of detail over z."""
        maps = np.stack([s.map for s in scores])
        layers = stacked(scores)
        # All or nothing: weighing patches by certainty lets those decide that happen to look sharp somewhere.
        judged = np.asarray((layers["certainty"] > 0).any(axis=0), np.float32)
        return Joined(maps, layers, maps + octaves_below_peak(scores, exposure), judged)


def in_focus(
    expected: NDArray[np.floating[Any]], decision: Mapping[str, float], *, sampling: float | None
) -> NDArray[np.float32]:
    """Probability of being in focus, ``1/(1 + exp(slope · (expected - level)))``.

    Parameters
    ----------
    expected : array
        Expected class, 0 (in focus) … 9.
    decision : mapping
        The rule in a model's card: ``level`` and ``slope``, and for images of known sampling ``calibrated_level``,
        ``calibrated_slope`` and ``per_octave``.
    sampling : float or None
        Pixel size · NA/λ.
    """
    level, slope = decision["level"], decision["slope"]
    if sampling is not None and "calibrated_level" in decision:
        # Learned from a quarter to 1.6: beyond, what holds at the edge.
        octaves = np.log2(np.clip(sampling, *SAMPLINGS) / REFERENCE_SAMPLING)
        level = decision["calibrated_level"] + decision["per_octave"] * octaves
        slope = decision["calibrated_slope"]
    exponent = np.clip(slope * (expected - level), -60, 60)
    return np.asarray(1 / (1 + np.exp(exponent)), np.float32)
