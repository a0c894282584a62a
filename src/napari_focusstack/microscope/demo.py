"""The demo microscope: Micro-Manager's own demo stages, and a camera that shows a simulated slide where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.microscope.rig import MISSING, Limits, Rig, RigInfo, plain_signals
from napari_focusstack.microscope.scene import DemoScene

LIMITS_UM = (-40.0, 40.0)
TOWARD: Literal[-1] = -1
"""Upright: the objective hangs above, so lowering the stage's height brings it nearer."""


def connect_demo(
    scene: DemoScene | None = None,
    *,
    start_um: float = 0.0,
    limits_um: Limits = LIMITS_UM,
    y_limits_um: Limits | None = None,
    x_limits_um: Limits | None = None,
) -> Rig:
    """Connect the demo microscope.

    Parameters
    ----------
    scene : DemoScene, optional
        What lies on it; drawn cells where not given.
    start_um : float
        Where its z stage stands.
    limits_um : (float, float)
        Soft limits of the z stage.
    y_limits_um, x_limits_um : (float, float), optional
        Soft limits of the x-y stage.

    Raises
    ------
    InputError
        If pymmcore-plus or its demo devices are not installed.
    """
    try:
        from pymmcore_plus.experimental.unicore import UniMMCore
    except ImportError as error:
        raise InputError(MISSING) from error
    scene = scene or DemoScene()
    with plain_signals():
        core = UniMMCore()
    try:
        core.loadDevice("Z", "DemoCamera", "DStage")
        core.loadDevice("XY", "DemoCamera", "DXYStage")
    except RuntimeError as error:
        raise InputError(
            "The demo microscope needs Micro-Manager's demo devices, which were not found: "
            "install them with pip install mm-test-adapters."
        ) from error
    core.loadPyDevice("Camera", _camera(core, scene))
    core.initializeAllDevices()
    core.setFocusDevice("Z")
    core.setXYStageDevice("XY")
    core.setCameraDevice("Camera")
    core.setAutoShutter(False)
    # The rig is made by us and stands wherever we say: this is its beginning, not a motion.
    core.setPosition(start_um)
    core.waitForDevice("Z")
    info = RigInfo("Demo microscope", scene.optics, scene.settings.pixel_um, TOWARD)
    return Rig(core, info, limits_um=limits_um, y_limits_um=y_limits_um, x_limits_um=x_limits_um)


def _camera(core: Any, scene: DemoScene) -> Any:
    """A camera of Micro-Manager's that renders the scene."""
    from pymmcore_plus.experimental.unicore import SimpleCameraDevice

    class SceneCamera(SimpleCameraDevice):  # type: ignore[misc]
        """Shows the scene at the place of the core's stages."""

        def __init__(self) -> None:
            super().__init__()
            self._exposure_ms = 10.0

        def get_exposure(self) -> float:
            """In ms; the rendered image does not depend on it."""
            return self._exposure_ms

        def set_exposure(self, exposure: float) -> None:
            """In ms."""
            self._exposure_ms = exposure

        def sensor_shape(self) -> tuple[int, int]:
            """(Y, X) in pixels."""
            return scene.field_px

        def dtype(self) -> np.dtype[Any]:
            """Type of a pixel."""
            return np.dtype(np.uint8 if scene.settings.bits == 8 else np.uint16)

        def snap(self, buffer: NDArray[Any]) -> Mapping[str, Any]:
            """Render the image at the stages' place."""
            buffer[:] = scene.image(core.getPosition("Z"), y_um=core.getYPosition("XY"), x_um=core.getXPosition("XY"))
            return {}

    return SceneCamera()
