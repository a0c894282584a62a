"""Trained networks as scorers: MMDF's focus classes, LDSE-NET's signed defocus.

A network is offered only where a trained model of its kind is installed, under the model's name. torch is imported when
the first slice is scored, never before.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.defocus import calibration_of, sides
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import area_mean, noise_sigma, to_grey
from napari_focusstack.core.report import Grid, Map, PlaneScore
from napari_focusstack.core.scorer import Joined, PlaneContext
from napari_focusstack.core.slice_extras import SHARPEST
from napari_focusstack.networks.preload import preload_torch
from napari_focusstack.networks.zoo import CARD, ModelCard, ModelError, find_models, read_card

log = logging.getLogger(__name__)

FAMILY = "networks"
CLASSIFIERS = ("mmdf",)
DISTANCES = ("ldsenet", "resnet50", "botnet")
CLASS_NAMES = ("in focus",) * 2 + ("slightly blurred",) * 2 + ("blurred",) * 3 + ("strongly blurred",) * 3
"""What to call the classifier's ten classes."""
SMALLEST_PX = 32
STEP_PX = 4
"""Grids of the classifier are multiples of this."""
EVIDENCE_PX = 84
"""What the classifier sees of a patch and its surroundings."""
MEANS_PX = 8
STANDS_OUT = 3.0
"""Means over `MEANS_PX` pixels have to vary by this many times what white noise makes them vary."""
ROUNDING = 0.29
"""Standard deviation of rounding to whole grey levels."""
ENERGY_FLOOR = 2.0**-12


@dataclass(frozen=True)
class _NetworkScorer:
    """What the two kinds have in common.

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
        """Title of the model, told apart from others by its name where that is not the recipe's."""
        own = self.card.name != self.card.architecture
        return f"{self.card.title} ({self.card.name})" if own else self.card.title

    @property
    def family(self) -> str:
        """Networks stand in a group of their own."""
        return FAMILY

    @property
    def reference(self) -> str:
        """The network's paper."""
        return self.card.paper

    @property
    def gain_exponent(self) -> float | None:
        """Networks here normalise brightness away."""
        return 0.0

    def get_ready(self, context: PlaneContext) -> None:
        """Import torch and load the weights."""
        self._network(context)

    def _network(self, context: PlaneContext) -> Any:
        return _loaded(str(self.folder), self.card.sha256, context.device)


@dataclass(frozen=True)
class ClassScorer(_NetworkScorer):
    """Classes of focus, 0 (in focus) to 9 (wholly blurred), of 84 px patches (MMDF).

    The map is the expected focus level, ``9 - Σ k·p(k)``; 9 is in focus. A slice's number is the mean of
    ``level + log2(energy / maximum of the energy over z)`` over the patches, with Tenengrad's energy: the level tells
    how far a patch is from focus and is blunt near it, the energy is the other way round, but has no level of its own.
    Both count doublings of blur. A single plane has no maximum over z: its number is the mean level.

    Patches in which nothing stands out of the noise on any slice have no evidence, and do not count.
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

    def check(self, context: PlaneContext) -> None:
        """Nothing is needed beyond the pixels."""

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Classify the patches of one plane."""
        from napari_focusstack.networks import mmdf

        grey = to_grey(_large_enough(plane))
        step = max(STEP_PX, STEP_PX * round(context.patch_px / STEP_PX))
        p = mmdf.classify_plane(self._network(context), plane, step_px=step).astype(np.float32)
        h, w = p.shape[:2]
        # Patches without evidence were taught to be all classes alike.
        entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=-1)
        certainty = (1 - entropy / np.log(p.shape[-1])).astype(np.float32)
        noise = noise_sigma(plane) if context.noise is None else context.noise
        rounding = ROUNDING if plane.dtype.kind in "ui" else 0.0
        certainty[_blank(grey, (h, w), step, max(noise, rounding))] = 0
        level = SHARPEST - p @ np.arange(p.shape[-1], dtype=np.float32)
        layers = {"class": p.argmax(axis=-1).astype(np.uint8), "certainty": certainty.clip(0, 1)}
        grid = Grid((h, w), (float(step), float(step)))
        return PlaneScore(level.astype(np.float32), grid, layers=layers, energy=_energy(grey, (h, w), step))

    def join(
        self, scores: Sequence[PlaneScore], *, exposure: NDArray[np.float32], heights_um: NDArray[np.float64] | None
    ) -> Joined:
        """Join the level with the energy of detail over z."""
        maps = np.stack([s.map for s in scores])
        energy = np.stack([s.energy / e**2 for s, e in zip(scores, exposure, strict=True) if s.energy is not None])
        share = energy / np.maximum(energy.max(axis=0), 1e-30)
        octaves = np.where(energy.max(axis=0) > 0, np.log2(np.maximum(share, ENERGY_FLOOR)), 0)
        layers = _stacked(scores)
        # All or nothing: weighing patches by certainty lets those decide that happen to look sharp somewhere.
        judged = np.asarray((layers["certainty"] > 0).any(axis=0), np.float32)
        return Joined(maps, layers, (maps + octaves).astype(np.float32), judged)


