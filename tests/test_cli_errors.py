"""`focusstack` when something is wrong: one line, the right exit code, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_focusstack import __version__
from napari_focusstack.cli import main
from napari_focusstack.core.errors import InputError
from napari_focusstack.io.read import read_stack
from napari_focusstack.io.samples import SAMPLES

BEADS = str(SAMPLES["beads"].path)


def save(path: Path, shape: tuple[int, ...], axes: str, **options: Any) -> Path:
    data = np.random.default_rng(0).integers(0, 255, shape).astype(options.pop("dtype", np.uint8))
    tifffile.imwrite(path, data, ome=True, metadata={"axes": axes}, photometric="minisblack", **options)
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """One of everything that can't be used."""
    save(tmp_path / "plane.tif", (64, 64), "YX")
    save(tmp_path / "times.tif", (5, 64, 64), "TYX")
    save(tmp_path / "no_step.tif", (5, 64, 64), "ZYX")
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("no image")
    whole = save(tmp_path / "whole.tif", (5, 64, 64), "ZYX").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "mixed").mkdir()
    save(tmp_path / "mixed" / "1.tif", (64, 64), "YX")
    save(tmp_path / "mixed" / "2.tif", (64, 65), "YX")
    nan = np.zeros((3, 64, 64), np.float32)
    nan[1, 2, 3] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", nan, metadata={"axes": "ZYX"}, photometric="minisblack")
    tifffile.imwrite(tmp_path / "colours.tif", np.zeros((3, 64, 64), np.uint8), photometric="rgb")
    (tmp_path / "there.tif").write_text("mine")
    (tmp_path / "a.czi").write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("score missing.tif", "does not exist"),
        ("score empty.tif", "empty"),
        ("score text.tif", "not an image"),
        ("score cut.tif", "cut off"),
        ("score mixed", "'1.tif' is 64×64 uint8 grey and '2.tif' is 65×64 uint8 grey"),
        ("score a.czi", "Zeiss CZI"),
        ("score nan.tif", "NaN"),
        ("score times.tif", "time series without z .*--z-axis t"),
        ("fuse times.tif -o out.tif", "time series without z .*--z-axis t"),
        ("fuse plane.tif -o out.tif", "two slices or more"),
        ("fuse colours.tif -o out.tif", "calls its 3 planes the colours of a single one: .*--z-axis s"),
        ("fuse nan.tif -o out.tif", "NaN"),
        ("fuse whole.tif -o out.tif --recipe text.tif", "is no recipe"),
        ("fuse whole.tif -o there.tif", "exists already.*--overwrite"),
        ("fuse whole.tif -o whole.tif --overwrite", "the source itself"),
        ("fuse whole.tif -o no/out.tif", "folder .* does not exist"),
        ("fuse whole.tif -o out.png", "not the name of a TIFF"),
        ("fuse whole.tif -o out.tif --index out.tif", "same name"),
        ("fuse whole.tif -o out.tif --slices 3", "no range of slices"),
        ("fuse whole.tif -o out.tif --slices 3-99", "99"),
        ("fuse whole.tif -o out.tif --method magic", "no fusion method 'magic'"),
        ("fuse no_step.tif -o out.tif --depth d.tif", "give --z-step"),
        ("fuse whole.tif -o out.tif --channel 3", "no channel '3', 'whole' has a single one: leave"),
        ("fuse whole.tif -o out.tif --time 3", "no time point 3, 'whole' has a single one: leave"),
        ("score whole.tif --position 3", "no position 3"),
        ("score whole.tif --scorer magic", "no scorer 'magic'"),
        ("score whole.tif -o there.tif", "exists already"),
        ("map whole.tif -o there.tif", "exists already"),
        ("info whole.tif --z-axis q", "no axis 'q'"),
        ("info whole.tif --z-step -1", "above 0"),
        ("info whole.tif --z-positions 0,1,2", "3 heights were given for 5 slices"),
        ("info whole.tif --z-positions 0,1,2,3,nan", "not a finite number"),
        ("info whole.tif --z-positions none.txt", "does not exist"),
        ("info whole.tif --z-positions 0,1,2,3,4 --z-step 1", "both given"),
        ("info whole.tif --channel 3", "no channel '3'"),
        ("info whole.tif --time 3", "no time point 3"),
        ("quality plane.tif --reference plane.tif --time 3", "no time point 3"),
        ("score whole.tif --device tpu", "(?i)invalid value"),
        ("quality plane.tif --reference whole.tif", "several planes"),
        ("quality plane.tif --reference mixed/2.tif", "same size"),
        ("quality plane.tif --position 2", "without --sources"),
        ("quality plane.tif --z-axis t", "without --sources"),
        ("deblur plane.tif -o out.tif --na 0.5", "--na 0.5 was given without --defocus"),
        ("quality", "(?i)missing argument"),
        ("quality plane.tif --sources mixed/2.tif", "same size"),
        ("fuse whole.tif", "(?i)missing option"),
        ("score", "(?i)missing argument"),
        ("score whole.tif --patch 1", r"(?i)invalid value .*4\. See focusstack score --help\.$"),
        ("mask whole.tif -o out.tif --threshold 3", r"equal to 1\. See focusstack mask --help\.$"),
        ("evaluate mixed --labels nope.csv", r"'nope.csv' can't be read \(No such file or directory\)"),
        ("evaluate mixed --labels nan.tif", r"'nan.tif' can't be read \(no text\)"),
        ("score whole.tif --patch 1.5", "'1.5' was given for --patch: give a whole number"),
        ("score whole.tif --z-step two", "'two' was given for --z-step: give a number"),
        ("autofocus --demo --limits a b", "'a' was given for --limits: give 2 numbers"),
        ("autofocus --demo --start here", "'here' was given for --start: give a number"),
        ("score whole.tif --output=", "'--output=' has no value"),
        ("score whole.tif --nonsense", "(?i)no such option"),
        ("nonsense", "(?i)no such command"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.chdir(files)
    before = sorted(files.rglob("*"))
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert err.startswith("focusstack: ")
    assert err.count("\n") == 1
    assert re.search(said, err), err
    assert sorted(files.rglob("*")) == before
    assert (files / "there.tif").read_text() == "mine"


@pytest.mark.parametrize("arguments", [["score", ""], ["score", BEADS, "-o", " "], ["info", "", BEADS]])
def test_an_empty_name_is_not_the_current_folder(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.chdir(files / "mixed")
    with pytest.raises(SystemExit) as end:
        main(arguments)
    _, err = capsys.readouterr()
    assert end.value.code == 2
    before = arguments[arguments.index("" if "" in arguments else " ") - 1]
    assert err.startswith(f"focusstack: The argument after '{before}' is empty")
    with pytest.raises(InputError, match="name of a file is empty"):
        read_stack("")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert (end.value.code, capsys.readouterr().out) == (0, f"focusstack {__version__}\n")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
        (RuntimeError("Out of memory.\n  Tried 3 GB."), "RuntimeError: Out of memory. Tried 3 GB"),
        (MemoryError(), "MemoryError"),
        (OSError(5, "Input/output error", "a.tif"), "OSError: [Errno 5] Input/output error: 'a.tif'"),
    ],
)
def test_a_failure_of_ours_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, told: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("napari_focusstack.io.read.read_stacks", fail)
    for verbose in ([], ["-v"]):
        with pytest.raises(SystemExit) as end:
            main(["info", BEADS, *verbose])
        _, err = capsys.readouterr()
        assert end.value.code == 1
        more = "" if verbose else "; with -v it says where"
        assert err.splitlines()[-1] == f"focusstack: failed: {told}{more}"
        assert ("Traceback" in err) == bool(verbose)
        assert verbose or err.count("\n") == 1


