"""GMANet as a scorer: one pass over the whole image (``gmanet``), or the paper's crops (``gmanet_protocol``)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import to_grey
from napari_focusstack.core.learned.base import NetworkScorer, large_enough, stacked
from napari_focusstack.core.learned.evidence import blank_cells, detail_energy, noise_of, octaves_below_peak, onto_image
from napari_focusstack.core.report import Grid, PlaneScore
from napari_focusstack.core.scorer import Joined, PlaneContext

POINTS_AN_OCTAVE = 94 / 5
"""By so much a score falls where the blur disc is twice as large: what it was taught."""
ENERGY_POINTS = 3.0
"""Points for a doubling of energy over z in a slice's number. So much settles what the score is blunt about; at 6 and
more, phase objects are drawn to the slices of highest contrast, above and below focus (development stacks)."""
LARGE_OBJECT_PX = 90
"""The paper's formed elements measure 30 to 90 px in the large preset."""
PLACE_PX = 16


@dataclass(frozen=True)
class Preset:
    """How large an image is when GMANet sees it, and its block φ: the paper's two image families.

    Attributes
    ----------
    size_px : (int, int)
        Height and width of the paper's images. Ours keep their proportions: they get as many pixels, at most.
    block_px : int
        Side of the block φ of the local maximum gradient.
    """

    size_px: tuple[int, int]
    block_px: int

    def scale(self, shape: tuple[int, int]) -> float:
        """By which an image of (Y, X) pixels is made smaller; 1 at most."""
        return min(1.0, math.sqrt(math.prod(self.size_px) / math.prod(shape)))


LARGE, SMALL = Preset((1024, 1536), 32), Preset((768, 1152), 8)


def preset_for(shape: tuple[int, int], object_px: float | None) -> Preset:
    """Choose by the image's size and the specimen's.

    Images are brought to the size of the paper's feces and blood images (1024×1536, φ 32), unless their objects are
    larger than those there: then to that of its leucorrhea images (768×1152, φ 8), in which large epithelial cells lie
    among small ones.

    Parameters
    ----------
    shape : (int, int)
        Y, X of the image.
    object_px : float or None
        Diameter of what lies in it; None where nothing stands out.
    """
    if object_px is not None and object_px * LARGE.scale(shape) > LARGE_OBJECT_PX:
        return SMALL
    return LARGE


@dataclass(frozen=True)
class GmaScorer(NetworkScorer):
    """Score of the whole image, 0 … 100, and of every place of it (GMANet), in one pass.

    The map is the score; 100 is as clear as the clearest slice of a stack. A slice's number is the mean over the
    patches of ``score + 3·log2(energy / maximum of the energy over z)``, with Tenengrad's energy: the score tells how
    far a patch is from focus and is blunt near it and far from it, the energy is the other way round. A single plane
    has no maximum over z: its number is the mean score. Patches in which nothing stands out of the noise on any slice,
    or which score 0 on all, do not count.
    """

    @property
    def units(self) -> str:
        """Units of the map."""
        return "score, 100 is clearest"

    @property
    def description(self) -> str:
        """What it is good for."""
        return (
            "Scores a whole image as an expert would, 0 to 100, paying attention to where it is sharp; shows which "
            "places gave the score."
        )

    @property
    def needs(self) -> Collection[str]:
        """The stack's noise tells empty patches, the size of its objects the preset."""
        return ("noise", "object_px")

    def check(self, context: PlaneContext) -> None:
        """Nothing is needed beyond the pixels."""

    def network(self, device: str) -> Any:
        """The network, ready for inference; loaded once."""
        network = super().network(device)
        from napari_focusstack.networks.gmanet_infer import quick

        return quick(network)

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Score one plane."""
        from napari_focusstack.networks.gmanet_infer import dense

        shape = plane.shape[0], plane.shape[1]
        grey, preset = to_grey(large_enough(plane)), preset_for(shape, context.object_px)
        scale = preset.scale(shape)
        cells = max(1, round(context.patch_px * scale / PLACE_PX))
        seen = plane if self.card.input_channels == 3 else grey
        found = dense(self.network(context.device), seen, scale=scale, block_px=preset.block_px, cells=cells)
        assert found.cam is not None
        scores, grid = onto_image(found.map, found.cell_px, shape)
        cam, _ = onto_image(found.cam, found.cell_px, shape)
        blank = blank_cells(grey, grid.shape, grid.cell_px, noise=noise_of(plane, context.noise))
        layers = {"cam": cam, "certainty": np.where(blank | (scores == 0), 0, 1).astype(np.float32)}
        notes = {"preset": preset_text(preset, scale)}
        energy = detail_energy(grey, grid.shape, grid.cell_px)
        return PlaneScore(scores, grid, layers=layers, energy=energy, notes=notes)

    def join(
        self, scores: Sequence[PlaneScore], *, exposure: NDArray[np.float32], heights_um: NDArray[np.float64] | None
    ) -> Joined:
        """Join the scores with the energy of detail over z."""
        maps, layers = np.stack([s.map for s in scores]), stacked(scores)
        judged = np.asarray((layers.pop("certainty") > 0).any(axis=0), np.float32)
        curves = maps + np.float32(ENERGY_POINTS) * octaves_below_peak(scores, exposure)
        return Joined(maps, layers, curves, judged, dict(scores[0].notes))


@dataclass(frozen=True)
class ProtocolScorer(GmaScorer):
    """GMANet as printed: 1024×1536 px, the mean over 12 crops of 512×768 px. Slower, for comparison."""

    @property
    def name(self) -> str:
        """The model's name and the mode."""
        return f"{super().name}_protocol"

    @property
    def title(self) -> str:
        """The model's title and the mode."""
        return f"{super().title}, as published"

    @property
    def description(self) -> str:
        """What it is good for."""
        return "GMANet as published, in overlapping crops: several times slower than GMANet itself, for comparison."

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Score one plane; its number is the printed one where the whole field decides."""
        from napari_focusstack.networks.gmanet_infer import protocol

        grey = to_grey(large_enough(plane))
        seen = plane if self.card.input_channels == 3 else grey
        found = protocol(self.network(context.device), seen)
        grid = Grid((found.map.shape[0], found.map.shape[1]), found.cell_px)
        return PlaneScore(found.map, grid, value=found.score)

    def join(
        self, scores: Sequence[PlaneScore], *, exposure: NDArray[np.float32], heights_um: NDArray[np.float64] | None
    ) -> Joined:
        """Nothing is joined: each slice has its score."""
        return Joined(np.stack([s.map for s in scores]), stacked(scores))


def preset_text(preset: Preset, scale: float) -> str:
    """Tell the preset: ``"1024×1536 px, φ 32: the image at 0.91 of its size"``."""
    size = "×".join(map(str, preset.size_px))
    return f"{size} px, φ {preset.block_px}: the image at {scale:.2f} of its size"
