"""`focusstack deblur`: what it writes and what it refuses."""

import json

import numpy as np
import pytest
import tifffile

from napari_focusstack.cli.main import main
from napari_focusstack.io.provenance import read_provenance
from napari_focusstack.io.read import read_stack


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code, *capsys.readouterr()


@pytest.fixture
def stack(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "s.ome.tif"
    data = rng.integers(100, 4000, (3, 40, 50), dtype=np.uint16)
    tifffile.imwrite(path, data, metadata={"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2})
    return path


def test_one_slice_is_sharpened_and_keeps_its_calibration(stack, tmp_path, capsys):
    out = tmp_path / "out.ome.tif"
    code, printed, _ = run(capsys, "deblur", stack, "--slice", 1, "--model", "wiener", "--blur", 2, "-o", out, "--json")
    assert code == 0
    assert json.loads(printed)["model"] == "wiener"
    made = read_stack(out)
    assert (made.axes, made.dtype, made.x_um) == ("YX", np.uint16, 0.2)
    said = read_provenance(out)
    assert said["Method"] == "Wiener filter"
    assert said["Parameter blur_px"] == "2.0"
    assert said["Slices"] == "1"
    assert "Warning" not in said


def test_a_whole_stack_stays_a_stack(stack, tmp_path, capsys):
    out = tmp_path / "out.ome.tif"
    assert run(capsys, "deblur", stack, "--model", "richardson_lucy", "-o", out)[0] == 0
    assert read_stack(out).data.shape == (3, 40, 50)


def test_the_estimated_blur_is_printed_and_kept(stack, tmp_path, capsys):
    out = tmp_path / "out.ome.tif"
    code, printed, _ = run(capsys, "deblur", stack, "--slice", 1, "--model", "wiener", "-o", out, "--json")
    told = json.loads(printed)
    assert code == 0
    assert told["blur_um"] == pytest.approx([0.2 * b for b in told["blur_px"]])
    assert read_provenance(out)["Estimated blur radius"] == f"{told['blur_px'][0]:.3g} px ({told['blur_um'][0]:.3g} µm)"
    assert read_provenance(out)["Parameter blur_px"] == "estimated"
    assert "estimated blur radius: " in run(capsys, "deblur", stack, "--model", "wiener", "-o", tmp_path / "b.tif")[1]


def test_what_is_known_of_the_blur_is_used_and_kept(stack, tmp_path, capsys):
    told = ("--defocus", 2, "--na", 0.5, "--wavelength", 0.52, "--motion", 3, "--motion-angle", 40)
    for name, arguments in (("known.ome.tif", told), ("disc.ome.tif", ("--blur", 2))):
        code, _, _ = run(capsys, "deblur", stack, "--model", "wiener", *arguments, "-o", tmp_path / name)
        assert code == 0
    said = read_provenance(tmp_path / "known.ome.tif")
    kept = {key: said.get(f"Parameter {key}") for key in ("defocus_um", "motion_px", "motion_degrees", "blur_px")}
    assert kept == {"defocus_um": "2.0", "motion_px": "3.0", "motion_degrees": "40.0", "blur_px": None}
    made = [read_stack(tmp_path / name).plane(z=1) for name in ("known.ome.tif", "disc.ome.tif")]
    assert not np.array_equal(*made)


@pytest.mark.parametrize("angle", [0, 30])
def test_a_direction_without_a_motion_is_refused(stack, tmp_path, capsys, angle):
    out = tmp_path / "out.tif"
    code, _, said = run(capsys, "deblur", stack, "--model", "wiener", "--motion-angle", angle, "-o", out)
    assert code == 2
    assert "--motion-angle was given without --motion" in said
    assert not out.exists()


def test_the_slice_that_holds_nan_is_named(tmp_path, capsys):
    data = np.random.default_rng(0).random((3, 40, 50), dtype=np.float32)
    data[1, 2, 2] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", data, photometric="minisblack", metadata={"axes": "ZYX"})
    for arguments in ((), ("--slice", 1)):
        code, _, said = run(capsys, "deblur", tmp_path / "nan.tif", *arguments, "-o", tmp_path / "out.tif")
        assert code == 2
        assert "Slice 1 of" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--slice", 9), "no slice 9"),
        (("--model", "magic"), "no deblurring method 'magic'"),
        (("--model", "deblur_unet", "--blur", 3), "choose one of wiener"),
        (("--model", "wiener", "--defocus", 2), "numerical aperture"),
        (("--model", "wiener", "--motion-angle", 30), "give how many pixels"),
        ((), "--output"),
    ],
)
def test_mistakes_are_told_in_one_line(stack, tmp_path, capsys, arguments, words):
    output = ("-o", tmp_path / "out.tif") if arguments else ()
    code, _, said = run(capsys, "deblur", stack, *arguments, *output)
    assert code == 2
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out.tif").exists()


def test_the_methods_are_listed(capsys):
    code, printed, _ = run(capsys, "deblur", "any", "--model", "list", "--json")
    assert code == 0
    assert {"wiener", "richardson_lucy"} <= {m["name"] for m in json.loads(printed)["models"]}


def test_help_says_which_option_has_to_be_given(capsys):
    code, out, _ = run(capsys, "deblur", "--help")
    assert code == 0
    assert "required, but for --model list" in " ".join(out.split())