def test_a_batch_says_once_how_to_learn_more_of_a_failure_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("napari_focusstack.io.read.read_stacks", fail)
    for verbose in ([], ["-v"]):
        with pytest.raises(SystemExit):
            main(["batch", BEADS, "-o", str(tmp_path), *verbose])
        out, err = capsys.readouterr()
        assert "failed: ZeroDivisionError: oops" in out
        assert ("Traceback" in err) == bool(verbose)
        assert err.splitlines()[-1].endswith("says why" if verbose else "says why; with -v it says where")


def process(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "napari_focusstack.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_in_the_middle_leaves_no_file(tmp_path: Path, number: signal.Signals) -> None:
    data = np.random.default_rng(0).integers(0, 255, (60, 512, 512)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", metadata={"axes": "ZYX"})
    # A slow method: it must not be done before the signal comes, however busy the machine.
    running = process("fuse", tmp_path / "a.tif", "-o", tmp_path / "out.tif", "-v", "--method", "nsct")
    assert running.stderr is not None
    for _ in range(5):  # five slices in
        running.stderr.readline()
    running.send_signal(number)
    err, out = running.stderr.read(), running.stdout.read() if running.stdout else ""
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert err.splitlines()[-1] == "focusstack: stopped"
    assert "Traceback" not in err
    assert out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_a_reader_that_has_enough_is_left_without_a_word() -> None:
    running = process("scorers")
    assert running.stdout is not None
    running.stdout.close()
    running.stdout = None
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (1, "")


def test_fuse_loads_neither_torch_nor_qt_nor_napari(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from napari_focusstack.cli import main\n"
        f"try: main(['fuse', {BEADS!r}, '-o', {str(tmp_path / 'out.tif')!r}])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "cv2" in loaded
    assert not loaded & {"torch", "napari", "qtpy", "PyQt6", "PySide6", "magicgui", "dask", "zarr", "imageio", "pandas"}


def test_the_help_and_the_lists_load_no_files_libraries() -> None:
    code = (
        "import sys\n"
        "from napari_focusstack.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.splitlines()[-1].split()) & {"numpy", "cv2", "tifffile", "scipy"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_standard_output_is_a_failure_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "napari_focusstack.cli", "scorers"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_a_full_disk_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")

    def little() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    running = process("fuse", BEADS, "-o", tmp_path / "out.tif", preexec_fn=little, env=environment)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "no room on the disk" in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
