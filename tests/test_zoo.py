"""Models on disk: cards, checksums, users' own, and what is said when something is wrong."""

import json
import subprocess
import sys

import pytest
import torch

from napari_focusstack.networks import zoo
from napari_focusstack.networks.mmdf import FocusClassifier


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path))
    return tmp_path


def card(name="mine"):
    return {
        "name": name,
        "title": "Mine",
        "task": "focus class of a patch",
        "paper": "none",
        "architecture": "mmdf",
        "arguments": {"width": 0.1},
        "input_px": (84, 84),
        "normalisation": "local",
        "outputs": "10 classes",
        "training_data": {"cells": "CC0"},
    }


def save(folder, name="mine", **options):
    torch.manual_seed(0)
    network = FocusClassifier(width=0.1).eval()
    return network, zoo.save_model(network, card(name), folder / name, **options)


def test_a_saved_model_comes_back_as_it_was(user):
    network, told = save(user)
    loaded, read = zoo.load_model("mine")
    assert read == told
    x = torch.rand(1, 1, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x), network(x))
    assert not loaded.training


def test_half_precision_weights_take_half_the_room(user):
    save(user, "full")
    network, _ = save(user, "half", half=True)
    sizes = [(user / n / zoo.WEIGHTS).stat().st_size for n in ("full", "half")]
    assert sizes[1] < 0.52 * sizes[0]
    loaded, _ = zoo.load_model("half")
    assert next(loaded.parameters()).dtype == torch.float32
    x = torch.rand(1, 1, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x), network(x), atol=5e-3, rtol=5e-3)


def test_users_models_stand_beside_the_bundled_ones(user):
    bundled = set(zoo.find_models())
    save(user)
    assert set(zoo.find_models()) == bundled | {"mine"}


def test_damaged_weights_are_refused(user):
    save(user)
    path = user / "mine" / zoo.WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(zoo.ModelError, match="sha256 differs"):
        zoo.load_model("mine")


def test_missing_weights_are_named(user):
    save(user)
    (user / "mine" / zoo.WEIGHTS).unlink()
    with pytest.raises(zoo.ModelError, match="are missing"):
        zoo.load_model("mine")


def test_an_unknown_name_lists_the_known_ones(user):
    save(user)
    with pytest.raises(zoo.ModelError, match=r"'nobody'.*mine"):
        zoo.load_model("nobody")


def test_a_name_that_is_nearly_one_suggests_it_alone(user):
    save(user)
    with pytest.raises(zoo.ModelError, match="did you mean mine") as told:
        zoo.load_model("minne")
    assert "mmdf" not in str(told.value)


def test_a_network_without_weights_says_how_to_get_them(user):
    with pytest.raises(zoo.ModelError, match="focusstack train segnet") as told:
        zoo.load_model("segnet")
    assert str(user) in str(told.value)


def test_a_wrong_card_says_which_field(user):
    save(user)
    path = user / "mine" / zoo.CARD
    content = json.loads(path.read_text())
    content["colour"] = "red"
    path.write_text(json.dumps(content))
    with pytest.raises(zoo.ModelError, match="colour"):
        zoo.load_model("mine")


def test_an_unknown_architecture_asks_for_an_update(user):
    save(user)
    path = user / "mine" / zoo.CARD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architecture": "of_tomorrow"}))
    with pytest.raises(zoo.ModelError, match="update"):
        zoo.load_model("mine")


def test_weights_of_another_width_are_refused(user):
    save(user)
    path = user / "mine" / zoo.CARD
    content = json.loads(path.read_text())
    content["arguments"]["width"] = 0.2
    path.write_text(json.dumps(content))
    with pytest.raises(zoo.ModelError, match="do not fit"):
        zoo.load_model("mine")


def test_a_model_can_be_given_as_a_folder(user, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere)
    _, told = zoo.load_model(str(elsewhere / "mine"))
    assert told.name == "mine"


def test_every_bundled_model_loads_and_says_what_it_was_trained_on():
    for name, folder in zoo.find_models().items():
        if folder.parent == zoo.BUNDLED:
            _, told = zoo.load_model(name)
            assert told.training_data
            assert told.accuracy


def test_listing_models_does_not_load_torch():
    code = "import sys; from napari_focusstack.networks import zoo; zoo.find_models(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
