"""GMANet's opponents: their layers, their weighting, a training of seconds."""

import imageio.v3 as iio
import numpy as np
import pytest
import torch

import napari_focusstack as fs
from napari_focusstack.core.progress import drain
from napari_focusstack.networks import infer
from napari_focusstack.networks.iqa import TwostreamIQA, WaDIQaM, blurred, gradient, judge_plane, patches_of
from napari_focusstack.training.recipes import RECIPES, TINY, save_trained, train
from test_network_scorers import texture
from test_patches import cells

BUILDERS = {
    "two streams": TwostreamIQA,
    "no reference": WaDIQaM,
    "full reference": lambda **k: WaDIQaM(reference=True, **k),
}


@pytest.fixture(params=BUILDERS, scope="module")
def network(request):
    torch.manual_seed(0)
    return infer.prepare(BUILDERS[request.param](width=0.125), device=torch.device("cpu"))


def test_patches_lie_side_by_side():
    image = torch.arange(64 * 96, dtype=torch.float32).reshape(1, 1, 64, 96)
    cut = patches_of(image)
    assert cut.shape == (1, 2, 3, 1, 32, 32)
    torch.testing.assert_close(cut[0, 1, 2, 0], image[0, 0, 32:, 64:])


def test_the_papers_sizes():
    """WaDIQaM-NR: 10 convolutions and two heads, 5.2 million weights (Bosse et al. 2018)."""
    assert sum(p.numel() for p in WaDIQaM().parameters()) == pytest.approx(5.2e6, rel=0.02)
    assert sum(p.numel() for p in WaDIQaM(reference=True).parameters()) == pytest.approx(6.3e6, rel=0.02)


def test_the_distorted_image_is_the_papers_gaussian():
    image = torch.zeros(1, 1, 41, 41)
    image[0, 0, 20, 20] = 1
    spread = blurred(image)[0, 0]
    assert float(spread.sum()) == pytest.approx(1)
    assert int((spread > 0).sum()) == 21 * 21
    assert float(spread[20, 21] / spread[20, 20]) == pytest.approx(np.exp(-1 / (2 * 3.5**2)))


def test_the_gradient_is_sobels():
    ramp = torch.arange(30, dtype=torch.float32).expand(1, 1, 20, 30)
    torch.testing.assert_close(gradient(ramp)[..., 2:-2, 2:-2], torch.ones(1, 1, 16, 26))


def test_the_score_is_the_weighted_mean_of_the_patches(network):
    plane = np.random.default_rng(0).random((96, 128)).astype(np.float32)
    quality, weight = judge_plane(network, plane)
    assert quality.shape == weight.shape == (3, 4)
    with torch.inference_mode():
        score = float(network(torch.from_numpy(plane)[None, None]))
    assert score == pytest.approx(float(np.average(quality, weights=weight)), abs=1e-2)


def test_planes_of_any_size_are_judged(network):
    assert judge_plane(network, np.random.default_rng(0).random((50, 33)))[0].shape == (2, 2)


@pytest.mark.parametrize("name", ["twostream_iqa", "wadiqam_nr", "wadiqam_fr"])
def test_each_can_be_trained_and_scores(name, tmp_path, monkeypatch):
    sharp = tmp_path / "sharp"
    sharp.mkdir()
    for i in range(2):
        iio.imwrite(sharp / f"{i}.png", cells(i))
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "models"))
    settings = TINY.model_copy(update={"steps": 2, "batch": 7, "epochs": 1})
    trained = drain(train(RECIPES[name], sharp, folder=tmp_path / "run", settings=settings, width=0.125))
    assert set(trained.fitted.history[0].metrics) == {"l_score", "l_diff", "t0", "acc", "spearman"}
    save_trained(trained, RECIPES[name], name=f"tiny_{name}")
    report = fs.score(texture(slices=3, best=1, size=96), scorer=f"tiny_{name}", device="cpu")
    assert report.maps.shape == (3, 3, 3)
    assert np.isfinite(report.values).all()
