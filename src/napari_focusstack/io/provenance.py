"""Where a result comes from: put into its file, and read back."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari_focusstack
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.map_layers import LAYERS

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from napari_focusstack.core.fusion.fused import Fused
    from napari_focusstack.core.report import FocusReport

NAMESPACE = "napari-focusstack/provenance"
HEADING = "napari-focusstack provenance"
FOCUS_MAP = "focus map"
NOT_FOR_QUANTIFICATION = (
    "Intensities of a fused image are not for quantification: measure in the source, at the slice that the index tells."
)


def source_files(stack: Stack) -> tuple[Path, ...]:
    """The files that a stack was read from; empty where it comes from memory."""
    return tuple(stack.metadata.get("files") or ([stack.source] if stack.source and stack.source.is_file() else []))


def sha256(files: Sequence[Path]) -> str:
    """SHA-256 of a file; of several files, that of the list ``<sha256>  <name>\\n`` of them, as sha256sum prints it."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(files) == 1:
        return digests[0]
    lines = "".join(f"{digest}  {path.name}\n" for digest, path in zip(digests, files, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def provenance(
    stack: Stack,
    *,
    method: str,
    parameters: Mapping[str, Any],
    slices: Sequence[int] = (),
    more: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Say in plain words what a result was made from, and how.

    Parameters
    ----------
    stack : Stack
        What it was made from; its files are hashed, if it has any.
    method : str
        Name of the method.
    parameters : mapping
        Every parameter that the result depends on.
    slices : sequence of int
        Slices used, 0-based; all where empty.
    more : mapping, optional
        What else to say (channel, time, position).

    Returns
    -------
    dict of str to str
        In the order in which it is to be read.
    """
    files = source_files(stack)
    said: dict[str, str] = {
        "Software": f"napari-focusstack {napari_focusstack.__version__}",
        "Created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "Source": stack.name if stack.source is None else stack.source.resolve().name,
    }
    if files:
        said["Source SHA-256"] = sha256(files)
        if len(files) > 1:
            said["Source files"] = f"{len(files)}, {files[0].name} to {files[-1].name}"
    said["Slices"] = ranges(slices or range(stack.n_slices))
    said["Method"] = method
    said |= {f"Parameter {key}": _text(value) for key, value in parameters.items()}
    said |= {key: _text(value) for key, value in (more or {}).items()}
    return said


def fused_provenance(fused: Fused, stack: Stack, *, more: Mapping[str, Any] | None = None) -> dict[str, str]:
    """`provenance` of a fused image."""
    said = provenance(stack, method=fused.method, parameters=fused.parameters, slices=fused.slices, more=more)
    return {**said, "Note": NOT_FOR_QUANTIFICATION}


def score_provenance(report: FocusReport, stack: Stack, *, more: Mapping[str, Any] | None = None) -> dict[str, str]:
    """`provenance` of focus maps."""
    cautious = {"Caution": report.caution} if report.caution else {}
    parameters = {"patch_px": report.grid.cell_px}
    return provenance(stack, method=report.scorer, parameters=parameters, more=cautious | dict(more or {}))


def ranges(slices: Sequence[int]) -> str:
    """Slices in words: ``"0-5, 8"``."""
    runs: list[list[int]] = []
    for z in sorted(slices):
        if runs and z == runs[-1][1] + 1:
            runs[-1][1] = z
        else:
            runs.append([z, z])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def as_text(said: Mapping[str, str]) -> str:
    """One line for each entry, below a heading: what ImageJ shows as Info."""
    return "\n".join([HEADING, *(f"{key}: {value}" for key, value in said.items())])


def read_provenance(path: str | Path) -> dict[str, str]:
    """Read back what was put into a file; empty where nothing was.

    Raises
    ------
    InputError
        If the file is no TIFF that can be read.
    """
    from xml.etree import ElementTree

    from tifffile import TiffFile, TiffFileError

    try:
        with TiffFile(path) as tif:
            ome, imagej = tif.ome_metadata, tif.imagej_metadata
    except (OSError, TiffFileError) as error:
        raise InputError(f"'{path}' can't be read as TIFF ({error}): give a file that was written here.") from error
    said = said_in_ome(ElementTree.fromstring(ome.encode())) if ome else {}
    return said or said_in_text(str((imagej or {}).get("Info", "")))


def said_in_ome(root: Element) -> dict[str, str]:
    """The provenance in an OME-XML, with or without namespaces; empty where there is none."""
    for element in root.iter():
        if element.tag.rpartition("}")[2] == "MapAnnotation" and element.get("Namespace") == NAMESPACE:
            entries = (m for m in element.iter() if m.tag.rpartition("}")[2] == "M")
            return {m.get("K", ""): m.text or "" for m in entries}
    return {}


def said_in_text(text: str) -> dict[str, str]:
    """The provenance in a text that `as_text` made, after whatever else it holds; empty where there is none."""
    lines = text.splitlines()
    if HEADING not in lines:
        return {}
    told = (line.partition(": ") for line in lines[lines.index(HEADING) + 1 :])
    return {key: value for key, _, value in told}


def patch_of_map(said: Mapping[str, str]) -> tuple[float, float] | None:
    """Height and width of the patch that a pixel stands for, where the provenance is that of a focus map; else None."""
    content = said.get("Content", "")
    if not content.startswith(FOCUS_MAP) and content not in LAYERS.values():
        return None
    try:
        height, width = json.loads(said.get("Parameter patch_px", ""))
        return float(height), float(width)
    except (ValueError, TypeError):
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
