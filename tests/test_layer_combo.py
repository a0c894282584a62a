"""Names of layers where there is little room for them."""

import pytest

pytest.importorskip("qtpy")

from napari_focusstack.widgets.layer_combo import LayerCombo


def test_long_names_lose_their_middle(qtbot):
    box = LayerCombo("A layer")
    qtbot.addWidget(box)
    name = "2026-11-03_plate-7_well-A01_organoids_brightfield_10x_day-5 GFP"
    box.addItem(name)
    box.resize(180, 28)
    assert box.shown_text().startswith("2026")
    assert box.shown_text().endswith("GFP")
    assert len(box.shown_text()) < len(name)
    box.resize(900, 28)
    assert box.shown_text() == name
    assert not box.grab().isNull()
