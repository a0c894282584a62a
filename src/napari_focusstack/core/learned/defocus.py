"""LDSE-NET's signed distance from focus as a scorer."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.defocus import LEAST_AGREEMENT, agreement, calibration_of, sides
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.learned.base import NetworkScorer, large_enough, stacked
from napari_focusstack.core.report import Grid, PlaneScore
from napari_focusstack.core.scorer import Joined, PlaneContext

COARSEST = 4.0
"""Twice the coarsest pixel size · NA/λ that the networks have learned; there a tile has next to no pixels."""
LEAST_PX = 32
"""A field has to have so many pixels on the network's grid."""
VOTES = "votes"
"""Layer within a series: the side by the image alone, -1 (surely the rings' side) … 1."""
ONE_IMAGE = "one image, where the sign may be ambiguous: points show rings below focus, unless told that it is above"


@dataclass(frozen=True)
class DefocusScorer(NetworkScorer):
    """Signed distance from focus of 224 px tiles in µm (LDSE-NET).

    The map is ``-|defocus|``. Tiles without anything to judge by are dropped. Positive: the slice lies higher than what
    would be in focus.

    One image tells the side of focus only as far as the optics are asymmetric: by the rings that points show on one
    side of it (layer ``side``, 0…1, says how sure the network is). Which side that is depends on the instrument, see
    `Optics.rings`; a stack tells it by the order of its slices, see `defocus.sides`.
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
            "aperture, wavelength and pixel size, and for the side in a single image on which side points show rings."
        )

    @property
    def learned_sampling(self) -> tuple[float, float] | None:
        """Finer pixels are made coarser first, so only the coarsest count."""
        return 0.0, COARSEST / 2

    @property
    def learned_waves(self) -> float | None:
        """Defocus that it has learned, in waves; None where the card does not tell."""
        data = self.card.training.get("data")
        told = data.get("max_waves") if isinstance(data, dict) else None
        return None if told is None else float(told)

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
        network = self.network(context.device)
        _check_field(large_enough(plane), known.sampling, least=network.tile_px or LEAST_PX)
        found = ldsenet.measure_plane(network, plane, sampling=known.sampling)
        direction = -1 if context.optics.rings == "above" else 1
        defocus = (direction * found.waves * known.um_per_wave).astype(np.float32)
        defocus[found.blank] = np.nan
        h, w = plane.shape[:2]
        gy, gx = defocus.shape
        certainty = np.where(found.blank, 0, found.side).astype(np.float32)
        layers = {"defocus_um": defocus, "side": certainty, VOTES: certainty * np.sign(found.waves)}
        focus = -np.abs(np.nan_to_num(defocus))
        waves = self.learned_waves
        notes = {} if waves is None else {"learned_um": round(waves * known.um_per_wave, 3)}
        return PlaneScore(focus.astype(np.float32), Grid((gy, gx), (h / gy, w / gx)), layers=layers, notes=notes)

    def join(
        self, scores: Sequence[PlaneScore], *, exposure: NDArray[np.float32], heights_um: NDArray[np.float64] | None
    ) -> Joined:
        """Take the sides from the order of the slices, and from the rings where the two agree on the rings' side."""
        layers = stacked(scores)
        votes = layers.pop(VOTES).reshape(len(scores), -1).astype(np.float64)
        defocus = layers["defocus_um"]
        n, shape = len(defocus), defocus.shape
        flat = np.abs(defocus).reshape(n, -1).astype(np.float64)
        judged = np.isfinite(flat)
        # A tile that blurs into nothing on some slices is far out of focus there, not sharp.
        distance = np.where(judged, flat, np.where(judged, flat, 0).max(axis=0))
        curves: NDArray[np.float32] | None = None
        notes: dict[str, Any] = {"sign_from": ONE_IMAGE}
        if n > 1:
            heights = np.arange(n, dtype=np.float64) if heights_um is None else heights_um
            found = sides(flat, heights)
            notes = {"sign_from": "the order of the slices"}
            agreed = agreement(votes, flat, found.signs)
            if abs(agreed) >= LEAST_AGREEMENT:
                found = sides(flat, heights, votes=np.sign(agreed) * votes)
                notes = {
                    "sign_from": "the order of the slices and the rings",
                    "rings": "below" if agreed > 0 else "above",
                    "rings_agreement": round(abs(agreed), 3),
                }
            layers["defocus_um"] = (flat * found.signs).reshape(shape).astype(np.float32)
            curves = -((distance + np.abs(found.line)) / 2).reshape(shape).astype(np.float32)
        evidence = judged.any(axis=0).reshape(shape[1:]).astype(np.float32)
        maps = -distance.reshape(shape).astype(np.float32)
        return Joined(maps, layers, curves, evidence, {**scores[0].notes, **notes})


def _check_field(plane: NDArray[Any], sampling: float, *, least: int) -> None:
    """Say where a field holds too little for the network, or its pixels are too coarse for the objective."""
    from napari_focusstack.networks.ldsenet import SAMPLING

    if sampling > COARSEST:
        raise InputError(
            f"Pixel size times aperture over wavelength is {sampling:.2g}, the network knows up to {COARSEST:g}: "
            "check the pixel size, the numerical aperture and the wavelength."
        )
    needed = math.ceil(least * SAMPLING / sampling)
    if min(plane.shape[:2]) < needed:
        size = "×".join(map(str, plane.shape[:2]))
        raise InputError(
            f"A field of {size} pixels is too small for this network at this aperture and pixel size: "
            f"give {needed}×{needed} pixels at least, or choose a classical measure."
        )
