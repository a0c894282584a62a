"""Folders, selections, PNG, JPEG, BMP; and everything that can't be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

import napari_focusstack
from napari_focusstack.core.errors import InputError
from napari_focusstack.io.files import EXTENSIONS, VIDEOS
from napari_focusstack.io.read import read_stack, read_stacks


def plane(value: int = 0, shape: tuple[int, ...] = (16, 20), dtype: str = "uint8") -> np.ndarray[Any, Any]:
    return (np.random.default_rng(value).random(shape) * 200).astype(dtype)


def save(path: Path, image: np.ndarray[Any, Any]) -> Path:
    """Write PNG, JPEG or BMP under any name."""
    bgr = image if image.ndim == 2 else image[..., [2, 1, 0, *range(3, image.shape[2])]]
    path.write_bytes(cv2.imencode(path.suffix, np.ascontiguousarray(bgr))[1].tobytes())
    return path


def test_slices_are_in_natural_order(tmp_path: Path) -> None:
    for i in (10, 9, 2, 1, 11):
        save(tmp_path / f"img{i}.png", plane(i))
    stack = read_stack(tmp_path)
    assert [p.name for p in stack.metadata["files"]] == [f"img{i}.png" for i in (1, 2, 9, 10, 11)]
    np.testing.assert_array_equal(stack.plane(1), plane(2))


def test_a_selection_is_put_in_natural_order_too(tmp_path: Path) -> None:
    files = [save(tmp_path / f"img{i}.png", plane(i)) for i in (10, 2)]
    np.testing.assert_array_equal(read_stack(files).plane(0), plane(2))


def test_what_is_no_image_is_passed_over_and_said(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f"img{i}.png", plane(i))
    for other in ("Thumbs.db", "scores.csv", "._img0.png"):
        (tmp_path / other).write_text("no image")
    stack = read_stack(tmp_path)
    assert stack.n_slices == 3
    assert "passed over" in stack.axes_note
    assert "Thumbs.db" in stack.axes_note


def test_names_with_spaces_and_umlauts_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "Größe 1 µm"
    folder.mkdir()
    for i in range(2):
        save(folder / f"Präparat {i}.png", plane(i))
        tifffile.imwrite(folder / f"Zelle {i}.tif", plane(i))
    np.testing.assert_array_equal(read_stack(folder / "Präparat 1.png").plane(), plane(1))
    np.testing.assert_array_equal(read_stack(folder / "Zelle 1.tif").plane(), plane(1))
    assert read_stack(folder).n_slices == 4


@pytest.mark.parametrize("shape", [(16, 20), (16, 20, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_keeps_type_and_colours(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    image = plane(1, shape, dtype)
    np.testing.assert_array_equal(read_stack(save(tmp_path / "a.png", image)).plane(), image)


def test_png_alpha_is_dropped(tmp_path: Path) -> None:
    image = plane(1, (16, 20, 4))
    np.testing.assert_array_equal(read_stack(save(tmp_path / "a.png", image)).plane(), image[..., :3])


@pytest.mark.parametrize("shape", [(16, 20), (16, 20, 3)])
@pytest.mark.parametrize("ending", [".bmp", ".jpg", ".jpeg"])
def test_bmp_and_jpeg_keep_shape(tmp_path: Path, shape: tuple[int, ...], ending: str) -> None:
    stack = read_stack(save(tmp_path / f"a{ending}", np.full(shape, 90, np.uint8)))
    assert stack.plane().shape == stack.data.shape
    if shape == (16, 20, 3) or ending != ".bmp":
        assert stack.data.shape == shape
    assert abs(stack.plane().astype(int) - 90).max() <= 2


def test_a_photo_that_was_turned_is_turned_back(tmp_path: Path) -> None:
    jpeg = save(tmp_path / "a.jpg", plane(1, (16, 40, 3))).read_bytes()
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    exif = b"Exif\0\0MM\0*\x00\x00\x00\x08\x00\x01" + entry + b"\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    (tmp_path / "a.jpg").write_bytes(turned)
    stack = read_stack(tmp_path / "a.jpg")
    assert stack.plane().shape == stack.data.shape == (40, 16, 3)


def test_marks_in_file_names_name_the_axes(tmp_path: Path) -> None:
    for t in range(2):
        for z in range(3):
            for c in range(2):
                save(tmp_path / f"well_t{t}z{z:03d}c{c}.png", plane(100 * t + 10 * z + c))
    stack = read_stack(tmp_path)
    assert stack.axes == "TCZYX"
    np.testing.assert_array_equal(stack.plane(2, c=1, t=1), plane(121))


def test_marks_that_leave_gaps_are_no_axes(tmp_path: Path) -> None:
    for name in ("t0z0", "t0z1", "t1z0"):
        save(tmp_path / f"{name}.png", plane())
    assert read_stack(tmp_path).axes == "ZYX"


def test_camera_names_are_no_marks(tmp_path: Path) -> None:
    for name in ("DSC_0001", "DSC_0002", "DSC_0003"):
        save(tmp_path / f"{name}.png", plane())
    assert read_stack(tmp_path).axes == "ZYX"


def test_a_folder_of_stacks_is_many_stacks(tmp_path: Path) -> None:
    for name in ("A01", "A02"):
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", plane(1, (3, 16, 20)), metadata={"axes": "ZYX"})
    assert [s.name for s in read_stacks(tmp_path)] == ["A01", "A02"]
    with pytest.raises(InputError, match=r"holds 2 stacks.*A01, A02"):
        read_stack(tmp_path)


def test_a_data_set_spread_over_files_is_one_stack(tmp_path: Path) -> None:
    files = [tmp_path / f"a_{i}.ome.tif" for i in range(2)]
    uuids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{i}" for i in range(2)]
    parts = "".join(
        f'<TiffData FirstZ="{i}" IFD="0" PlaneCount="1"><UUID FileName="{f.name}">{u}</UUID></TiffData>'
        for i, (f, u) in enumerate(zip(files, uuids, strict=True))
    )
    for i, (file, uuid) in enumerate(zip(files, uuids, strict=True)):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}"><Image ID="Image:0">'
            '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="20" SizeY="16" SizeZ="2" SizeC="1" '
            f'SizeT="1" PhysicalSizeZ="2"><Channel ID="Channel:0:0"/>{parts}</Pixels></Image></OME>'
        )
        tifffile.imwrite(file, plane(i), description=xml, metadata=None)
    for given in (tmp_path, files, files[0]):
        stack = read_stack(given)
        assert (stack.axes, stack.z_um) == ("ZYX", 2.0)
        np.testing.assert_array_equal(stack.plane(1), plane(1))
    files[1].unlink()
    with pytest.raises(InputError, match="incomplete"):
        read_stack(files[0])


def bad(path: Any, match: str) -> None:
    with pytest.raises(InputError, match=match) as error:
        read_stack(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    bad(tmp_path / "nothing.tif", "does not exist")


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    bad(tmp_path / "a.tif", r"empty \(0 bytes\)")


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    bad(tmp_path, "holds no image")


def test_no_path_at_all_is_told() -> None:
    bad([], "No file was given")


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg", "a.txt"])
def test_text_is_no_image_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("slice,value\n0,1\n")
    bad(tmp_path / name, "not an image")


@pytest.mark.parametrize(("name", "reader"), [("a.czi", "Zeiss CZI"), ("a.lif", "Leica LIF"), ("a.nd2", "Nikon ND2")])
def test_microscope_formats_are_named_with_their_readers(tmp_path: Path, name: str, reader: str) -> None:
    (tmp_path / name).write_bytes(b"ZISRAWFILE")
    bad(tmp_path / name, f"{reader}.*bioio")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("kind", ["ome", "plain", "compressed", "png", "jpg"])
def test_a_cut_off_file_is_told(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / f"a.{kind if kind in ('png', 'jpg') else 'tif'}"
    data = plane(1, (4, 32, 40), "uint16")
    if kind in ("png", "jpg"):
        save(path, plane(1, (64, 64)))
    elif kind == "ome":
        tifffile.imwrite(path, data, ome=True, metadata={"axes": "ZYX"})
    else:
        compression = "zlib" if kind == "compressed" else None
        with tifffile.TiffWriter(path) as tif:
            for one in data:
                tif.write(one, contiguous=False, metadata=None, compression=compression)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    bad(path, "cut off|damaged")


def test_damaged_pixels_are_told_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, plane(1, (3, 32, 40)), compression="zlib", photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tif:
        at = tif.pages[1].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[at : at + 20] = b"\0" * 20
    path.write_bytes(bytes(content))
    stack = read_stack(path)
    with pytest.raises(InputError, match=r"Plane 1 of 'a\.tif' can't be decoded"):
        stack.plane(1)


def test_slices_of_different_size_are_named_both(tmp_path: Path) -> None:
    save(tmp_path / "img1.png", plane())
    save(tmp_path / "img2.png", plane(0, (16, 21)))
    bad(tmp_path, r"'img1\.png' is 20×16 uint8 grey and 'img2\.png' is 21×16 uint8 grey")


def test_slices_of_different_type_are_named_both(tmp_path: Path) -> None:
    save(tmp_path / "img1.png", plane())
    save(tmp_path / "img2.png", plane(0, (16, 20), "uint16"))
    bad(tmp_path, r"'img1\.png' is .*uint8.*'img2\.png' is .*uint16")


def test_planes_and_stacks_are_not_mixed(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", plane())
    tifffile.imwrite(tmp_path / "b.tif", plane(0, (3, 16, 20)), photometric="minisblack", metadata={"axes": "ZYX"})
    bad(tmp_path, r"'a\.tif' is a single plane and 'b\.tif' holds several")


def test_folders_are_given_alone(tmp_path: Path) -> None:
    bad([tmp_path, save(tmp_path / "a.png", plane())], "a folder among 2 paths")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_told_when_read(tmp_path: Path, value: float) -> None:
    data = plane(0, (3, 16, 20), "float32")
    data[1, 2, 3] = value
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", metadata={"axes": "ZYX"})
    stack = read_stack(tmp_path / "a.tif")
    with pytest.raises(InputError, match="a pixel that is NaN or infinite"):
        stack.plane(1)


def test_a_single_image_is_a_stack_of_one_slice(tmp_path: Path) -> None:
    stack = read_stack(save(tmp_path / "a.png", plane()))
    assert (stack.axes, stack.n_slices) == ("YX", 1)
    with pytest.raises(InputError, match="two slices or more"):
        stack.require_slices("fuse it")


def test_the_reader_leaves_to_others_what_it_can_not_read(tmp_path: Path) -> None:
    pytest.importorskip("napari")
    from napari_focusstack.widgets.reader import get_reader

    (tmp_path / "a.zarr" / "0").mkdir(parents=True)
    (tmp_path / "a.zarr" / ".zattrs").write_text("{}")
    (tmp_path / "empty").mkdir()
    for name in ("table.csv", "a.czi", "slices/1.tif", "a.LSM"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    refused = ("a.zarr", "empty", "table.csv", "a.czi", "none.tif")
    assert [get_reader(str(tmp_path / name)) for name in refused] == [None] * len(refused)
    assert get_reader([str(tmp_path / "table.csv"), str(tmp_path / "a.LSM")]) is None
    for name in ("slices", "slices/1.tif", "a.LSM"):
        assert get_reader(str(tmp_path / name)) is not None


def test_the_manifest_names_every_ending_that_is_read() -> None:
    import yaml

    manifest = yaml.safe_load((Path(napari_focusstack.__file__).parent / "napari.yaml").read_text(encoding="utf-8"))
    (reader,) = manifest["contributions"]["readers"]
    assert {pattern.removeprefix("*") for pattern in reader["filename_patterns"]} == {*EXTENSIONS, *VIDEOS}
