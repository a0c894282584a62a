"""Trained networks as scorers: what they say of patches and slices, and what they ask for."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import napari_focusstack as fs  # noqa: E402
from napari_focusstack.core.defocus import agreement, calibration_of, missing_optics, sides  # noqa: E402
from napari_focusstack.core.errors import InputError  # noqa: E402
from napari_focusstack.core.pipeline import score  # noqa: E402
from napari_focusstack.core.report import Grid, PlaneScore  # noqa: E402
from napari_focusstack.core.scorer import SeriesScorer  # noqa: E402
from napari_focusstack.core.scorers import SCORERS  # noqa: E402
from napari_focusstack.core.slice_extras import beyond_learned  # noqa: E402
from napari_focusstack.core.stack import Optics, Stack  # noqa: E402
from napari_focusstack.io.rings import remember_rings, rings_file, with_known_rings  # noqa: E402

pytestmark = pytest.mark.usefixtures("networks")
OPTICS = Optics(na=0.75, wavelength_um=0.52)


def texture(slices=7, best=3, size=192, *, empty=True) -> Stack:
    import cv2

    random = np.random.default_rng(0)
    sharp = np.zeros((size, size), np.float32)
    left = size // 3 if empty else size
    sharp[:, :left] = 20000 * random.random((size, left), np.float32)
    planes = [cv2.GaussianBlur(sharp, (0, 0), 0.5 + 1.2 * abs(z - best)) for z in range(slices)]
    noisy = [(p + 500 + random.normal(0, 20, p.shape)).clip(0, 65535).astype(np.uint16) for p in planes]
    return Stack(np.stack(noisy), "ZYX", name="texture", y_um=0.325, x_um=0.325, z_um=2.0, optics=OPTICS)


def test_class_names_agree_with_what_the_network_calls_focused():
    from napari_focusstack.core.learned.classes import CLASS_NAMES
    from napari_focusstack.networks.mmdf import CLASSES, FOCUSED_CLASSES

    assert len(CLASS_NAMES) == CLASSES
    assert [name == "in focus" for name in CLASS_NAMES].index(False) == FOCUSED_CLASSES


def test_networks_are_scorers_in_a_group_of_their_own():
    for name in ("mmdf", "ldsenet"):
        assert SCORERS[name].family == "networks"
        assert isinstance(SCORERS[name], SeriesScorer)
    assert not isinstance(SCORERS["tenengrad"], SeriesScorer)


def test_without_models_no_network_is_offered_and_torch_is_not_loaded(tmp_path):
    code = (
        "import sys; from napari_focusstack.core.scorers import SCORERS; from napari_focusstack.networks import zoo\n"
        "named = [s.name for s in SCORERS if s.family == 'networks']\n"
        "print(named, sorted(zoo.find_models()), 'torch' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"FOCUSSTACK_MODELS": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
    ).stdout.split("]")
    assert out[2].strip() == "False"
    if out[1].strip() == "[":
        assert out[0] == "["


def test_preloading_torch_imports_nothing_and_torch_works_afterwards():
    code = (
        "import sys; from napari_focusstack.networks.preload import preload_torch; preload_torch()\n"
        "assert 'torch' not in sys.modules\n"
        "import torch; preload_torch(); print(float(torch.ones(3).sum()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "3.0"


def test_a_damaged_card_is_left_out(tmp_path, monkeypatch, caplog):
    from napari_focusstack.core.scorers import SCORERS

    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.json").write_text("{}")
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path))
    assert "broken" not in SCORERS
    assert "not valid" in caplog.text


def test_the_classifier_says_class_and_certainty_of_each_patch_and_slice():
    report = score(texture(), scorer="mmdf")
    assert report.layers["class"].shape == report.maps.shape == report.layers["certainty"].shape
    assert report.layers["class"].max() <= 9
    assert report.maps.min() >= 0
    assert report.maps.max() <= 9
    assert len(report.extras["classes"]) == len(report.extras["certainty"]) == 7
    assert all(0 <= c <= 9 for c in report.extras["classes"])


def test_network_and_energy_together_find_the_best_slice():
    report = score(texture(), scorer="mmdf")
    assert report.decision.best == 3


def test_empty_patches_are_no_evidence():
    report = score(texture(size=320), scorer="mmdf")
    assert (report.layers["certainty"][:, :, -2:] == 0).all()
    assert (report.weights[:, -2:] == 0).all()
    assert report.weights.any()


def test_a_wholly_empty_stack_still_has_a_report():
    flat = Stack(np.full((3, 64, 64), 9, np.uint8), "ZYX", name="flat")
    report = score(flat, scorer="mmdf")
    assert np.isfinite(report.values).all()
    assert report.decision.best is None


def test_a_single_plane_has_the_mean_level_as_its_number():
    plane = Stack(texture(empty=False).plane(3), "YX", name="plane")
    report = score(plane, scorer="mmdf", specimen=False)
    assert report.values[0] == pytest.approx(np.average(report.maps[0], weights=report.weights), abs=1e-4)


def test_flicker_does_not_move_the_classifiers_answer():
    class_scorer = SCORERS["mmdf"]
    grid = Grid((1, 2), (8.0, 8.0))
    layers = {"class": np.zeros((1, 2), np.uint8), "certainty": np.ones((1, 2), np.float32)}

    def scores(gains):
        level, energy = np.array([[9.0, 5.0]], np.float32), np.array([[4.0, 1.0]], np.float32)
        return [PlaneScore(level, grid, layers=layers, energy=energy * g**2) for g in gains]

    steady = class_scorer.join(scores([1, 1, 1]), exposure=np.ones(3, np.float32), heights_um=None)
    gains = np.array([1, 1.2, 0.9], np.float32)
    flicker = class_scorer.join(scores(gains), exposure=gains, heights_um=None)
    np.testing.assert_allclose(steady.curve_maps, flicker.curve_maps, atol=1e-5)


def test_defocus_is_signed_by_the_order_of_the_slices():
    report = score(texture(), scorer="ldsenet")
    signs = np.sign(report.layers["defocus_um"])
    rising = np.diff(np.where(np.isfinite(signs), signs, 0), axis=0)
    assert (rising >= 0).all()
    assert len(report.extras["defocus_um"]) == 7
    assert report.extras["sign_from"].startswith("the order of the slices")
    np.testing.assert_allclose(report.maps, -np.abs(report.layers["defocus_um"]), atol=1e-5)


def test_a_single_plane_says_that_its_sign_may_be_ambiguous():
    plane = Stack(texture(empty=False).plane(2), "YX", y_um=0.3, x_um=0.3, optics=OPTICS)
    report = score(plane, scorer="ldsenet")
    assert "ambiguous" in report.extras["sign_from"]
    assert len(report.extras["defocus_um"]) == 1


def test_what_is_beyond_the_learned_range_is_told():
    told = {"defocus_um": [-6.5, None, -0.5, 6.9, 5.0], "learned_um": 12.0, "caution": "Mind this."}
    heights = np.array([-20.0, -10, 0, 10, 25])
    found = beyond_learned(told, heights)
    assert found["at_least_um"] == [6.0, None, None, 6.0, 6.0]
    assert found["caution"].startswith("Mind this. 3 of 5 slices")
    assert beyond_learned(told, None)["at_least_um"] == [6.0, None, None, 6.0, None]
    assert beyond_learned({**told, "defocus_um": [None, None, -0.5, 1, 2]}, None) == {}
    assert beyond_learned({"defocus_um": [9.0]}, None) == {}


def test_an_answer_beyond_what_was_learned_is_a_caution_of_the_report(monkeypatch):
    monkeypatch.setattr(type(SCORERS["ldsenet"]), "learned_waves", 0.1)
    report = score(texture(), scorer="ldsenet")
    assert "at least" in report.caution
    assert "at least" in report.extras["caution"]
    assert any(report.extras["at_least_um"])


def test_empty_tiles_are_dropped():
    report = score(texture(size=448), scorer="ldsenet", specimen=False)
    assert np.isnan(report.layers["defocus_um"][:, :, -1]).all()
    assert (report.weights[:, -1] == 0).all()
    assert all(v is not None for v in report.extras["defocus_um"])


def test_an_empty_stack_has_no_defocus():
    flat = Stack(np.full((2, 64, 64), 9, np.uint8), "ZYX", y_um=1, x_um=1, optics=OPTICS)
    assert score(flat, scorer="ldsenet").extras["defocus_um"] == [None, None]


def test_missing_optics_are_asked_for_by_name():
    bare = Stack(texture().data, "ZYX", x_um=0.3, y_um=0.3)
    with pytest.raises(InputError, match=r"without the numerical aperture and wavelength of this image.*--na"):
        score(bare, scorer="ldsenet")
    assert missing_optics(Optics(), None) == "numerical aperture, wavelength and pixel size"
    assert missing_optics(Optics(na=0.5), 0.3) == "wavelength"
    assert missing_optics(Optics(na=0.5, wavelength_um=0.5), 0.3) == ""


def test_an_aperture_beyond_the_immersion_is_refused():
    with pytest.raises(InputError, match="below the index"):
        calibration_of(Optics(na=1.2, wavelength_um=0.5, immersion_index=1.0), 0.1)
    with pytest.raises(InputError, match="wavelength in µm"):
        calibration_of(Optics(na=0.5, wavelength_um=520), 0.1)


def test_water_is_taken_for_an_aperture_too_large_for_air():
    assert calibration_of(Optics(na=1.2, wavelength_um=0.5), 0.1).index == 1.33


def test_too_small_planes_are_refused():
    with pytest.raises(InputError, match="too small for a network"):
        score(Stack(np.zeros((3, 20, 90), np.uint8), "ZYX"), scorer="mmdf")


def test_a_device_that_is_not_there_is_named():
    missing = "cuda" if not torch.cuda.is_available() else "mps"
    with pytest.raises(InputError, match=f"no device '{missing}'"):
        score(texture(), scorer="mmdf", device=missing)


def test_another_region_changes_what_is_told_of_the_slices():
    from napari_focusstack.core.scoring import reweight

    report = score(texture(empty=False), scorer="mmdf")
    region = np.zeros(report.plane_shape, bool)
    region[:40, :40] = True
    there = reweight(report, region=region)
    assert there.extras["certainty"] != report.extras["certainty"]
    assert there.extras["certainty"][0] == pytest.approx(
        np.average(report.layers["certainty"][0], weights=there.weights), abs=1e-4
    )


@pytest.mark.parametrize(("true", "n"), [(4.3, 11), (-3, 6), (20, 6), (0.2, 2)])
def test_signs_follow_height_through_focus_and_on_one_side_of_it(true, n):
    random = np.random.default_rng(1)
    heights = np.arange(n, dtype=float)
    defocus = heights[:, None] - true + random.normal(0, 0.05, (n, 5))
    found = sides(np.abs(defocus), heights).signs
    far = np.abs(defocus) > 0.5
    if n > 2:
        assert (found == np.sign(defocus))[far].all()
    assert (np.diff(found, axis=0) >= 0).all()


def test_all_slices_together_find_focus_where_each_alone_is_blunt():
    heights = np.arange(9.0)
    distance = np.maximum(np.abs(heights - 5), 2.0)[:, None]
    line = sides(distance, heights).line[:, 0]
    assert np.interp(0, line, heights) == pytest.approx(5, abs=0.5)


def test_signs_do_not_depend_on_the_direction_in_which_slices_were_taken():
    heights = np.linspace(-4, 6, 9)
    distance = np.abs(heights)[:, None]
    backwards = sides(distance[::-1], heights[::-1]).signs[::-1]
    np.testing.assert_array_equal(backwards, sides(distance, heights).signs)


def test_votes_of_the_images_decide_where_distances_are_blunt():
    heights = np.arange(8.0)
    distance = np.full((8, 1), 2.0)
    votes = np.where(heights < 5, -0.9, 0.9)[:, None]
    np.testing.assert_array_equal(sides(distance, heights, votes=votes).signs[:, 0], np.sign(votes[:, 0]))


def test_a_lone_wrong_vote_does_not_turn_a_slice_over():
    heights = np.arange(9.0)
    distance = np.abs(heights - 4)[:, None]
    votes = np.sign(heights - 4)[:, None] * 0.5
    votes[1] = 0.5
    assert (sides(distance, heights, votes=votes).signs[:4] == -1).all()


def test_agreement_tells_on_which_side_the_rings_are():
    heights = np.arange(9.0)
    signed = (heights - 4)[:, None]
    signs = sides(np.abs(signed), heights).signs
    assert agreement(0.8 * np.sign(signed), np.abs(signed), signs) == pytest.approx(1)
    assert agreement(-0.8 * np.sign(signed), np.abs(signed), signs) == pytest.approx(-1)
    assert agreement(np.zeros_like(signed), np.abs(signed), signs) == 0
    uneven = sides(np.abs(heights - 2)[:, None], heights).signs
    assert agreement(np.ones_like(signed), np.abs(heights - 2)[:, None], uneven) == pytest.approx(0, abs=1e-9)


def test_rings_above_focus_turn_the_sign_of_a_single_image_over():
    plane = texture(empty=False).plane(2)

    def defocus(rings):
        optics = dataclasses.replace(OPTICS, rings=rings)
        report = score(Stack(plane, "YX", y_um=0.3, x_um=0.3, optics=optics), scorer="ldsenet")
        return report.layers["defocus_um"]

    np.testing.assert_array_equal(defocus("below"), -defocus("above"))
    np.testing.assert_array_equal(defocus("below"), defocus(None))


def test_a_tile_known_on_too_few_slices_takes_the_others_signs():
    heights = np.arange(9.0)
    distance = np.abs(heights - 4)[:, None].repeat(3, axis=1)
    distance[:, 2] = np.nan
    distance[1, 2] = 3.0
    assert sides(distance, heights).signs[1, 2] == -1


# The command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    from napari_focusstack.io.write import write_stack

    return write_stack(tmp_path / "texture.ome.tif", texture())


def run(*arguments, capsys):
    from napari_focusstack.cli.main import main

    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    said = capsys.readouterr()
    return end.value.code, said.out, said.err


def test_score_json_has_what_networks_know(file, capsys):
    code, out, _ = run("score", file, "--scorer", "mmdf", "--json", "--device", "cpu", capsys=capsys)
    told = json.loads(out)
    assert code == 0
    assert len(told["classes"]) == len(told["certainty"]) == len(told["scores"]) == 7


def test_score_takes_the_microscope_from_the_command_line(file, capsys):
    code, _, err = run("score", file, "--scorer", "ldsenet", capsys=capsys)
    assert code == 2
    assert "--na" in err
    arguments = ("--na", 0.75, "--wavelength", 0.52, "--json")
    code, out, _ = run("score", file, "--scorer", "ldsenet", *arguments, capsys=capsys)
    assert code == 0
    assert len(json.loads(out)["defocus_um"]) == 7


def test_the_rings_side_is_found_once_and_remembered(file, tmp_path, capsys):
    """The tiny network's signs are chance: what is found is written down, or the user is asked for another stack."""
    code, out, err = run("rings", file, "--na", 0.75, "--wavelength", 0.52, "--json", capsys=capsys)
    assert (code == 0 and json.loads(out)["rings"] in ("below", "above")) or (code == 2 and "small beads" in err)
    rings_file().unlink(missing_ok=True)
    remember_rings(Optics(na=0.75), "above")
    assert with_known_rings(Optics(na=0.75)).rings == "above"
    assert with_known_rings(Optics(na=0.75, rings="below")).rings == "below"
    assert with_known_rings(Optics(na=0.3)).rings is None
    rings_file().write_text("no JSON")
    assert with_known_rings(Optics(na=0.75)).rings is None
    rings_file().unlink()


