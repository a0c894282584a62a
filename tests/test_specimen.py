from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.measures import MEASURES
from napari_focusstack.core.outline import main_pieces
from napari_focusstack.core.report import Grid
from napari_focusstack.core.specimen import Specimen, SpecimenFinder, check_region, patch_means, region_weights
from napari_focusstack.io.read import read_stack
from napari_focusstack.io.samples import SAMPLES
from scoring_scenes import (
    CENTRES,
    SHAPE,
    Layer,
    brightfield,
    discs,
    dust,
    eight_bit,
    everywhere,
    flat,
    fluorescence,
    noise,
    phase_object,
    texture,
    through_focus,
)


def dilated(mask: np.ndarray) -> np.ndarray:
    return np.asarray(binary_dilation(mask, iterations=12))


OBJECTS = discs(SHAPE, CENTRES, 30) > 0.5


def find(planes: np.ndarray) -> Specimen:
    finder = SpecimenFinder(planes.shape[1:], len(planes))
    for plane in planes:
        finder.add(plane.astype(np.float32))
    return finder.find()


def weights(planes: np.ndarray, patch_px: int = 16) -> np.ndarray:
    scores = [MEASURES["tenengrad"].score(plane, patch_px=patch_px) for plane in planes]
    found = find(planes).weights(np.stack([s.map for s in scores]), scores[0].grid, planes.shape[1:])
    assert found is not None
    return found


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    return float((a & b).sum() / (a | b).sum())


def test_a_fibre_that_touches_the_specimen_is_not_drawn_and_neither_are_specks() -> None:
    stack = read_stack(SAMPLES["organoids"].path)
    found = find(np.stack(list(stack.planes())))
    assert found.outline is not None
    assert found.drawn is not None
    organoid = slice(430, 450), slice(325, 345)
    for fibre in ((slice(340, 440), slice(250, 290)), (slice(470, 505), slice(275, 292))):
        assert found.outline[fibre].any()
        assert not found.drawn[fibre].any()
    assert found.drawn[organoid].all()
    assert label(found.drawn)[1] < label(found.outline)[1]
    assert found.drawn.sum() > 0.9 * found.outline.sum()


def test_small_pieces_are_drawn_where_they_are_what_there_is() -> None:
    mask = discs(SHAPE, CENTRES, 30) > 0.5
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    beads = ((y % 16 - 8) ** 2 + (x % 16 - 8) ** 2 <= 3) & ~dilated(mask)
    strong = (mask | beads).astype(np.float32)
    assert (main_pieces(mask | beads, strong) == (mask | beads)).all()
    speck = np.zeros(SHAPE, bool)
    speck[8:10, 8:10] = True
    assert (main_pieces(mask | speck, (mask | speck).astype(np.float32)) == mask).all()
    assert not main_pieces(np.zeros(SHAPE, bool), np.zeros(SHAPE, np.float32)).any()


@pytest.mark.parametrize(
    "planes",
    [
        brightfield(),
        brightfield(shading=0.6),
        brightfield(flicker=0.06),
        brightfield(contrast=4, noise=5),
        eight_bit(brightfield()),
    ],
    ids=["plain", "shaded", "flickering", "noisy", "8 bit"],
)
def test_absorbing_objects_are_outlined(planes: np.ndarray) -> None:
    assert overlap(find(planes).outline, OBJECTS) > 0.7


def test_fluorescent_objects_are_outlined_where_they_are_sharp_not_by_their_haze() -> None:
    assert overlap(find(fluorescence()).outline, discs(SHAPE, CENTRES, 16) > 0.5) > 0.6


def test_transparent_objects_are_outlined() -> None:
    assert overlap(find(phase_object()).outline, discs(SHAPE, CENTRES, 24) > 0.5) > 0.5


def test_a_bright_object_does_not_hide_a_faint_one() -> None:
    bright, faint = discs(SHAPE, CENTRES[:1], 20), discs(SHAPE, CENTRES[1:2], 20)
    layers = [everywhere(flat(20)), Layer(flat(3000), bright, 4), Layer(flat(150), faint, 4)]
    outline = find(through_focus(layers, slices=9)).outline
    assert overlap(outline, np.maximum(bright, faint) > 0.5) > 0.5
    assert outline[faint > 0.9].mean() > 0.9


@pytest.mark.parametrize(
    "planes",
    [
        noise(),
        np.full((5, *SHAPE), 7.0, np.float32),
        through_focus([everywhere(flat(180))], slices=9, shading=0.6),
        through_focus([everywhere(texture(SHAPE, seed=9), 5)], slices=11),
    ],
    ids=["noise", "constant", "shaded and empty", "full of detail"],
)
def test_a_field_where_nothing_stands_out_has_no_outline(planes: np.ndarray) -> None:
    found = find(planes)
    assert found.outline is None
    assert found.weights(np.ones((1, 8, 10), np.float32), Grid.covering(SHAPE, 32), SHAPE) is None


def test_the_empty_corners_about_a_specimen_that_fills_the_field_are_no_specimen() -> None:
    full = Layer(texture((96, 96), seed=1), discs((96, 96), [(48, 48)], 56), 5)
    outline = find(through_focus([everywhere(flat(200, (96, 96))), full], slices=11)).outline
    assert outline is None or outline[0, 0] == False  # noqa: E712


def test_dust_that_is_sharp_on_the_first_slices_counts_little() -> None:
    objects = Layer(texture(SHAPE, seed=1, contrast=8), discs(SHAPE, CENTRES, 30), 7)
    layers = [everywhere(flat(180)), objects, Layer(flat(40), 0.9 * dust(), 1)]
    found = weights(through_focus(layers, slices=12))
    grid = Grid.covering(SHAPE, 16)
    on_dust = (region_weights(dust() > 0.5, grid) > 0) & (region_weights(OBJECTS, grid) == 0)
    inside = region_weights(OBJECTS, grid) > 0.9
    assert found[on_dust].mean() < 0.1 * found[inside].mean()


