"""Files that are there whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_focusstack.core.errors import InputError

_ALLOW = "allow overwriting it (--overwrite; in Python overwrite=True)"


def make_folder(path: Path) -> None:
    """Make a folder to write to, if it is not there.

    Raises
    ------
    InputError
        If it can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder '{path}' can't be made ({error.strerror}): choose another.") from error


def check_target(path: Path, *, overwrite: bool = False, sources: Iterable[Path] = ()) -> None:
    """Make sure that `path` may be written, before anything is computed.

    Parameters
    ----------
    path : Path
        What is to be written.
    overwrite : bool
        Whether a file that is there may be replaced.
    sources : iterable of Path
        Files that are never replaced: what the result is made from.

    Raises
    ------
    InputError
        If it may not, or can't; the message says why.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"The folder '{folder}' does not exist: make it first, or choose another.")
    if path.is_dir():
        raise InputError(f"'{path}' is a folder: give the name of a file.")
    if path.exists():
        if any(source.exists() and path.samefile(source) for source in sources):
            raise InputError(f"'{path}' is the source itself: give another name for the result.")
        if not overwrite:
            there = f"'{path}' exists already: give another name"
            raise InputError(f"{there}, or {_ALLOW}.", in_napari=f"{there}.")
    probe = _beside(path)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise _refusal(path, error) from error


def check_targets(paths: Sequence[Path], *, overwrite: bool = False, sources: Iterable[Path] = ()) -> None:
    """`check_target` of several files that are written together.

    Raises
    ------
    InputError
        As `check_target`, and where two paths are the same.
    """
    sources = tuple(sources)
    if len({path.absolute() for path in paths}) < len(paths):
        raise InputError("Two outputs have the same name: give each a name of its own.")
    for path in paths:
        check_target(path, overwrite=overwrite, sources=sources)


@contextmanager
def replacing(path: Path, *, overwrite: bool = False, sources: Iterable[Path] = ()) -> Iterator[Path]:
    """A file to write, beside `path`; it becomes `path` at the end, or vanishes where anything goes wrong.

    Raises
    ------
    InputError
        As `check_target`, and where the disk is full or refuses.
    """
    with replacing_all([path], overwrite=overwrite, sources=sources) as (part,):
        yield part


@contextmanager
def replacing_all(
    paths: Sequence[Path], *, overwrite: bool = False, sources: Iterable[Path] = ()
) -> Iterator[list[Path]]:
    """Files to write, each beside one of `paths`; at the end all become `paths`, or none does and they vanish.

    Raises
    ------
    InputError
        As `check_targets`, and where the disk is full or refuses.
    """
    check_targets(paths, overwrite=overwrite, sources=sources)
    parts = [_beside(path) for path in paths]
    try:
        yield parts
        for path, part in zip(paths, parts, strict=True):
            with _refused(path), part.open("rb+") as file:
                os.fsync(file.fileno())  # a full disk may tell it only now
        _rename_all(parts, paths, overwrite=overwrite)
    except OSError as error:
        raise _refusal(paths[0], error) from error
    finally:
        for part in parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _rename_all(parts: Sequence[Path], paths: Sequence[Path], *, overwrite: bool) -> None:
    """Give all `parts` their names; where one is refused (a program holds the file open), undo the others."""
    for path in paths:
        if path.exists() and not overwrite:
            raise InputError(f"'{path}' appeared while it was being made: give another name, or {_ALLOW}.")
    done: list[tuple[Path, Path | None]] = []
    try:
        for part, path in zip(parts, paths, strict=True):
            with _refused(path):
                older = _beside(path) if len(paths) > 1 and path.exists() else None
                if older is not None:
                    path.rename(older)
                    done.append((path, older))
                part.replace(path)
                if older is None:
                    done.append((path, None))
    except BaseException:
        for path, older in reversed(done):
            with suppress(OSError):
                path.unlink(missing_ok=True)
                if older is not None:
                    older.rename(path)
        raise
    for _, older in done:
        if older is not None:
            with suppress(OSError):
                older.unlink()


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn what the disk says of `path` into a sentence."""
    try:
        yield
    except OSError as error:
        raise _refusal(path, error) from error


def _beside(path: Path) -> Path:
    return path.absolute().parent / f".focusstack-{uuid.uuid4().hex[:12]}.part"


def _refusal(path: Path, error: OSError) -> InputError:
    # NumPy's tofile tells a short write without a number.
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "requested and" in str(error):
        return InputError(
            f"There is no room on the disk for '{path}': make room or choose another; nothing is written."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError(f"'{path.absolute().parent}' may not be written to: choose another folder.")
    return InputError(f"'{path}' can't be written ({error.strerror or error}): choose another place.")
