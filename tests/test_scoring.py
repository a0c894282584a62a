from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_focusstack.core import scorers
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Progress, drain
from napari_focusstack.core.report import FocusReport, Grid, PlaneScore
from napari_focusstack.core.scorers import SCORERS, PlaneContext, Scorer
from napari_focusstack.core.scoring import SliceScored, curve, reweight, score_series
from napari_focusstack.core.stack import Optics, Stack, from_array
from napari_focusstack.io.read import read_stack
from napari_focusstack.io.samples import sample_stack
from scoring_scenes import (
    CENTRES,
    SHAPE,
    Layer,
    brightfield,
    discs,
    dust,
    eight_bit,
    everywhere,
    flat,
    fluorescence,
    noise,
    phase_object,
    texture,
    through_focus,
)


def score(planes: np.ndarray, **options: object) -> FocusReport:
    axes = "ZYXS" if planes.shape[-1] == 3 else "ZYX"
    return drain(score_series(from_array(planes, axes=axes, z_um=2.0), **options))


def disc_region(centre: tuple[float, float], radius: float = 24) -> np.ndarray:
    return discs(SHAPE, [centre], radius) > 0.5


def dusty() -> np.ndarray:
    objects = Layer(texture(SHAPE, seed=1, contrast=8), discs(SHAPE, CENTRES, 30), 7)
    return through_focus([everywhere(flat(180)), objects, Layer(flat(40), 0.9 * dust(), 1)], slices=12)


def on_floor(grey: float = 190.0) -> np.ndarray:
    specimen = Layer(texture(SHAPE, seed=3, scale=2, contrast=8, mean=grey), discs(SHAPE, [(128, 160)], 80), 8)
    return through_focus([everywhere(texture(SHAPE, seed=2, contrast=35, mean=90), 1), specimen], slices=12)


@pytest.mark.parametrize(
    ("planes", "best"),
    [
        (brightfield(), 6),
        (brightfield(contrast=3, noise=4), 6),
        (brightfield(contrast=3, flicker=0.06), 6),
        (brightfield(drift_px=0.6), 6),
        (brightfield(shading=0.7), 6),
        (eight_bit(brightfield(contrast=4, noise=0.8)), 6),
        (fluorescence(), 5),
        (dusty(), 7),
        (on_floor(), 8),
        (phase_object(), 7),
    ],
    ids=["brightfield", "weak", "flicker", "drift", "shading", "8 bit", "fluorescence", "dust", "floor", "phase"],
)
def test_the_best_slice_is_where_the_specimen_is_sharp(planes: np.ndarray, best: int) -> None:
    assert score(planes).decision.best == best


@pytest.mark.parametrize("planes", [dusty(), on_floor()], ids=["dust", "floor"])
def test_without_the_specimen_dust_and_floor_decide(planes: np.ndarray) -> None:
    assert score(planes, specimen=False).decision.best <= 1


@pytest.mark.parametrize(
    "planes",
    [
        noise(),
        eight_bit(noise(30, seed=1)),
        noise() * np.random.default_rng(3).uniform(0.94, 1.06, (15, 1, 1)).astype(np.float32),
        np.full((9, *SHAPE), 7, np.uint16),
        through_focus([everywhere(flat(180))], slices=12, shading=0.5),
    ],
    ids=["noise", "8 bit noise", "flickering noise", "constant", "empty"],
)
def test_where_nothing_is_in_focus_it_says_so(planes: np.ndarray) -> None:
    decision = score(planes).decision
    assert decision.best is None
    assert decision.confidence == 0
    assert "No slice is in focus" in decision.reason


def organoids(*slices: int) -> np.ndarray:
    return np.stack([sample_stack("organoids").plane(z) for z in slices])


def test_two_slices_that_are_sharp_in_different_places_are_both_told() -> None:
    (sharp,) = organoids(4)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 3)
    left = np.arange(sharp.shape[1]) < sharp.shape[1] // 2
    both = np.stack([np.where(left, sharp, blurred), np.where(left, blurred, sharp)])
    decision = score(both).decision
    assert decision.best in (0, 1)
    assert "Different places are sharpest on different slices (slice 0 on " in decision.reason
    assert decision.confidence <= 0.5


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_slices_that_are_alike_are_not_called_out_of_focus(n: int) -> None:
    random = np.random.default_rng(0)
    alike = organoids(*[4] * n) + random.normal(0, 2, (n, *organoids(4).shape[1:]))
    for planes in (alike.astype(np.float32), organoids(*[4] * n)):
        decision = score(planes).decision
        assert decision.best is None
        assert f"The {n} slices score alike" in decision.reason


