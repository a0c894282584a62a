"""Maps of networks lie exactly on the image, whatever its size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_focusstack.core.learned.evidence import onto_image
from napari_focusstack.core.progress import drain
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.core.scoring import score_series
from napari_focusstack.core.stack import from_array
from napari_focusstack.io.write import write_map, write_stack
from napari_focusstack.widgets.layers import frame_of, layer_of, place, stack_of
from napari_focusstack.widgets.reader import layers_of, read

SHAPE = (150, 211)


def whole(n_px: int, cell: float) -> int:
    return -int(-n_px // cell)


@pytest.mark.parametrize("cell", [(32.0, 32.0), (40.0, 28.0), (33.7, 16.1), (150.0, 300.0)])
def test_what_is_known_of_a_corner_stays_there_and_the_mean_over_the_image_stays(cell):
    gy, gx = (whole(n, c) for n, c in zip(SHAPE, cell, strict=True))
    values = np.random.default_rng(0).random((gy, gx)).astype(np.float32)
    moved, grid = onto_image(values, cell, SHAPE)
    assert grid.shape == moved.shape
    assert np.multiply(grid.shape, grid.cell_px) == pytest.approx(SHAPE)
    covered = [np.diff(np.minimum(np.arange(n + 1) * c, s)) for n, c, s in zip((gy, gx), cell, SHAPE, strict=True)]
    assert moved.mean() == pytest.approx(np.average(values, weights=np.outer(*covered)), rel=1e-5)
    marked = np.zeros_like(values)
    marked[-1, -1] = 1
    assert onto_image(marked, cell, SHAPE)[0].argmax() == moved.size - 1
    assert np.allclose(onto_image(np.ones((gy, gx, 3)), cell, SHAPE)[0], 1)


def test_cells_that_fit_are_left_as_they_are():
    values = np.random.default_rng(0).random((3, 5)).astype(np.float32)
    assert np.allclose(onto_image(values, (32, 32), (96, 160))[0], values)


@pytest.mark.parametrize("scorer", ["mmdf", "gmanet"])
def test_the_corners_of_a_map_s_layer_are_those_of_the_image(networks, scorer):
    stack = from_array(np.random.default_rng(0).integers(0, 4000, (2, *SHAPE), np.uint16), y_um=0.5, x_um=0.5)
    report = drain(score_series(stack, scorer=scorer, device="cpu"))
    assert SCORERS[scorer].card.architecture == scorer
    viewer = ViewerModel()
    placed = layer_of(stack)
    source = viewer.add_image(placed.data, **placed.kwargs)
    made = place(report.maps, "ZYX", like=frame_of(source), grid=report.grid)
    layer = viewer.add_image(made.data, **made.kwargs)
    assert np.allclose(layer.extent.world[:, 1:] + half(layer), source.extent.world[:, 1:] + half(source))


@pytest.mark.parametrize("pixel_um", [0.5, None])
@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
def test_a_map_that_is_opened_lies_on_its_image(tmp_path, ending, pixel_um):
    stack = from_array(np.random.default_rng(0).integers(0, 4000, (3, *SHAPE), np.uint16), y_um=pixel_um, x_um=pixel_um)
    report = drain(score_series(stack, patch_px=24))
    report = dataclasses.replace(report, layers={"certainty": np.ones_like(report.maps)})
    viewer = ViewerModel()
    ((data, kwargs, _),) = layers_of(stack)
    source = viewer.add_image(data, **kwargs)
    for layer in (None, "certainty"):
        path = write_map(tmp_path / f"{layer}{ending}", report, stack, layer=layer)
        ((data, kwargs, _),) = read(str(path))
        shown = viewer.add_image(data, **kwargs)
        assert shown.data.shape == report.maps.shape
        assert np.allclose(shown.extent.world[:, 1:] + half(shown), source.extent.world[:, 1:] + half(source))
        assert (stack_of(shown).x_um is None) == (pixel_um is None)


def test_an_image_that_is_no_map_begins_at_0(tmp_path):
    path = write_stack(tmp_path / "a.ome.tif", from_array(np.zeros((3, 32, 32), np.uint8), y_um=0.5, x_um=0.5))
    ((_, kwargs, _),) = read(str(path))
    assert kwargs["translate"] == (0, 0, 0)


def half(layer) -> np.ndarray:
    """From the middle of the outer pixels to their edges."""
    step = np.asarray(layer.scale)[1:] / 2
    return np.stack([-step, step])
