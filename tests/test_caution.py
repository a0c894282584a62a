"""What everyone has to know who sees a network's answers: told wherever they are shown."""

from __future__ import annotations

import dataclasses
import json
from html import escape
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from napari_focusstack import read_stack, score
from napari_focusstack.cli import main
from napari_focusstack.core.masks import MASKS, focus_masks
from napari_focusstack.core.progress import drain
from napari_focusstack.core.scorer import PlaneContext
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.core.stack import Optics, Stack, from_array
from napari_focusstack.io.masks import mask_provenance
from napari_focusstack.io.provenance import read_provenance
from napari_focusstack.io.samples import SAMPLES
from napari_focusstack.widgets.focus_form import FocusForm
from napari_focusstack.widgets.focus_jobs import for_display
from napari_focusstack.widgets.focus_state import SPECIMEN, verdict

BEADS = str(SAMPLES["beads"].path)
COARSE = "coarser than this network has learned"


def at(sampling: float) -> PlaneContext:
    return PlaneContext(pixel_um=sampling, optics=Optics(na=0.5, wavelength_um=0.5))


def small_beads() -> Stack:
    stack = read_stack(BEADS)
    return dataclasses.replace(stack, data=np.asarray(stack.data)[3:6, :96, :96], z_positions_um=None)


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_a_network_tells_of_pixels_beyond_the_range_in_its_card():
    scorer = SCORERS["mmdf"]
    low, high = scorer.card.training["data"]["sampling"]
    assert scorer.caution(at((low * high) ** 0.5)) == ""
    assert COARSE in scorer.caution(at(1.2 * high))
    assert f"it knows {low:g} to {high:g}" in scorer.caution(at(1.2 * high))
    assert "finer than this network has learned" in scorer.caution(at(0.8 * low))
    assert scorer.caution(PlaneContext()) == ""


def test_defocus_in_micrometres_takes_finer_pixels_but_not_coarser_ones():
    assert SCORERS["ldsenet"].caution(at(0.05)) == ""
    assert COARSE in SCORERS["ldsenet"].caution(at(3.0))


def test_hhnet_is_called_experimental_wherever_it_is_offered_or_answers():
    assert "experimental" in SCORERS["hhnet"].title
    assert "experimental" in SCORERS["hhnet"].caution(PlaneContext())


def test_the_caution_is_in_the_report_and_in_a_paragraph_of_its_own_under_the_curve(qtbot):
    report = score(small_beads(), scorer="mmdf")
    assert COARSE in report.caution
    assert report.extras["caution"] == report.caution
    form = FocusForm()
    qtbot.addWidget(form)
    form.say(*verdict(for_display(report, SPECIMEN)), caution=report.caution)
    assert form.verdict.text().endswith(f"<br><small><b>Caution:</b> {escape(report.caution)}</small>")
    assert form.verdict.text().count(escape(report.caution)) == 1


def test_a_measure_warns_of_nothing():
    report = score(small_beads(), scorer="tenengrad")
    assert report.caution == ""
    assert "caution" not in report.extras


def test_the_command_line_prints_the_caution_and_writes_it_into_maps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert "caution: For this objective" in said(capsys, "score", BEADS, "--scorer", "mmdf")
    told = json.loads(said(capsys, "map", BEADS, "--scorer", "mmdf", "-o", tmp_path / "maps.tif", "--json"))
    assert COARSE in told["caution"]
    assert read_provenance(tmp_path / "maps.tif")["Caution"] == told["caution"]


def test_masks_of_the_classifier_are_as_cautious_as_its_scores():
    masks = drain(focus_masks(small_beads(), MASKS["classifier"]))
    assert COARSE in masks.caution
    assert COARSE in mask_provenance(masks, small_beads())["Caution"]


def test_masks_of_the_classifier_go_by_the_objective_as_its_scores_do():
    stack = small_beads()
    unknown = dataclasses.replace(stack, optics=Optics())
    known, without = (drain(focus_masks(s, MASKS["classifier"])).probability() for s in (stack, unknown))
    context = PlaneContext(pixel_um=stack.x_um, optics=stack.optics, patch_px=12)
    score = SCORERS["mmdf"].score_plane(stack.plane(1), context=context)
    told = np.where(score.layers["certainty"] > 0, score.layers["in_focus"], 0)
    assert known[1].max() == pytest.approx(told.max(), abs=0.01)
    assert without[1].max() != pytest.approx(told.max(), abs=0.01)


@pytest.mark.parametrize("method", ["energy", "harris"])
def test_energy_masks_say_that_a_single_plane_has_nothing_to_compare_with(method: str):
    stack = small_beads()
    assert drain(focus_masks(stack, MASKS[method])).caution == ""
    alone = from_array(np.asarray(stack.data)[1], axes="YX")
    assert "no other slices to compare with" in drain(focus_masks(alone, MASKS[method])).caution


def test_what_is_trained_by_a_recipe_is_as_cautious_as_what_is_bundled():
    from napari_focusstack.training.recipes import RECIPES

    for scorer in SCORERS:
        card = getattr(scorer, "card", None)
        if card is not None and card.name in RECIPES:
            assert card.caution == RECIPES[card.name].caution
