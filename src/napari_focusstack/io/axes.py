"""Which axis is z: the rule, and the sentence that tells it."""

from __future__ import annotations

from napari_focusstack.core.errors import InputError
from napari_focusstack.io.found import Found

MANY_CHANNELS = 6
"""So many channels without names are taken for slices: programs name the axis C where nobody told them."""

_WORDS = {"Z": "z", "T": "time", "C": "channels", "P": "positions"}


def name_axes(found: Found, *, name: str, z_axis: str | int | None = None) -> tuple[str, str]:
    """Name the leading axes of what was found.

    The axes that the file names keep their names. Where it names no z, the last axis without a name is z; so are the
    "channels" of RGB planes, and six or more channels without names where there is no other axis. Time is never taken
    for z unless `z_axis` says so. Axes without a name before z are channel, time and position, in this order from z.

    Parameters
    ----------
    found : Found
        What a reader found.
    name : str
        What to call it in messages.
    z_axis : str or int, optional
        The axis that is z, by the file's letter or by its number; a z axis that the file names takes its name.

    Returns
    -------
    axes, note : str
        One letter of ``"PTCZ"`` for each leading axis, in the file's order; and the rule in a sentence for the user.

    Raises
    ------
    InputError
        If there is no axis `z_axis`, or there are more axes than names.
    """
    axes = list(found.letters.replace("R", "P").replace("M", "P"))
    note = f"axes as {found.teller} names them" if axes else "a single plane"
    if z_axis is not None:
        at = _find(found, z_axis, name)
        note = f"axis {axes[at].lower() if axes[at] in _WORDS else at} taken for z as asked"
        if axes[at] != "Z" and "Z" in axes:
            axes[axes.index("Z")] = axes[at]
        axes[at] = "Z"
    elif "Z" not in axes:
        note = _guess_z(found, axes) or note
    unnamed = [i for i, a in enumerate(axes) if a not in _WORDS]
    free = [a for a in "CTP" if a not in axes]
    if len(unnamed) > len(free):
        raise InputError(
            f"'{name}' has more axes than can be named {found.data.shape}: save one position or time point."
        )
    for i, letter in zip(reversed(unnamed), free, strict=False):
        axes[i] = letter
        note += f", axis {i} ({found.data.shape[i]} long) for {_WORDS[letter]}"
    return "".join(axes), note


def _guess_z(found: Found, axes: list[str]) -> str:
    """Name an axis z in `axes` where the rule finds one; return the rule in words."""
    shape = found.data.shape
    unnamed = [i for i, a in enumerate(axes) if a not in _WORDS]
    if unnamed:
        axes[unnamed[-1]] = "Z"
        return f"{found.teller} does not say which axis is z: its {shape[unnamed[-1]]} planes are taken for z"
    if "C" in axes and (found.rgb or (len(axes) == 1 and not found.channels and shape[0] >= MANY_CHANNELS)):
        at = axes.index("C")
        axes[at] = "Z"
        kind = "colour images" if found.rgb else "planes without channel names"
        return f"{found.teller} calls its {shape[at]} {kind} channels: they are taken for z"
    if axes == ["T"]:
        return "a time series without z (say that axis t is z to take time for z)"
    if axes == ["C"]:
        return "channels without z (say that axis c is z to take the channels for z)"
    return ""


def _find(found: Found, z_axis: str | int, name: str) -> int:
    """Number of the leading axis that is meant."""
    letters = found.letters
    wanted = str(z_axis).strip()
    if wanted.upper() in letters and len(wanted) == 1:
        return letters.index(wanted.upper())
    if wanted.isdigit() and int(wanted) < len(letters):
        return int(wanted)
    if wanted.upper() in ("Z", "I", "Q", "S") and len(letters) == 1 and letters not in _WORDS:
        return 0
    known = ", ".join(f"{a.lower()} ({n} long)" for a, n in zip(letters, found.data.shape, strict=False))
    raise InputError(
        f"'{name}' has no axis '{z_axis}' that could be z: "
        + (f"choose one of {known}." if known else "it is a single plane.")
    )
