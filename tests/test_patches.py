"""Properties of the patches that networks train on, and of the library of sharp images."""

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import torch

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import drain
from napari_focusstack.training import library
from napari_focusstack.training.patches import Patches, PatchSettings


def cells(seed, size=200, softness=0.6):
    """Bright discs on a dark ground with a little texture, uint8."""
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size), np.float32)
    for _ in range(25):
        cv2.circle(
            image, tuple(int(v) for v in rng.integers(0, size, 2)), int(rng.integers(4, 14)), rng.uniform(0.4, 1), -1
        )
    image = cv2.GaussianBlur(image * rng.uniform(0.8, 1, image.shape).astype(np.float32), (0, 0), softness)
    return (np.clip(image, 0, 1) * 230 + 10).astype(np.uint8)


@pytest.fixture(scope="module")
def sharp_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharp")
    for source in ("one", "two"):
        (folder / source).mkdir()
        for i in range(4):
            iio.imwrite(folder / source / f"{i}.png", cells(i + 10 * (source == "two")))
    return folder


@pytest.fixture(scope="module")
def images(sharp_folder):
    return drain(library.load(sharp_folder))


def draw(images, *, batches=4, seed=0, **settings):
    patches = Patches(images, PatchSettings(**settings), batch=32, seed=seed)
    return [patches.draw() for _ in range(batches)]


def test_sub_folders_are_sources(images):
    assert {i.source for i in images} == {"one", "two"}


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no image"):
        drain(library.load(tmp_path))


def test_a_stack_is_no_sharp_image_and_alpha_no_light(tmp_path):
    grey = cells(0)
    iio.imwrite(tmp_path / "alpha.png", np.dstack([grey, np.full_like(grey, 255)]))
    iio.imwrite(tmp_path / "plain.png", grey)
    (tmp_path / "._plain.png").write_bytes(b"what macOS leaves")
    alpha, plain = drain(library.load(tmp_path))
    assert np.array_equal(alpha.levels[0], plain.levels[0])
    iio.imwrite(tmp_path / "stack.tif", np.stack([grey] * 7))
    with pytest.raises(InputError, match=r"'stack.tif' .*\(7, "):
        drain(library.load(tmp_path))


def test_an_unknown_source_is_named(sharp_folder):
    with pytest.raises(InputError, match="no source 'three'"):
        drain(library.load(sharp_folder, sources=["three"]))


def test_splits_share_no_image(images):
    train, valid = library.split(images, every=2)
    assert valid
    assert not {(i.source, i.name) for i in train} & {(i.source, i.name) for i in valid}
    assert len(train) + len(valid) == len(images)


def test_soft_images_are_kept_at_a_smaller_scale_only(tmp_path):
    iio.imwrite(tmp_path / "soft.png", cells(0, size=400, softness=2.5))
    iio.imwrite(tmp_path / "crisp.png", cells(0, size=400, softness=0.3))
    crisp, soft = drain(library.load(tmp_path))
    assert max(level.shape[0] for level in soft.levels) < max(level.shape[0] for level in crisp.levels)


def test_edge_width_grows_with_blur():
    image = cells(0, size=300, softness=0.3).astype(np.float32)
    widths = [library.edge_width(cv2.GaussianBlur(image, (0, 0), s)) for s in (0.5, 1.0, 2.0, 3.0)]
    assert widths == sorted(widths)


def test_bright_and_dark_backgrounds_both_end_at_zero():
    dark = cells(1).astype(np.float32)
    for image in (dark, 255 - dark):
        amount = library.amount_of_specimen(image)
        assert abs(float(np.median(amount))) < 0.15
        assert float(np.percentile(amount, 99.5)) > 0.8


def test_noise_alone_is_flattened_and_edges_stay():
    rng = np.random.default_rng(0)
    image = np.zeros((128, 128), np.float32)
    image[:, 64:] = 1
    noisy = image + rng.normal(0, 0.02, image.shape).astype(np.float32)
    clean = library.without_noise(noisy, library.noise_level(noisy))
    assert clean[:, :50].std() < 0.4 * noisy[:, :50].std()
    np.testing.assert_allclose(clean[:, 62:66], noisy[:, 62:66], atol=0.02)


def test_the_noise_estimate_is_right():
    noisy = np.random.default_rng(0).normal(0, 0.05, (256, 256)).astype(np.float32)
    assert library.noise_level(noisy) == pytest.approx(
        0.05, rel=0.15
    )  # the quietest tenth of blocks reads a little low


def test_the_same_seed_gives_the_same_patches(images):
    a, b, c = (draw(images, batches=1, seed=s)[0].image for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_all_bands_of_blur_come_up_equally_often(images):
    blur = torch.cat([b.blur_px for b in draw(images, batches=30)])
    counts = torch.histogram(blur, torch.tensor(PatchSettings().blur_px)).hist
    assert int(counts.sum()) == len(blur)
    assert float(counts.min()) > 0.5 * float(counts.mean())


def test_blur_takes_detail_away(images):
    batches = draw(images, batches=10, modes=(1, 0, 0, 0), blank=0, dirt=0, haze=0)
    image, blur = torch.cat([b.image[:, 0] for b in batches]), torch.cat([b.blur_px for b in batches])
    smooth = torch.nn.functional.avg_pool2d(image[:, None], 3)[:, 0]  # against noise
    detail = (smooth.diff(dim=1) ** 2).mean(dim=(1, 2)) / smooth.var(dim=(1, 2))
    assert float(detail[blur < 2].median()) > 4 * float(detail[blur > 20].median())


def test_blank_patches_give_no_evidence(images):
    assert not any(bool(b.evidence.any()) for b in draw(images, blank=1.0))


def test_dirt_lies_on_unfocused_patches_only(images):
    for b in draw(images, dirt=1.0):
        assert bool((b.dof[b.dirty] > 2).all())
        assert bool(b.dirty[b.dof > 2].all())


def test_pixels_stay_within_the_cameras_range(images):
    for b in draw(images):
        assert float(b.image.min()) >= 0
        assert float(b.image.max()) <= 1


def test_phase_objects_and_aberration_tell_the_sides_apart(images):
    assert bool((draw(images, batches=1, modes=(0, 0, 1, 0))[0].asymmetry == 1).all())
    assert bool((draw(images, batches=1, modes=(0, 0, 0, 1))[0].asymmetry == 0).all())
