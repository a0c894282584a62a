"""What all that uses a model of the zoo has in common: it is loaded when the first slice is computed.

torch is imported then, never before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.devices import placed
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.report import PlaneScore
from napari_focusstack.core.scorer import PlaneContext
from napari_focusstack.networks.preload import preload_torch
from napari_focusstack.networks.zoo import ModelCard, ModelError

FAMILY = "networks"
SMALLEST_PX = 32
USUAL_WAVELENGTH_UM = 0.55
"""Where a file names none: an octave of it is no more than the eye sees."""
SLACK = 1.05
"""By how much a sampling may lie outside what was learned before it is told of: wavelengths are not better known."""


@dataclass(frozen=True)
class InstalledModel:
    """A model of the zoo as one of the choices: as a scorer, a fusion method, a focus mask.

    Attributes
    ----------
    card : ModelCard
        What is told of the model.
    folder : Path
        Where it lies.
    """

    card: ModelCard
    folder: Path

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.card.name

    @property
    def title(self) -> str:
        """Title of the model."""
        return self.card.title

    @property
    def reference(self) -> str:
        """The network's paper."""
        return self.card.paper

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The weights, by their checksum."""
        return {"weights_sha256": self.card.sha256}

    @property
    def learned_sampling(self) -> tuple[float, float] | None:
        """Range of pixel size · NA/λ that it was trained on; None where the card does not tell."""
        data = self.card.training.get("data")
        told = data.get("sampling") if isinstance(data, dict) else None
        return None if told is None else (float(told[0]), float(told[1]))

    @property
    def better_told(self) -> bool:
        """Whether it takes aperture and pixel size into account where they are known, and does without elsewhere."""
        return False

    def caution_at(self, sampling: float | None) -> str:
        """What the card warns of, and pixels (size · NA/λ) that are coarser or finer than the model has learned."""
        return " ".join(filter(None, (self.card.caution, self._outside(sampling))))

    def _outside(self, sampling: float | None) -> str:
        if sampling is None or self.learned_sampling is None:
            return ""
        low, high = self.learned_sampling
        if low <= sampling * SLACK and sampling <= high * SLACK:
            return ""
        kind, wrong = ("coarser", "blurred may look sharp") if sampling > high else ("finer", "sharp may look blurred")
        known = f"up to {high:g}" if low == 0 else f"{low:g} to {high:g}"
        return (
            f"For this objective the pixels are {kind} than this network has learned (pixel size · NA/λ is "
            f"{sampling:.2g}, it knows {known}): what is {wrong} to it."
        )

    def network(self, device: str) -> Any:
        """The network, ready for inference; loaded once."""
        return load_network(str(self.folder), self.card.sha256, device)


def sampling_of(context: PlaneContext) -> float | None:
    """Pixel size · NA/λ, None where aperture or pixel size are not known."""
    if context.optics.na is None or context.pixel_um is None:
        return None
    return context.pixel_um * context.optics.na / (context.optics.wavelength_um or USUAL_WAVELENGTH_UM)


@dataclass(frozen=True)
class NetworkScorer(InstalledModel):
    """What all networks that score focus have in common."""

    @property
    def title(self) -> str:
        """Title of the model, told apart from others by its name where that is not the recipe's."""
        own = self.card.name != self.card.architecture
        return f"{self.card.title} ({self.card.name})" if own else self.card.title

    @property
    def family(self) -> str:
        """Networks stand in a group of their own."""
        return FAMILY

    @property
    def gain_exponent(self) -> float | None:
        """Networks here normalise brightness away."""
        return 0.0

    def caution(self, context: PlaneContext) -> str:
        """What everyone has to know who sees its answers."""
        return self.caution_at(sampling_of(context))

    def get_ready(self, context: PlaneContext) -> None:
        """Import torch and load the weights."""
        self.network(context.device)


@lru_cache(maxsize=4)
def load_network(folder: str, sha256: str, device: str) -> Any:
    """A network ready for inference; the checksum is in the key, so that a model trained anew is loaded anew."""
    preload_torch()
    from napari_focusstack.networks.zoo import load_model

    try:
        network, card = load_model(folder)
    except ModelError as error:
        raise InputError(str(error)) from error
    return placed(network, card, device)


def large_enough(plane: NDArray[Any]) -> NDArray[Any]:
    """The plane, if a network can see anything in one so small.

    Raises
    ------
    InputError
        If it is below `SMALLEST_PX` along an axis.
    """
    if min(plane.shape[:2]) < SMALLEST_PX:
        size = "×".join(map(str, plane.shape[:2]))
        raise InputError(
            f"A plane of {size} pixels is too small for a network: give {SMALLEST_PX}×{SMALLEST_PX} pixels at least, "
            "or choose a classical measure."
        )
    return plane


def stacked(scores: Sequence[PlaneScore]) -> dict[str, NDArray[Any]]:
    """Layers of all slices, the slice as first axis."""
    return {key: np.stack([s.layers[key] for s in scores]) for key in scores[0].layers}
