"""What OME-XML says of an image: calibration, channels, optics, heights of the planes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.stack import Optics
from napari_focusstack.io.provenance import said_in_ome
from napari_focusstack.io.units import length_um, um_per

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_IMMERSION = {"air": 1.0, "water": 1.333, "waterdipping": 1.333, "oil": 1.518, "glycerol": 1.47}

UNEVEN = 0.1
"""Heights that differ from even steps by more than this fraction of a step count as uneven: stages read back jitter."""


@dataclass(frozen=True)
class OmeImage:
    """One Image of an OME-XML; every length in µm, None where it is not said."""

    name: str = ""
    y_um: float | None = None
    x_um: float | None = None
    z_um: float | None = None
    z_positions_um: tuple[float, ...] | None = None
    channels: tuple[str, ...] = ()
    optics: Optics = field(default_factory=Optics)
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def parse_ome(xml: str) -> list[OmeImage]:
    """Read the Images of an OME-XML of any schema version.

    Raises
    ------
    xml.etree.ElementTree.ParseError
        If it is no XML.
    """
    from xml.etree import ElementTree

    root = ElementTree.fromstring(xml.encode())
    for element in root.iter():  # schema versions differ in their namespace only, as far as we read
        element.tag = element.tag.rpartition("}")[2]
    objectives = {e.get("ID", ""): e for e in root.iter("Objective")}
    microscopes = [e for instrument in root.iter("Instrument") for e in instrument.findall("Microscope")]
    images = [_image(e, objectives, microscopes) for e in root.findall("Image")]
    said = said_in_ome(root)
    return [replace(one, metadata={**one.metadata, "provenance": said}) for one in images] if said else images


def companion_name(xml: str) -> str | None:
    """Name of the file that holds the metadata where this OME-XML only points to it."""
    from xml.etree import ElementTree

    root = ElementTree.fromstring(xml.encode())
    binary = next((e for e in root if e.tag.endswith("BinaryOnly")), None)
    return None if binary is None else binary.get("MetadataFile")


def _image(image: Element, objectives: dict[str, Element], microscopes: list[Element]) -> OmeImage:
    pixels = image.find("Pixels")
    if pixels is None:
        return OmeImage(image.get("Name", ""))
    size = {a: length_um(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "µm")) for a in "XYZ"}
    channels = pixels.findall("Channel")
    names = tuple(c.get("Name", "") for c in channels)
    waves = tuple(length_um(c.get("EmissionWavelength"), c.get("EmissionWavelengthUnit", "nm")) for c in channels)
    z_um, heights, notes = _calibration_z(pixels, size["Z"])
    metadata: dict[str, Any] = {"wavelengths_um": waves} if any(waves) else {}
    if time := pixels.get("TimeIncrement"):
        metadata["time_increment"] = f"{time} {pixels.get('TimeIncrementUnit', 's')}"
    return OmeImage(
        name=image.get("Name", ""),
        y_um=size["Y"],
        x_um=size["X"],
        z_um=z_um,
        z_positions_um=heights,
        channels=tuple(n or f"channel {i}" for i, n in enumerate(names)) if any(names) else (),
        optics=_optics(image, objectives, microscopes, waves[0] if waves else None),
        metadata=metadata,
        notes=notes,
    )


def _optics(
    image: Element, objectives: dict[str, Element], microscopes: list[Element], wavelength_um: float | None
) -> Optics:
    settings = image.find("ObjectiveSettings")
    if settings is None:
        settings = image.find("ObjectiveRef")
    wanted = "" if settings is None else settings.get("ID", "")
    objective = objectives.get(wanted)
    if objective is None and len(objectives) == 1:
        objective = next(iter(objectives.values()))
    get = (lambda _: None) if objective is None else objective.get
    index = _positive(settings.get("RefractiveIndex")) if settings is not None else None
    return Optics(
        na=_positive(get("LensNA")),
        wavelength_um=wavelength_um,
        immersion_index=index or _IMMERSION.get((get("Immersion") or "").lower()),
        magnification=_positive(get("NominalMagnification")) or _positive(get("CalibratedMagnification")),
        instrument=_instrument(microscopes[0] if len(microscopes) == 1 else None, objective),
    )


def _instrument(*parts: Element | None) -> str | None:
    """Maker, model and serial number of microscope and objective, as far as they are told."""
    told = [
        " ".join(text for key in ("Manufacturer", "Model", "SerialNumber") if (text := (part.get(key) or "").strip()))
        for part in parts
        if part is not None
    ]
    return ", ".join(filter(None, told)) or None


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if np.isfinite(value) and value > 0 else None


def _calibration_z(
    pixels: Element, size_um: float | None
) -> tuple[float | None, tuple[float, ...] | None, tuple[str, ...]]:
    """(z step, heights, notes) from the z step that the file tells and the heights of its planes.

    Heights count from the first slice, whether the steps are even or not, and are told where a step can't tell them:
    where the steps are uneven, or lead downwards. Where step and heights contradict each other, heights in a unit of
    length were measured and win; heights in an unknown unit tell the direction only.
    """
    found, known = _heights(pixels)
    if found is None:
        return size_um, None, ()
    heights = found - found[0]
    step = float(heights[-1]) / (len(heights) - 1)
    even = np.abs(heights - step * np.arange(len(heights))).max() <= UNEVEN * abs(step)
    notes: tuple[str, ...] = ()
    if size_um and abs(abs(step) - size_um) > UNEVEN * abs(step):
        said = f"the file names a z step of {size_um:.4g} µm and heights with steps of {abs(step):.4g}"
        notes = (f"{said} µm: the heights are taken" if known or not even else f"{said} without a unit: step taken",)
    if not even:
        return None, tuple(heights.tolist()), notes
    if size_um and (not notes or not known):  # a nominal step has no jitter
        step = math.copysign(size_um, step)
    if step > 0:
        return step, None, notes
    return None, tuple((step * np.arange(len(heights))).tolist()), notes


def _heights(pixels: Element) -> tuple[NDArray[np.float64] | None, bool]:
    """Height of each slice as the planes tell it, None where they don't; and whether in a unit of length."""
    n = int(pixels.get("SizeZ", "1"))
    found: dict[int, float] = {}
    known = True
    for plane in pixels.findall("Plane"):
        z, text = int(plane.get("TheZ", "-1")), plane.get("PositionZ")
        # Without a unit it is the "reference frame" by the schema, and µm by what most programs write.
        unit = plane.get("PositionZUnit", "reference frame")
        factor = um_per(unit.replace("reference frame", "µm"))
        if text and factor and z not in found:
            found[z] = float(text) * factor
            known &= unit != "reference frame"
    if n < 2 or sorted(found) != list(range(n)):
        return None, False
    z_um = np.array([found[z] for z in range(n)])
    direction = np.sign(z_um[-1] - z_um[0])
    if not np.isfinite(z_um).all() or not (np.diff(z_um) * direction > 0).all():
        return None, False  # a stage that stood still, or was read while it moved, tells no heights
    return z_um, known
