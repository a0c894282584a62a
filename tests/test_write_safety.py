"""Nothing is lost: whole files or none, never over the source."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.lazy import PlaneArray
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import Stack, from_array
from napari_focusstack.io.atomic import check_target, replacing
from napari_focusstack.io.read import read_stack
from napari_focusstack.io.write import Output, write_job, write_stack, write_text

resource = pytest.importorskip("resource", reason="needs a limit to the size of files")


def some(n: int = 4) -> Stack:
    return from_array(np.random.default_rng(0).integers(0, 255, (n, 64, 64), dtype=np.uint8), axes="ZYX")


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_stack(path, some())
    assert path.read_text() == "mine"
    assert read_stack(write_stack(path, some(), overwrite=True)).n_slices == 4


def test_the_source_is_never_replaced(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "a.tif", some())
    before = path.read_bytes()
    (tmp_path / "link.tif").symlink_to(path)
    for target in (path, tmp_path / "link.tif"):
        with pytest.raises(InputError, match="the source itself"):
            write_stack(target, read_stack(path), overwrite=True)
    assert path.read_bytes() == before


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        write_text(tmp_path / "no" / "a.csv", "x")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        write_text(tmp_path, "x")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_read_only_place_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(InputError, match="may not be written to"):
        check_target(tmp_path / "a.tif")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_folder_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="may not be written to"):
        check_target(tmp_path / "a.tif")
    tmp_path.chmod(0o700)


@contextmanager
def room_for_little() -> Iterator[None]:
    """Let no file grow over 8 KiB: the nearest to a full disk that a test may make.

    For as short as can be: pytest's own log is a file too.
    """
    limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    with room_for_little(), pytest.raises(InputError, match="no room on the disk"):
        write_stack(tmp_path / "a.tif", some())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "a.ome.tif").write_text("mine")
    with room_for_little(), pytest.raises(InputError, match="no room on the disk"):
        write_stack(tmp_path / "a.ome.tif", some(), overwrite=True)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.ome.tif", "mine")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, InputError("slice 2"), ZeroDivisionError])
def test_whatever_stops_the_writing_leaves_nothing_behind(tmp_path: Path, error: Any) -> None:
    def read(number: int) -> np.ndarray[Any, Any]:
        if number == 2:
            raise error
        return np.zeros((64, 64), np.uint8)

    lazy = Stack(PlaneArray(read, np.arange(4), plane_shape=(64, 64), dtype=np.uint8), "ZYX")
    with pytest.raises(error if isinstance(error, type) else type(error)):
        write_stack(tmp_path / "a.tif", lazy)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"

    def both_write() -> None:
        with replacing(path) as part:
            part.write_text("ours")
            path.write_text("theirs")

    with pytest.raises(InputError, match="appeared"):
        both_write()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.csv", "theirs")]


def test_names_with_spaces_and_umlauts_are_written(tmp_path: Path) -> None:
    path = tmp_path / "Größe 1 µm" / "Zelle ü.ome.tif"
    path.parent.mkdir()
    assert read_stack(write_stack(path, some())).name == "Zelle ü"


def test_large_stacks_are_written_plane_by_plane(tmp_path: Path) -> None:
    alive: list[int] = []

    def read(number: int) -> np.ndarray[Any, Any]:
        alive.append(number)
        return np.full((64, 64), number, np.uint16)

    lazy = Stack(PlaneArray(read, np.arange(30), plane_shape=(64, 64), dtype=np.uint16), "ZYX")
    back = read_stack(write_stack(tmp_path / "a.ome.tif", lazy))
    assert alive == list(range(30))
    assert back.plane(29).max() == 29


def outputs(folder: Path, *names: str) -> list[Output]:
    return [Output(folder / name, some()) for name in names]


def test_several_files_get_their_names_together(tmp_path: Path) -> None:
    job = write_job(outputs(tmp_path, "a.tif", "b.ome.tif"))
    steps = []
    for step in job:
        steps.append(step)
        assert not [p for p in tmp_path.iterdir() if p.suffix == ".tif"]
    assert [step.done for step in steps] == list(range(1, 10))
    assert {step.total for step in steps} == {9}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "b.ome.tif"]


@pytest.mark.parametrize("steps", [1, 5, 9])
def test_a_job_that_is_closed_leaves_nothing_and_touches_nothing(tmp_path: Path, steps: int) -> None:
    (tmp_path / "b.tif").write_text("mine")
    job = write_job(outputs(tmp_path, "a.tif", "b.tif"), overwrite=True)
    for _ in range(steps):
        next(job)
    job.close()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("b.tif", "mine")]


def test_where_one_file_refuses_its_name_none_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tif").write_text("mine")
    whole = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target.name == "c.tif":
            raise PermissionError(errno.EBUSY, "open in another program")
        return whole(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(InputError, match=r"c\.tif"):
        drain(write_job(outputs(tmp_path, "a.tif", "b.tif", "c.tif"), overwrite=True))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.tif", "mine")]


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="same name"):
        drain(write_job(outputs(tmp_path, "a.tif", "a.tif")))
