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


@pytest.mark.parametrize("out", ["stack.tif", "truth/depth.ome.tif"])
def test_simulate_looks_for_all_its_files_before_it_writes_any(image, tmp_path, capsys, out):
    truth = tmp_path / "truth"
    truth.mkdir()
    if "depth" not in out:
        (truth / "depth.ome.tif").touch()
    before = sorted(tmp_path.rglob("*"))
    assert _run(["simulate", str(image), "-o", str(tmp_path / out), "--slices", "3", "--truth", str(truth)]) == 2
    assert "depth.ome.tif" in (error := capsys.readouterr().err) or "same name" in error
    assert sorted(tmp_path.rglob("*")) == before


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
    before = (tmp_path / "models/mine/card.json").read_bytes()
    again = [*arguments, "--epochs", "1", "--name", "mine", "--device", "cpu"]
    again[again.index(str(tmp_path / "run"))] = str(tmp_path / "again")
    assert _run(again) == 2
    assert "holds a model already: give another --name, or --overwrite" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
    assert (tmp_path / "models/mine/card.json").read_bytes() == before
    assert _run([*again, "--overwrite"]) == 0
    assert (tmp_path / "models/mine/card.json").read_bytes() != before


def test_a_training_goes_on_from_a_model(tmp_path, capsys, monkeypatch):
    """It starts where that one ended, and the card tells of both."""
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "models"))
    sharp = tmp_path / "sharp"
    sharp.mkdir()
    for i in range(3):
        iio.imwrite(sharp / f"{i}.png", cells(i, size=128))
    arguments = ["train", "msegnet", "--images", str(sharp), "--tiny", "--epochs", "1", "--device", "cpu", "--json"]
    assert _run([*arguments, "-o", str(tmp_path / "cold")]) == 0
    cold = told(capsys)
    assert _run([*arguments, "--from", "msegnet", "-o", str(tmp_path / "warm"), "--name", "mine"]) == 0
    warm = told(capsys)
    assert warm["metrics"]["accuracy_all"] > cold["metrics"]["accuracy_all"]
    assert warm["valid_loss"] < 0.7 * cold["valid_loss"]
    assert _run(["models", "mine", "--json"]) == 0
    before = told(capsys)["training"]["before"]
    assert before["model"] == "msegnet"
    assert before["samples"] > 0
    assert "dsb2018" in before["training_data"]


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (["--from", "mmdf"], "trains 'msegnet'"),
        (["--from", "msegnet", "--width", "0.5"], "leave the width out"),
        (["--from", "nothing"], "no model 'nothing'"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_any_training(tmp_path, capsys, start, message):
    assert _run(["train", "msegnet", "--images", str(tmp_path), "-o", str(tmp_path / "run"), *start]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_train_lists_its_recipes(capsys):
    assert _run(["train", "list", "--json"]) == 0
    assert {"mmdf", "ldsenet", "resnet50", "botnet"} <= {r["name"] for r in told(capsys)["recipes"]}


def test_train_refuses_a_name_before_it_trains(tmp_path, capsys):
    assert _run(["train", "mmdf", "--images", str(tmp_path), "-o", str(tmp_path), "--name", "My Cells"]) == 2
    assert "small letters" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_told_before_the_images_are_read(image, tmp_path, capsys):
    file = tmp_path / "run"
    file.touch()
    assert _run(["train", "mmdf", "--images", str(tmp_path), "-o", str(file), "--tiny"]) == 2
    assert "can't be made" in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", [b"no weights", b""])
def test_a_file_that_is_not_vgg19_is_told_in_a_sentence(tmp_path, monkeypatch, content):
    from napari_focusstack.core.errors import InputError
    from napari_focusstack.training.perceptual import VGG19_VARIABLE, perceptual_features

    (tmp_path / "vgg19.pth").write_bytes(content)
    monkeypatch.setenv(VGG19_VARIABLE, str(tmp_path / "vgg19.pth"))
    with pytest.raises(InputError, match="does not hold VGG19's weights"):
        perceptual_features()


def test_train_asks_for_images(capsys):
    assert _run(["train", "mmdf"]) == 2
    assert "--images" in capsys.readouterr().err


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A network of the user's, saved as training saves it; the folder of models."""
    from napari_focusstack.networks.zoo import save_model
    from test_zoo import FocusClassifier, card

    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "models"))
    told = card() | {"training_data": {"cells": "3 images; licence not told", "beads": "1 images; licence not told"}}
    told |= {"accuracy": {"old": 0.5}, "decision": {"level": 4.2, "slope": 2.0}}
    save_model(FocusClassifier(width=0.1), told, tmp_path / "models" / "mine")
    return tmp_path / "models"