def test_scores_as_a_table_have_a_column_for_each_thing_told(file, tmp_path, capsys):
    run("score", file, "--scorer", "mmdf", "-o", tmp_path / "scores.csv", capsys=capsys)
    heading = (tmp_path / "scores.csv").read_text().splitlines()[0]
    assert heading.endswith("classes,in_focus,certainty")


def test_map_writes_every_layer_beside_the_focus_map(file, tmp_path, capsys):
    import tifffile

    output = tmp_path / "maps.ome.tif"
    code, out, _ = run("map", file, "--scorer", "mmdf", "-o", output, "--json", capsys=capsys)
    told = json.loads(out)
    assert code == 0
    assert set(told["layers"]) == {"class", "certainty", "in_focus"}
    for path in (output, *told["layers"].values()):
        assert list(tifffile.imread(path).shape) == told["shape"]
    assert (tmp_path / "maps_class.ome.tif").exists()


def test_a_wrong_device_is_refused(file, capsys):
    code, _, err = run("score", file, "--scorer", "mmdf", "--device", "tpu", capsys=capsys)
    assert code == 2
    assert "tpu" in err


def test_scorers_are_listed_with_the_networks(capsys):
    _, out, _ = run("scorers", "--json", capsys=capsys)
    names = [s["name"] for s in json.loads(out)["scorers"]]
    assert {"mmdf", "ldsenet"} <= set(names)


def test_the_public_function_takes_a_network_too():
    assert fs.score(texture(), scorer="mmdf").scorer == "mmdf"
