"""PNG, JPEG and BMP: one plane a file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError

PNG, JPEG, BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
_TAIL = 65536


def read_raster(path: Path) -> NDArray[Any]:
    """Decode one PNG, JPEG or BMP file: (Y, X), or (Y, X, 3) as RGB; 16 bit stay 16 bit, alpha is dropped.

    Raises
    ------
    InputError
        If the file is cut off or can't be decoded.
    """
    import cv2

    data = path.read_bytes()
    _check_end(path, data[:8], data)
    plane = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if plane is None:
        raise InputError(f"'{path.name}' is damaged and can't be decoded: copy or export it again.")
    if plane.ndim == 2:
        return np.asarray(plane)
    return np.asarray(cv2.cvtColor(plane, cv2.COLOR_BGR2RGB))


def raster_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that `read_raster` will give, from the header where the format has a simple one."""
    with path.open("rb") as file:
        head = file.read(_TAIL)
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        _check_end(path, head[:8], file.read())
    known = _png_header(head) if head.startswith(PNG) else _jpeg_header(head) if head.startswith(JPEG) else None
    if known is not None:
        return known
    plane = read_raster(path)
    return plane.shape, plane.dtype


def _check_end(path: Path, head: bytes, tail: bytes) -> None:
    end = b"IEND" if head.startswith(PNG) else b"\xff\xd9" if head.startswith(JPEG) else b""
    if end not in tail:
        raise InputError(f"'{path.name}' is cut off: copy or export it again.")


def _png_header(head: bytes) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    if len(head) < 26:
        return None
    width, height, bits, kind = struct.unpack(">IIBB", head[16:26])
    # Grey with alpha (4) is left to the decoder, which makes it RGB.
    shape = (height, width) if kind == 0 else (height, width, 3) if kind in (2, 3, 6) else None
    return None if shape is None else (shape, np.dtype(np.uint16 if bits == 16 else np.uint8))


def _jpeg_header(head: bytes) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """None too where the camera was turned: the decoder then knows the shape."""
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker == 0xE1 and head[at + 4 : at + 8] == b"Exif" and _turned(head[at + 10 : at + 2 + length]):
            return None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, samples = struct.unpack(">HHB", head[at + 5 : at + 10])
            return ((height, width) if samples == 1 else (height, width, 3)), np.dtype(np.uint8)
        at += 2 + length
    return None


def _turned(exif: bytes) -> bool:
    """Whether the EXIF block asks for a turn by 90°."""
    order = "<" if exif[:2] == b"II" else ">"
    try:
        (first,) = struct.unpack_from(order + "I", exif, 4)
        (n,) = struct.unpack_from(order + "H", exif, first)
        tags = [struct.unpack_from(order + "HHIH", exif, first + 2 + 12 * i) for i in range(n)]
    except struct.error:
        return True
    return any(tag == 0x0112 and value >= 5 for tag, _, _, value in tags)
