"""HH-Net's distance classes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from napari_focusstack.core.handcrafted import features
from napari_focusstack.networks import hhnet
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.losses import cross_entropy, ranked_probability_score
from napari_focusstack.training.optics import N_NU, Microscope, as_table_waves, wide_transfer
from napari_focusstack.training.patches import Patches, PatchSettings
from napari_focusstack.training.recipes.base import Recipe

TRAINED_PX = 80
"""HH-Net is convolutions and a mean, so it learns on smaller patches, a dozen times as many in the same time."""
WIDER_PX = 96
"""The last stage's: of what is far from focus, 80 px hold little more than one blur disc."""
POOL, FRESH = 96, 12
"""Batches that may be shown again; none is before so many were shown, which is all that validates."""
KNOWN = 0.75
"""Share of patches whose aperture is told in training, and of those whose sampling is."""
MARGIN_PX = 16
"""Between a patch and its tile's border."""
SMOOTHED = 0.9
"""Crops scaled down by more than this are smoothed first, lest they alias."""


class HHSettings(PatchSettings):
    """What patches are like under objectives of any aperture, of specimens more or less soft themselves."""

    aperture: tuple[float, float] = Field(
        default=(0.0, 0.0), description="Range of NA/n: high apertures bring spherical aberration along with defocus."
    )
    soft_px: float = Field(
        default=0.0, ge=0, description="Most blur (Gaussian's sigma) of the specimen itself, whatever its focus."
    )
    layer: tuple[float, float] | None = Field(
        default=None,
        description="Range of the index, over the immersion's, of the layer whose thickness brings spherical "
        "aberration: exact phases, of fluorescence; none for primary aberration alone.",
    )
    replays: int = Field(
        default=0, ge=0, description="How many earlier batches follow each new one: cheap where little is learned."
    )


@dataclass(frozen=True)
class HHBatch:
    """Patches with their images' features and the truth; K patches.

    Attributes
    ----------
    image : (K, 1, T, T) float32
        Tiles as the camera gave them; the patch is the middle of each.
    features : (K, 18) float32
        Of the tiles.
    target : (K, 7) float32
        True distribution; all classes alike where there is nothing to judge by.
    evidence : (K,) bool
        False where there is nothing to judge by.
    objective : (K, 2) float32
        Pixel size · NA/λ and NA/n.
    looked : list of tensor
        What `HHNet.look` makes of it, once it has, where that part of the network does not learn.
    """

    image: Tensor
    features: Tensor
    target: Tensor
    evidence: Tensor
    objective: Tensor
    looked: list[Tensor] = field(default_factory=list)


class AugmentedPatches(Patches):
    """Patches whose specimens are turned, scaled and bent (paper, 2.2.1), *before* they are blurred: optics are not.

    Reflections and quarter turns, position, brightness and contrast vary in `Patches` already. Each amount of blur is
    shown on both sides of focus: all that differs in such a pair is what tells the side.

    Attributes
    ----------
    apertures : (K,) tensor
        NA/n of the last batch's objectives; 0 where they have none.
    """

    apertures = torch.zeros(0)

    def _defocus(self, sampling: Tensor, opening: Tensor) -> tuple[Tensor, Tensor]:
        blur, waves = super()._defocus(sampling, opening)
        blur[1::2], waves[1::2] = blur[::2], -waves[::2]
        return blur, waves

    def _crop(self, blank: bool) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        crop = super()._crop(blank)
        if blank:
            return crop
        crop, s = augmented(crop, self.rng), self.settings
        if isinstance(s, HHSettings) and (sigma := float(self.rng.uniform(0, s.soft_px))) > 0:
            crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.float32)
        return crop

    def _profiles(self, condenser: Tensor, spherical: Tensor, waves: Tensor) -> Tensor:
        s = self.settings
        if not isinstance(s, HHSettings):
            return super()._profiles(condenser, spherical, waves)
        groups = len(waves) // s.views  # the views of a crop share their objective
        drawn = self.rng.uniform(*s.aperture, groups)
        self.apertures = torch.from_numpy(drawn).float().repeat_interleave(s.views)
        exact = torch.full_like(condenser, s.layer is not None, dtype=torch.bool) & (condenser == 0)
        profile = torch.zeros((len(waves), N_NU), dtype=torch.complex64)
        if not exact.all():
            along = torch.from_numpy(spherical_along(drawn)).float().repeat_interleave(s.views)
            profile = super()._profiles(condenser, spherical + along * waves, waves)
        if s.layer is not None:
            layer = torch.from_numpy(self.rng.uniform(*s.layer, groups)).repeat_interleave(s.views)
            found = wide_transfer(waves, aperture=self.apertures, spherical=spherical, layer=layer)
            profile[exact] = found[exact].to(torch.complex64)
        return profile


