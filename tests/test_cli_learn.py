"""The commands about networks, as a user types them."""

import json

import imageio.v3 as iio
import numpy as np
import pytest

pytest.importorskip("torch")

from napari_focusstack.cli.main import _run
from test_patches import cells


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "sharp.png"
    iio.imwrite(path, cells(0, size=128))
    return path


def told(capsys):
    return json.loads(capsys.readouterr().out)


def test_simulate_writes_a_calibrated_stack(image, tmp_path, capsys):
    out = tmp_path / "stack.tif"
    arguments = ["simulate", str(image), "-o", str(out), "--slices", "3", "--z-um", "4", "--pixel-um", "0.5", "--json"]
    assert _run(arguments) == 0
    assert told(capsys)["slices"] == 3
    assert _run(["info", str(out), "--json"]) == 0
    facts = told(capsys)
    assert facts["axes"] == "ZYX"
    assert facts["shape"] == [3, 128, 128]
    assert facts["z_um"] == pytest.approx(4)
    assert facts["pixel_um"] == pytest.approx([0.5, 0.5], rel=1e-3)


def test_simulate_writes_its_truth(image, tmp_path, capsys):
    import tifffile

    out, truth = tmp_path / "stack.ome.tif", tmp_path / "truth"
    arguments = ["simulate", str(image), "-o", str(out), "--slices", "3", "--truth", str(truth), "--json"]
    assert _run(arguments) == 0
    paths = told(capsys)
    depth, defocus = tifffile.imread(paths["depth"]), tifffile.imread(paths["defocus"])
    np.testing.assert_allclose(defocus[1], -depth, atol=1e-5)
    assert set(np.unique(tifffile.imread(paths["in_focus"]))) <= {0, 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--na", "1.2"], "below the index"),
        (["--slices", "0"], "--slices 0"),
        (["-o", "picture.png"], "TIFF"),
    ],
)
def test_simulate_says_in_one_line_what_is_wrong(image, tmp_path, capsys, options, message):
    out = [] if "-o" in options else ["-o", str(tmp_path / "stack.tif")]
    assert _run(["simulate", str(image), *out, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_tiny_training_becomes_a_model_that_is_listed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "models"))
    sharp = tmp_path / "sharp"
    sharp.mkdir()
    for i in range(3):
        iio.imwrite(sharp / f"{i}.png", cells(i, size=128))
    arguments = ["train", "mmdf", "--images", str(sharp), "-o", str(tmp_path / "run"), "--tiny", "--width", "0.1"]
    assert _run([*arguments, "--name", "mine", "--device", "cpu", "--json"]) == 0
    assert told(capsys)["epochs"] == 2
    assert _run(["models", "--json"]) == 0
    mine = next(m for m in told(capsys)["models"] if m["name"] == "mine")
    assert not mine["bundled"]
    assert mine["training"]["recipe"] == "mmdf"
    assert mine["training_data"] == {"sharp": "3 images; licence not told"}


def test_train_lists_its_recipes(capsys):
    assert _run(["train", "list", "--json"]) == 0
    assert {"mmdf", "ldsenet", "resnet50", "botnet"} <= {r["name"] for r in told(capsys)["recipes"]}


def test_train_asks_for_images(capsys):
    assert _run(["train", "mmdf"]) == 2
    assert "--images" in capsys.readouterr().err
