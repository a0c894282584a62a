"""The bundled focus classifier: what its card says, and what it says of real and simulated images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from napari_focusstack.core.learned.classes import ClassScorer  # noqa: E402
from napari_focusstack.core.progress import drain  # noqa: E402
from napari_focusstack.core.report import FocusReport  # noqa: E402
from napari_focusstack.core.scoring import score_series  # noqa: E402
from napari_focusstack.core.stack import Stack  # noqa: E402
from napari_focusstack.io.read import read_stack  # noqa: E402
from napari_focusstack.networks.zoo import BUNDLED, WEIGHTS, read_card  # noqa: E402
from napari_focusstack.training.recipes import RECIPES  # noqa: E402

SAMPLES = Path(__file__).parents[1] / "sample_data"


@pytest.fixture(scope="module", autouse=True)
def bundled():
    """The bundled model as scorer, whatever the user has under its name."""
    from napari_focusstack.core.scorers import SCORERS

    before = dict(SCORERS._entries)
    SCORERS._entries["mmdf"] = ClassScorer(read_card(BUNDLED / "mmdf"), BUNDLED / "mmdf")
    yield
    SCORERS._entries.clear()
    SCORERS._entries.update(before)


def scored(stack: Stack) -> FocusReport:
    return drain(score_series(stack, scorer="mmdf", device="cpu"))


def cells(blur: float, *, size: int = 420, dirt: bool = False) -> np.ndarray:
    """Nuclei with grain, blurred like a lens would; sharp specks on top where asked."""
    random = np.random.default_rng(3)
    plane = np.zeros((size, size), np.float32)
    for y, x in random.uniform(0, size, (90, 2)):
        axes = random.uniform(7, 13, 2).astype(int)
        cv2.ellipse(plane, (int(x), int(y)), tuple(map(int, axes)), float(random.uniform(0, 180)), 0, 360, 1.0, -1)
    plane *= 0.6 + 0.4 * random.random(plane.shape, np.float32)
    if blur:
        ys, xs = np.ogrid[-40:41, -40:41]
        disc = (np.hypot(ys, xs) <= blur).astype(np.float32)
        plane = cv2.filter2D(plane, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT)
    light = 0.05 + 0.6 * cv2.GaussianBlur(plane, (0, 0), 0.7)
    if dirt:
        for y, x in random.uniform(0, size, (12, 2)):
            cv2.circle(light, (int(x), int(y)), int(random.integers(1, 4)), 0.0, -1, cv2.LINE_AA)
    return (3000 * light + 100 + random.normal(0, 12, plane.shape)).astype(np.uint16)


def share(plane: np.ndarray) -> float:
    return float(scored(Stack(plane, "YX", name="plane")).extras["in_focus"][0])


def test_the_card_names_recipe_data_rule_and_measured_accuracy():
    card = read_card(BUNDLED / "mmdf")
    recipe = RECIPES["mmdf"]
    assert set(card.decision) == {"level", "slope", "calibrated_level", "calibrated_slope", "per_octave"}
    assert set(card.training_data) == {"dsb2018", "bccd", "cellprofiler"}
    told = {k: v for k, v in card.training["fit"].items() if k != "seed"}
    assert told == recipe.fit.model_dump(exclude={"seed"})
    assert card.training["data"] == recipe.data.settings.model_dump(mode="json")
    assert card.accuracy
    assert (BUNDLED / "mmdf" / WEIGHTS).stat().st_size < 5e6


def test_one_plane_is_told_in_focus_or_out_of_it():
    assert share(cells(0)) > 0.8
    assert share(cells(12)) < 0.2


def test_the_level_falls_as_blur_grows():
    levels = [float(np.median(scored(Stack(cells(b), "YX", name="b")).maps)) for b in (0, 4, 8)]
    assert levels[0] > levels[1] > levels[2]


def test_sharp_dirt_over_a_blurred_specimen_does_not_make_it_focused():
    assert share(cells(12, dirt=True)) < 0.5


def test_real_beads_fall_on_both_sides_of_focus():
    stack = read_stack(SAMPLES / "beads.ome.tif").series().only_channel(0)
    report = scored(stack)
    level = np.average(report.maps.reshape(len(report.maps), -1), axis=1, weights=report.weights.ravel())
    best = int(level.argmax())
    assert abs(best - 4) <= 1
    assert (np.diff(level[: best + 1]) > -0.2).all()
    assert (np.diff(level[best:]) < 0.2).all()
    assert level[best] - max(level[0], level[-1]) > 0.5


def test_the_command_line_says_it_of_a_single_image(tmp_path, capsys):
    import tifffile

    from napari_focusstack.cli.main import main

    for blur, answer in ((0, "in focus"), (12, "out of focus")):
        path = tmp_path / f"{blur}.tif"
        tifffile.imwrite(path, cells(blur))
        with pytest.raises(SystemExit) as end:
            main(["score", str(path), "--scorer", "mmdf", "--device", "cpu"])
        assert end.value.code == 0
        assert f"\n{answer}: " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["score", str(path), "--scorer", "mmdf", "--json", "--device", "cpu"])
    told = json.loads(capsys.readouterr().out)
    assert len(told["in_focus"]) == len(told["classes"]) == 1
    assert told["best"] is None
