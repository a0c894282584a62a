"""Which files of a folder are images, in which order; and what to say of those that aren't."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from napari_focusstack.core.errors import InputError

EXTENSIONS = (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".png", ".jpg", ".jpeg", ".bmp")
VIDEOS = (".avi", ".mp4", ".m4v", ".mov")
"""Taken where they are named; passed over in a folder of slices."""

_FOREIGN = {
    ".czi": ("Zeiss CZI", "bioio-czi"),
    ".lif": ("Leica LIF", "bioio-lif"),
    ".nd2": ("Nikon ND2", "bioio-nd2"),
    ".dv": ("DeltaVision", "bioio-dv"),
    ".oib": ("Olympus OIB", "bioio-bioformats"),
    ".oif": ("Olympus OIF", "bioio-bioformats"),
    ".oir": ("Olympus OIR", "bioio-bioformats"),
    ".vsi": ("Olympus VSI", "bioio-bioformats"),
    ".ims": ("Imaris IMS", "bioio-bioformats"),
    ".mrc": ("MRC", "bioio-bioformats"),
    ".sldy": ("SlideBook", "bioio-sldy"),
    ".zarr": ("OME-Zarr", "bioio-ome-zarr"),
}


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Key to sort by so that img2 comes before img10."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p]


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The image files of a folder in natural order, and what else lies there."""
    entries = sorted(folder.iterdir(), key=natural_key)
    # macOS leaves "._name.tif" files that promise an image and hold none.
    images = [p for p in entries if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".") and p.is_file()]
    kept = set(images)
    return images, [p for p in entries if p not in kept]


def reject_foreign(path: Path) -> None:
    """Raise `InputError` for a microscope format that others read, naming a reader."""
    if path.suffix.lower() in _FOREIGN:
        name, reader = _FOREIGN[path.suffix.lower()]
        raise InputError(
            f"'{path.name}' is a {name} file, which is not read here: save it as OME-TIFF (Fiji's Bio-Formats can), "
            f"or open it in napari with a reader plugin ({reader}) and use its layer."
        )


def resolve(path: str | Path | Sequence[str | Path]) -> tuple[list[Path], list[Path], Path]:
    """Image files that a path, folder or selection means.

    Returns
    -------
    files : list of Path
        In natural order.
    passed_over : list of Path
        What lies in the folder too.
    source : Path
        The file, or the folder of the files.

    Raises
    ------
    InputError
        If a path leads nowhere, or nothing in it can be read.
    """
    names = [path] if isinstance(path, (str, Path)) else list(path)
    if not names:
        raise InputError("No file was given: give a file, a folder of slices, or several files.")
    if not all(str(name).strip() for name in names):
        raise InputError("The name of a file is empty: give a file, a folder of slices, or several files.")
    given = [Path(name) for name in names]
    for one in given:
        reject_foreign(one)
        if not one.exists():
            raise InputError(f"'{one}' does not exist: check the path.")
        if one.is_dir() and len(given) > 1:
            raise InputError(f"'{one}' is a folder among {len(given)} paths: give one folder, or files only.")
    if given[0].is_dir():
        files, others = image_files(given[0])
        if not files:
            for other in others:
                reject_foreign(other)
            raise InputError(
                f"The folder '{given[0]}' holds no image that can be read: "
                "give a folder of TIFF, PNG, JPEG or BMP files."
            )
        return files, others, given[0]
    if len(given) == 1:
        return given, [], given[0]
    return sorted(given, key=natural_key), [], given[0].absolute().parent


def listed(names: Iterable[str], *, most: int = 3) -> str:
    """Names in a row, the first `most` of them."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
