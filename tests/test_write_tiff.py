"""Results in files: what other programs find there."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion.fused import Fused
from napari_focusstack.core.progress import drain
from napari_focusstack.core.report import Decision, FocusReport, Grid
from napari_focusstack.core.stack import Stack, from_array
from napari_focusstack.io.provenance import provenance, ranges, read_provenance, sha256
from napari_focusstack.io.read import read_stack
from napari_focusstack.io.write import (
    part_stack,
    write_fused,
    write_fused_job,
    write_map,
    write_scores_csv,
    write_stack,
    write_text,
)

SHAPES = {
    "YX": (20, 31),
    "YXS": (20, 31, 3),
    "CYX": (2, 20, 31),
    "ZYX": (4, 20, 31),
    "ZYXS": (4, 20, 31, 3),
    "CZYX": (2, 4, 20, 31),
    "TCZYX": (3, 2, 4, 20, 31),
}


def stack_of(axes: str, dtype: str = "uint16", **options: Any) -> Stack:
    data = (np.random.default_rng(0).random(SHAPES[axes]) * 200).astype(dtype)
    options = {"y_um": 0.5, "x_um": 0.25, "z_um": 2.0, "name": "Zelle"} | options
    return from_array(data, axes=axes, **options)


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_pixels_type_and_calibration_come_back(tmp_path: Path, name: str, dtype: str, axes: str) -> None:
    stack = stack_of(axes, dtype)
    back = read_stack(write_stack(tmp_path / name, stack))
    assert (back.axes, back.dtype, back.y_um, back.x_um) == (axes, stack.dtype, 0.5, 0.25)
    assert back.z_um == 2.0 or "Z" not in axes
    np.testing.assert_array_equal(np.asarray(back.data), stack.data)


@pytest.mark.parametrize(("dtype", "written"), [("bool", "uint8"), ("float16", "float32")])
def test_types_that_viewers_dont_know_are_widened_without_loss(tmp_path: Path, dtype: str, written: str) -> None:
    stack = stack_of("ZYX", dtype)
    back = read_stack(write_stack(tmp_path / "a.ome.tif", stack))
    assert back.dtype == np.dtype(written)
    np.testing.assert_array_equal(np.asarray(back.data), stack.data)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "written"),
    [
        ("uint64", 0, 4_000_000_000, "uint32"),
        ("int64", 0, 200, "uint32"),
        ("int64", -5, 2_000_000_000, "int32"),
        ("int64", -5, 4_000_000_000, "float64"),
        ("uint64", 0, 2**53, "float64"),
    ],
)
def test_64_bit_integers_are_written_without_loss(
    tmp_path: Path, dtype: str, low: int, high: int, written: str
) -> None:
    data = np.array([[low, 7], [high, 9]], dtype)
    back = read_stack(write_stack(tmp_path / "a.tif", from_array(data, axes="YX")))
    assert back.dtype.name == written
    assert np.asarray(back.data).astype(dtype).tolist() == data.tolist()


def test_integers_that_no_type_of_a_tiff_holds_are_refused(tmp_path: Path) -> None:
    data = np.array([[2**60 + 1, 7]], np.uint64)
    with pytest.raises(InputError, match="1152921504606846977"):
        write_stack(tmp_path / "a.tif", from_array(data, axes="YX"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("axes", "dtype"), [("ZYX", "uint16"), ("YX", "float32"), ("YXS", "uint8"), ("CZYX", "uint8")])
def test_a_tif_is_what_imagej_writes(tmp_path: Path, axes: str, dtype: str) -> None:
    """ImageJ reads pixels per unit from the resolution tags, and the unit and the spacing from the description."""
    path = write_stack(tmp_path / "a.tif", stack_of(axes, dtype), provenance={"Method": "möglich"})
    with tifffile.TiffFile(path) as tif:
        assert tif.is_imagej
        said, tags = tif.imagej_metadata or {}, tif.pages.first.tags
        x, y = tags["XResolution"].value, tags["YResolution"].value
        assert (x[1] / x[0], y[1] / y[0], said["unit"]) == (0.25, 0.5, "um")
        assert said.get("spacing") == (2.0 if "Z" in axes else None)
        assert "Method: möglich" in str(said["Info"])
        assert tif.pages.first.compression == 1


def test_a_tif_that_imagej_could_not_hold_is_ome(tmp_path: Path) -> None:
    with tifffile.TiffFile(write_stack(tmp_path / "a.tif", stack_of("YXS", "uint16"))) as tif:
        assert tif.is_ome


def test_ome_tells_units_channels_and_the_resolution_tags_too(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "a.ome.tif", stack_of("CZYX", channels=("DÄPI", "GFP")))
    with tifffile.TiffFile(path) as tif:
        said = tifffile.xml2dict(tif.ome_metadata or "")["OME"]["Image"]["Pixels"]
        assert (said["PhysicalSizeX"], said["PhysicalSizeY"], said["PhysicalSizeZ"]) == (0.25, 0.5, 2.0)
        assert {said[f"PhysicalSize{a}Unit"] for a in "XYZ"} == {"µm"}
        assert [c["Name"] for c in said["Channel"]] == ["DÄPI", "GFP"]
        x, unit = tif.pages.first.tags["XResolution"].value, tif.pages.first.tags["ResolutionUnit"].value
        assert (x[0] / x[1], unit) == (40000, 3)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
@pytest.mark.parametrize("heights", [(0, 1, 5, 6), (0, -2, -4, -6)])
def test_heights_that_are_uneven_or_fall_come_back(tmp_path: Path, name: str, heights: tuple[float, ...]) -> None:
    stack = stack_of("CZYX", z_um=None, z_positions_um=heights)
    assert read_stack(write_stack(tmp_path / name, stack)).z_positions_um == heights


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_channel_names_come_back(tmp_path: Path, name: str) -> None:
    stack = stack_of("CZYX", channels=("DÄPI", "GFP"))
    assert read_stack(write_stack(tmp_path / name, stack)).channels == ("DÄPI", "GFP")


def test_without_calibration_none_is_invented(tmp_path: Path) -> None:
    for name in ("a.tif", "a.ome.tif"):
        stack = stack_of("ZYX", y_um=None, x_um=None, z_um=None)
        back = read_stack(write_stack(tmp_path / name, stack))
        assert (back.y_um, back.x_um, back.z_um) == (None, None, None)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_provenance_comes_back_word_for_word(tmp_path: Path, name: str) -> None:
    said = {"Source": "Größe <1> & 2: µm.tif", "Slices": "0-3", "Parameter weights": "[1, 2.5]"}
    assert read_provenance(write_stack(tmp_path / name, stack_of("YX"), provenance=said)) == said


def test_a_file_of_others_has_no_provenance(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint8))
    assert read_provenance(tmp_path / "a.tif") == {}


def test_provenance_names_source_hash_slices_method_and_version(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "Größe.tif", stack_of("ZYX"))
    said = provenance(read_stack(path), method="pyramid", parameters={"levels": 6}, slices=[0, 1, 3])
    assert said["Source"] == "Größe.tif"
    assert said["Source SHA-256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (said["Slices"], said["Method"], said["Parameter levels"]) == ("0-1, 3", "pyramid", "6")
    assert said["Software"].startswith("napari-focusstack ")


def test_the_hash_of_a_folder_is_that_of_its_list(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text(file.name)
    digests = "".join(f"{hashlib.sha256(f.name.encode()).hexdigest()}  {f.name}\n" for f in files)
    assert sha256(files) == hashlib.sha256(digests.encode()).hexdigest()


def test_ranges_are_short() -> None:
    assert ranges([3, 4, 5, 8, 0]) == "0, 3-5, 8"


def fused_of(stack: Stack, *, depth: bool = True) -> Fused:
    shape = stack.plane_shape
    return Fused(
        image=stack.plane(1),
        axes="YX",
        index=np.ones(shape, np.uint16),
        depth_um=np.full(shape, 2.0, np.float32) if depth else None,
        confidence=np.full(shape, 0.5, np.float32),
        method="select",
        parameters={"noise_constant": 8.0},
        slices=(0, 1, 2, 3),
    )


@pytest.mark.parametrize(
    ("part", "dtype", "value"), [("index", "uint16", 1), ("depth", "float32", 2), ("confidence", "float32", 0.5)]
)
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_parts_of_a_fused_image_lie_on_the_source(
    tmp_path: Path, name: str, part: Any, dtype: str, value: float
) -> None:
    stack = stack_of("ZYX")
    back = read_stack(write_fused(tmp_path / name, fused_of(stack), stack, part=part))
    assert (back.axes, back.dtype.name, back.y_um, back.x_um) == ("YX", dtype, 0.5, 0.25)
    assert (back.plane() == value).all()


def test_a_fused_image_says_what_it_is_and_what_it_is_not_for(tmp_path: Path) -> None:
    stack = stack_of("ZYX")
    said = read_provenance(write_fused(tmp_path / "a.ome.tif", fused_of(stack), stack))
    assert said["Content"] == "fused image"
    assert said["Parameter noise_constant"] == "8.0"
    assert "not for quantification" in said["Note"]


def test_no_depth_without_a_z_step(tmp_path: Path) -> None:
    stack = stack_of("ZYX", z_um=None)
    with pytest.raises(InputError, match="z step"):
        write_fused(tmp_path / "a.tif", fused_of(stack, depth=False), stack, part="depth")


def report_of(stack: Stack, **extras: Any) -> FocusReport:
    values = np.array([1.0, 3.0, np.nan, 0.5])
    return FocusReport(
        scorer="tenengrad",
        units="grey²",
        values=values,
        maps=np.random.default_rng(0).random((4, 2, 3)).astype(np.float32),
        weights=np.ones((2, 3), np.float32),
        grid=Grid((2, 3), (10.0, 31 / 3)),
        decision=Decision(1, 1.1, 2.2, 0.9, (1, 1), (1,), "Slice 1."),
        heights_um=stack.heights_um,
        extras=extras,
    )


def test_maps_have_the_size_of_patches(tmp_path: Path) -> None:
    stack = stack_of("ZYX")
    report = report_of(stack)
    back = read_stack(write_map(tmp_path / "maps.ome.tif", report, stack))
    assert (back.axes, back.dtype.name, back.z_um, back.y_um) == ("ZYX", "float32", 2.0, 5.0)
    assert back.x_um == pytest.approx(0.25 * 31 / 3)
    np.testing.assert_array_equal(np.asarray(back.data), report.maps)


def test_scores_are_a_table_with_a_row_a_slice(tmp_path: Path) -> None:
    path = write_scores_csv(tmp_path / "a.csv", report_of(stack_of("ZYX"), defocus_um=[0.5, None, 1, 2], other="x"))
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"slice", "z_um", "scorer", "value", "best", "good", "defocus_um"} <= set(rows[0])
    assert [r["slice"] for r in rows] == ["0", "1", "2", "3"]
    assert [r["z_um"] for r in rows] == ["0.0", "2.0", "4.0", "6.0"]
    assert [r["value"] for r in rows] == ["1.0", "3.0", "", "0.5"]
    assert [r["best"] for r in rows] == ["0", "1", "0", "0"]
    assert rows[1]["defocus_um"] == ""


def test_pandas_reads_scores(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(write_scores_csv(tmp_path / "a.csv", report_of(stack_of("ZYX"))))
    assert table["value"].isna().tolist() == [False, False, True, False]
    assert table.loc[table["best"] == 1, "slice"].tolist() == [1]


def test_only_tiff_names_are_taken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.ome\.tif or \.tif"):
        write_stack(tmp_path / "a.png", stack_of("YX"))


def test_positions_get_a_file_each_and_times_an_axis(tmp_path: Path) -> None:
    stack = stack_of("ZYX", channels=())
    shape = (2, 3, 20, 31)
    fused = Fused(
        image=np.arange(2 * 3 * 20 * 31, dtype=np.uint16).reshape(shape),
        axes="PTYX",
        index=np.ones(shape, np.uint16),
        depth_um=None,
        confidence=np.ones(shape, np.float32),
        method="select",
        slices=(0, 1, 2, 3),
    )
    written = drain(write_fused_job({"image": tmp_path / "a.ome.tif", "index": tmp_path / "i.tif"}, fused, stack))
    assert [p.name for p in written] == ["a_p0.ome.tif", "a_p1.ome.tif", "i_p0.tif", "i_p1.tif"]
    for p in range(2):
        back = read_stack(written[p])
        assert (back.axes, back.x_um) == ("TYX", 0.25)
        np.testing.assert_array_equal(np.asarray(back.data), fused.image[p])
        assert read_stack(written[2 + p]).axes == "TYX"


def test_a_single_time_and_position_leave_no_axis() -> None:
    stack = stack_of("ZYX")
    one = fused_of(stack)
    lifted = replace(one, image=one.image[None, None], axes="PTYX", index=one.index[None, None])
    assert part_stack(lifted, stack, "image").axes == "YX"
    assert part_stack(lifted, stack, "index").axes == "YX"


def test_tables_carry_the_mark_of_utf_8_and_recipes_do_not(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a.csv", "Größe").read_bytes().startswith(b"\xef\xbb\xbf")
    assert write_text(tmp_path / "a.json", "{}").read_bytes() == b"{}"
