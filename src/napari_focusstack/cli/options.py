"""Options that commands share, and reading what they name."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_focusstack.core.errors import InputError

if TYPE_CHECKING:
    from napari_focusstack.core.settings import FuseSettings
    from napari_focusstack.core.stack import Stack

StackPaths = Annotated[
    list[Path],
    typer.Argument(metavar="STACK...", help="A file, a folder of slices, or several files.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say more: each step, and the whole story of a failure.")
]
Channel = Annotated[str | None, typer.Option(help="Channel, by name or 0-based index.", show_default=False)]
Time = Annotated[int | None, typer.Option(min=0, help="Time point, 0-based.", show_default="0")]
Position = Annotated[int, typer.Option(min=0, help="Position or image series, 0-based.")]
ZAxis = Annotated[
    str | None,
    typer.Option(help="Which axis of the file is z, by letter or number: 't' takes time for z.", show_default=False),
]
ZStep = Annotated[float | None, typer.Option(help="Z step in µm, in the place of the file's.", show_default=False)]
PixelSize = Annotated[
    float | None, typer.Option(help="Pixel size in µm, in the place of the file's.", show_default=False)
]
Aperture = Annotated[
    float | None,
    typer.Option(
        "--na",
        help="Numerical aperture, in the place of the file's; for µm of defocus, and for networks.",
        show_default=False,
    ),
]
Wavelength = Annotated[
    float | None,
    typer.Option(help="Wavelength in µm, in the place of the file's; for µm of defocus.", show_default=False),
]
ZPositions = Annotated[
    str | None,
    typer.Option(
        help="Height of each slice in µm, like 0,1.5,4 or in a file, in the place of the file's.", show_default=False
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there (never the source).")]


class DeviceName(StrEnum):
    """Where networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"
    ONNX = "onnx"


class RingsSide(StrEnum):
    """On which side of focus points show rings."""

    BELOW = "below"
    ABOVE = "above"


Rings = Annotated[
    RingsSide | None,
    typer.Option(
        help="On which side of focus points show rings: the sign of defocus in a single image; see 'rings'.",
        show_default="as 'rings' has found it",
    ),
]
Device = Annotated[
    DeviceName,
    typer.Option(help="Where networks run (onnx: onnxruntime on the processor); all else runs on the processor."),
]


Options = Mapping[str, tuple[Any, Any]]
"""What an option is (type and help) and where it stands if not given, by name."""
PLACE: Options = {"time": (Time, None), "position": (Position, 0)}
CALIBRATION: Options = {
    "z_axis": (ZAxis, None),
    "z_step": (ZStep, None),
    "z_positions": (ZPositions, None),
    "pixel_size": (PixelSize, None),
}
OPTICS: Options = {"na": (Aperture, None), "wavelength": (Wavelength, None)}
_COMMON = ("overwrite", "device", "as_json", "verbose")


