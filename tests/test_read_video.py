"""Videos of a z scan as stacks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from napari_focusstack.cli.main import main
from napari_focusstack.core.errors import InputError
from napari_focusstack.io import video
from napari_focusstack.io.read import read_stack
from napari_focusstack.widgets import reader

KINDS = [(".avi", "MJPG"), (".avi", "FFV1"), (".mp4", "mp4v"), (".mov", "mp4v")]
FRAMES = 24


def film(path, codec="MJPG", *, colour=False, frames=FRAMES):
    """Frame z has the grey level 10·z on the left and 255 - 10·z on the right."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (96, 64))
    if not writer.isOpened():
        pytest.skip(f"no encoder for {codec}")
    for z in range(frames):
        frame = np.full((64, 96, 3), 10 * z, np.uint8)
        frame[:, 48:] = 255 - 10 * z
        if colour:
            frame[:32, :, 0] = 200
        writer.write(frame)
    writer.release()
    return path


def left(plane) -> float:
    return float(np.mean(plane[40:, 8:40]))


@pytest.mark.parametrize(("ending", "codec"), KINDS)
def test_a_video_is_a_stack_of_its_frames_in_any_order(tmp_path, ending, codec):
    stack = read_stack(film(tmp_path / f"scan{ending}", codec))
    assert (stack.axes, stack.data.shape, stack.dtype, stack.name) == ("ZYX", (FRAMES, 64, 96), np.uint8, "scan")
    assert "taken for z" in stack.axes_note
    assert "header" not in stack.axes_note
    for z in (0, 1, 2, 20, 7, 8, FRAMES - 1, 0):
        assert left(stack.plane(z)) == pytest.approx(10 * z, abs=4)
        assert left(stack.plane(z)[:, ::-1]) == pytest.approx(255 - 10 * z, abs=4)


def test_colours_stay_colours_in_their_order(tmp_path):
    stack = read_stack(film(tmp_path / "scan.avi", "FFV1", colour=True))
    assert stack.axes == "ZYXS"
    assert stack.plane(3)[5, 5].tolist() == pytest.approx([30, 30, 200], abs=6)


def test_frames_are_decoded_when_they_are_asked_for_from_any_thread(tmp_path, monkeypatch):
    path = film(tmp_path / "scan.avi")
    decoded = []
    read = video._Frames.read
    monkeypatch.setattr(video._Frames, "read", lambda self, i: (decoded.append(i), read(self, i))[1])
    stack = read_stack(path)
    assert len(decoded) <= 5
    found: dict[int, float] = {}
    threads = [threading.Thread(target=lambda z=z: found.update({z: left(stack.plane(z))})) for z in range(FRAMES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[z] for z in range(FRAMES)] == pytest.approx([10 * z for z in range(FRAMES)], abs=4)


def test_the_name_of_a_video_says_nothing_its_first_bytes_do(tmp_path):
    path = film(tmp_path / "scan.avi").rename(tmp_path / "scan.dat")
    assert read_stack(path).n_slices == FRAMES


def test_a_video_of_one_frame_is_an_image(tmp_path):
    assert read_stack(film(tmp_path / "one.avi", frames=1)).axes == "YX"


@pytest.mark.parametrize("head", [b"RIFF\x00\x00\x00\x00AVI LIST", b"\x00\x00\x00\x20ftypisom" + bytes(64)])
def test_what_can_t_be_decoded_is_said_in_a_line(tmp_path, head):
    path = tmp_path / "broken.mp4"
    path.write_bytes(head)
    with pytest.raises(InputError, match="codec"):
        read_stack(path)
    code = "import sys; from napari_focusstack.io.video import read_video; from pathlib import Path\n"
    code += "try: read_video(Path(sys.argv[1]))\nexcept ValueError as error: print(error)"
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "codec" in ran.stdout
    assert ran.stderr == ""


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif", b"crx "])
def test_a_photograph_in_a_video_s_container_is_not_taken_for_a_video(tmp_path, brand):
    path = tmp_path / "photograph"
    path.write_bytes(b"\x00\x00\x00\x18ftyp" + brand + bytes(64))
    with pytest.raises(InputError, match="not an image that can be read here"):
        read_stack(path)


def test_a_video_cut_short_is_as_long_as_it_can_be_decoded_and_says_so(tmp_path, caplog):
    path = film(tmp_path / "scan.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    stack = read_stack(path)
    assert 1 <= stack.n_slices < FRAMES
    told = f"its header tells of {FRAMES} frames, {stack.n_slices} can be decoded: it may be cut short"
    assert told in stack.axes_note
    assert told in caplog.text
    for z in range(stack.n_slices) if "Z" in stack.axes else (0,):
        assert left(stack.plane(z)) == pytest.approx(10 * z, abs=4)


def test_napari_opens_it_and_the_command_line_scores_it(tmp_path, capsys):
    path = film(tmp_path / "scan.mp4", "mp4v")
    ((data, kwargs, kind),) = reader.get_reader(str(path))(str(path))
    assert (kind, data.shape, kwargs["axis_labels"]) == ("image", (FRAMES, 64, 96), ("z", "y", "x"))
    with pytest.raises(SystemExit) as ended:
        main(["score", str(path), "--json"])
    assert ended.value.code == 0
    assert len(json.loads(capsys.readouterr().out)["scores"]) == FRAMES


def test_a_large_one_is_opened_lazily(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "EAGER_BYTES", 1000)
    path = film(tmp_path / "scan.avi")
    ((data, _, _),) = reader.read(str(path))
    assert not isinstance(data, np.ndarray)
    assert left(np.asarray(data[9])) == pytest.approx(90, abs=4)