@dataclass(frozen=True)
class DefocusScorer(_NetworkScorer):
    """Signed distance from focus of 224 px tiles in µm (LDSE-NET).

    The map is ``-|defocus|``. Tiles without anything to judge by are dropped. One image tells the side of focus only as
    far as the optics are asymmetric (layer ``side``, 0…1, says how sure the network is); a stack tells it by the order
    of its slices, see `defocus.sides`. Positive: the slice lies higher than what would be in focus.
    """

    @property
    def units(self) -> str:
        """Units of the map."""
        return "-|defocus| in µm"

    @property
    def description(self) -> str:
        """What it is good for."""
        return (
            "Tells how many µm each tile of 224 px is out of focus, and on which side; needs to know the numerical "
            "aperture, wavelength and pixel size. In a single image the side may be ambiguous."
        )

    @property
    def needs(self) -> Collection[str]:
        """The microscope."""
        return ("optics",)

    def check(self, context: PlaneContext) -> None:
        """Say what is not known of the microscope."""
        calibration_of(context.optics, context.pixel_um)

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Measure the tiles of one plane."""
        from napari_focusstack.networks import ldsenet

        known = calibration_of(context.optics, context.pixel_um)
        found = ldsenet.measure_plane(self._network(context), _large_enough(plane), sampling=known.sampling)
        defocus = (found.waves * known.um_per_wave).astype(np.float32)
        defocus[found.blank] = np.nan
        h, w = plane.shape[:2]
        gy, gx = defocus.shape
        layers = {"defocus_um": defocus, "side": np.where(found.blank, 0, found.side).astype(np.float32)}
        focus = -np.abs(np.nan_to_num(defocus))
        return PlaneScore(focus.astype(np.float32), Grid((gy, gx), (h / gy, w / gx)), layers=layers)

    def join(
        self, scores: Sequence[PlaneScore], *, exposure: NDArray[np.float32], heights_um: NDArray[np.float64] | None
    ) -> Joined:
        """Take the sides from the order of the slices."""
        layers = _stacked(scores)
        defocus = layers["defocus_um"]
        n, shape = len(defocus), defocus.shape
        flat = np.abs(defocus).reshape(n, -1).astype(np.float64)
        judged = np.isfinite(flat)
        # A tile that blurs into nothing on some slices is far out of focus there, not sharp.
        distance = np.where(judged, flat, np.where(judged, flat, 0).max(axis=0))
        curves, sign_from = None, "one image, where the sign may be ambiguous"
        if n > 1:
            found = sides(flat, np.arange(n, dtype=np.float64) if heights_um is None else heights_um)
            layers["defocus_um"] = (flat * found.signs).reshape(shape).astype(np.float32)
            curves = -((distance + np.abs(found.line)) / 2).reshape(shape).astype(np.float32)
            sign_from = "the order of the slices"
        evidence = judged.any(axis=0).reshape(shape[1:]).astype(np.float32)
        maps = -distance.reshape(shape).astype(np.float32)
        return Joined(maps, layers, curves, evidence, {"sign_from": sign_from})


NetworkScorer = ClassScorer | DefocusScorer


def installed_networks() -> Iterator[NetworkScorer]:
    """Scorers for the models that are installed and score focus. Reads cards, no weights."""
    for name, folder in find_models().items():
        try:
            card = read_card(folder)
        except ModelError as error:
            log.warning("%s", error)
            continue
        if card.name != name:
            log.warning("The model in '%s' calls itself '%s': it is left out.", folder / CARD, card.name)
        elif card.architecture in CLASSIFIERS:
            yield ClassScorer(card, folder)
        elif card.architecture in DISTANCES:
            yield DefocusScorer(card, folder)


@lru_cache(maxsize=4)
def _loaded(folder: str, sha256: str, device: str) -> Any:
    """A network ready for inference; the checksum is in the key, so that a model trained anew is loaded anew."""
    preload_torch()
    import torch

    from napari_focusstack.networks.infer import best_device, prepare
    from napari_focusstack.networks.zoo import load_model

    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "auto": True,
    }
    if not there.get(device, False):
        known = ", ".join(name for name, found in there.items() if found)
        raise InputError(f"There is no device '{device}' here: choose one of {known}.")
    try:
        network, _ = load_model(folder)
    except ModelError as error:
        raise InputError(str(error)) from error
    return prepare(network, device=best_device() if device == "auto" else torch.device(device))


def _large_enough(plane: NDArray[Any]) -> NDArray[Any]:
    if min(plane.shape[:2]) < SMALLEST_PX:
        size = "×".join(map(str, plane.shape[:2]))
        raise InputError(
            f"A plane of {size} pixels is too small for a network: give {SMALLEST_PX}×{SMALLEST_PX} pixels at least, "
            "or choose a classical measure."
        )
    return plane


def _stacked(scores: Sequence[PlaneScore]) -> dict[str, NDArray[Any]]:
    return {key: np.stack([s.layers[key] for s in scores]) for key in scores[0].layers}


def _energy(grey: NDArray[np.float32], shape: tuple[int, int], step: int) -> Map:
    """Tenengrad's energy, the mean square of Sobel's gradient, in each cell."""
    gx, gy = (cv2.Sobel(grey, cv2.CV_32F, *along, scale=1 / 8) for along in ((1, 0), (0, 1)))
    return area_mean(_to_cells(gx * gx + gy * gy, shape, step), shape)


def _blank(grey: NDArray[np.float32], shape: tuple[int, int], step: int, noise: float) -> NDArray[np.bool_]:
    """Patches of `EVIDENCE_PX` around each cell that vary no more than noise does.

    Means over 8×8 pixels vary by an eighth of white noise; slow shading is taken off them first.
    """
    h, w = grey.shape
    small = max(1, h // MEANS_PX), max(1, w // MEANS_PX)
    means = area_mean(grey, small)
    side = 2 * round(EVIDENCE_PX / MEANS_PX / 2) + 1
    detail = means - cv2.blur(means, (side, side), borderType=cv2.BORDER_REFLECT)
    variance = cv2.blur(detail * detail, (side, side), borderType=cv2.BORDER_REFLECT)
    full = cv2.resize(variance, (w, h), interpolation=cv2.INTER_LINEAR)
    deviation = np.sqrt(area_mean(_to_cells(full, shape, step), shape))
    blank: NDArray[np.bool_] = deviation <= max(STANDS_OUT * noise / MEANS_PX, 1e-6 * float(np.abs(grey).max()))
    return blank


def _to_cells(image: NDArray[np.float32], shape: tuple[int, int], step: int) -> NDArray[np.float32]:
    """An image mirrored (or cut) to whole cells."""
    below, right = shape[0] * step - image.shape[0], shape[1] * step - image.shape[1]
    image = image[: shape[0] * step, : shape[1] * step]
    if max(below, right) <= 0:
        return image
    filled: NDArray[np.float32] = cv2.copyMakeBorder(image, 0, max(below, 0), 0, max(right, 0), cv2.BORDER_REFLECT)
    return filled
