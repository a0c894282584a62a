"""Models that come, go or are trained anew while the program runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_focusstack.core.deblur import DEBLURRERS, DeblurSettings, default_deblurrer
from napari_focusstack.core.fusion import METHODS
from napari_focusstack.core.masks import MASKS
from napari_focusstack.core.quality import METRICS
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.networks import zoo

KINDS = {"mmdf": (SCORERS, MASKS), "deblur_unet": (DEBLURRERS,), "fusion_cnn": (METHODS,), "msegnet": (MASKS, METHODS)}
METRIC_KINDS = ("brisque", "cnniqa")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A user's folder of models, empty; nothing is bundled."""
    monkeypatch.setattr(zoo, "BUNDLED", tmp_path / "none")
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path))
    return tmp_path


def install(home: Path, name: str, architecture: str, *, digit: int = 0, title: str = "A network") -> None:
    """Put a model's card where models lie."""
    about = {"name": name, "title": title, "task": "To test with", "paper": "Nobody 2026: nothing"}
    told = {"input_px": (64, 64), "normalisation": "none", "outputs": "numbers", "sha256": 64 * str(digit)}
    (home / name).mkdir(exist_ok=True)
    (home / name / zoo.CARD).write_text(json.dumps(about | told | {"architecture": architecture}))


@pytest.mark.parametrize("architecture", list(KINDS))
def test_a_model_is_listed_from_its_installation_to_its_removal(home, architecture):
    for registry in KINDS[architecture]:
        before = registry.names()
        install(home, "own", architecture)
        assert set(registry.names()) == {*before, "own"}
        assert "own" in registry
        assert len(registry) == len(before) + 1
        (home / "own" / zoo.CARD).unlink()
        assert registry.names() == before


@pytest.mark.parametrize("architecture", list(KINDS))
def test_a_model_that_was_trained_anew_comes_with_its_new_card(home, architecture):
    for registry in KINDS[architecture]:
        for digit in (1, 2):
            install(home, "own", architecture, digit=digit, title=f"Training {digit}")
            entry = registry["own"]
            card = next(c for c in (getattr(entry, k, None) for k in ("card", "segmenter", "scorer")) if c is not None)
            assert getattr(card, "card", card).sha256 == 64 * str(digit)


@pytest.mark.parametrize("architecture", METRIC_KINDS)
def test_a_metric_comes_and_goes_with_its_model_and_takes_no_name_that_is_taken(home, architecture):
    before = METRICS.names()
    psnr = METRICS["psnr"]
    install(home, "psnr", architecture)
    install(home, "own", architecture, title="A judge")
    assert METRICS.names() == (*before, "own")
    assert METRICS["psnr"] is psnr
    assert METRICS["own"].title == "A judge"
    (home / "own" / zoo.CARD).unlink()
    assert METRICS.names() == before


def test_lists_are_made_anew_only_where_a_model_changed(home):
    install(home, "own", "mmdf")
    assert SCORERS["own"] is SCORERS["own"]
    assert zoo.installed_cards() is zoo.installed_cards()


def test_every_patch_classifier_masks_under_a_name_of_its_own(home):
    install(home, "mmdf", "mmdf")
    install(home, "mine", "mmdf")
    assert {"classifier", "mine"} <= set(MASKS.names())
    assert MASKS["mine"].parameters["model"] == "mine"
    assert MASKS["classifier"].parameters["model"] == "mmdf"
    assert MASKS["mine"].title != MASKS["classifier"].title


def test_the_default_deblurrer_is_the_network_once_it_is_there(home):
    assert default_deblurrer() == DeblurSettings().model == "wiener"
    install(home, "deblur_unet", "deblur_unet")
    assert default_deblurrer() == DeblurSettings().model == "deblur_unet"


def test_the_lists_of_a_window_are_looked_up_when_they_are_opened(home, qtbot):
    from napari_focusstack.widgets.method_combo import MethodCombo
    from napari_focusstack.widgets.scorer_combo import NAME, ScorerCombo

    methods, scorers = MethodCombo(MASKS, "energy"), ScorerCombo()
    for box in (methods, scorers):
        qtbot.addWidget(box)
    scorers.choose("brenner")
    install(home, "own", "mmdf")
    for box in (methods, scorers):
        box.showPopup()
        box.hidePopup()
    assert methods.findData("own") >= 0
    assert methods.currentData() == "energy"
    assert scorers.findData("own", NAME) >= 0
    assert scorers.scorer == "brenner"
    assert scorers.currentText() == SCORERS["brenner"].title
