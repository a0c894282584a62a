"""TIFF in all its dialects: OME, ImageJ, plain; single planes read when they are asked for."""

from __future__ import annotations

import logging
import re
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.lazy import PlaneArray
from napari_focusstack.core.stack import Optics
from napari_focusstack.io.axes import MANY_CHANNELS
from napari_focusstack.io.found import Found
from napari_focusstack.io.ome import OmeImage, companion_name, parse_ome
from napari_focusstack.io.provenance import said_in_text
from napari_focusstack.io.units import length_um, pixel_from_resolution, um_per

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TELLERS = {
    "ome": "the OME metadata",
    "imagej": "ImageJ",
    "shaped": "the file's description",
    "lsm": "the LSM metadata",
}
_COLOUR = {2, 6, 8}  # photometric interpretations RGB, YCbCr, CIELab
_PALETTE = 3


def read_tiff(path: Path, *, colours_are_z: bool = False) -> list[Found]:
    """Find the image series of a TIFF file; pixels are read when they are asked for.

    Parameters
    ----------
    path : Path
        The file.
    colours_are_z : bool
        Whether planes of grey that the file calls colours are taken for planes without a name.

    Raises
    ------
    InputError
        If the file is no TIFF, damaged, cut off, or compressed in a way that can't be decoded here.
    """
    from tifffile import TiffFile

    try:
        with _said_by_parser() as said, TiffFile(path) as tif:
            _check_chain(tif, path)
            _check_tags(said, path)
            found = [_found(tif, series, path, colours_are_z) for series in tif.series]
            found = _calibrated(tif, found, path)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"'{path.name}' can't be read: {error.strerror or error}.") from error
    except Exception as error:  # damaged files fail in every way inside the parser
        raise InputError(
            f"'{path.name}' is damaged or cut off and can't be read as TIFF ({error}): copy or export it again."
        ) from error
    if not found:
        raise InputError(f"'{path.name}' holds no image: it may be cut off; copy or export it again.")
    return found


