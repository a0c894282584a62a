"""What decides in the Focus widget: the specimen, the whole image, regions drawn by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from focus_bench import BEST, CALIBRATED, Bench, on_a_dark_field, stack


def test_a_drawn_region_decides_without_scoring_again(bench: Bench, qtbot: Any) -> None:
    data = np.concatenate([stack(best=1), stack(best=5, seed=1)], axis=2)
    bench.viewer.add_image(data, name="two", **CALIBRATED)
    focus = bench.open()
    bench.score()
    focus.form.basis.button(2).click()
    shapes = bench.viewer.layers["region two"]
    assert shapes.mode == "add_polygon_lasso"
    shapes.add_rectangles([[10, 140], [10, 240], [110, 240], [110, 140]])
    qtbot.waitUntil(lambda: focus.form.plot.view.best == 5, timeout=60_000)
    assert "drawn region" in bench.verdict
    shapes.data = []
    shapes.add_ellipses([[10, 10], [10, 110], [110, 110], [110, 10]])
    qtbot.waitUntil(lambda: focus.form.plot.view.best == 1, timeout=60_000)


def test_the_outline_is_hidden_while_a_drawn_region_decides(bench: Bench, qtbot: Any) -> None:
    bench.viewer.add_image(on_a_dark_field(BEST)[0], name="A01")
    focus = bench.open()
    bench.score()
    box = focus.form.outline_box
    assert focus.overlays.outline is not None
    focus.form.basis.button(2).click()
    assert focus.overlays.outline is not None  # nothing is drawn yet
    shapes = bench.viewer.layers["region A01"]
    shapes.add_rectangles([[70, 70], [70, 120], [120, 120], [120, 70]])
    qtbot.waitUntil(lambda: focus.overlays.outline is None, timeout=60_000)
    assert not box.isEnabled()
    assert "region" in box.toolTip()
    assert box.isChecked()
    bench.idle()
    focus.form.basis.button(0).click()
    bench.idle()
    assert focus.overlays.outline is not None
    assert box.isEnabled()


def test_a_region_stays_with_a_stack_that_is_renamed(bench: Bench, qtbot: Any) -> None:
    first = bench.viewer.add_image(stack(), name="A01")
    second = bench.viewer.add_image(stack(), name="A02")
    focus = bench.open()
    focus.choose_layer(first)
    focus.form.basis.button(2).click()
    bench.viewer.layers["region A01"].add_rectangles([[10, 10], [10, 60], [60, 60], [60, 10]])
    qtbot.waitUntil(lambda: bool(focus.regions.region), timeout=60_000)
    first.name = "B01"
    second.name = "A01"
    focus.choose_layer(second)
    assert not focus.regions.region
    focus.choose_layer(first)
    assert focus.regions.region


def test_a_region_beside_the_image_is_refused_in_a_sentence(bench: Bench, qtbot: Any, notes: list[str]) -> None:
    bench.viewer.add_image(stack(), name="A01")
    focus = bench.open()
    bench.score()
    focus.form.basis.button(2).click()
    bench.viewer.layers["region A01"].add_rectangles([[500, 500], [500, 600], [600, 600], [600, 500]])
    qtbot.waitUntil(lambda: bool(notes), timeout=60_000)
    assert "beside the image" in notes[0]


def test_the_whole_image_can_decide(bench: Bench) -> None:
    bench.viewer.add_image(stack())
    focus = bench.open()
    bench.score()
    focus.form.basis.button(1).click()
    bench.idle()
    assert (focus.scored.report.weights == 1).all()
