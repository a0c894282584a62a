"""Colormaps of channels: by the dye or line that a name tells, else by the emission wavelength, else by order."""

from __future__ import annotations

import re
from collections.abc import Sequence

BY_NAME = (
    ("blue", r"dapi|hoechst|\bbfp|ebfp"),
    ("cyan", r"cfp|cerulean|turquoise"),
    ("yellow", r"yfp|venus|citrine"),
    ("magenta", r"cy ?-?5|cy ?-?7|far.?red|irfp|draq ?5|sir\b|\bapc\b"),
    ("red", r"cherry|tritc|cy ?-?3|rfp|tomato|texas|rhodamine|scarlet|ruby|\bpi\b|propidium"),
    ("green", r"gfp|fitc|\bfam\b|fluo ?-?4|neongreen|calcein"),
    ("gray", r"bright ?-?field|\bbf\b|\bdic\b|phase|transmi|\btl\b|\btd\b|\bpmt\b"),
)
"""The first that fits; far red before red."""
LINES_NM = ((430, "blue"), (465, "cyan"), (505, "green"), (535, "yellow"), (615, "red"), (800, "magenta"))
"""Up to which laser line or dye number (405, 488, Alexa 568) a colour goes."""
EMISSIONS_NM = ((470, "blue"), (500, "cyan"), (555, "green"), (640, "red"), (900, "magenta"))
BY_ORDER = {2: ("green", "magenta"), 3: ("cyan", "magenta", "yellow")}
"""Colours of channels that nothing is known of: together they are white or grey, and colour-blind eyes tell them
apart."""
MANY = ("cyan", "magenta", "yellow", "gray", "green", "red", "blue")


def channel_colours(names: Sequence[str], wavelengths_um: Sequence[float | None] = ()) -> list[str]:
    """Colormap of each channel; those that are told keep theirs, the others take what is left.

    Parameters
    ----------
    names : sequence of str
        One a channel.
    wavelengths_um : sequence of float or None
        Emission wavelengths, where known.
    """
    waves = [*wavelengths_um, *[None] * len(names)][: len(names)]
    told: list[str | None] = []
    for name, wave in zip(names, waves, strict=True):
        colour = _named(name) or _up_to(EMISSIONS_NM, None if wave is None else 1000 * wave)
        told.append(None if colour in told else colour)
    spare = BY_ORDER.get(len(names), MANY)
    left = [c for c in (*spare, *MANY) if c not in told]
    found = []
    for i, colour in enumerate(told):
        if colour is None:
            # Where nothing at all is known, the first takes the first; colours repeat when there are no more.
            colour = left.pop(0) if left else MANY[i % len(MANY)]
            left = [c for c in left if c != colour]
        found.append(colour)
    return found


def _named(name: str) -> str | None:
    small = name.lower()
    for colour, pattern in BY_NAME:
        if re.search(pattern, small):
            return colour
    number = re.search(r"(?<!\d)([3-7]\d\d)(?!\d)", small)
    return _up_to(LINES_NM, float(number[1]) if number else None)


def _up_to(limits: Sequence[tuple[float, str]], nm: float | None) -> str | None:
    if nm is None or nm < 350:
        return None
    return next((colour for limit, colour in limits if nm <= limit), None)
