"""What a user chooses, as frozen objects: a function's argument, the recipe on disk and the widget's form in one."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_focusstack.core.devices import DeviceChoice
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion import DEFAULT_METHOD
from napari_focusstack.core.scorers import DEFAULT_SCORER

S = TypeVar("S", bound=BaseModel)


class ScoreSettings(BaseModel):
    """How a stack is scored.

    Attributes
    ----------
    scorer : str
        Name in `SCORERS`.
    patch_px : int
        Size of the patches of the focus map in pixels, 4 or more.
    specimen : bool
        Whether the specimen decides (True), or the whole field evenly.
    device : {"auto", "cpu", "cuda", "mps", "onnx"}
        Where a network computes; the measures always take the CPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scorer: str = DEFAULT_SCORER
    patch_px: int = Field(default=32, ge=4)
    specimen: bool = True
    device: DeviceChoice = "auto"


class FuseSettings(BaseModel):
    """How a stack is fused.

    Attributes
    ----------
    method : str
        Name in `METHODS`.
    drive : int, str or None
        The channel (index or name) whose sharpness chooses for all channels; None: each channel chooses for itself.
    channel : int, str or None
        The one channel (index or name) to fuse; None: all of them.
    first, last : int or None
        First and last slice to fuse, 0-based, both included; None: from the first, to the last.
    align : bool
        Register the slices to each other first.
    device : {"auto", "cpu", "cuda", "mps", "onnx"}
        Where a network computes; the classical methods always take the CPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = DEFAULT_METHOD
    drive: int | str | None = None
    channel: int | str | None = None
    first: int | None = Field(default=None, ge=0)
    last: int | None = Field(default=None, ge=0)
    align: bool = False
    device: DeviceChoice = "auto"


def settings_from(kind: type[S], options: dict[str, Any]) -> S:
    """Make settings of `kind` from keyword options; an `InputError` in one sentence where they don't fit."""
    try:
        return kind(**options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        known = ", ".join(kind.model_fields)
        raise InputError(
            f"The option {name}={first['input']!r} does not fit: {first['msg'].lower()}; the options are {known}."
        ) from None
