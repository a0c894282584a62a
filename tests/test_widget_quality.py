"""The quality panel of *Fuse*: its numbers, what they mean, and what it takes for a reference."""

from __future__ import annotations

from html import escape

import numpy as np
import pytest
from napari.components import ViewerModel

from fuse_scenes import channels_of_two, click, fuse, named, open_in, scene
from napari_focusstack.core.progress import drain
from napari_focusstack.core.quality import METRICS, assess
from napari_focusstack.core.stack import from_array
from napari_focusstack.widgets.fuse_results import ResultPanel


@pytest.fixture
def model() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def panel(model, qtbot) -> ResultPanel:
    panel = ResultPanel(model)
    qtbot.addWidget(panel)
    panel.show()
    yield panel
    panel.shut_down()


def rate(panel: ResultPanel, qtbot) -> None:
    panel.quality_button.setChecked(True)
    click(qtbot, panel.quality.bar.run_button)
    qtbot.waitUntil(lambda: not panel.quality.bar.runner.busy, timeout=60_000)


def column(panel: ResultPanel, i: int) -> list[str]:
    table = panel.quality.table
    return [table.topLevelItem(row).text(i) for row in range(table.topLevelItemCount())]


def test_the_numbers_are_those_of_the_slices_that_were_fused(model, panel, qtbot):
    (layer,) = open_in(model, named(scene()))
    made = panel.add(fuse(layer, first=1, last=3))
    rate(panel, qtbot)
    (rated,) = panel.quality.rated[made]
    part = from_array(scene()[1:4], axes="ZYX", name="part")
    expected = drain(assess(made.result.fused.image, sources=part))
    assert [q.value for q in rated.found] == pytest.approx([q.value for q in expected])
    assert column(panel, 0) == [m.title for m in METRICS]
    assert "reference" not in column(panel, 2)


def test_each_number_tells_what_it_means(model, panel, qtbot):
    (layer,) = open_in(model, named(scene()))
    panel.add(fuse(layer))
    rate(panel, qtbot)
    table = panel.quality.table
    for row, metric in enumerate(METRICS):
        table.setCurrentItem(table.topLevelItem(row))
        assert (
            panel.quality.hint.text() == f"<b>{escape(metric.title)}.</b> {escape(metric.hint)}"
        )  # the row may cut it


def test_a_sharp_image_of_the_same_size_is_a_reference(model, panel, qtbot):
    (layer,) = open_in(model, named(scene()))
    made = panel.add(fuse(layer))
    model.add_image(made.result.fused.image.copy(), name="truth")
    model.add_image(np.zeros((10, 10), np.uint16), name="too small")
    panel.refresh()
    box = panel.quality.reference_box
    assert [box.itemText(i) for i in range(box.count())] == ["none", "truth"]
    box.setCurrentIndex(1)
    rate(panel, qtbot)
    values = dict(zip(column(panel, 0), column(panel, 1), strict=True))
    assert values["PSNR"] == "∞ dB"
    assert values["SSIM"] == "1"


def test_channels_are_rated_one_by_one(model, panel, qtbot):
    layers = open_in(model, channels_of_two())
    panel.add(fuse(*layers))
    rate(panel, qtbot)
    titles = column(panel, 0)
    assert len(titles) == 2 * len(METRICS)
    assert titles[0].startswith("DAPI: ")
    assert titles[-1].startswith("GFP: ")


def test_a_retouched_image_is_rated_as_it_is_shown(model, panel, qtbot):
    (layer,) = open_in(model, named(scene()))
    made = panel.add(fuse(layer))
    shown = made.of_role("fused")[0]
    shown.data = np.zeros_like(shown.data)
    rate(panel, qtbot)
    (rated,) = panel.quality.rated[made]
    assert {q.metric.name: q.value for q in rated.found}["ag"] == 0


def test_cancel_leaves_the_table_empty(model, panel, qtbot):
    (layer,) = open_in(model, named(scene(slices=40, height=256, width=320)))
    panel.add(fuse(layer))
    panel.quality_button.setChecked(True)
    click(qtbot, panel.quality.bar.run_button)
    assert panel.quality.bar.runner.busy
    panel.quality.bar.runner.cancel()
    assert not panel.quality.bar.runner.busy
    assert not column(panel, 0)


def test_the_numbers_come_back_with_the_result_they_belong_to(model, panel, qtbot):
    (layer,) = open_in(model, named(scene()))
    first = panel.add(fuse(layer))
    rate(panel, qtbot)
    panel.add(fuse(layer, method="select"))
    assert not column(panel, 0)
    model.layers.selection.active = first.of_role("fused")[0]
    panel.refresh()
    assert column(panel, 0)
