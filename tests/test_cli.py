"""`focusstack`: what each command does, prints and writes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from napari_focusstack.cli import main
from napari_focusstack.core.stack import from_array
from napari_focusstack.io.provenance import read_provenance
from napari_focusstack.io.read import read_stack
from napari_focusstack.io.samples import SAMPLES
from napari_focusstack.io.write import write_stack

BEADS = str(SAMPLES["beads"].path)
NUCLEUS = str(SAMPLES["nucleus"].path)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command; return its exit code and what it printed on standard output and error."""
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def run_json(run: Run) -> Callable[..., dict[str, Any]]:
    """Run a command with --json; return the one object on standard output."""

    def run_json(*arguments: object) -> dict[str, Any]:
        code, out, err = run(*arguments, "--json")
        assert (code, err) == (0, "")
        found: dict[str, Any] = json.loads(out)
        return found

    return run_json


@pytest.fixture
def channels(tmp_path: Path) -> Path:
    """A two-channel stack of two times; the channels are sharp on slices 1 and 3."""
    rng = np.random.default_rng(0)
    data = np.empty((2, 2, 5, 96, 96))
    for c, best in enumerate((1, 3)):
        texture = cv2.GaussianBlur(rng.random((96, 96)), (0, 0), 1.2)
        for z in range(5):
            data[:, c, z] = 1000 + 4000 * cv2.GaussianBlur(texture, (0, 0), 0.3 + 2 * abs(z - best))
    data += rng.normal(0, 5, data.shape)
    stack = from_array(data.astype(np.uint16), axes="TCZYX", channels=("DAPI", "GFP"), y_um=0.5, x_um=0.25, z_um=2.0)
    return write_stack(tmp_path / "channels.ome.tif", stack)


def test_info_tells_axes_rule_and_calibration(run_json: Callable[..., dict[str, Any]]) -> None:
    found = run_json("info", BEADS)
    assert (found["axes"], found["shape"], found["dtype"]) == ("ZYX", [10, 256, 256], "uint16")
    assert (found["pixel_um"], found["z_um"], found["optics"]["na"]) == ([1.367, 1.367], 5.0, 0.75)
    assert "OME" in found["axes_note"]


def test_info_in_words_names_the_rule(run: Run) -> None:
    code, out, _ = run("info", BEADS, "--pixel-size", 1 / 3)
    assert code == 0
    assert " 0.333333 0.333333\n" in out
    assert "axes as the OME metadata names them" in out


