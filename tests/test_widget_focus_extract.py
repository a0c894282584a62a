"""*Extract* in the Focus widget: slices and projections as layers of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from focus_bench import CALIBRATED, Bench, stack
from napari_focusstack.core.stack import Optics, from_array
from napari_focusstack.widgets.layers import METADATA, layer_of, show, stack_of


@pytest.mark.parametrize(
    ("kind", "name", "shape"),
    [(0, "slice 3", (128, 128)), (1, "slices 2–4", (3, 128, 128)), (2, "max of slices 2–4", (128, 128))],
)
def test_slices_are_extracted_where_they_lie(bench: Bench, kind: int, name: str, shape: tuple[int, ...]) -> None:
    layer = bench.viewer.add_image(stack(), name="A01", **CALIBRATED)
    focus = bench.open()
    bench.score()
    focus.form.extract.kind.setCurrentIndex(kind)
    focus.form.extract.button.click()
    bench.idle()
    new = bench.viewer.layers[f"{name} A01"]
    assert new.data.shape == shape
    assert new.scale == pytest.approx(layer.scale[-new.ndim :])
    assert new.units == layer.units[-new.ndim :]
    if new.ndim == 3:
        assert np.array_equal(new.data, layer.data[2:5])
        assert new.translate[0] == 4.0


def extract(bench: Bench, kind: int) -> Any:
    before = list(bench.viewer.layers)
    bench.focus.form.extract.centre.setCurrentIndex(bench.focus.form.extract.centre.findData("shown"))
    bench.focus.form.extract.kind.setCurrentIndex(kind)
    bench.focus.form.extract.button.click()
    bench.idle()
    return next(x for x in bench.viewer.layers if x not in before)


def test_an_extracted_slice_hides_its_stack_and_what_lay_over_it(bench: Bench, qtbot: Any) -> None:
    layer = bench.viewer.add_image(stack(), name="A01", blending="additive", **CALIBRATED)
    focus = bench.open()
    bench.score()
    focus.form.map_box.click()
    overlay = focus.overlays.map
    assert overlay in bench.viewer.layers
    new = extract(bench, 0)
    qtbot.waitUntil(lambda: overlay not in bench.viewer.layers, timeout=60_000)
    assert not focus.form.map_box.isChecked()
    assert not focus.form.outline_box.isChecked()
    assert bench.viewer.layers.index(new) > bench.viewer.layers.index(layer)
    assert new.blending == "opaque"
    assert bench.viewer.layers.selection.active is new


def test_slices_of_an_uneven_stack_keep_their_heights_channel_and_optics(bench: Bench) -> None:
    heights = (0.0, 1.0, 3.0, 10.0, 20.0, 50.0, 51.0)
    optics = Optics(na=0.5)
    placed = layer_of(from_array(stack(), z_positions_um=heights, y_um=0.5, x_um=0.5, optics=optics, channels=("DNA",)))
    bench.viewer.add_image(placed.data, **placed.kwargs)
    bench.open()
    show(bench.viewer.layers[0], bench.viewer.dims, Z=3)
    found = stack_of(extract(bench, 1))
    assert found.z_positions_um == heights[2:5]
    assert (found.optics, found.channels) == (optics, ("DNA",))


def test_a_projection_tells_the_heights_that_it_is_of(bench: Bench) -> None:
    bench.viewer.add_image(stack(), **CALIBRATED)
    bench.open()
    show(bench.viewer.layers[0], bench.viewer.dims, Z=3)
    assert extract(bench, 2).metadata[METADATA]["heights_um"] == [4.0, 8.0]
