"""GMANet as a scorer: presets, joining over z, both modes, the command line; on a network trained for seconds."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

import napari_focusstack as fs
from napari_focusstack.cli.main import main
from napari_focusstack.core.filters import area_mean
from napari_focusstack.core.learned import evidence
from napari_focusstack.core.learned.gmanet import LARGE, SMALL, preset_for
from napari_focusstack.core.objects import object_size
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.io.write import write_stack
from test_network_scorers import texture

pytestmark = pytest.mark.usefixtures("networks")


@pytest.fixture(scope="module")
def report(networks):
    return fs.score(texture(), scorer="gmanet", device="cpu")


def discs(diameter, *, shape=(600, 800), count=12):
    import cv2

    random, plane = np.random.default_rng(0), np.full(shape, 200, np.float32)
    for _ in range(count):
        centre = tuple(int(random.integers(diameter, n - diameter)) for n in shape[::-1])
        cv2.circle(plane, centre, diameter // 2, 90.0, -1)
    return plane + random.normal(0, 2, shape).astype(np.float32)


def test_a_model_scores_in_one_pass_and_as_published(networks):
    assert {"gmanet", "gmanet_protocol"} <= set(SCORERS.names())
    assert SCORERS["gmanet"].family == "networks"


def test_the_map_has_the_wished_patches_and_covers_the_image(report):
    (gy, gx), (cy, cx) = report.grid.shape, report.grid.cell_px
    assert (cy, cx) == (32, 32)
    assert gy * cy >= 192
    assert gx * cx >= 192
    assert report.maps.shape == report.layers["cam"].shape == (7, gy, gx)
    assert bool((report.maps >= 0).all())


def test_energy_over_z_joins_the_score(report):
    """Nothing is added where the energy is highest over z, and something taken off elsewhere."""
    from napari_focusstack.core.learned.gmanet import ENERGY_POINTS

    assert report.curve_maps is not None
    octaves = (report.curve_maps - report.maps) / ENERGY_POINTS
    np.testing.assert_allclose(octaves.max(axis=0), 0, atol=1e-4)
    assert bool((octaves[:, :, 0].argmax(axis=0) == 3).all())
    assert bool((octaves[0, :, 0] < -2).all())


def test_empty_patches_do_not_count(report):
    assert report.evidence is not None
    assert not report.evidence[:, -1].any()
    assert report.evidence[:, 0].any()


def test_the_preset_is_told(report):
    assert report.extras["preset"].startswith(("1024×1536 px, φ 32", "768×1152 px, φ 8"))


def test_a_single_plane_is_scored(networks):
    one = fs.score(texture(slices=1, best=0), scorer="gmanet", device="cpu")
    assert one.decision.best is None
    assert np.isfinite(one.values).all()


def test_flicker_does_not_move_the_score(networks):
    plain = texture()
    gain = np.linspace(1, 1.6, 7).reshape(-1, 1, 1)
    bright = fs.from_array((plain.data * gain).clip(0, 65535).astype(np.uint16), axes="ZYX")
    a, b = (fs.score(s, scorer="gmanet", device="cpu") for s in (plain, bright))
    np.testing.assert_allclose(a.maps, b.maps, atol=8)


def test_the_protocol_gives_the_printed_number_where_the_whole_field_decides(networks):
    from napari_focusstack.core.learned.base import load_network
    from napari_focusstack.networks.gmanet_infer import protocol

    scorer, stack = SCORERS["gmanet_protocol"], texture(slices=1, size=64)
    found = fs.score(stack, scorer="gmanet_protocol", specimen=False, device="cpu")
    network = load_network(str(scorer.folder), scorer.card.sha256, "cpu")
    assert found.values[0] == pytest.approx(protocol(network, stack.plane(0)).score, rel=1e-4)


@pytest.mark.parametrize(("shape", "cells", "cell_px"), [((90, 121), (3, 4), 35.4), ((200, 160), (7, 5), 28.0)])
def test_cells_are_blank_where_what_is_enlarged_varies_no_more_than_noise(shape, cells, cell_px):
    """The matrices do what enlarging to all pixels and averaging over cells does."""
    import cv2

    small = np.random.default_rng(0).random((shape[0] // 8, shape[1] // 8), dtype=np.float32)
    large = evidence.to_cells(cv2.resize(small, shape[::-1], interpolation=cv2.INTER_LINEAR), cells, (cell_px, cell_px))
    rows, columns = (evidence._cells_of(*n, cell_px) for n in zip(small.shape, shape, cells, strict=True))
    np.testing.assert_allclose(rows @ small @ columns.T, area_mean(large, cells), atol=1e-5)


@pytest.mark.parametrize("diameter", [12, 30, 80])
def test_the_size_of_objects_is_found(diameter):
    assert object_size(discs(diameter)) == pytest.approx(diameter, rel=0.3)


def test_nothing_has_no_size():
    assert object_size(np.random.default_rng(0).normal(100, 3, (300, 400)).astype(np.float32)) is None


@pytest.mark.parametrize(
    ("shape", "object_px", "preset"),
    [((1200, 1600), 60, LARGE), ((1200, 1920), 200, SMALL), ((1200, 1600), None, LARGE), ((4000, 6000), 200, LARGE)],
)
def test_presets_go_by_the_size_of_image_and_specimen(shape, object_px, preset):
    assert preset_for(shape, object_px) is preset


def test_images_are_never_made_larger_and_keep_their_proportions():
    assert LARGE.scale((100, 200)) == 1
    scale = LARGE.scale((1200, 1600))
    assert scale**2 * 1200 * 1600 == pytest.approx(1024 * 1536)


def test_the_command_line_writes_scores_and_attention(networks, tmp_path, capsys):
    source = write_stack(tmp_path / "t.ome.tif", texture())
    with pytest.raises(SystemExit) as end:
        main(["map", str(source), "--scorer", "gmanet", "-o", str(tmp_path / "maps.ome.tif"), "--json"])
    assert end.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert (tmp_path / "maps_cam.ome.tif").is_file()
    assert set(told["layers"]) == {"cam"}


def test_the_command_line_tells_the_preset(networks, tmp_path, capsys):
    source = write_stack(tmp_path / "t.ome.tif", texture())
    for more in ((), ("-v",), ("--json",)):
        with pytest.raises(SystemExit):
            main(["score", str(source), "--scorer", "gmanet", "--device", "cpu", *more])
        said = capsys.readouterr().out
        if not more:
            assert "seen as" not in said
            continue
        told = json.loads(said)["preset"] if "--json" in more else said.split("seen as ")[1]
        assert told.startswith(("1024×1536 px, φ 32", "768×1152 px, φ 8"))