def crowd(*, ground: float, grey: float, small: int, **options: float) -> np.ndarray:
    """One large textured object on slice 3, many small ones about it on slice 9."""
    random = np.random.default_rng(3)
    centres = list(zip(random.uniform(0, SHAPE[0], small), random.uniform(0, SHAPE[1], small), strict=True))
    large = discs(SHAPE, [(128, 160)], 60)
    about = discs(SHAPE, centres, 3) * (discs(SHAPE, [(128, 160)], 70) == 0)
    layers = [
        everywhere(flat(ground)),
        Layer(texture(SHAPE, seed=1, contrast=10, mean=grey), large, 3),
        Layer(flat(grey), about, 9),
    ]
    return through_focus(layers, slices=13, blur_px=2.5, **options)


@pytest.mark.parametrize("small", [100, 150, 200])
@pytest.mark.parametrize(
    "light", [{"ground": 20, "grey": 200}, {"ground": 190, "grey": 90, "shading": 0.3}], ids=["dark", "bright"]
)
def test_one_large_object_is_not_the_specimen_alone_among_many_small_ones(light: dict[str, float], small: int) -> None:
    planes = crowd(small=small, **light)
    scores = [MEASURES["tenengrad"].score(plane, patch_px=16) for plane in planes]
    maps = np.stack([s.map for s in scores])
    found = find(planes).weights(maps, scores[0].grid, planes.shape[1:])
    values = np.average(maps.reshape(len(maps), -1), axis=1, weights=None if found is None else found.ravel())
    assert values.argmax() == 9


def test_a_large_object_alone_is_the_specimen() -> None:
    outline = find(crowd(ground=20, grey=200, small=0)).outline
    assert overlap(outline, discs(SHAPE, [(128, 160)], 60) > 0.5) > 0.7


def test_a_bright_patch_of_light_is_no_specimen_on_a_floor() -> None:
    """Noise grows with brightness: that is no detail that goes through focus."""
    cells = Layer(texture(SHAPE, seed=1, contrast=8, mean=110), discs(SHAPE, CENTRES, 22), 6)
    planes = through_focus([everywhere(flat(150)), cells], slices=13, noise=0)
    light = 1 + 0.7 * discs(SHAPE, [(256, 320)], 60)
    photons = np.random.default_rng(0).poisson(np.maximum(planes * light, 0)).astype(np.float32)
    found = find(photons)
    assert not found.floor
    assert found.outline is None or found.outline[OBJECTS].mean() > 0.3


def test_on_a_textured_floor_only_the_inside_of_the_specimen_counts() -> None:
    specimen = Layer(texture(SHAPE, seed=3, scale=2, contrast=8, mean=190), discs(SHAPE, [(128, 160)], 80), 8)
    found = weights(through_focus([everywhere(texture(SHAPE, seed=2, contrast=35, mean=90), 1), specimen], slices=12))
    grid = Grid.covering(SHAPE, 16)
    share = region_weights(discs(SHAPE, [(128, 160)], 80) > 0.5, grid)
    assert found[share < 0.5].max() < 0.01
    assert found[region_weights(discs(SHAPE, [(128, 160)], 40) > 0.5, grid) > 0.9].min() > 0.3


def test_weights_lie_between_nothing_and_one() -> None:
    found = weights(brightfield())
    assert found.min() == 0
    assert found.max() == 1


@pytest.mark.parametrize("shape", [(8, 8), (116, 55), (9, 400), (1, 40)])
def test_small_and_narrow_planes_are_looked_at(shape: tuple[int, int]) -> None:
    planes = np.random.default_rng(0).normal(100, 5, (6, *shape)).astype(np.float32)
    found = find(planes)
    assert found.outline is None or found.outline.shape == shape


def test_flicker_that_the_whole_field_shares_is_told() -> None:
    gains = np.random.default_rng(1).uniform(0.94, 1.06, 13)
    planes = brightfield() * gains[:, None, None].astype(np.float32)
    assert find(planes).exposure == pytest.approx(gains / gains.mean(), abs=0.003)


def test_light_that_focus_moves_is_not_taken_for_flicker() -> None:
    assert find(fluorescence()).exposure == pytest.approx(np.ones(12), abs=0.02)


def test_many_slices_are_kept_smaller() -> None:
    assert SpecimenFinder((600, 600), 20)._views.shape[1:] == (256, 256)
    assert SpecimenFinder((600, 600), 900)._views.shape[1:] == (128, 128)


def test_patch_means_hold_the_mean_of_the_image() -> None:
    image = np.random.default_rng(0).random((60, 90), dtype=np.float32)
    assert patch_means(image, Grid.covering((60, 90), 10)).mean() == pytest.approx(image.mean(), rel=1e-5)


def test_patches_off_the_image_have_no_weight() -> None:
    grid = Grid((2, 2), (50.0, 50.0), (20.0, 20.0))
    found = region_weights(np.ones((60, 60), bool), grid)
    assert found.tolist() == [[1, 0], [0, 0]]


def test_a_region_weighs_patches_by_area() -> None:
    region = np.zeros((64, 64), bool)
    region[:32, :16] = True
    assert region_weights(region, Grid.covering((64, 64), 32)).tolist() == [[0.5, 0], [0, 0]]


@pytest.mark.parametrize(("region", "message"), [(np.ones((5, 5), bool), "5×5"), (np.zeros((8, 9), bool), "no pixel")])
def test_a_region_that_does_not_fit_is_refused(region: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_region(region, (8, 9))
