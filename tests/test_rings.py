"""The remembered side of the rings: which images it holds for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_focusstack.core.stack import Optics
from napari_focusstack.io.read import read_stack
from napari_focusstack.io.rings import remember_rings, rings_file, with_known_rings

FIRST = Optics(na=0.75, instrument="Nikon Ti2, Plan Apo 20x", magnification=20)
OTHER = Optics(na=0.75, instrument="Zeiss Axio, Plan-Apochromat 20x", magnification=20)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path))


def test_two_instruments_of_one_aperture_keep_a_side_each():
    remember_rings(FIRST, "above")
    remember_rings(OTHER, "below")
    assert with_known_rings(FIRST).rings == "above"
    assert with_known_rings(OTHER).rings == "below"
    remember_rings(FIRST, "below")
    assert with_known_rings(FIRST).rings == "below"


@pytest.mark.parametrize(
    ("image", "pixel_um", "side"),
    [
        (Optics(na=0.75), None, "above"),  # nothing contradicts
        (Optics(na=0.75, magnification=20), 0.65, "above"),  # another binning
        (Optics(na=0.75, magnification=40), 0.325, None),
        (OTHER, 0.325, None),
        (Optics(na=0.5, instrument=FIRST.instrument, magnification=20), 0.325, None),
    ],
)
def test_the_side_holds_where_nothing_that_is_known_contradicts(image, pixel_um, side):
    remember_rings(FIRST, "above", pixel_um=0.325)
    assert with_known_rings(image, pixel_um=pixel_um).rings == side


def test_the_pixel_size_tells_objectives_apart_that_have_no_name():
    remember_rings(Optics(na=0.75), "above", pixel_um=0.325)
    remember_rings(Optics(na=0.75), "below", pixel_um=0.11)
    assert with_known_rings(Optics(na=0.75), pixel_um=0.325).rings == "above"
    assert with_known_rings(Optics(na=0.75), pixel_um=0.11).rings == "below"
    assert with_known_rings(Optics(na=0.75)).rings is None


def test_entries_of_the_aperture_alone_are_read_and_give_way_to_better_ones():
    rings_file().write_text(json.dumps({"0.75": "above", "1.40": "below"}))
    assert with_known_rings(FIRST).rings == "above"
    assert with_known_rings(Optics(na=1.4)).rings == "below"
    remember_rings(FIRST, "below")
    assert with_known_rings(FIRST).rings == "below"
    assert with_known_rings(OTHER).rings == "above"
    assert with_known_rings(Optics(na=1.4)).rings == "below"


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"objectives": 3}', '{"objectives": [{"na": 1}, 5]}'])
def test_a_damaged_file_remembers_nothing(content):
    rings_file().write_text(content)
    assert with_known_rings(FIRST).rings is None


def test_files_tell_microscope_and_objective(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((3, 8, 8), np.uint8), ome=True, metadata={"axes": "ZYX"})
    xml = tifffile.tiffcomment(path)
    head = '<Instrument ID="Instrument:0"><Microscope Manufacturer="Nikon" Model="Ti2"/>'
    lens = '<Objective ID="Objective:0" Model="Plan Apo 20x" SerialNumber="7" LensNA="0.75"/></Instrument><Image '
    tifffile.tiffcomment(path, xml.replace("<Image ", head + lens, 1).encode())
    optics = read_stack(path).optics
    assert (optics.instrument, optics.na) == ("Nikon Ti2, Plan Apo 20x 7", 0.75)