@pytest.mark.parametrize("scorer", ["tenengrad", "mmdf"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_slices_of_noise_are_told_to_be_empty(n: int, scorer: str) -> None:
    planes = np.random.default_rng(n).poisson(100, (n, 384, 384)).astype(np.uint8)
    decision = score(planes, scorer=scorer).decision
    assert decision.best is None
    assert "No slice is in focus" in decision.reason


def test_the_two_views_of_the_midgut_are_both_in_focus(shared_data: Path) -> None:
    decision = drain(score_series(read_stack(shared_data / "stacks" / "midgut"), scorer="mmdf")).decision
    assert "Different places are sharpest on different slices" in decision.reason


def test_a_small_sharp_object_wins_over_a_bright_blurred_one() -> None:
    layers = [
        everywhere(flat(20)),
        Layer(flat(220), discs(SHAPE, [(80, 90)], 40), 30),
        Layer(texture(SHAPE, seed=6, contrast=35, mean=100), discs(SHAPE, [(200, 260)], 12), 5),
    ]
    assert score(through_focus(layers, slices=11, noise=3)).decision.best == 5


def test_objects_at_two_depths_are_told_from_a_phase_object() -> None:
    near, far = discs(SHAPE, CENTRES[:3], 30), discs(SHAPE, CENTRES[3:], 30)
    layers = [
        everywhere(flat(180)),
        Layer(texture(SHAPE, seed=1, contrast=15), near, 4),
        Layer(texture(SHAPE, seed=6, contrast=10), far, 15),
    ]
    two, phase = score(through_focus(layers, slices=20)).decision, score(phase_object()).decision
    assert two.best == 4
    assert two.peaks == (4, 15)
    assert "two depths" in two.reason
    assert len(phase.peaks) == 2
    assert "inverts" in phase.reason


def test_a_region_has_a_curve_of_its_own() -> None:
    near, far = discs(SHAPE, CENTRES[:3], 30), discs(SHAPE, CENTRES[3:], 30)
    layers = [
        everywhere(flat(180)),
        Layer(texture(SHAPE, seed=1, contrast=15), near, 4),
        Layer(texture(SHAPE, seed=6, contrast=10), far, 15),
    ]
    report = score(through_focus(layers, slices=20))
    assert curve(report, disc_region(CENTRES[0]))[1].best == 4
    assert curve(report, disc_region(CENTRES[3]))[1].best == 15


def test_reweighting_equals_scoring_anew() -> None:
    planes, region = brightfield(), disc_region(CENTRES[1])
    report = score(planes)
    for options in ({"region": region}, {"specimen": False}, {"specimen": True}):
        anew, again = score(planes, **options), reweight(report, **options)
        assert again.values == pytest.approx(anew.values)
        assert again.weights == pytest.approx(anew.weights)
        assert again.decision == anew.decision
        assert again.maps is report.maps


def test_a_drawn_region_decides_in_the_specimens_stead_and_is_kept() -> None:
    region = disc_region(CENTRES[1])
    report = score(brightfield(), region=region)
    assert (report.region == region).all()
    assert report.weights.sum() == pytest.approx(region.mean() * report.weights.size, rel=0.01)
    assert reweight(report).region is None


def test_values_are_the_weighted_means_of_the_maps() -> None:
    report = score(brightfield())
    expected = [np.average(m, weights=report.weights) for m in report.maps.astype(float)]
    assert report.values == pytest.approx(expected)


def test_the_peak_is_told_in_micrometres() -> None:
    decision = score(brightfield(z=6.3)).decision
    assert decision.peak == pytest.approx(6.3, abs=0.1)
    assert decision.peak_um == pytest.approx(12.6, abs=0.2)


@pytest.mark.parametrize("gain", [0.01, 1.0, 200.0])
def test_brightness_changes_neither_slice_nor_confidence(gain: float) -> None:
    plain, changed = score(brightfield()), score(brightfield() * np.float32(gain))
    assert changed.decision.best == plain.decision.best
    assert changed.decision.confidence == pytest.approx(plain.decision.confidence, abs=0.01)
    assert changed.decision.peak == pytest.approx(plain.decision.peak, abs=1e-3)


def test_colour_scores_as_its_grey_image_does() -> None:
    grey = eight_bit(brightfield())
    colour, plain = score(np.repeat(grey[..., None], 3, axis=-1)), score(grey)
    assert colour.values == pytest.approx(plain.values, rel=1e-5)
    assert colour.decision.best == plain.decision.best


@pytest.mark.parametrize(("axes", "shape"), [("YX", (64, 80)), ("YXS", (64, 80, 3)), ("ZYX", (1, 64, 80))])
def test_a_single_plane_has_a_value_and_no_best_slice(axes: str, shape: tuple[int, ...]) -> None:
    plane = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    report = drain(score_series(from_array(plane, axes=axes)))
    assert report.values.shape == (1,)
    assert report.values[0] > 0
    assert report.decision.best is None
    assert "no curve" in report.decision.reason


def test_each_slice_is_told_as_it_is_scored() -> None:
    steps: list[Progress] = []
    report = drain(score_series(from_array(brightfield(slices=5)), specimen=False), steps.append)
    assert [(s.done, s.total) for s in steps] == [(k, 5) for k in range(1, 6)]
    assert all(isinstance(s.partial, SliceScored) for s in steps)
    assert [s.partial.z for s in steps] == list(range(5))
    assert [s.partial.value for s in steps] == pytest.approx(report.values, rel=1e-5)


def test_closing_the_job_reads_no_further_slice() -> None:
    class Counting:
        shape, dtype = (50, 64, 64), np.dtype(np.uint8)
        reads = 0

        def __getitem__(self, key: object) -> np.ndarray:
            self.reads += 1
            return np.zeros((64, 64), np.uint8)

    data = Counting()
    job = score_series(Stack(data, "ZYX"))
    next(job)
    next(job)
    job.close()
    assert data.reads == 2


def test_scorers_that_need_the_stacks_range_are_told_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[PlaneContext] = []

    class Asking:
        name, title, family, units, description, reference = "asking", "Asking", "test", "1", "", ""
        needs, gain_exponent = ("value_range", "noise"), 0.0

        def score_plane(self, plane: np.ndarray, *, context: PlaneContext) -> PlaneScore:
            told.append(context)
            values = np.full((3, 2), plane.std(), np.float32)
            grid = Grid((3, 2), (20.0, 30.0))
            return PlaneScore(values, grid, value=1.0 + len(told), layers={"class": np.ones((3, 2), int)})

    monkeypatch.setattr(scorers.SCORERS, "_entries", {**SCORERS._entries, "asking": Asking()})
    report = drain(score_series(from_array(noise(4)), scorer="asking"))
    assert told[0].value_range[0] < 90 < 110 < told[0].value_range[1]
    assert told[0].noise == pytest.approx(5, rel=0.15)
    assert report.grid.shape == (3, 2)
    assert report.layers["class"].shape == (4, 3, 2)
    assert report.values.tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("name", SCORERS.names())
def test_every_scorer_gives_a_map_of_its_grid(name: str) -> None:
    scorer: Scorer = SCORERS[name]
    context = PlaneContext(patch_px=32, pixel_um=0.65, optics=Optics(na=0.5, wavelength_um=0.55))
    score = scorer.score_plane(eight_bit(brightfield(slices=1))[0], context=context)
    assert score.map.shape == score.grid.shape
    assert np.isfinite(score.map).all()
    assert scorer.title
    assert scorer.description


def test_an_unknown_scorer_is_named_with_those_near_it() -> None:
    with pytest.raises(InputError, match="tenengrad"):
        score(noise(2), scorer="tenengard")


def test_a_stack_with_channels_left_is_refused() -> None:
    with pytest.raises(InputError, match="CZYX"):
        drain(score_series(from_array(np.zeros((2, 3, 16, 16)), axes="CZYX")))


def test_a_region_of_another_shape_is_refused_before_a_slice_is_read() -> None:
    with pytest.raises(InputError, match="shape"):
        next(score_series(from_array(noise(3)), region=np.ones((4, 4), bool)))


def test_pixels_that_are_no_numbers_are_refused() -> None:
    planes = brightfield(slices=3)
    planes[1, 5, 5] = np.nan
    with pytest.raises(InputError, match="NaN"):
        score(planes)


def test_the_labelled_real_stacks_are_hit(shared_data: Path) -> None:
    """All but the two whose labels are uncertain."""
    with (shared_data / "labels.csv").open(newline="", encoding="utf-8") as file:
        labels = [row for row in csv.DictReader(file) if row["stack"] not in ("pcb", "microtubules")]
    missed = {}
    for row in labels:
        stack = read_stack(shared_data / "stacks" / f"{row['stack']}.ome.tif").series().only_channel(0)
        best = drain(score_series(stack)).decision.best
        if best is None or not int(row["lo"]) <= best <= int(row["hi"]):
            missed[row["stack"]] = best
    assert not missed


def test_the_yeast_is_recognised_as_a_phase_object(shared_data: Path) -> None:
    decision = drain(score_series(read_stack(shared_data / "stacks" / "yeast.ome.tif").series())).decision
    assert decision.peaks == (11, 18)
    assert "phase object" in decision.reason
