"""Networks as the eyes of autofocus: offered where installed, read by the policies that suit them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_focusstack.core.autofocus import IndexPolicy, JumpPolicy, LoopSettings, Travel, focusing
from napari_focusstack.core.autofocus.methods import focus_methods
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import drain
from napari_focusstack.core.scorer import PlaneContext
from napari_focusstack.core.stack import Optics
from napari_focusstack.microscope.scene import DemoScene
from test_autofocus_loop import Bench

CONTEXT = PlaneContext(pixel_um=0.325, optics=Optics(na=0.75, wavelength_um=0.55), device="cpu")


@pytest.fixture(scope="module")
def scene():
    return DemoScene(field_px=(320, 320), focus_um=2.0)


def test_without_weights_only_the_searches_are_offered(monkeypatch, tmp_path):
    monkeypatch.setattr("napari_focusstack.networks.zoo.BUNDLED", tmp_path / "none")
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "none"))
    assert focus_methods().names() == ("spectra", "brent")


def test_networks_that_can_steer_are_offered(networks):
    assert set(focus_methods().names()) == {"spectra", "brent", "hhnet", "ldsenet"}
    assert isinstance(focus_methods()["hhnet"].policy().guide, IndexPolicy)
    assert isinstance(focus_methods()["ldsenet"].policy().guide, JumpPolicy)


def test_the_index_of_an_image_is_read(networks, scene):
    reading = focus_methods()["hhnet"].sensor(CONTEXT)(scene.image(6.0))
    assert -3 <= reading.index <= 3
    assert 0 <= reading.certainty <= 1
    assert 0 <= reading.side <= 1


def test_the_distance_of_an_image_is_read_in_um(networks, scene):
    reading = focus_methods()["ldsenet"].sensor(CONTEXT)(scene.image(6.0))
    assert not reading.evidence or np.isfinite(reading.defocus_um)


def test_jumps_need_to_know_the_optics(networks):
    with pytest.raises(InputError, match="numerical aperture"):
        focus_methods()["ldsenet"].sensor(PlaneContext(device="cpu"))


@pytest.mark.parametrize("name", ["hhnet", "ldsenet"])
def test_even_networks_that_know_nothing_stay_within_the_limits(networks, scene, name):
    method, bench = focus_methods()[name], Bench(slowness=1)
    bench.snap = lambda: scene.image(bench.z_um)  # type: ignore[method-assign]
    travel = Travel(0.0, -20.0, 20.0, scene.depth_of_field_um, -1)
    found = drain(
        focusing(bench, method.sensor(CONTEXT), method.policy(), travel, settings=LoopSettings(max_images=12))
    )
    assert found.found or bench.z_um == 0.0
    assert -20 <= min(s.z_um for s in found.steps) <= max(s.z_um for s in found.steps) <= 20
