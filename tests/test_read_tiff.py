"""TIFF dialects: axes, calibration, pixel types, laziness."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_focusstack.core.errors import InputError
from napari_focusstack.io.read import read_stack, read_stacks, to_dask
from napari_focusstack.io.samples import SAMPLES, sample_stack


def pixels(*shape: int, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return (np.random.default_rng(0).random(shape) * 200).astype(dtype)


def ome(path: Path, data: np.ndarray[Any, Any], axes: str, **metadata: Any) -> Path:
    tifffile.imwrite(path, data, ome=True, metadata={"axes": axes, **metadata})
    return path


def test_ome_keeps_axes_calibration_and_channel_names(tmp_path: Path) -> None:
    data = pixels(2, 3, 4, 16, 20)
    size = {"PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.3, "PhysicalSizeZ": 2.0}
    path = ome(tmp_path / "a.ome.tif", data, "TCZYX", Channel={"Name": ["DAPI", "GFP", "Cy5"]}, **size)
    stack = read_stack(path)
    assert stack.axes == "TCZYX"
    assert (stack.x_um, stack.y_um, stack.z_um) == (0.25, 0.3, 2.0)
    assert stack.channels == ("DAPI", "GFP", "Cy5")
    np.testing.assert_array_equal(np.asarray(stack.data), data)


def test_ome_planes_in_another_order_are_put_in_ours(tmp_path: Path) -> None:
    data = pixels(4, 3, 2, 16, 20)
    stack = read_stack(ome(tmp_path / "a.ome.tif", data, "ZTCYX"))
    assert stack.axes == "TCZYX"
    np.testing.assert_array_equal(np.asarray(stack.data), data.transpose(1, 2, 0, 3, 4))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
def test_pixel_types_stay_what_they_are(tmp_path: Path, dtype: str) -> None:
    data = pixels(3, 16, 20, dtype=dtype)
    stack = read_stack(ome(tmp_path / "a.ome.tif", data, "ZYX"))
    assert stack.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(stack.plane(2), data[2])


def test_big_endian_files_come_in_the_machines_byte_order(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels(3, 16, 20), byteorder=">", photometric="minisblack")
    plane = read_stack(tmp_path / "a.tif").plane(1)
    assert plane.dtype.isnative
    np.testing.assert_array_equal(plane, pixels(3, 16, 20)[1])


def test_twelve_bit_packed_pixels_are_unpacked(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    # Two pixels of 12 bit in three bytes, one strip: 0xABC and 0x123.
    packed = bytes([0xAB, 0xC1, 0x23]) * 8
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(
            iter([packed]), shape=(4, 4), dtype="uint16", bitspersample=12, rowsperstrip=4, photometric="minisblack",
            compression=None, metadata=None,
        )  # fmt: skip
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif").plane()[0], [0xABC, 0x123, 0xABC, 0x123])


def test_imagej_hyperstack_keeps_axes_pixel_size_and_spacing(tmp_path: Path) -> None:
    data = pixels(2, 4, 3, 16, 20)
    metadata = {"axes": "TZCYX", "unit": "um", "spacing": 1.5}
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, resolution=(4, 2), metadata=metadata)
    stack = read_stack(tmp_path / "a.tif")
    assert stack.axes == "TCZYX"
    assert (stack.x_um, stack.y_um, stack.z_um) == (0.25, 0.5, 1.5)
    np.testing.assert_array_equal(stack.plane(3, c=2, t=1), data[1, 3, 2])


@pytest.mark.parametrize(
    ("unit", "um"), [("nm", 0.001), ("mm", 1000.0), ("inch", 25400.0), ("cm", 1e4), ("\\u00B5m", 1.0), ("micron", 1.0)]
)
def test_imagej_units_become_micrometres(tmp_path: Path, unit: str, um: float) -> None:
    metadata = {"axes": "ZYX", "unit": unit, "spacing": 3.0}
    tifffile.imwrite(tmp_path / "a.tif", pixels(3, 16, 20), imagej=True, resolution=(2, 2), metadata=metadata)
    stack = read_stack(tmp_path / "a.tif")
    assert stack.x_um == pytest.approx(um / 2)
    assert stack.z_um == pytest.approx(3 * um)


def test_imagej_pixels_without_unit_have_no_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels(3, 16, 20), imagej=True, resolution=(2, 2), metadata={"axes": "ZYX"})
    assert read_stack(tmp_path / "a.tif").x_um is None


def test_imagej_planes_behind_a_single_header_are_all_read(tmp_path: Path) -> None:
    data = pixels(6, 16, 20)
    tifffile.imwrite(tmp_path / "a.tif", data[:1], imagej=True, metadata={"axes": "ZYX", "slices": 6, "images": 6})
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        offset, description = tif.pages.first.dataoffsets[0], tif.pages.first.tags[270]
        text = "ImageJ=1.11a\nimages=6\nslices=6\n"
        place = description.valueoffset
    content = bytearray((tmp_path / "a.tif").read_bytes()[:offset])
    content[place : place + len(text) + 1] = text.encode() + b"\0"
    (tmp_path / "a.tif").write_bytes(bytes(content) + data.tobytes())
    np.testing.assert_array_equal(np.asarray(read_stack(tmp_path / "a.tif").data), data)


@pytest.mark.parametrize(
    ("axes", "shape", "labels", "names"),
    [
        ("TZCYX", (2, 3, 2, 16, 20), ["DAPI", "GFP"] * 6, ("DAPI", "GFP")),
        ("CYX", (2, 16, 20), ["DAPI", "GFP"], ("DAPI", "GFP")),
        ("ZCYX", (3, 2, 16, 20), ["a1", "b1", "a2", "b2", "a3", "b3"], ()),
        ("ZCYX", (3, 2, 16, 20), ["same"] * 6, ()),
        ("ZCYX", (3, 2, 16, 20), ["", ""] * 3, ()),
    ],
)
def test_labels_of_imagej_name_channels_where_they_repeat_with_them(
    tmp_path: Path, axes: str, shape: tuple[int, ...], labels: list[str], names: tuple[str, ...]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels(*shape), imagej=True, metadata={"axes": axes, "Labels": labels})
    assert read_stack(tmp_path / "a.tif").channels == names


def test_labels_of_many_planes_without_another_axis_do_not_make_them_channels(tmp_path: Path) -> None:
    labels = [f"img{i}.tif" for i in range(8)]
    tifffile.imwrite(tmp_path / "a.tif", pixels(8, 16, 20), imagej=True, metadata={"axes": "CYX", "Labels": labels})
    assert read_stack(tmp_path / "a.tif").axes == "ZYX"


def test_plain_pages_are_slices_and_the_note_says_so(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels(5, 16, 20), photometric="minisblack", metadata=None)
    stack = read_stack(tmp_path / "a.tif")
    assert stack.axes == "ZYX"
    assert "5 planes are taken for z" in stack.axes_note


def test_a_time_series_stays_one_unless_asked(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels(5, 16, 20), imagej=True, metadata={"axes": "TYX"})
    assert read_stack(tmp_path / "a.tif").axes == "TYX"
    assert "time series without z" in read_stack(tmp_path / "a.tif").axes_note
    assert read_stack(tmp_path / "a.tif", z_axis="t").axes == "ZYX"


def test_z_and_time_change_places_when_asked(tmp_path: Path) -> None:
    data = pixels(5, 3, 16, 20)
    path = ome(tmp_path / "a.ome.tif", data, "TZYX", PhysicalSizeZ=2.0)
    stack = read_stack(path, z_axis="t")
    assert (stack.axes, stack.n_slices, stack.n_times, stack.z_um) == ("TZYX", 5, 3, None)
    np.testing.assert_array_equal(stack.plane(4, t=1), data[4, 1])


def test_an_axis_is_found_by_its_number(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", pixels(5, 3, 16, 20), "TZYX")
    assert read_stack(path, z_axis=0).n_slices == 5


def test_a_missing_z_axis_is_told_with_those_there_are(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", pixels(5, 3, 16, 20), "TZYX")
    with pytest.raises(InputError, match=r"no axis 'q'.*t \(5 long\), z \(3 long\)"):
        read_stack(path, z_axis="q")


def test_many_nameless_channels_are_slices(tmp_path: Path) -> None:
    stack = read_stack(ome(tmp_path / "a.ome.tif", pixels(12, 16, 20), "CYX"))
    assert stack.axes == "ZYX"
    assert "channels" in stack.axes_note


def test_named_channels_stay_channels(tmp_path: Path) -> None:
    names = [f"ch{i}" for i in range(7)]
    stack = read_stack(ome(tmp_path / "a.ome.tif", pixels(7, 16, 20), "CYX", Channel={"Name": names}))
    assert stack.axes == "CYX"


def test_colour_images_that_a_writer_called_channels_are_slices(tmp_path: Path) -> None:
    data = pixels(4, 16, 20, 3, dtype="uint8")
    tifffile.imwrite(tmp_path / "a.ome.tif", data, photometric="rgb")  # tifffile calls them C by itself
    stack = read_stack(tmp_path / "a.ome.tif")
    assert stack.axes == "ZYXS"
    np.testing.assert_array_equal(np.asarray(stack.data), data)


def test_planar_colours_come_last(tmp_path: Path) -> None:
    data = pixels(4, 3, 16, 20, dtype="uint8")
    tifffile.imwrite(
        tmp_path / "a.ome.tif", data, photometric="rgb", planarconfig="separate", metadata={"axes": "ZSYX"}
    )
    stack = read_stack(tmp_path / "a.ome.tif")
    assert stack.axes == "ZYXS"
    np.testing.assert_array_equal(stack.plane(3), data[3].transpose(1, 2, 0))


def test_three_slices_that_a_writer_called_colours_are_slices(tmp_path: Path) -> None:
    data = pixels(3, 16, 20)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", planarconfig="separate")  # once tifffile's default
    stack = read_stack(tmp_path / "a.tif")
    assert stack.axes == "ZYX"
    np.testing.assert_array_equal(np.asarray(stack.data), data)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    data = pixels(4, 16, 20, 4, dtype="uint8")
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
    stack = read_stack(tmp_path / "a.tif")
    assert stack.axes == "ZYXS"
    np.testing.assert_array_equal(stack.plane(1), data[1, ..., :3])


def test_samples_that_are_no_colours_are_channels(tmp_path: Path) -> None:
    data = pixels(16, 20, 2, dtype="uint8")
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", planarconfig="contig", metadata=None)
    stack = read_stack(tmp_path / "a.tif")
    assert stack.axes == "CYX"
    np.testing.assert_array_equal(stack.plane(c=1), data[..., 1])


def test_a_palette_gives_colours_but_a_lut_gives_values(tmp_path: Path) -> None:
    data = pixels(16, 20, dtype="uint8")
    table = np.random.default_rng(1).integers(0, 65535, (3, 256), dtype=np.uint16)
    ramp = np.stack([np.zeros(256), np.linspace(0, 65535, 256), np.zeros(256)]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "palette.tif", data, photometric="palette", colormap=table)
    tifffile.imwrite(tmp_path / "green.tif", data, photometric="palette", colormap=ramp)
    np.testing.assert_array_equal(read_stack(tmp_path / "palette.tif").plane(), (table >> 8).astype("u1").T[data])
    np.testing.assert_array_equal(read_stack(tmp_path / "green.tif").plane(), data)


@pytest.mark.parametrize("layout", [{"tile": (16, 16)}, {"rowsperstrip": 7}])
@pytest.mark.parametrize("compression", ["zlib", "lzw", None])
def test_tiles_strips_and_compression_are_decoded(
    tmp_path: Path, layout: dict[str, Any], compression: str | None
) -> None:
    if compression == "lzw":
        pytest.importorskip("imagecodecs")
    data = pixels(3, 40, 50)
    tifffile.imwrite(tmp_path / "a.ome.tif", data, compression=compression, metadata={"axes": "ZYX"}, **layout)
    np.testing.assert_array_equal(np.asarray(read_stack(tmp_path / "a.ome.tif").data), data)


def test_a_pyramid_is_read_at_its_full_size(tmp_path: Path) -> None:
    data = pixels(3, 64, 64)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        tif.write(data, subifds=1, metadata={"axes": "ZYX"}, tile=(16, 16))
        tif.write(data[:, ::2, ::2], subfiletype=1, tile=(16, 16))
    stack = read_stack(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(np.asarray(stack.data), data)


def test_series_alike_are_positions(tmp_path: Path) -> None:
    data = pixels(3, 4, 16, 20)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        for i, one in enumerate(data):
            tif.write(one, metadata={"axes": "ZYX", "Name": f"well {i}", "PhysicalSizeX": 0.5})
    (stack,) = read_stacks(tmp_path / "a.ome.tif")
    assert (stack.axes, stack.metadata["positions"]) == ("PZYX", ("well 0", "well 1", "well 2"))
    np.testing.assert_array_equal(stack.plane(3, p=2), data[2, 3])


def test_series_that_differ_are_stacks_of_their_own(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        tif.write(pixels(4, 16, 20), metadata={"axes": "ZYX", "Name": "large", "PhysicalSizeX": 0.5})
        tif.write(pixels(3, 8, 10), metadata={"axes": "ZYX", "Name": "small", "PhysicalSizeX": 1.0})
    assert [(s.name, s.n_slices, s.x_um) for s in read_stacks(tmp_path / "a.ome.tif")] == [
        ("a large", 4, 0.5),
        ("a small", 3, 1.0),
    ]
    assert "first of the 2 image series" in read_stack(tmp_path / "a.ome.tif").axes_note
    assert read_stack(tmp_path / "a.ome.tif", series=1).n_slices == 3
    with pytest.raises(InputError, match="no series 2"):
        read_stack(tmp_path / "a.ome.tif", series=2)


def plane(*z: float, unit: str = "µm") -> dict[str, Any]:
    return {"Plane": {"PositionZ": list(z), "PositionZUnit": [unit] * len(z)}}


def test_uneven_heights_are_kept_and_even_ones_are_a_step(tmp_path: Path) -> None:
    uneven = read_stack(ome(tmp_path / "a.ome.tif", pixels(4, 16, 20), "ZYX", **plane(10, 11, 13, 18)))
    assert (uneven.z_positions_um, uneven.z_um) == ((0, 1, 3, 8), None)
    even = read_stack(ome(tmp_path / "b.ome.tif", pixels(4, 16, 20), "ZYX", **plane(10, 12.01, 14, 16)))
    assert (even.z_positions_um, even.z_um) == (None, 2.0)
    still = read_stack(ome(tmp_path / "c.ome.tif", pixels(4, 16, 20), "ZYX", **plane(10, 10, 10, 10)))
    assert (still.z_positions_um, still.z_um) == (None, None)


@pytest.mark.parametrize("z", [(60, 50, 40, 30), (60, 50, 45, 30)])
def test_a_stack_that_was_taken_downwards_keeps_its_direction(tmp_path: Path, z: tuple[float, ...]) -> None:
    stack = read_stack(ome(tmp_path / "a.ome.tif", pixels(4, 16, 20), "ZYX", **plane(*z)))
    assert stack.heights_um is not None
    np.testing.assert_allclose(stack.heights_um, np.array(z) - 60)


@pytest.mark.parametrize("z", [(110, 112, 114, 116), (110, 112, 114, 117)])
def test_heights_count_from_the_first_slice_whether_even_or_not(tmp_path: Path, z: tuple[float, ...]) -> None:
    stack = read_stack(ome(tmp_path / "a.ome.tif", pixels(4, 16, 20), "ZYX", **plane(*z)))
    assert stack.heights_um is not None
    np.testing.assert_allclose(stack.heights_um, np.array(z) - 110)


def test_heights_in_a_unit_go_before_a_step_that_contradicts_them(tmp_path: Path) -> None:
    said = plane(60, 50, 40, 30) | {"PhysicalSizeZ": 1.0}
    stack = read_stack(ome(tmp_path / "a.ome.tif", pixels(4, 16, 20), "ZYX", **said))
    assert stack.z_positions_um == (0, -10, -20, -30)
    assert "z step of 1 µm" in stack.axes_note
    assert "10 µm" in stack.axes_note


def test_heights_without_a_unit_tell_the_direction_but_not_the_step(tmp_path: Path) -> None:
    said = plane(6, 5, 4, 3, unit="reference frame") | {"PhysicalSizeZ": 2.5}
    stack = read_stack(ome(tmp_path / "a.ome.tif", pixels(4, 16, 20), "ZYX", **said))
    assert stack.z_positions_um == (0, -2.5, -5, -7.5)
    assert "z step of 2.5 µm" in stack.axes_note


def test_a_step_that_the_heights_confirm_is_not_remarked_on(tmp_path: Path) -> None:
    said = plane(6, 8.01, 10, 12) | {"PhysicalSizeZ": 2.0}
    stack = read_stack(ome(tmp_path / "a.ome.tif", pixels(4, 16, 20), "ZYX", **said))
    assert (stack.z_um, stack.axes_note) == (2.0, "axes as the OME metadata names them")


def test_the_microscope_is_known_from_ome(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", pixels(2, 4, 16, 20), "CZYX", Channel={"EmissionWavelength": [520.0, 620.0]})
    with tifffile.TiffFile(path) as tif:
        xml = tif.ome_metadata
    assert xml is not None
    lens = '<Objective ID="Objective:0" LensNA="1.4" Immersion="Oil" NominalMagnification="63"/>'
    xml = xml.replace("<Image ", f'<Instrument ID="Instrument:0">{lens}</Instrument><Image ', 1)
    xml = xml.replace("<Pixels ", '<ObjectiveSettings ID="Objective:0"/><Pixels ', 1)
    tifffile.imwrite(path, pixels(2, 4, 16, 20), description=xml.encode(), metadata=None, photometric="minisblack")
    stack = read_stack(path)
    assert (stack.optics.na, stack.optics.magnification, stack.optics.immersion_index) == (1.4, 63, 1.518)
    assert stack.only_channel(1).optics.wavelength_um == pytest.approx(0.62)


def test_a_plain_files_resolution_counts_unless_it_is_for_printing(tmp_path: Path) -> None:
    def x_um(**tags: Any) -> float | None:
        tifffile.imwrite(tmp_path / "a.tif", pixels(3, 16, 20), photometric="minisblack", metadata=None, **tags)
        return read_stack(tmp_path / "a.tif").x_um

    assert x_um(resolution=(20000, 20000), resolutionunit="CENTIMETER") == pytest.approx(0.5)
    assert x_um(resolution=(50800, 50800), resolutionunit="INCH") == pytest.approx(0.5)
    assert x_um(resolution=(300, 300), resolutionunit="INCH") is None
    assert x_um(resolution=(118.11, 118.11), resolutionunit="CENTIMETER") is None


def test_the_users_calibration_goes_before_the_files(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", pixels(4, 16, 20), "ZYX", PhysicalSizeX=0.5, PhysicalSizeZ=1.0)
    stack = read_stack(path, z_um=3.0, pixel_um=0.1)
    assert (stack.y_um, stack.x_um, stack.z_um) == (0.1, 0.1, 3.0)
    assert read_stack(path, z_positions_um=[0, 1, 3, 4]).z_positions_um == (0, 1, 3, 4)


def test_only_the_planes_asked_for_are_in_memory(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels(40, 256, 256), photometric="minisblack", metadata=None)
    stack = read_stack(tmp_path / "a.tif")
    stack.plane(0)
    tracemalloc.start()
    for z in range(40):
        stack.plane(z)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 256 * 256 * 2


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", pixels(4, 16, 20), "ZYX")
    stack = read_stack(path)
    stack.plane(1)
    path.rename(tmp_path / "b.ome.tif")
    with pytest.raises(InputError, match="can't be read any more"):
        stack.plane(2)
    del stack
    gc.collect()


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    data = pixels(30, 64, 64)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", compression="zlib", metadata=None)
    stack = read_stack(tmp_path / "a.tif")
    wrong: list[int] = []

    def check(start: int) -> None:
        wrong.extend(z for z in range(start, 30) if not np.array_equal(stack.plane(z), data[z]))

    threads = [threading.Thread(target=check, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_dask_reads_plane_by_plane(tmp_path: Path) -> None:
    data = pixels(2, 4, 16, 20)
    lazy = to_dask(read_stack(ome(tmp_path / "a.ome.tif", data, "CZYX")))
    assert lazy.chunksize == (1, 1, 16, 20)
    np.testing.assert_array_equal(lazy[1, 2].compute(), data[1, 2])
    np.testing.assert_array_equal(lazy.compute(), data)


@pytest.mark.parametrize("name", SAMPLES.names())
def test_samples_are_calibrated_stacks(name: str) -> None:
    stack = sample_stack(name)
    assert stack.axes == "ZYX"
    assert stack.z_um is not None
    assert len(stack.channels) == 1
    assert stack.plane(stack.n_slices - 1).std() > 0
