"""Autofocus of a rig: the method's sensor and policy, the rig's limits."""

from __future__ import annotations

from napari_focusstack.core.autofocus import Focused, LoopSettings, focusing
from napari_focusstack.core.autofocus.methods import FocusMethod
from napari_focusstack.core.progress import Job
from napari_focusstack.microscope.rig import Rig


def autofocus(rig: Rig, method: FocusMethod, *, settings: LoopSettings | None = None) -> Job[Focused]:
    """Bring what is under the objective into focus; see `core.autofocus.focusing`.

    Raises
    ------
    InputError
        Before anything moves: if the stage stands beyond its limits, or the optics are not known.
    """
    sensor = method.sensor(rig.context)
    with rig.held():
        return (yield from focusing(rig, sensor, method.policy(), rig.travel(), settings=settings))