def test_a_bundled_copy_is_small_and_tells_licences_and_accuracy(mine, tmp_path, capsys, monkeypatch):
    measured = tmp_path / "measured.json"
    measured.write_text(json.dumps({"held-out cells": 0.9}))
    arguments = ["bundle", "mine", "-o", str(tmp_path / "weights"), "--as", "cells", "--half"]
    arguments += ["--licence", "cells=CC0, Jones et al.", "--accuracy", str(measured)]
    assert _run([*arguments, "--json"]) == 0
    assert told(capsys)["model"] == str(tmp_path / "weights" / "cells")
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "weights"))
    assert _run(["models", "cells", "--json"]) == 0
    card = told(capsys)
    assert card["training_data"] == {"cells": "3 images; CC0, Jones et al.", "beads": "1 images; licence not told"}
    assert card["accuracy"] == {"old": 0.5, "held-out cells": 0.9}
    sizes = [
        f.stat().st_size for f in (tmp_path / "weights/cells/weights.safetensors", mine / "mine/weights.safetensors")
    ]
    assert sizes[0] < 0.52 * sizes[1]


def test_a_bundled_copy_may_have_another_rule(mine, tmp_path, capsys):
    rule = tmp_path / "rule.json"
    weights = ["--as", "cells", "-o", str(tmp_path / "weights"), "--json"]
    rule.write_text(json.dumps({"level": 4.5}))
    assert _run(["bundle", "mine", *weights, "--decision", str(rule)]) == 2
    assert "level, slope" in capsys.readouterr().err
    rule.write_text(json.dumps({"level": 4.5, "slope": 1.5}))
    assert _run(["bundle", "mine", *weights, "--decision", str(rule)]) == 0
    assert told(capsys)["card"]["decision"] == {"level": 4.5, "slope": 1.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "models"], "--overwrite"),
        (["--licence", "clouds=MIT"], "not trained on 'clouds'"),
        (["--licence", "cells"], "names no licence"),
        (["--accuracy", "none.json"], "none.json"),
        (["--as", "No Name"], "no name of a model"),
    ],
)
def test_bundle_says_in_one_line_what_is_wrong(mine, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert _run(["bundle", "mine", *([] if "-o" in options else ["-o", "weights"]), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "weights").exists()


def test_a_card_is_printed_for_people(mine, capsys):
    assert _run(["models", "mine"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "mine: Mine (yours)" in lines
    assert lines[lines.index("trained on") + 1] == "cells: 3 images; licence not told"
    assert "old: 0.5" in lines
    assert not any("{" in line for line in lines)


def test_a_training_on_other_data_says_so_in_its_card_and_resumes_no_other(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "models"))
    sharp = tmp_path / "sharp"
    sharp.mkdir()
    for i in range(3):
        iio.imwrite(sharp / f"{i}.png", cells(i, size=160))
    arguments = ["train", "deblur_srcnn", "--images", str(sharp), "-o", str(tmp_path / "run"), "--tiny"]
    named = ["--width", "0.1", "--name", "paths", "--device", "cpu"]
    assert _run([*arguments, *named, "--set", "blur=synthetic", "--set", "path_px=[5, 9]", "--json"]) == 0
    capsys.readouterr()
    assert _run(["models", "--json"]) == 0
    data = next(m for m in told(capsys)["models"] if m["name"] == "paths")["training"]["data"]
    assert data["blur"] == "synthetic"
    assert data["path_px"] == [5, 9]
    assert _run([*arguments, *named, "--set", "blur=recorded", "--overwrite"]) == 2
    assert "belongs to another training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("blur", "give a name and a value"),
        ("blurr=mixed", "no setting 'blurr': choose from patch_px"),
        ("blur=none", "'blur' can't be none: input should be"),
        ("still=2", "'still' can't be 2: input should be less"),
        ("patch_px=50", "multiple of 16"),
    ],
)
def test_other_data_that_make_no_sense_are_told_in_one_line(tmp_path, capsys, setting, message):
    assert _run(["train", "deblur_unet", "--images", str(tmp_path), "-o", str(tmp_path / "r"), "--set", setting]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
