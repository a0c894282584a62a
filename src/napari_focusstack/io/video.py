"""Videos of a z scan (AVI, MP4, MOV): frames are read one by one when they are asked for."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.lazy import PlaneArray
from napari_focusstack.io.found import Found

log = logging.getLogger(__name__)

GREY_LEVELS, GREY_SHARE = 6, 0.999
"""Colours that differ by no more than this in nearly all pixels are grey: codecs keep colour roughly."""
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""With which one of them QuickTime's kind of files (MOV, MP4) begins."""
_NO_VIDEOS = frozenset(
    {
        b"heic",
        b"heix",
        b"heim",
        b"heis",
        b"mif1",
        b"mif2",
        b"miaf",
        b"avif",
        b"crx ",
        b"jp2 ",
        b"jpx ",
        b"M4A ",
        b"M4B ",
    }
)
"""Brands of such files that hold photographs (HEIC, AVIF, CR3) or sound alone."""


def is_video(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a video that is read here."""
    if head[4:8] == b"ftyp" and head[8:12] in _NO_VIDEOS:
        return False
    return (head[:4] == b"RIFF" and head[8:12] == b"AVI ") or head[4:8] in _BOXES


def read_video(path: Path) -> list[Found]:
    """Open a video as a stack of its frames: grey where its frames are, else RGB; 8 bit.

    Raises
    ------
    InputError
        If there is no decoder for it, it is damaged, or it has no frames.
    """
    import cv2

    frames = _Frames(path)
    first = frames.read(0)
    told = frames.told()
    n = frames.count()
    grey = first.ndim == 2 or all(_is_grey(frames.read(i)) for i in {0, n // 2, n - 1})
    shape = first.shape[:2] if grey else first.shape

    def read(number: int) -> Any:
        frame = frames.read(number)
        if frame.shape[:2] != shape[:2]:
            raise InputError(f"Frame {number} of '{path.name}' has another size than the first: cut the video there.")
        return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if grey and frame.ndim == 3 else frame

    notes = ["frames of a video are compressed as a rule: do not measure intensities in them"]
    if told > 0 and told != n:
        why = "it may be cut short" if n < told else "all of them are read"
        notes.append(f"its header tells of {told} frames, {n} can be decoded: {why}")
        log.warning("'%s': %s.", path.name, notes[-1])
    data = PlaneArray(read, np.arange(n).squeeze(), plane_shape=shape, dtype=np.uint8)
    metadata = {"format": "video"}
    return [Found(data, "Q" if n > 1 else "", teller="the video", files=(path,), notes=tuple(notes), metadata=metadata)]


def _is_grey(frame: NDArray[np.uint8]) -> bool:
    if frame.ndim == 2:
        return True
    spread = frame.max(axis=2) - frame.min(axis=2)
    return bool((spread <= GREY_LEVELS).mean() >= GREY_SHARE)


class _Frames:
    """A video's decoder, for one thread at a time: it goes on where it is, and seeks where another frame is wanted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._next = 0
        self._capture = self._opened()

    def read(self, number: int) -> NDArray[np.uint8]:
        """Frame by its number: (Y, X) or (Y, X, 3) as RGB."""
        import cv2

        with self._lock:
            if number != self._next:
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            ok, frame = self._capture.read()
            self._next = number + 1 if ok else -1
        if not ok:
            raise InputError(
                f"Frame {number} of '{self._path.name}' can't be decoded (codec {self._codec()}): it is damaged, or "
                "the codec is missing here; save it as TIFF or as an uncompressed AVI (Fiji, ffmpeg)."
            )
        return np.asarray(frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))

    def told(self) -> int:
        """Number of frames by the header; 0 or less where it is silent."""
        import cv2

        return int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def count(self) -> int:
        """Number of frames; where the header is wrong or silent they are counted."""
        import cv2

        told = self.told()
        with self._lock:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, told - 1)
            self._next = -1
            if told > 0 and self._capture.grab() and not self._capture.grab():
                return told
            self._capture = self._opened()
            n = 0
            while self._capture.grab():
                n += 1
            self._capture, self._next = self._opened(), 0
        return n

    def _opened(self) -> Any:
        # It writes to standard error by itself, where messages of ours are one line.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        import cv2

        before = cv2.utils.logging.setLogLevel(0)
        try:
            capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        finally:
            cv2.utils.logging.setLogLevel(before)
        if not capture.isOpened():
            raise InputError(
                f"'{self._path.name}' can't be opened as a video: it is damaged, or its codec is missing here; "
                "save it as TIFF or as an uncompressed AVI (Fiji, ffmpeg)."
            )
        return capture

    def _codec(self) -> str:
        import cv2

        code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        text = "".join(chr((code >> shift) & 255) for shift in (0, 8, 16, 24))
        return text if text.isprintable() and text.strip() else "unknown"