@lru_cache(maxsize=1)
def _along() -> tuple[np.ndarray, np.ndarray]:
    apertures = np.linspace(0.02, 0.98, 49)
    found = [as_table_waves(torch.ones(1), Microscope(float(a), 1.0, 1.0, 1.0)) for a in apertures]
    return apertures, np.array([float(fourth / second) for second, fourth in found])


def spherical_along(aperture: np.ndarray) -> np.ndarray:
    """Waves of primary spherical aberration that come with each wave of defocus, by NA/n (0 … 0.98).

    Defocus is no parabola at high apertures: at 0.95 it brings 0.08 waves in each, which six waves from focus is more
    than most objectives have, of one sign on one side of focus and of the other on the other.
    """
    return np.asarray(np.interp(aperture, *_along()))


def augmented(
    crop: np.ndarray[tuple[int, int], np.dtype[np.float32]], rng: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """A crop turned by any angle, scaled by 0.4 to 1, and bent by a smooth random field (Simard et al. 2003).

    Scaled down, a specimen is sharp to the pixel: fine detail is what shows rings and halos. Mirrored at its borders.
    """
    h, w = crop.shape
    angle, scale = rng.uniform(0, 2 * np.pi), float(np.exp(rng.uniform(np.log(0.4), 0)))
    if scale < SMOOTHED:
        crop = cv2.GaussianBlur(crop, (0, 0), 0.4 * (1 / scale - 1))
    y, x = np.mgrid[:h, :w].astype(np.float32)
    y, x = y - h / 2, x - w / 2
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    bend = [
        cv2.resize(rng.normal(0, rng.uniform(0, 4), (6, 6)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
        for _ in range(2)
    ]
    from_y, from_x = c * y - s * x + h / 2 + bend[0], s * y + c * x + w / 2 + bend[1]
    moved = cv2.remap(
        crop,
        from_x.astype(np.float32),
        from_y.astype(np.float32),
        interpolation=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(moved, np.float32)


@dataclass(frozen=True)
class HHData:
    """The recipe's data.

    Attributes
    ----------
    settings : PatchSettings
        What the patches are like.
    """

    settings: PatchSettings

    def batches(self, images: Sequence[Sharp], *, batch: int, seed: int) -> Iterator[HHBatch]:
        """Endless batches of patches of these images."""
        patches = AugmentedPatches(images, self.settings, batch=batch, seed=seed)
        replays = self.settings.replays if isinstance(self.settings, HHSettings) else 0
        earlier: deque[HHBatch] = deque(maxlen=POOL)
        for drawn in patches:
            target = hhnet.class_targets(drawn.blur_px, above=drawn.waves > 0)
            target[~drawn.evidence] = 1 / len(hhnet.DISTANCES)
            known = np.stack([features(tile) for tile in drawn.image[:, 0].numpy()])
            apertures = patches.apertures if len(patches.apertures) else torch.zeros(len(target))
            objective = torch.stack([drawn.sampling, apertures], dim=1)
            new = HHBatch(drawn.image, torch.from_numpy(known), target, drawn.evidence, objective)
            yield new
            if replays:
                earlier.append(new)
            for _ in range(replays if len(earlier) >= FRESH else 0):
                yield earlier[int(patches.rng.integers(len(earlier)))]


def _judge(network: hhnet.HHNet, batch: HHBatch, device: torch.device) -> Tensor:
    """Logits of the patches; they are normalised as parts of their tiles, as they are parts of an image later.

    Where statistics join, the convolutions have learned already: what they see in a batch stays the same.
    """
    if network.statistics is None:
        return network.conclude(_look(network, batch, device), _told(network, batch, device)).float()
    if not batch.looked:
        network.convolutions.eval()
        with torch.no_grad():
            batch.looked.append(_look(network, batch, device))
        batch.image.data = torch.empty(0)  # a pool of tiles would fill a gigabyte, and nothing looks at them again
    return network.conclude(batch.looked[0], _told(network, batch, device)).float()


def _told(network: hhnet.HHNet, batch: HHBatch, device: torch.device) -> Tensor:
    """The objectives; in training it is left out what many files do not tell, each number for itself."""
    objective = batch.objective.to(device)
    return objective * (torch.rand_like(objective) < KNOWN) if network.training else objective


def _look(network: hhnet.HHNet, batch: HHBatch, device: torch.device) -> Tensor:
    tiles = batch.image.to(device)
    inner = slice(MARGIN_PX, -MARGIN_PX)
    normalised, patches = network.norm(tiles)[..., inner, inner], tiles[..., inner, inner]
    return network.look(
        normalised.contiguous(memory_format=torch.channels_last), batch.features.to(device), patches.contiguous()
    )


def _loss(network: Any, batch: HHBatch, device: torch.device) -> Tensor:
    """Cross-entropy, which makes it sure, and the ranked probability score, which makes near misses cheap."""
    logits, target = _judge(network, batch, device), batch.target.to(device)
    return cross_entropy(logits, target) + ranked_probability_score(logits, target)


def _metrics(network: Any, batches: list[HHBatch], device: torch.device) -> Mapping[str, float]:
    """Share of right classes within the bands, of right sides but for class 0, and certainty where nothing is seen."""
    p = torch.cat([torch.softmax(_judge(network, b, device), dim=1).cpu() for b in batches])
    target, evidence = torch.cat([b.target for b in batches]), torch.cat([b.evidence for b in batches])
    distances = torch.tensor(hhnet.DISTANCES).float()
    in_band, true = (target.max(dim=1).values == 1) & evidence, target @ distances
    sided = evidence & (true.abs() >= 1)
    certainty = 1 + (p * torch.log(p.clamp(min=1e-12))).sum(dim=1) / np.log(len(distances))
    return {
        "accuracy": float((p.argmax(dim=1) == target.argmax(dim=1))[in_band].float().mean()),
        "side_right": float(((p @ distances > 0) == (true > 0))[sided].float().mean()),
        "index_error": float((p @ distances - true)[evidence].abs().mean()),
        "certainty": float(certainty[evidence].mean()),
        "certainty_blank": float(certainty[~evidence].mean()),
    }


def _build(**given: Any) -> nn.Module:
    """For a narrow network, less dropout than the paper's: it has no more nodes than it needs."""
    network: nn.Module = hhnet.hhnet(**given, dropout=(0.2, 0.1))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


_PATCHES = PatchSettings(
    patch_px=TRAINED_PX,
    tile_px=TRAINED_PX + 2 * MARGIN_PX,
    blur_px=(0.0, 1.5, 3.0, 5.0, 7.0, 11.0, 15.0, 27.0, 40.0),
    sampling=(0.42, 0.58),
    spherical_waves=(0.2, 0.4),
    modes=(1.0, 0.0, 0.0, 0.0),
    # Nuclei and blood cells alone taught it that dense texture is rings: shapes of every kind, grain, dark on bright.
    drawn=0.35,
    texture=0.35,
    inverted=0.3,
    crisp_px=3.4,
    blank=0.05,
    dirt=0.02,
    haze=0.05,
    electrons=(3.4, 4.8),
    shading=0.05,
    jpeg=0.02,
)

_ANY = HHSettings.model_validate(
    _PATCHES.model_dump()
    | {
        "patch_px": WIDER_PX,
        "tile_px": WIDER_PX + 2 * MARGIN_PX,
        "electrons": (3.2, 4.8),
        "aperture": (0.2, 0.95),
        # A lens is out of focus or the specimen soft: what tells them apart are rings and halos, not sharpness.
        "soft_px": 1.3,
    }
)

_SEEN = "grey; local mean and deviation over 92 px, asinh; 18 features of the whole image beside it"

_RECIPE = Recipe(
    name="hhnet",
    title="HH-Net distance, experimental",
    paper="Ge et al. 2020, HH-Net: image driven microscope fast auto-focus with deep neural network",
    build=_build,
    data=HHData(_ANY),
    loss=_loss,
    metrics=_metrics,
    fit=FitSettings(epochs=12, steps=200, batch=32, learning_rate=1e-3, valid_steps=12, patience=12),
    architecture="hhnet",
    task="Distance from focus in seven ordered classes, with its side",
    normalisation=_SEEN,
    outputs="logits of the classes -3 (too near) … 3 (too far); bands of blur, see networks.hhnet.BANDS_PX",
    input_px=(hhnet.PATCH_PX, hhnet.PATCH_PX),
    caution="HH-Net is experimental: of patches from sources that it has not seen it puts about two thirds into the "
    "right one of seven classes, and is surer than that.",
    width=0.125,
)
_PLAIN = _PATCHES.model_copy(
    update={
        "sampling": (0.45, 0.55),
        "spherical_waves": (0.25, 0.4),
        "blank": 0.03,
        "drawn": 0.0,
        "texture": 0.0,
        "inverted": 0.0,
        "crisp_px": None,
        "dirt": 0.0,
        "haze": 0.0,
        "shading": 0.0,
        "jpeg": 0.0,
        "electrons": (3.6, 4.8),
    }
)
_FIRST = replace(
    _RECIPE,
    name="hhnet-sides",
    data=HHData(_PLAIN),
    fit=_RECIPE.fit.model_copy(update={"epochs": 14, "learning_rate": 2e-3, "patience": 30}),
)
"""A clean microscope: the side of focus is learned there first, and hardly at all without."""
_SECOND = replace(
    _RECIPE,
    name="hhnet-kinds",
    data=HHData(_PATCHES),
    fit=_RECIPE.fit.model_copy(update={"epochs": 30, "learning_rate": 1.5e-3, "patience": 30}),
    before=_FIRST,
)
"""Specimens of every kind, noise, haze and dirt; then objectives of every aperture, on wider patches."""

_THIRD = replace(_RECIPE, name="hhnet-apertures", before=_SECOND)
"""Objectives of every aperture and soft specimens, on wider patches."""


def _begin(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Convolutions and features as they were; the layers behind them, which statistics join, learn anew."""
    network.load_state_dict({k: v for k, v in state.items() if not k.startswith("decide.")}, strict=False)


_WITH_STATISTICS = replace(
    _RECIPE,
    data=HHData(
        _ANY.model_copy(
            update={
                "patch_px": hhnet.PATCH_PX,
                "tile_px": hhnet.PATCH_PX + 2 * MARGIN_PX,
                "replays": 31,
                "layer": (1.1, 1.55),  # water and specimens under air and glass, glass under water
            }
        )
    ),
    fit=_RECIPE.fit.model_copy(update={"epochs": 40, "steps": 400, "patience": 40}),
    arguments={"statistics": True, "objective": True},
    normalisation=f"{_SEEN}; statistics of the patch as it is; pixel size · NA/λ and NA/n, 0 where not known",
    caution="HH-Net is experimental: of patches from sources that it has not seen it puts about five of six into the "
    "right one of seven classes, and is surer than that.",
    before=_THIRD,
    begin=_begin,
)
"""Whole patches, as statistics need them, and exact phases. The convolutions learn no more, so it is cheap to show a
batch again."""

RECIPES = (_WITH_STATISTICS, replace(_THIRD, name="hhnet_paper", title="HH-Net without statistics"))
