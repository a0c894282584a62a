"""Where networks that fuse compute: where the settings or --device say."""

from pathlib import Path

import numpy as np
import pytest

import napari_focusstack
from napari_focusstack.cli.main import _run
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion import METHODS
from napari_focusstack.core.fusion.learned import KINDS
from napari_focusstack.core.settings import FuseSettings
from napari_focusstack.core.stack import from_array
from napari_focusstack.networks.zoo import ModelCard

BEADS = Path(__file__).parents[1] / "sample_data" / "beads.ome.tif"


@pytest.fixture
def asked(monkeypatch):
    """The devices that weights were asked for; no weights are there."""
    found = []

    def load(_folder, _sha256, device):
        found.append(device)
        raise InputError("There are no weights.")

    monkeypatch.setattr("napari_focusstack.core.learned.base.load_network", load)
    return found


def offer(monkeypatch, architecture):
    """Offer a network of a kind as a method."""
    about = {"name": "net", "title": "A network", "task": "To test with", "paper": "Nobody 2026: nothing"}
    told = {"input_px": (64, 64), "normalisation": "none", "outputs": "numbers", "sha256": 64 * "0"}
    method = KINDS[architecture](ModelCard(**about, **told, architecture=architecture), Path("none"))
    monkeypatch.setitem(METHODS._entries, method.name, method)


@pytest.mark.parametrize("architecture", list(KINDS))
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_every_network_is_loaded_where_the_settings_say(asked, monkeypatch, architecture, device):
    offer(monkeypatch, architecture)
    stack = from_array(np.random.default_rng(0).integers(0, 255, (2, 64, 64), np.uint8))
    with pytest.raises(InputError, match="no weights"):
        napari_focusstack.fuse(stack, method="net", device=device)
    assert asked == [device]


@pytest.mark.parametrize("command", ["fuse", "batch"])
def test_the_option_goes_before_the_recipe_and_auto_leaves_it(asked, monkeypatch, tmp_path, capsys, command):
    offer(monkeypatch, "decision_unet")
    recipe = tmp_path / "recipe.json"
    recipe.write_text(FuseSettings(method="net", device="cuda").model_dump_json(), encoding="utf-8")
    output = str(tmp_path / ("out" if command == "batch" else "out.tif"))
    for wanted in (["--device", "cpu"], []):
        code = _run([command, str(BEADS), "-o", output, "--recipe", str(recipe), *wanted])
        assert code != 0
    assert asked == ["cpu", "cuda"]


def test_a_device_that_is_not_there_is_refused_in_a_sentence():
    with pytest.raises(InputError, match="device='gpu' does not fit"):
        napari_focusstack.fuse(from_array(np.zeros((2, 32, 32), np.uint8)), device="gpu")
