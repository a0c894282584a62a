"""Focus masks: methods, thresholds, the command line, files; and fusion by masks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch

from fuse_scenes import SLICES, named, scene
from napari_focusstack.cli.main import main
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion.msegnet import MaskFusion
from napari_focusstack.core.masks import MASKS, SliceMask, focus_masks
from napari_focusstack.core.masks.base import FocusMasks
from napari_focusstack.core.masks.learned import SegmenterMask, crispness
from napari_focusstack.core.progress import Progress, drain
from napari_focusstack.core.stack import Stack, from_array
from napari_focusstack.io.map_layers import name_beside
from napari_focusstack.io.masks import write_masks_job
from napari_focusstack.io.samples import sample_stack
from napari_focusstack.networks.msegnet import msegnet
from napari_focusstack.networks.zoo import read_card, save_model
from napari_focusstack.training.recipes import RECIPES

STRIPE = 96 // SLICES


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SegmenterMask:
    """A segmenter with weights of chance."""
    torch.manual_seed(0)
    recipe = RECIPES["msegnet"]
    fields = ("name", "title", "task", "paper", "architecture", "normalisation", "outputs", "input_px")
    card = {f: getattr(recipe, f) for f in fields} | {"arguments": {"width": 0.125}}
    folder = tmp_path_factory.mktemp("models") / "msegnet"
    save_model(msegnet(width=0.125).eval(), card, folder)
    return SegmenterMask(read_card(folder), folder)


class Known(SegmenterMask):
    """Says what is so: the stripe of the slice is in focus."""

    def plane(self, grey, *, device):
        yield Progress(1, 1)
        return (cv2.blur(np.square(grey - cv2.blur(grey, (9, 9))), (9, 9)) > 50).astype(np.float32)


def masked(stack, method="energy") -> FocusMasks:
    return drain(focus_masks(stack, MASKS[method] if isinstance(method, str) else method))


@pytest.mark.parametrize("method", ["energy", "harris"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_energy_marks_what_is_sharp_in_each_slice(dtype, method):
    mask = masked(from_array(scene(dtype=dtype), axes="ZYX"), method).mask()
    for z in range(SLICES):
        inside = mask[z][:, z * STRIPE + 6 : (z + 1) * STRIPE - 6]
        assert inside.mean() > 0.9
        assert mask[z].mean() < 2.2 / SLICES


@pytest.mark.parametrize("method", ["energy", "harris"])
def test_energy_lets_no_noise_in(method):
    noise = np.random.default_rng(0).normal(1000, 20, (4, 96, 96)).astype(np.uint16)
    assert masked(from_array(noise, axes="ZYX"), method).mask().mean() < 0.01


@pytest.mark.parametrize("method", ["energy", "harris"])
def test_of_a_single_plane_the_sharp_half_is_marked(method):
    plane = scene(slices=1)[0] * 1
    plane[:, 48:] = cv2.GaussianBlur(plane, (0, 0), 8)[:, 48:]
    mask = masked(from_array(plane, axes="YX"), method).mask()[0]
    assert mask[:, :40].mean() > 0.9
    assert mask[:, 60:].mean() < 0.1


@pytest.mark.parametrize("method", ["energy", "harris"])
@pytest.mark.parametrize("spread", [0, 20])
def test_a_single_plane_of_which_nothing_can_be_told_is_refused_in_a_sentence(method, spread):
    noise = np.random.default_rng(0).normal(1000, spread, (96, 96)).astype(np.uint16)
    with pytest.raises(InputError, match="give the stack"):
        masked(from_array(noise, axes="YX"), method)


def test_brightness_changes_no_mask():
    plain = masked(from_array(scene(), axes="ZYX")).levels.astype(int)
    other = masked(from_array(scene() * 7 + 500, axes="ZYX")).levels.astype(int)
    assert np.abs(plain - other).mean() < 3


def test_the_mask_of_a_threshold_and_its_areas_need_no_pixels_again():
    masks = masked(named(scene()))
    for threshold in (0.0, 0.3, 0.5, 1.0):
        mask = masks.mask(threshold)
        assert set(np.unique(mask)) <= {0, 1}
        assert np.allclose(masks.shares(threshold), mask.mean(axis=(1, 2)))
    p = masks.probability()
    assert np.array_equal(masks.mask(0.5), p >= 0.5)
    areas = [masks.shares(t).sum() for t in (0.1, 0.5, 0.9)]
    assert areas == sorted(areas, reverse=True)
    held = np.zeros_like(masks.levels)
    assert masks.mask(0.3, out=held) is held
    assert held.any()


def test_progress_tells_each_slice_and_its_share():
    steps = []
    found = drain(focus_masks(named(scene()), MASKS["energy"]), steps.append)
    told = [step.partial for step in steps if step.partial is not None]
    assert [z for z, _ in told] == list(range(SLICES))
    assert np.allclose([share for _, share in told], found.shares())


def test_a_stack_with_channels_is_refused_in_a_sentence():
    with pytest.raises(InputError, match="choose one channel"):
        focus_masks(from_array(np.zeros((2, 3, 8, 8)), axes="CZYX"), MASKS["energy"])


def test_a_network_is_offered_only_where_its_weights_are(model, monkeypatch, tmp_path):
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path))
    monkeypatch.setattr("napari_focusstack.networks.zoo.BUNDLED", tmp_path / "none")
    assert MASKS.names() == ("energy", "harris")
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(model.folder.parent))
    assert MASKS.names() == ("msegnet", "energy", "harris")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_network_masks_grey_and_colour_of_any_depth_at_full_size(model, dtype):
    grey = scene(dtype=dtype, height=70, width=90, slices=2)
    colour = np.stack([grey] * 3, axis=-1)
    a, b = masked(from_array(grey, axes="ZYX"), model), masked(from_array(colour, axes="ZYXS"), model)
    assert a.levels.shape == b.levels.shape == grey.shape
    assert np.abs(a.levels.astype(int) - b.levels).max() <= 2
    assert a.parameters["weights_sha256"] == model.card.sha256


def test_a_tiny_plane_is_refused_by_a_network_in_a_sentence(model):
    with pytest.raises(InputError, match="too small"):
        masked(from_array(np.zeros((2, 8, 8), np.uint8), axes="ZYX"), model)


def test_the_command_line_writes_masks_probability_and_areas(tmp_path, capsys):
    source = tmp_path / "stack.ome.tif"
    tifffile.imwrite(source, scene(), ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5})
    out, probability, areas = (tmp_path / n for n in ("m.tif", "p.tif", "a.csv"))
    command = ["mask", str(source), "-o", str(out), "--method", "energy", "--probability", str(probability)]
    with pytest.raises(SystemExit) as end:
        main([*command, "--areas", str(areas), "--threshold", "0.4", "--json"])
    assert end.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["method"], told["threshold"]) == ("energy", 0.4)
    mask, p = tifffile.imread(out), tifffile.imread(probability)
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(mask > 0, p >= 0.4 - 1e-6)
    assert np.allclose(told["in_focus"], (mask > 0).mean(axis=(1, 2)))
    rows = list(csv.DictReader(areas.read_text("utf-8-sig").splitlines()))
    assert float(rows[2]["share"]) == pytest.approx(told["in_focus"][2], rel=1e-4)


@pytest.mark.parametrize("planes", [1, 5])
def test_masks_of_colour_images_are_written(tmp_path, planes):
    colour = np.stack([scene()] * 3, axis=-1)
    stack = from_array(colour if planes > 1 else colour[2], axes="ZYXS" if planes > 1 else "YXS")
    masks = masked(stack, MASKS["energy"])
    drain(write_masks_job({"masks": tmp_path / "m.tif", "probability": tmp_path / "p.tif"}, masks, stack))
    for name in ("m", "p"):
        assert tifffile.imread(tmp_path / f"{name}.tif").shape == (
            colour.shape[:3] if planes > 1 else colour.shape[1:3]
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "enrgy"], "did you mean energy"),
        (["--threshold", "7"], "less than or equal to 1"),
        (["-o", "masks.png"], "TIFF"),
        (["--areas", "m.tif"], "same name"),
    ],
)
def test_bad_input_is_told_in_a_line(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("stack.tif", scene(), metadata={"axes": "ZYX"})
    with pytest.raises(SystemExit) as end:
        main(["mask", "stack.tif", "-o", "m.tif", *arguments])
    assert end.value.code == 2
    assert said in capsys.readouterr().err
    assert not Path("m.tif").exists()


def test_fusion_by_masks_takes_each_place_from_where_it_is_in_focus(model):
    fused = fuse(named(scene()), model)
    index = fused.index[:, 4:-4]
    columns = np.arange(4, 92) // STRIPE
    inner = (np.arange(4, 92) % STRIPE > 5) & (np.arange(4, 92) % STRIPE < STRIPE - 5)
    assert (index[:, inner] == np.minimum(columns, SLICES - 1)[inner]).mean() > 0.95
    stack = scene().astype(int)
    texture = np.take_along_axis(stack, np.minimum(np.arange(96) // STRIPE, SLICES - 1)[None, None], axis=0)[0]
    assert np.abs(fused.image.astype(int) - texture)[:, 4:-4][:, inner].mean() < 8


def test_the_base_image_fills_where_nothing_is_in_focus(model):
    stack = np.full((3, 64, 96), 100, np.uint8)
    stack[1, :, :48] = np.random.default_rng(0).integers(60, 140, (64, 48))
    stack[0], stack[2] = 104, 96
    stack[1, :, 48:] = 90
    fused = fuse(named(stack), model)
    assert np.abs(fused.image[:, 70:].astype(int) - 90).max() <= 2


@pytest.mark.parametrize("colour", [False, True])
def test_fusion_keeps_type_range_and_size(model, colour):
    data = scene(height=61, width=90) * 256
    stack = from_array(np.stack([data] * 3, axis=-1) if colour else data, z_um=2.0)
    fused = fuse(stack, model)
    assert fused.image.dtype == np.uint16
    assert fused.image.shape == ((61, 90, 3) if colour else (61, 90))
    assert data.min() <= fused.image.min() <= fused.image.max() <= data.max()
    assert fused.depth_um.max() <= 2.0 * (SLICES - 1)
    assert fused.parameters["weights_sha256"] == model.card.sha256
    assert "share" not in fused.parameters  # masks of a stack are weighed by its energy, those that fuse are not


def fuse(stack, model):
    from napari_focusstack.core.fusion import METHODS, fuse_series

    method = MaskFusion(Known(model.card, model.folder))
    before = dict(METHODS._entries)
    METHODS._entries["msegnet"] = method
    try:
        return drain(fuse_series(stack, method="msegnet"))
    finally:
        METHODS._entries.clear()
        METHODS._entries.update(before)


def test_masks_of_a_real_stack_lie_on_the_organoids():
    stack = sample_stack("organoids")
    masks = masked(stack)
    assert masks.levels.shape == (stack.n_slices, *stack.plane_shape)
    assert 0.001 < masks.shares().max() < 0.5


def test_slices_stream(model):
    read = []

    class Watched:
        shape, dtype, ndim = (4, 64, 64), np.dtype(np.uint8), 3

        def __getitem__(self, key):
            read.append(key)
            return np.zeros((64, 64), np.uint8)

    job = model.slices(from_array(Watched(), axes="ZYX"), device="cpu")
    first = next(step.partial.z for step in job if isinstance(step.partial, SliceMask))
    job.close()
    assert first == 0
    # The slices that tell the noise, each for the highest energy, and the first to be judged: single planes all.
    assert len(read) <= 3 + 4 + 1
    assert all(key in [(0,), (1,), (2,), (3,)] for key in read)


def test_the_bundled_network_marks_organoids_but_neither_background_nor_what_is_far_off():
    method = MASKS["msegnet"]
    stack = sample_stack("organoids")
    mask = masked(stack, method).mask()
    shares = mask.mean(axis=(1, 2))
    assert shares.argmax() in (4, 5, 6, 7)
    assert shares[0] < 0.01
    assert 0.02 < shares.max() < 0.4


def test_a_stack_tells_the_sharpest_slice_better_than_each_plane_by_itself(model):
    stack = named(scene())
    unsure = Unsure(model.card, model.folder)
    together = masked(stack, unsure).mask()
    for z in range(SLICES):
        assert together[z][:, z * STRIPE + 6 : (z + 1) * STRIPE - 6].mean() > 0.8
        assert together[z].mean() < 2.2 / SLICES


class Unsure(SegmenterMask):
    """Says of every pixel that it may be in focus."""

    def plane(self, grey, *, device):
        yield Progress(1, 1)
        return np.full(grey.shape, 0.4, np.float32)


def grain(side: int = 160) -> np.ndarray:
    """Detail of every size down to the pixel, grey levels about 100."""
    rng = np.random.default_rng(5)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 0.8)
    coarse = cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 4.0)
    return np.asarray(100 + 40 * fine + 200 * coarse, np.float32)


def photographed(light: np.ndarray) -> np.ndarray:
    noisy = light + np.random.default_rng(6).normal(0, 1.5, light.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("blur_px", [2.0, 4.0, 16.0])
def test_a_plane_by_itself_tells_a_blur_that_the_network_does_not_see(model, blur_px):
    light = grain()
    light[:, 80:] = cv2.GaussianBlur(light, (0, 0), blur_px)[:, 80:]
    mask = masked(from_array(photographed(light)[None], axes="ZYX"), Unsure(model.card, model.folder)).mask()[0]
    assert mask[:, :72].mean() > 0.9
    assert mask[:, 88:].mean() < 0.1


def test_crispness_of_a_specimen_falls_as_blur_grows_at_any_contrast():
    falling = [float(np.median(crispness(cv2.GaussianBlur(grain(), (0, 0), s), 0.1))) for s in (0.5, 1.0, 2.0, 3.0)]
    assert falling == sorted(falling, reverse=True)
    assert falling[2] < 0.5 * falling[0]
    faint = crispness(0.2 * grain(), 0.04 * 0.1)
    np.testing.assert_allclose(faint, crispness(grain(), 0.1), rtol=0.02)


def through_focus(light: np.ndarray) -> Stack:
    """Two slices of it, the second sharp."""
    return from_array(np.stack([photographed(cv2.GaussianBlur(light, (0, 0), 6)), photographed(light)]), axes="ZYX")


def test_borders_are_tight_and_the_insides_of_objects_are_filled(model):
    y, x = np.mgrid[:160, :160] - 80.0
    distance = np.hypot(y, x)
    light = np.where((distance < 40) & (distance > 14), grain(), np.where(distance < 40, 60.0, 140.0))
    mask = masked(through_focus(light), Unsure(model.card, model.folder)).mask()[1]
    assert mask[distance < 38].mean() > 0.97
    assert mask[(distance > 45) & (distance < 46.5)].mean() < 0.2
    assert mask[distance > 49].mean() < 0.01


@pytest.mark.parametrize("lift", [-40, 0, 40])
def test_empty_gaps_of_a_mesh_are_not_filled(model, lift):
    y, x = np.mgrid[:320, :320] + 20
    band = (y % 80 < 30) | (x % 80 < 30)
    light = np.where(band, np.tile(grain(), (2, 2)) + lift, 110.0)
    mask = masked(through_focus(light), Unsure(model.card, model.folder)).mask()[1]
    within = cv2.erode((~band).astype(np.uint8), np.ones((21, 21), np.uint8), borderValue=0) > 0
    assert mask[band].mean() > 0.9
    assert not mask[within].any()


def test_stacks_without_detail_have_nothing_in_focus(model):
    noise = np.random.default_rng(0).poisson(100, (5, 48, 48)).astype(np.uint8)
    for stack in (noise, np.full((5, 63, 63), 7, np.uint8)):
        assert not masked(from_array(stack, axes="ZYX"), Unsure(model.card, model.folder)).mask().any()


def test_half_of_the_highest_energy_counts_where_the_network_is_unsure(model):
    """Contrasts of ¾ and ½ in the second slice: of the highest energy, 0.56 and ¼."""
    light = grain()
    weaker = 100 + (light - 100) * np.where(np.arange(160) < 80, 0.75, 0.5)
    mask = masked(from_array(np.stack([light, weaker]), axes="ZYX"), Unsure(model.card, model.folder)).mask()
    assert mask[0].mean() > 0.9
    assert mask[1][:, :70].mean() > 0.9
    assert mask[1][:, 90:].mean() < 0.1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("exp1.5um_masks.ome.tif", "exp1.5um_masks_probability.ome.tif"),
        ("a_masks.tif", "a_masks_probability.tif"),
    ],
)
def test_the_probability_lies_beside_the_masks(name, expected):
    assert name_beside(Path(name), "probability") == expected