def with_options(*groups: Options) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options in the place of its ``**`` argument; help lists them before the common ones."""
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for group in groups
        for name, (annotation, default) in group.items()
    ]

    def give(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
        own = [p.replace(kind=p.KEYWORD_ONLY) for p in own]
        last = [p for p in own if p.name in _COMMON]
        parameters = [*(p for p in own if p not in last), *more, *last]

        def wrapped(**given: Any) -> None:
            command(**given)

        wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapped

    return give


@dataclass(frozen=True)
class Chosen:
    """A stack and the time point and position of it that are meant."""

    stack: Stack
    time: int
    position: int

    @property
    def more(self) -> dict[str, int]:
        """What to say of the choice in the provenance."""
        said = {"Time point": self.time} if self.stack.n_times > 1 else {}
        return said | ({"Position": self.position} if self.stack.n_positions > 1 else {})


def read(
    paths: list[Path], *, z_axis: str | None, z_step: float | None, z_positions: str | None, pixel_size: float | None
) -> list[Stack]:
    """Read the stacks that the paths name, with the calibration that the options give.

    Raises
    ------
    InputError
        If they can't be read, or the calibration does not fit.
    """
    from napari_focusstack.io.heights import read_heights
    from napari_focusstack.io.read import read_stacks

    if z_step is not None and z_positions is not None:
        raise InputError("--z-step and --z-positions were both given: give one of them.")
    stacks = read_stacks(paths if len(paths) > 1 else paths[0], z_axis=z_axis, z_um=z_step, pixel_um=pixel_size)
    if z_positions is None:
        return stacks
    heights = [read_heights(z_positions, n=one.n_slices) for one in stacks]
    if any(list(z) not in (sorted(z), sorted(z, reverse=True)) for z in heights):
        print("focusstack: note: the z positions neither only rise nor only fall; taken as they are", file=sys.stderr)
    return [replace(one, z_um=None, z_positions_um=z) for one, z in zip(stacks, heights, strict=True)]


def narrowed(stack: Stack, *, channel: str | None, time: int | None) -> Stack:
    """The channel and time point that are asked for, of every position.

    Raises
    ------
    InputError
        If there is no such channel or time point.
    """
    if channel is not None:
        stack = stack.only_channel(stack.find_channel(channel))
    if time is not None:
        stack.series(t=time)  # says if there is no such
        where = tuple(time if a == "T" else slice(None) for a in stack.axes)
        stack = replace(stack, data=stack.data[where], axes=stack.axes.replace("T", ""))
    return stack


def choose(
    paths: list[Path],
    *,
    z_axis: str | None,
    z_step: float | None,
    z_positions: str | None,
    pixel_size: float | None,
    time: int | None = None,
    position: int = 0,
    na: float | None = None,
    wavelength: float | None = None,
    rings: RingsSide | None = None,
) -> Chosen:
    """Read the stack that the options name; nothing but its metadata is read yet.

    Raises
    ------
    InputError
        If it can't be read, has no such time point or position, or is a time series without z and none is chosen.
    """
    from napari_focusstack.io.rings import with_known_rings

    stacks = read(paths, z_axis=z_axis, z_step=z_step, z_positions=z_positions, pixel_size=pixel_size)
    if len(stacks) > 1:
        if len({s.source for s in stacks}) > 1:
            raise InputError(f"{len(stacks)} stacks were given ({stacks[0].name}, …), not the slices of one: give one.")
        if position >= len(stacks):
            raise InputError(f"There is no position {position}: choose one from 0 to {len(stacks) - 1}.")
        note = f"{stacks[position].axes_note}; image series {position} of the {len(stacks)} in the file"
        chosen = Chosen(replace(stacks[position], axes_note=note), time or 0, 0)
    else:
        chosen = Chosen(stacks[0], time or 0, position)
    optics: dict[str, Any] = {"na": na, "wavelength_um": wavelength, "rings": None if rings is None else rings.value}
    optics = {key: value for key, value in optics.items() if value is not None}
    seen = with_known_rings(replace(chosen.stack.optics, **optics), pixel_um=chosen.stack.x_um)
    stack = replace(chosen.stack, optics=seen)
    chosen = replace(chosen, stack=stack)
    stack.series(t=chosen.time, p=chosen.position)  # says if there is no such
    if stack.n_slices == 1 and stack.n_times > 1 and time is None:
        raise InputError(
            f"'{stack.name}' is a time series without z (axes {stack.axes}, {'×'.join(map(str, stack.data.shape))}): "
            "say --z-axis t to take time for z, or --time for one time point."
        )
    return chosen


def check_used(given: Mapping[str, object], *, by: str, there: bool) -> None:
    """Refuse options that do nothing without another one.

    Parameters
    ----------
    given : mapping of str to object
        Options with their values; None where not given.
    by : str
        The option that makes use of them.
    there : bool
        Whether it was given.

    Raises
    ------
    InputError
        If one was given and it was not.
    """
    for option, value in given.items():
        if value is not None and not there:
            raise InputError(f"{option} {value} was given without {by}, which alone uses it: give both or none.")


def slice_range(text: str | None) -> tuple[int | None, int | None]:
    """First and last slice of a range like ``3-12``, 0-based, both included.

    Raises
    ------
    InputError
        If it is none.
    """
    if text is None:
        return None, None
    match = re.fullmatch(r"\s*(\d*)\s*[-:–]\s*(\d*)\s*", text)
    if not match:
        raise InputError(f"'{text}' is no range of slices: give the first and the last, 0-based, like 3-12.")
    return (int(match[1]) if match[1] else None), (int(match[2]) if match[2] else None)


def fuse_settings(
    recipe: Path | None, *, slices: str | None, align: bool, device: DeviceName, **given: Any
) -> FuseSettings:
    """Settings from options, which go before those of a recipe; None (or auto) where an option is not given.

    Raises
    ------
    InputError
        If they don't fit, or one channel alone and one that drives all were both given.
    """
    from napari_focusstack.core.settings import FuseSettings, settings_from

    first, last = slice_range(slices)
    given |= {"first": first, "last": last, "align": align or None}
    given["device"] = None if device == DeviceName.AUTO else device.value
    chosen = {key: value for key, value in given.items() if value is not None}
    if "channel" in chosen and "drive" in chosen:
        raise InputError("--channel and --drive were both given: fuse one channel, or all with one that drives.")
    saved = {} if recipe is None else read_recipe(recipe)
    if {"channel", "drive"} & set(chosen):  # either answers for both
        saved = {key: value for key, value in saved.items() if key not in ("channel", "drive")}
    return settings_from(FuseSettings, saved | chosen)


def read_recipe(path: Path) -> dict[str, Any]:
    """Settings that a widget saved as JSON.

    Raises
    ------
    InputError
        If the file can't be read or is no recipe.
    """
    return json_object(path, kind="recipe", give="a JSON file that Save recipe… wrote")


def json_object(path: Path, *, kind: str, give: str) -> dict[str, Any]:
    """The JSON object in a file.

    Parameters
    ----------
    path : Path
        The file.
    kind, give : str
        What it should be, and what to give instead, for messages.

    Raises
    ------
    InputError
        If it can't be read, or holds none.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"'{path}' can't be read ({error.strerror}): check the path.") from error
    except ValueError as error:
        raise InputError(f"'{path}' is no {kind} ({error}): give {give}.") from error
    if not isinstance(found, dict):
        raise InputError(f"'{path}' is no {kind}: give {give}.")
    return dict(found)
