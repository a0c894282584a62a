"""`focusstack batch`: many stacks, one table, and no bad stack that stops the others."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_focusstack.cli import main
from napari_focusstack.cli.batch import output_names
from napari_focusstack.core.devices import placed
from napari_focusstack.core.scorers import DEFAULT_SCORER
from napari_focusstack.core.settings import FuseSettings
from napari_focusstack.core.stack import from_array
from napari_focusstack.io.provenance import read_provenance
from napari_focusstack.io.read import read_stack
from napari_focusstack.io.samples import SAMPLES
from napari_focusstack.io.write import write_stack
from test_zoo import save

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a batch with --json in an empty folder; return its exit code, its object and its standard error."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
        with pytest.raises(SystemExit) as end:
            main(["batch", *map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), json.loads(out) if out else {}, err

    return run


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """Three good stacks, a folder of slices, and three bad files."""
    folder = tmp_path / "plate"
    folder.mkdir()
    beads = read_stack(SAMPLES["beads"].path)
    for name in ("A1", "A2", "A10"):
        shutil.copy(SAMPLES["beads"].path, folder / f"{name}.ome.tif")
    (folder / "slices").mkdir()
    for z in range(3, 7):
        tifffile.imwrite(folder / "slices" / f"{z}.tif", beads.plane(z))
    tifffile.imwrite(folder / "B1.tif", np.zeros((32, 32), np.uint8))
    (folder / "B2.tif").write_bytes(b"no image")
    (folder / "B3.tif").touch()
    (folder / "notes.txt").write_text("not an image")
    return folder


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "batch.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_counts_are_told_once(plate: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["batch", str(plate / "B1.tif"), "-o", "out"])
    out, err = capsys.readouterr()
    assert out.count("0 done") == 1
    assert "0 done" not in err
    assert "1 failed: the column 'error'" in err


def test_bad_stacks_have_their_reason_in_the_table_and_stop_no_other(run: Run, plate: Path) -> None:
    code, found, err = run("plate", "-o", "out")
    assert code == 1
    assert err.count("\n") == 1
    assert "3 failed" in err
    assert (found["done"], found["skipped"], found["failed"]) == (4, 0, 3)
    rows = table(Path("out"))
    assert [Path(row["file"]).name for row in rows] == [
        "A1.ome.tif",
        "A2.ome.tif",
        "A10.ome.tif",
        "B1.tif",
        "B2.tif",
        "B3.tif",
        "slices",
    ]
    assert [bool(row["error"]) for row in rows] == [False, False, False, True, True, True, False]
    assert rows[0]["best_slice"] == "4"
    assert float(rows[0]["peak_um"]) == pytest.approx(20, abs=5)
    assert rows[0]["reason"]
    assert 0 < float(rows[0]["confidence"]) <= 1
    assert (rows[0]["scorer"], rows[0]["method"]) == (DEFAULT_SCORER, FuseSettings().method)
    assert len(rows[0]["peak_um"].partition(".")[2]) <= 3
    assert not rows[3]["method"]
    assert float(rows[0]["seconds"]) > 0
    assert "single slice" in rows[3]["error"]
    made = {path.name for path in Path("out").iterdir()}
    assert made == {"batch.csv", *(f"{name}_fused.ome.tif" for name in ("A1", "A2", "A10", "slices"))}
    assert read_provenance("out/A2_fused.ome.tif")["Source"] == "A2.ome.tif"


def test_a_pattern_chooses_and_options_and_recipe_are_followed(run: Run, plate: Path) -> None:
    Path("recipe.json").write_text(FuseSettings(method="dwt", first=2, last=5).model_dump_json(), encoding="utf-8")
    code, found, err = run("plate/A?.ome.tif", "-o", "out", "--recipe", "recipe.json", "--slices", "3-6")
    assert (code, err, found["done"]) == (0, "", 2)
    said = read_provenance("out/A1_fused.ome.tif")
    assert (said["Method"], said["Slices"]) == ("dwt", "3-6")


def test_finished_stacks_are_passed_over_unless_asked_for_again(run: Run, plate: Path) -> None:
    run("plate/A*.tif", "-o", "out")
    before = {row["file"]: row for row in table(Path("out"))}
    stamp = Path("out/A2_fused.ome.tif").stat().st_mtime_ns
    Path("out/A1_fused.ome.tif").unlink()
    code, found, _ = run("plate/A*.tif", "-o", "out")
    assert (code, found["done"], found["skipped"]) == (0, 1, 2)
    assert Path("out/A1_fused.ome.tif").exists()
    assert Path("out/A2_fused.ome.tif").stat().st_mtime_ns == stamp
    after = {row["file"]: row for row in table(Path("out"))}
    assert list(after) == list(before)
    assert after["plate/A2.ome.tif"] == before["plate/A2.ome.tif"]
    _, found, _ = run("plate/A*.tif", "-o", "out", "--overwrite")
    assert found["done"] == 3
    assert Path("out/A2_fused.ome.tif").stat().st_mtime_ns > stamp


def test_a_table_without_scorer_and_method_is_gone_on_with(run: Run, plate: Path) -> None:
    run("plate/A1.ome.tif", "-o", "out")
    rows = [{k: v for k, v in row.items() if k not in ("scorer", "method")} for row in table(Path("out"))]
    with Path("out/batch.csv").open("w", encoding="utf-8-sig", newline="") as file:
        earlier = csv.DictWriter(file, list(rows[0]))
        earlier.writeheader()
        earlier.writerows(rows)
    _, found, _ = run("plate/A*.ome.tif", "-o", "out")
    assert (found["skipped"], found["done"]) == (1, 2)
    assert [bool(row["method"]) for row in table(Path("out"))] == [False, True, True]
    Path("out/batch.csv").unlink()
    _, found, _ = run("plate/A1.ome.tif", "-o", "out")
    assert found["stacks"][0]["method"] == FuseSettings().method  # as the file that was there says


def test_a_batch_into_the_folder_of_the_stacks_does_not_take_its_results_for_stacks(run: Run, plate: Path) -> None:
    run("plate/A1*.tif", "-o", "plate")
    code, found, _ = run("plate/A1*.tif", "-o", "plate")
    assert (code, found["done"], found["skipped"]) == (0, 0, 2)
    assert [Path(row["file"]).name for row in found["stacks"]] == ["A1.ome.tif", "A10.ome.tif"]


def test_all_positions_and_times_are_done(run: Run) -> None:
    rng = np.random.default_rng(0)
    with tifffile.TiffWriter("many.ome.tif") as tif:
        for i in range(2):
            data = rng.integers(0, 255, (2, 3, 64, 64)).astype(np.uint8)
            tif.write(data, metadata={"axes": "TZYX", "Name": f"well {i}"}, photometric="minisblack")
    _, found, _ = run("many.ome.tif", "-o", "out")
    assert [(row["position"], row["time"]) for row in found["stacks"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [row["fused_file"] for row in found["stacks"]] == [
        f"many_p{p}_t{t}_fused.ome.tif" for p in range(2) for t in range(2)
    ]
    _, found, _ = run("many.ome.tif", "-o", "other", "--position", 1, "--time", 0)
    assert [row["fused_file"] for row in found["stacks"]] == ["many_p1_t0_fused.ome.tif"]


def test_the_channel_asked_for_is_scored_and_fused(run: Run) -> None:
    data = np.random.default_rng(0).integers(0, 255, (2, 3, 64, 64)).astype(np.uint8)
    write_stack("two.ome.tif", from_array(data, axes="CZYX", channels=("DAPI", "GFP")))
    assert run("two.ome.tif", "-o", "out", "--channel", "GFP")[0] == 0
    assert read_stack("out/two_fused.ome.tif").channels == ("GFP",)


def test_equal_names_from_several_folders_stay_apart(tmp_path: Path) -> None:
    paths = [tmp_path / p for p in ("a/1.tif", "b/1.ome.tif", "b/1.png", "b/2.tif")]
    assert list(output_names(paths).values()) == ["a_1", "b_1_tif", "b_1_png", "2"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("none/*.tif -o out", "matches no image"),
        ("plate --method magic -o out", "no fusion method 'magic'"),
        ("plate --scorer magic -o out", "no scorer 'magic'"),
        ("plate -o foreign", "not a table that a batch wrote"),
        ("plate -o plate/A1.ome.tif", "can't be made"),
    ],
)
def test_what_concerns_all_stacks_is_refused_at_once(run: Run, plate: Path, arguments: str, said: str) -> None:
    Path("foreign").mkdir()
    Path("foreign/batch.csv").write_text("mine,yours\n1,2\n")
    code, _, err = run(*arguments.split())
    assert code == 2
    assert said in err
    assert Path("foreign/batch.csv").read_text() == "mine,yours\n1,2\n"
    assert not Path("out").exists()


def test_a_failure_of_ours_is_told_in_the_row(run: Run, plate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("napari_focusstack.core.pipeline.fuse_job", fail)
    code, found, _ = run("plate/A1.ome.tif", "-o", "out")
    assert code == 1
    assert found["stacks"][0]["error"] == "failed: ZeroDivisionError: oops"


def test_a_batch_is_scored_by_a_network_where_it_is_told_to(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def watched(network: Any, card: Any, device: str) -> Any:
        asked.append(device)
        return placed(network, card, device)

    monkeypatch.setattr("napari_focusstack.core.learned.base.placed", watched)
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "models"))
    save(tmp_path / "models", "mmdf")
    (tmp_path / "in").mkdir()
    shutil.copy(SAMPLES["beads"].path, tmp_path / "in" / "A1.ome.tif")
    code, said, _ = run("in/*.tif", "-o", "out", "--scorer", "mmdf", "--device", "cpu")
    assert (code, said["done"], asked) == (0, 1, ["cpu"])
    assert said["stacks"][0]["best_slice"] in range(10)


def test_the_result_of_another_stack_is_not_taken_for_its_own(tmp_path: Path, run: Run) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 3, 32, 32)).astype(np.uint8)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    write_stack(tmp_path / "one" / "a_t0.ome.tif", from_array(pixels[0], axes="ZYX"))
    write_stack(tmp_path / "two" / "a.ome.tif", from_array(pixels, axes="TZYX"))
    code, told, _ = run("one", "two", "-o", "out")
    assert code == 1
    assert [bool(row["error"]) for row in told["stacks"]] == [False, True, False]
    assert "'a_t0_fused.ome.tif' is the result of 'one/a_t0.ome.tif'" in told["stacks"][1]["error"]
    # Nor does a later batch, of a stack that has the name of one that was done.
    before = (tmp_path / "out" / "a_t1_fused.ome.tif").read_bytes()
    write_stack(tmp_path / "a_t1.ome.tif", from_array(pixels[0], axes="ZYX"))
    code, told, _ = run("a_t1.ome.tif", "-o", "out")
    assert (code, told["failed"]) == (1, 1)
    assert (tmp_path / "out" / "a_t1_fused.ome.tif").read_bytes() == before
    code, told, _ = run("a_t1.ome.tif", "-o", "out", "--overwrite")
    assert (code, told["done"]) == (0, 1)