def _check_chain(tif: Any, path: Path) -> None:
    """Refuse a file whose chain of pages goes on behind its end."""
    n = len(tif.pages)
    if not n:
        raise _cut_off(path)
    handle, form = tif.filehandle, tif.tiff
    handle.seek(tif.pages[n - 1].offset)
    (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
    handle.seek(tags * form.tagsize, 1)
    follow = handle.read(form.offsetsize)
    if len(follow) == form.offsetsize and struct.unpack(form.offsetformat, follow)[0] >= handle.size:
        raise _cut_off(path)


@contextmanager
def _said_by_parser() -> Iterator[list[str]]:
    """What tifffile logs meanwhile: it passes over damaged tags, the axes and sizes among them, with a log message."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


def _check_tags(said: list[str], path: Path) -> None:
    """Refuse a file that holds the values of its baseline tags (their numbers end at 347) behind its end."""
    codes = [int(n) for text in said for n in re.findall(r"TiffTag (\d+) @\d+> invalid value offset", text)]
    if any(code <= 347 for code in codes):
        raise _cut_off(path)


def _cut_off(path: Path) -> InputError:
    return InputError(f"'{path.name}' is cut off, its end is missing: copy or export it again.")


def _found(tif: Any, series: Any, path: Path, colours_are_z: bool) -> Found:
    """Split a series into leading axes and planes."""
    letters, shape = series.get_axes(squeeze=False), tuple(series.get_shape(squeeze=False))
    pages = list(series.pages)
    if missing := sum(page is None for page in pages):
        raise InputError(
            f"'{path.name}' is incomplete, {missing} of the {len(pages)} planes that its metadata names are not "
            "there: put all files of the series into one folder, or open the single files as a folder of slices."
        )
    key = pages[0].keyframe
    separate, _, height, width, together = key.shaped
    before = letters.index("Y")
    lead, lead_shape = letters[:before], shape[:before]
    planar = key.photometric in _COLOUR and separate in (3, 4) and lead.endswith("S")
    if planar and (colours_are_z or (series.kind in ("shaped", "uniform") and key.dtype != np.uint8)):
        # tifffile calls three or four slices colours where nobody told it; nobody stores colours like this otherwise.
        planar, lead = False, lead[:-1] + "Q"
    packed = key.photometric in _COLOUR and together in (3, 4) and letters.endswith("S")
    if planar:
        lead, lead_shape = lead[:-1], lead_shape[:-1]
    if together > 1 and not packed:  # samples that are no colours are channels
        lead, lead_shape = lead + "S", (*lead_shape, together)
    n_planes = int(np.prod(lead_shape))
    planes = _Planes(pages, path, n_planes=n_planes, colour=planar or packed, table=_colour_table(tif, key))
    data = PlaneArray(
        planes.read,
        np.arange(n_planes).reshape(lead_shape),
        plane_shape=(height, width, 3) if planes.rgb else (height, width),
        dtype=planes.dtype,
    )
    kept = "".join(a for a, n in zip(lead, lead_shape, strict=True) if n > 1)
    return Found(
        data.squeeze_leading(),
        kept.replace("S", "Q" if "C" in kept else "C"),
        teller=_TELLERS.get(series.kind, "the file"),
        series=series.name or "",
        files=tuple(dict.fromkeys(Path(page.parent.filehandle.path) for page in pages)),
        metadata={"format": f"TIFF ({series.kind})"} | ({"hint": _hint(separate)} if planar and not kept else {}),
    )


def _hint(n: int) -> str:
    return (
        f"The file calls its {n} planes the colours of a single one: if they are slices, say so (z axis 's', "
        "on the command line --z-axis s)."
    )


class _Planes:
    """Reads single planes of the pages of a series, from any thread; files are open only while somebody reads."""

    def __init__(
        self, pages: list[Any], path: Path, *, n_planes: int, colour: bool, table: NDArray[np.uint8] | None
    ) -> None:
        self._pages, self._path, self._colour, self._table = pages, path, colour, table
        self._key = pages[0].keyframe
        self._lock = threading.RLock()
        self._readers: dict[int, int] = {}
        separate, depth, _, _, together = self._key.shaped
        self._samples = 1 if colour else separate * depth * together
        # ImageJ writes all planes behind the header of the first page, and no header for the others.
        self._behind_first = len(pages) * self._samples < n_planes
        self.rgb = colour or table is not None
        self.dtype: np.dtype[Any] = np.dtype(self._key.dtype if table is None else table.dtype)
        self._check_inside(n_planes)

    def _check_inside(self, n_planes: int) -> None:
        """Refuse pixels behind the end of the file."""
        if self._behind_first:
            ends = [self._pages[0].dataoffsets[0] + n_planes // self._samples * self._key.nbytes]
        else:  # sparse tiles have length 0 and no place
            ends = [
                max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False) if n), default=0)
                for page in self._pages
            ]
        if any(end > page.parent.filehandle.size for end, page in zip(ends, self._pages, strict=False)):
            raise _cut_off(self._path)

    def read(self, number: int) -> NDArray[Any]:
        """Plane (Y, X) or (Y, X, 3) in the machine's byte order."""
        at, sample = divmod(number, self._samples)
        try:
            block = self._block(at)
        except InputError:
            raise
        except Exception as error:  # damaged data fail in every way inside the decoders
            raise InputError(
                f"Plane {number} of '{self._path.name}' can't be decoded ({error}): copy or export the file again."
            ) from error
        separate, depth, height, width, together = self._key.shaped
        block = block.astype(self._key.dtype.newbyteorder("="), copy=False)
        if self._colour and together == 1:
            return np.ascontiguousarray(np.moveaxis(block[:3, 0, :, :, 0], 0, -1))
        if self._colour:
            rgb: NDArray[Any] = block[0, 0]
            return rgb if together == 3 else np.ascontiguousarray(rgb[..., :3])
        major, minor = divmod(sample, together)
        grey: NDArray[Any] = block.reshape(separate * depth, height, width, together)[major, ..., minor]
        return grey if self._table is None else self._table[grey]

    def _block(self, at: int) -> NDArray[Any]:
        """All samples of a page: (separate, depth, Y, X, together)."""
        if not self._behind_first:
            page = self._pages[at]
            with self._open(page.parent.filehandle):
                block: NDArray[Any] = page.asarray(squeeze=False, lock=self._lock, maxworkers=1)
                return block
        handle, dtype = self._pages[0].parent.filehandle, self._key.dtype.newbyteorder(self._key.parent.byteorder)
        with self._open(handle), self._lock:
            handle.seek(self._pages[0].dataoffsets[0] + at * self._key.nbytes)
            flat: NDArray[Any] = handle.read_array(dtype, int(np.prod(self._key.shaped)))
            return flat.reshape(self._key.shaped)

    @contextmanager
    def _open(self, handle: Any) -> Iterator[None]:
        with self._lock:
            if not self._readers.get(id(handle)):
                try:
                    handle.open()
                except OSError as error:
                    raise InputError(f"'{handle.name}' can't be read any more: {error.strerror}.") from error
            self._readers[id(handle)] = self._readers.get(id(handle), 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._readers[id(handle)] -= 1
                if not self._readers[id(handle)]:
                    handle.close()


def _colour_table(tif: Any, key: Any) -> NDArray[np.uint8] | None:
    """(values, 3) colours of a palette image; None where the palette only colours intensities, as ImageJ's LUTs do."""
    if key.photometric != _PALETTE or tif.is_imagej or key.colormap is None:
        return None
    table = np.asarray(key.colormap, np.uint16)
    if all((np.diff(row.astype(np.int64)) >= 0).all() or (np.diff(row.astype(np.int64)) <= 0).all() for row in table):
        return None
    return np.ascontiguousarray((table >> 8).astype(np.uint8).T)


def _calibrated(tif: Any, found: list[Found], path: Path) -> list[Found]:
    """Add what the file's metadata say of sizes, names and optics."""
    if tif.is_ome:
        images = _ome_images(tif.ome_metadata, path)
        if len(images) == len(found):
            return [_with_ome(one, image) for one, image in zip(found, images, strict=True)]
        by_name = {image.name: image for image in images}
        return [_with_ome(one, by_name[one.series]) if one.series in by_name else one for one in found]
    if tif.is_imagej:
        return [_with_imagej(one, tif) for one in found]
    if tif.is_lsm:
        size = {a: length_um((tif.lsm_metadata or {}).get(f"VoxelSize{a}"), "m") for a in "XYZ"}
        return [replace(one, y_um=size["Y"], x_um=size["X"], z_um=size["Z"]) for one in found]
    x_um, y_um = _resolution(tif.pages[0])
    return [replace(one, y_um=y_um, x_um=x_um) for one in found]


def _resolution(page: Any) -> tuple[float | None, float | None]:
    """(x, y) pixel size by the resolution tags."""
    unit = page.tags.valueof("ResolutionUnit", default=2)
    x_um = pixel_from_resolution(page.tags.valueof("XResolution"), unit)
    return x_um, pixel_from_resolution(page.tags.valueof("YResolution"), unit)


def _ome_images(xml: str, path: Path) -> list[OmeImage]:
    companion = companion_name(xml)
    if companion is None:
        return parse_ome(xml)
    beside = path.parent / Path(companion).name
    return parse_ome(beside.read_text(encoding="utf-8")) if beside.is_file() else []


def _with_ome(one: Found, image: OmeImage) -> Found:
    n_channels = one.data.shape[one.letters.index("C")] if "C" in one.letters else 1
    return replace(
        one,
        y_um=image.y_um,
        x_um=image.x_um,
        z_um=image.z_um,
        z_positions_um=image.z_positions_um,
        channels=image.channels if len(image.channels) == n_channels else (),
        optics=image.optics,
        metadata={**one.metadata, **image.metadata},
        notes=(*one.notes, *image.notes),
    )


def _with_imagej(one: Found, tif: Any) -> Found:
    said = tif.imagej_metadata or {}
    unit = str(said.get("unit", "")).replace("\\u00B5", "µ")
    factor = um_per(unit)
    x_um, y_um = _resolution(tif.pages[0])
    if factor is not None:
        x_um, y_um = (_per_pixel(tif.pages[0].tags.valueof(f"{a}Resolution"), factor) for a in "XY")
    z_um = length_um(said.get("spacing"), str(said.get("zunit", unit)))
    metadata = dict(one.metadata)
    if "Info" in said:
        metadata |= {"info": str(said["Info"]), "provenance": said_in_text(str(said["Info"]))}
    names = _channel_labels(one, said.get("Labels"))
    return replace(one, y_um=y_um, x_um=x_um, z_um=z_um, channels=names, optics=Optics(), metadata=metadata)


def _channel_labels(one: Found, labels: Any) -> tuple[str, ...]:
    """Names of the channels: ImageJ labels planes, and where the labels are the same for a channel they name it."""
    n = one.data.shape[one.letters.index("C")] if "C" in one.letters else 1
    n_planes = int(np.prod(one.data.shape[: len(one.letters)]))
    if n < 2 or not isinstance(labels, Sequence) or len(labels) != n_planes:
        return ()
    if n == n_planes and n >= MANY_CHANNELS:
        return ()  # as likely the names of slices
    names = tuple(str(label).strip() for label in labels[:n])
    repeated = all(str(label).strip() == names[i % n] for i, label in enumerate(labels))
    return names if repeated and all(names) and len(set(names)) == n else ()


def _per_pixel(per_unit: Any, um: float) -> float | None:
    """Pixel size from the fraction of pixels per unit of `um`; None where it is 0 or not there."""
    if not per_unit or not per_unit[0] or not per_unit[1]:
        return None
    return float(um * per_unit[1] / per_unit[0])
