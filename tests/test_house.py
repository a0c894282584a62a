"""The floors of the house, held: no import upwards, no screen below the widgets, quick to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import napari_focusstack

PACKAGE = Path(napari_focusstack.__file__).parent
FLOORS = {"networks": 0, "core": 1, "io": 2, "training": 3, "microscope": 4, "widgets": 5, "cli": 5}
GUI = {"napari", "qtpy", "magicgui", "superqt", "pyqtgraph", "PyQt6", "PySide6"}


def imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            names.add(node.module or "")
    return names


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(f for f in PACKAGE.rglob("*.py") if room(f) in FLOORS)


@pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(PACKAGE)) for f in FILES])
def test_no_import_runs_up_the_house(file: Path) -> None:
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "napari_focusstack" and len(parts) > 1 and parts[1] in FLOORS:
            assert parts[1] == room(file) or FLOORS[parts[1]] < FLOORS[room(file)], name


@pytest.mark.parametrize("file", [f for f in FILES if room(f) != "widgets"], ids=lambda f: str(f.relative_to(PACKAGE)))
def test_only_widgets_know_a_screen(file: Path) -> None:
    assert not {name.split(".")[0] for name in imports(file)} & GUI


def test_a_test_that_waits_has_patience() -> None:
    """It costs nothing where the test passes; a machine that is busy takes ten times as long as ours."""
    for file in Path(__file__).parent.glob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                continue
            if call.func.attr in ("waitUntil", "waitSignal", "waitExposed"):
                given = [k.value for k in call.keywords if k.arg == "timeout"]
                assert given, f"{file.name}:{call.lineno} waits five seconds: give timeout=60_000"
                short = isinstance(given[0], ast.Constant) and given[0].value < 20_000
                assert not short, f"{file.name}:{call.lineno} waits less than 20 s: give timeout=60_000"


def loaded_after(code: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return set(out.splitlines()[-1].split())


def test_importing_the_package_loads_neither_torch_nor_qt_nor_napari() -> None:
    assert not loaded_after("import napari_focusstack") & (GUI | {"torch", "cv2", "skimage"})


def test_the_public_names_are_found_and_load_no_screen() -> None:
    loaded = loaded_after("import napari_focusstack as f\nfor n in f.__all__: getattr(f, n)")
    assert not loaded & (GUI | {"torch"})


def test_completion_finds_the_public_names_alone_before_anything_is_loaded() -> None:
    code = (
        "import napari_focusstack as f\nassert {n for n in dir(f) if not n.startswith('_')} == set(f.__all__), dir(f)\n"
    )
    assert not loaded_after(code) & (GUI | {"numpy"})


def test_the_classical_road_never_imports_torch() -> None:
    code = (
        "import numpy as np, napari_focusstack as f\n"
        "s = f.from_array(np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8), z_um=1)\n"
        "f.score(s); f.fuse(s)"
    )
    assert not loaded_after(code) & (GUI | {"torch"})


def test_the_manifest_at_the_top_is_the_one_in_the_package() -> None:
    top = PACKAGE.parents[1] / "napari.yaml"
    if not top.exists():
        pytest.skip("installed without the repository")
    assert top.resolve() == (PACKAGE / "napari.yaml").resolve()