def test_calibration_and_z_axis_can_be_given(run_json: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    data = np.zeros((4, 16, 20), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, metadata={"axes": "TYX"})
    found = run_json("info", tmp_path / "a.tif", "--z-axis", "t", "--z-step", 2, "--pixel-size", 0.5)
    assert (found["axes"], found["z_um"], found["pixel_um"]) == ("ZYX", 2.0, [0.5, 0.5])


def test_score_finds_the_best_slice(run_json: Callable[..., dict[str, Any]]) -> None:
    found = run_json("score", BEADS)
    assert found["best"] == 4
    assert len(found["scores"]) == 10
    assert max(found["scores"]) == found["scores"][4]
    assert {"scorer", "peak", "peak_um", "confidence"} <= set(found)
    assert found["peak_um"] == pytest.approx(5 * found["peak"])


def test_score_says_where_its_bars_begin(run: Run) -> None:
    lines = run("score", BEADS)[1].splitlines()
    assert sum("#" in line for line in lines) > 1
    assert any(line.startswith("bars from the lowest value") for line in lines)


def test_score_writes_its_table(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("score", BEADS, "--scorer", "brenner", "-o", tmp_path / "Übersicht.csv")
    assert code == 0
    assert "<- best" in out
    with (tmp_path / "Übersicht.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [r["slice"] for r in rows if r["best"] == "1"] == ["4"]
    assert {r["scorer"] for r in rows} == {"brenner"}


def test_score_takes_a_channel_by_name_or_index(run_json: Callable[..., dict[str, Any]], channels: Path) -> None:
    assert run_json("score", channels, "--channel", "DAPI")["best"] == 1
    assert run_json("score", channels, "--channel", 1, "--time", 1)["best"] == 3


def test_a_single_plane_has_a_score_but_no_best_slice(run_json: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8))
    found = run_json("score", tmp_path / "a.tif")
    assert (len(found["scores"]), found["best"]) == (1, None)


def test_a_constant_stack_has_no_best_slice(run_json: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((5, 64, 64), 7, np.uint8), metadata={"axes": "ZYX"})
    found = run_json("score", tmp_path / "a.tif")
    assert found["best"] is None
    assert found["reason"]


def test_map_writes_a_calibrated_grid(run_json: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    found = run_json("map", BEADS, "--scorer", "tenengrad", "-o", tmp_path / "maps.tif")
    maps = read_stack(tmp_path / "maps.tif")
    assert found["shape"] == list(maps.data.shape) == [10, 8, 8]
    assert maps.x_um == pytest.approx(32 * 1.367)
    assert maps.z_um == 5.0
    assert read_provenance(tmp_path / "maps.tif")["Method"] == "tenengrad"


def test_fuse_writes_image_index_depth_and_confidence(run_json: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    names = {part: tmp_path / f"{part}.ome.tif" for part in ("output", "depth", "index", "confidence")}
    options = [text for part, path in names.items() if part != "output" for text in (f"--{part}", path)]
    found = run_json("fuse", BEADS, "-o", names["output"], *options)
    assert {"method", "output", "slices", "seconds"} <= set(found)
    assert found["slices"] == 10
    source = read_stack(BEADS)
    for part, path in names.items():
        assert found[part] == str(path)
        made = read_stack(path)
        assert made.plane_shape == source.plane_shape
        assert made.x_um == source.x_um
    assert read_stack(names["output"]).dtype == source.dtype
    assert read_provenance(names["output"])["Source"] == "beads.ome.tif"


def test_fuse_keeps_to_a_range_of_slices(run_json: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    found = run_json("fuse", NUCLEUS, "-o", tmp_path / "a.tif", "--index", tmp_path / "i.tif", "--slices", "12-20")
    index = read_stack(tmp_path / "i.tif").plane()
    assert found["slices"] == 9
    assert index.min() >= 12
    assert index.max() <= 20
    assert read_provenance(tmp_path / "a.tif")["Slices"] == "12-20"


def test_a_saved_recipe_is_followed_and_options_go_before_it(
    run_json: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    from napari_focusstack.core.settings import FuseSettings

    saved = tmp_path / "recipe.json"
    saved.write_text(FuseSettings(method="dwt", first=2, last=5).model_dump_json(), encoding="utf-8")
    found = run_json("fuse", BEADS, "-o", tmp_path / "a.tif", "--recipe", saved)
    assert (found["method"], found["slices"]) == ("dwt", 4)
    found = run_json("fuse", BEADS, "-o", tmp_path / "b.tif", "--recipe", saved, "--method", "select")
    assert (found["method"], found["slices"]) == ("select", 4)


def test_one_channel_drives_all(run_json: Callable[..., dict[str, Any]], channels: Path, tmp_path: Path) -> None:
    run_json("fuse", channels, "-o", tmp_path / "a.tif", "--index", tmp_path / "i.tif", "--drive", "GFP")
    assert read_stack(tmp_path / "a.tif").channels == ("DAPI", "GFP") or read_stack(tmp_path / "a.tif").n_channels == 2
    assert np.median(read_stack(tmp_path / "i.tif").plane()) == 3


def test_one_channel_is_fused_alone(run_json: Callable[..., dict[str, Any]], channels: Path, tmp_path: Path) -> None:
    run_json("fuse", channels, "-o", tmp_path / "a.ome.tif", "--channel", "DAPI", "--time", 1)
    assert (read_stack(tmp_path / "a.ome.tif").axes, read_stack(tmp_path / "a.ome.tif").channels) == ("YX", ("DAPI",))
    assert read_provenance(tmp_path / "a.ome.tif")["Time point"] == "1"


def test_fuse_registers_when_asked(run_json: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run_json("fuse", BEADS, "-o", tmp_path / "a.tif", "--align")
    assert read_stack(tmp_path / "a.tif").plane_shape == (256, 256)


def test_fuse_takes_a_folder_or_files_and_any_method(run_json: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    folder = tmp_path / "Schnitte ü"
    folder.mkdir()
    stack = read_stack(BEADS)
    files = [folder / f"{z}.tif" for z in range(3, 7)]
    for z, file in enumerate(files, 3):
        tifffile.imwrite(file, stack.plane(z))
    for i, method in enumerate(m["name"] for m in run_json("methods")["methods"]):
        given = [folder] if i % 2 else files
        found = run_json("fuse", *given, "-o", tmp_path / f"{method}.tif", "--method", method)
        assert (found["method"], found["slices"]) == (method, 4)


def test_quality_of_an_image_against_itself_is_perfect(run_json: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", np.clip(image.astype(int) + 5, 0, 255).astype(np.uint8), photometric="rgb")
    same = run_json("quality", tmp_path / "a.tif", "--reference", tmp_path / "a.tif")
    assert set(same) == {"psnr", "ssim", "ag", "sf"}
    assert (same["psnr"], same["ssim"]) == (None, pytest.approx(1.0))
    other = run_json("quality", tmp_path / "b.tif", "--reference", tmp_path / "a.tif")
    assert 30 < other["psnr"] < 40
    assert other["ssim"] < 1


def test_quality_against_the_sources_names_every_metric(
    run: Run, run_json: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    slices = np.random.default_rng(0).integers(0, 255, (3, 32, 32)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", slices, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "one.tif", slices[1])
    found = run_json("quality", tmp_path / "one.tif", "--sources", tmp_path / "stack.tif")
    assert set(found) == {"qabf", "ag", "ssim", "psnr", "mi", "nmi", "sf"}
    assert 0.3 < found["qabf"] < 0.9
    code, out, _ = run("quality", tmp_path / "one.tif", "--sources", tmp_path / "stack.tif", "-v")
    assert code == 0
    assert "How much of the edges of all slices arrived" in out


def test_quality_says_what_its_numbers_mean_and_what_more_would_tell(run: Run, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image)
    _, out, _ = run("quality", tmp_path / "a.tif")
    assert "Average gradient\n         How much brightness changes from pixel to pixel" in out
    assert "note: with --sources" in out
    assert "note: with --reference" in out
    _, out, _ = run("quality", tmp_path / "a.tif", "--reference", tmp_path / "a.tif")
    assert "SSIM, against the reference\n         How alike the structures are" in out
    assert "--reference" not in out
    tifffile.imwrite(tmp_path / "s.tif", np.stack([image, image // 2]), imagej=True, metadata={"axes": "ZYX"})
    _, out, _ = run("quality", tmp_path / "a.tif", "--sources", tmp_path / "s.tif")
    assert "SSIM, against the slices\n         Against the slices (without a reference)" in out
    assert "--sources" not in out


def test_a_missing_calibration_is_said_in_a_line(run: Run, tmp_path: Path) -> None:
    uneven(tmp_path / "a.tif")
    said = "pixel size and z step are not known: give --pixel-size and --z-step"
    assert run("info", tmp_path / "a.tif")[1].count(said) == 1
    _, out, _ = run("fuse", tmp_path / "a.tif", "-o", tmp_path / "f.tif", "--pixel-size", 0.5)
    assert "note: the z step is not known: give --z-step" in out
    assert "pixel size" not in out
    for command in (("info", BEADS), ("fuse", BEADS, "-o", tmp_path / "b.tif")):
        assert "not known" not in run(*command)[1]


@pytest.mark.parametrize("kind", ["scorers", "methods"])
def test_lists_name_their_default(run: Run, run_json: Callable[..., dict[str, Any]], kind: str) -> None:
    found = run_json(kind)
    names = [entry["name"] for entry in found[kind]]
    assert found["default"] in names
    code, out, _ = run(kind)
    assert code == 0
    assert all(name in out for name in names)


def test_demo_does_the_main_job(run: Run, tmp_path: Path) -> None:
    code, out, err = run("demo", "-o", tmp_path / "demo")
    assert (code, err) == (0, "")
    made = sorted(p.name for p in (tmp_path / "demo").iterdir())
    assert made == [
        "confidence.ome.tif",
        "depth.ome.tif",
        "focus_maps.ome.tif",
        "fused.ome.tif",
        "index.ome.tif",
        "scores.csv",
    ]
    assert all(name in out for name in made)
    assert run("demo", "-o", tmp_path / "demo")[0] == 0


def test_progress_goes_to_standard_error_in_lines_where_asked_for(run: Run) -> None:
    code, out, err = run("score", BEADS, "--json", "-v")
    assert code == 0
    assert json.loads(out)["best"] == 4
    assert err.count("\n") == 10


def uneven(path: Path) -> Path:
    data = np.random.default_rng(0).integers(0, 255, (4, 64, 64)).astype(np.uint8)
    tifffile.imwrite(path, data, metadata=None, photometric="minisblack")
    return path


@pytest.mark.parametrize("given", ["0, 1.5, 4, 5", "heights.txt", "heights.csv"])
def test_uneven_heights_are_given_as_a_list_or_a_file(
    run_json: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("heights.txt").write_text("0\n1.5\n4\n5\n")
    Path("heights.csv").write_text("slice;z µm\n0;0\n1;1,5\n2;4\n3;5\n", encoding="utf-8-sig")
    uneven(Path("a.tif"))
    assert run_json("info", "a.tif", "--z-positions", given)["z_positions_um"] == [0, 1.5, 4, 5]
    run_json("fuse", "a.tif", "-o", "f.tif", "--depth", "d.tif", "--z-positions", given)
    depth = read_stack("d.tif").plane()
    assert depth.min() >= 0
    assert depth.max() <= 5


def test_a_long_list_of_heights_is_no_file_name(run_json: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    uneven(tmp_path / "a.tif")
    heights = [z + 1 / 3 for z in range(4)]
    given = ", ".join(f"{z:.80f}" for z in heights)
    assert run_json("info", tmp_path / "a.tif", "--z-positions", given)["z_positions_um"] == pytest.approx(heights)


def test_info_of_one_channel_and_time(run_json: Callable[..., dict[str, Any]], channels: Path) -> None:
    found = run_json("info", channels, "--channel", "GFP", "--time", 1)
    assert (found["axes"], found["channel_names"], found["times"]) == ("ZYX", ["GFP"], 1)


def test_quality_compares_the_time_point_asked_for(run_json: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    times = np.random.default_rng(0).integers(0, 255, (3, 32, 32)).astype(np.uint8)
    write_stack(tmp_path / "times.ome.tif", from_array(times, axes="TYX"))
    write_stack(tmp_path / "truth.tif", from_array(times[2], axes="YX"))
    found = run_json("quality", tmp_path / "times.ome.tif", "--reference", tmp_path / "truth.tif", "--time", 2)
    assert found["ssim"] == pytest.approx(1)


COMMANDS = {
    "info": ["info", BEADS],
    "score": ["score", BEADS],
    "map": ["map", BEADS, "-o", "m.tif"],
    "fuse": ["fuse", BEADS, "-o", "f.tif"],
    "quality": ["quality", "p.tif", "--reference", "p.tif"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_channel_time_device_and_v(
    run_json: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("p.tif", np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8))
    assert run_json(*COMMANDS[command], "--channel", 0, "--time", 0, "--device", "cpu")


@pytest.mark.parametrize("command", ["scorers", "methods"])
def test_lists_take_a_device_too(run_json: Callable[..., dict[str, Any]], command: str) -> None:
    assert run_json(command, "--device", "auto")


def test_a_recipe_for_one_channel_fuses_that_channel(
    run_json: Callable[..., dict[str, Any]], channels: Path, tmp_path: Path
) -> None:
    from napari_focusstack.core.settings import FuseSettings

    saved = tmp_path / "recipe.json"
    saved.write_text(FuseSettings(channel="GFP").model_dump_json(), encoding="utf-8")
    run_json("fuse", channels, "-o", tmp_path / "a.ome.tif", "--recipe", saved)
    assert (read_stack(tmp_path / "a.ome.tif").axes, read_stack(tmp_path / "a.ome.tif").channels) == ("YX", ("GFP",))
    run_json("fuse", channels, "-o", tmp_path / "b.ome.tif", "--recipe", saved, "--channel", 0)
    assert read_stack(tmp_path / "b.ome.tif").channels == ("DAPI",)
    run_json("fuse", channels, "-o", tmp_path / "c.ome.tif", "--recipe", saved, "--drive", 0)
    assert read_stack(tmp_path / "c.ome.tif").n_channels == 2


def test_where_one_of_the_outputs_fails_none_is_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target.name == "d.tif":
            raise PermissionError(13, "open in another program")
        return whole(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    code, _, err = run(
        "fuse", BEADS, "-o", tmp_path / "a.tif", "--index", tmp_path / "i.tif", "--depth", tmp_path / "d.tif"
    )
    assert code == 2
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_three_planes_that_the_file_calls_colours_are_slices_where_the_user_says_so(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "three.tif"
    data = np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    tifffile.imwrite(path, data, photometric="rgb", planarconfig="separate")
    _, out, _ = run("score", path)
    assert "note: The file calls its 3 planes the colours of a single one" in out
    code, out, _ = run("score", path, "--z-axis", "s")
    assert code == 0
    assert "note" not in out
    assert len([line for line in out.splitlines() if line[:4].strip().isdigit()]) == 3


def test_fusing_slices_without_anything_sharp_says_so(tmp_path: Path, run: Run) -> None:
    path = write_stack(tmp_path / "empty.ome.tif", from_array(np.zeros((4, 64, 64), np.uint8), axes="ZYX"))
    code, out, _ = run("fuse", path, "-o", tmp_path / "fused.tif")
    assert code == 0
    assert "note: No slice holds anything sharp" in out
    _, out, _ = run("fuse", BEADS, "-o", tmp_path / "beads.tif", "--slices", "0-2")
    assert "note" not in out


def test_heights_in_no_order_are_noted(tmp_path: Path, run: Run) -> None:
    path = write_stack(tmp_path / "s.ome.tif", from_array(np.zeros((3, 32, 32), np.uint8), axes="ZYX"))
    assert "neither only rise nor only fall" in run("info", path, "--z-positions", "0,2,1")[2]
    assert run("info", path, "--z-positions", "2,1,0")[2] == ""
