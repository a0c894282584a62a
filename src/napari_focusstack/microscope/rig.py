"""A microscope of Micro-Manager's, behind limits: the only place that moves anything.

Connecting moves nothing. Every motion goes through `Rig.start_moving` or `Rig.start_moving_xy`, which refuse what lies
beyond the soft limits; jobs hold the rig (`Rig.held`) so that two never drive it at once.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.autofocus import StageError, Travel
from napari_focusstack.core.defocus import calibration_of
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.scorer import PlaneContext
from napari_focusstack.core.stack import Optics

MISSING = (
    "Driving a microscope needs pymmcore-plus, which is not installed: "
    "install it with pip install 'napari-focusstack[acquire]'."
)

SIGNALS = "PYMM_SIGNALS_BACKEND"
Limits = tuple[float, float]
Place = tuple[float, float]
"""(y, x) in µm."""
Turn = tuple[tuple[float, float], tuple[float, float]]
AGREES = 0.2
"""An affine transform that says a pixel size farther than this share from the one that is known was never measured."""
ARRIVED_DOF = 0.1
"""A stage that stands beyond a limit by less than this share of the depth of field stands at it."""


@dataclass(frozen=True)
class RigInfo:
    """What is known of a microscope.

    Attributes
    ----------
    name : str
        What to call it.
    optics : Optics
        The objective and the light.
    pixel_um : float or None
        Pixel size in the specimen.
    toward : {1, -1}
        Sign of the stage's motion that brings objective and specimen together.
    turn : ((float, float), (float, float))
        Motion of the x-y stage, (y, x), to what lies a µm down in the camera's image is the first column, to what lies
        a µm to its right the second; the camera's axes are the stage's unless told otherwise.
    """

    name: str
    optics: Optics
    pixel_um: float | None
    toward: Literal[1, -1]
    turn: Turn = ((1.0, 0.0), (0.0, 1.0))

    def moved(self, seen: Place) -> Place:
        """Motion of the stage to what lies so far off along the camera's axes."""
        y, x = np.array(self.turn) @ seen
        return float(y), float(x)

    def seen(self, place: Place) -> Place:
        """A place of the stage along the camera's axes."""
        y, x = np.linalg.solve(np.array(self.turn), place)
        return float(y), float(x)

    @property
    def depth_of_field_um(self) -> float:
        """Total depth of field.

        Raises
        ------
        InputError
            If aperture, wavelength or pixel size are not known.
        """
        return calibration_of(self.optics, self.pixel_um).depth_of_field_um


class Rig:
    """Camera, z stage and x-y stage of a Micro-Manager core. A `core.autofocus.Focuser`.

    Parameters
    ----------
    core : CMMCorePlus
        The core, its devices loaded.
    info : RigInfo
        What is known of the microscope.
    limits_um : (float, float)
        Soft limits of the z stage.
    y_limits_um, x_limits_um : (float, float), optional
        Soft limits of the x-y stage; it goes anywhere where they are not given.

    Attributes
    ----------
    device : str
        Where networks compute: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Raises
    ------
    InputError
        If there is no camera or no z stage, or the limits are none.
    """

    def __init__(
        self,
        core: Any,
        info: RigInfo,
        *,
        limits_um: Limits,
        y_limits_um: Limits | None = None,
        x_limits_um: Limits | None = None,
    ) -> None:
        self.core, self.info = core, info
        if not core.getCameraDevice() or not core.getFocusDevice():
            raise InputError(f"'{info.name}' names no camera or no focus stage: give a configuration with both roles.")
        self._holder = threading.RLock()
        self._let_go = weakref.finalize(self, _unload, core)  # at exit at the latest
        self.limits_um = limits_um
        self.y_limits_um, self.x_limits_um = y_limits_um, x_limits_um
        self.device = "auto"
        if not core.getShutterDevice():
            core.setAutoShutter(False)

    @property
    def limits_um(self) -> Limits:
        """Soft limits of the z stage, the lower first."""
        return self._limits

    @limits_um.setter
    def limits_um(self, limits: Limits) -> None:
        self._limits = _checked(limits)

    @property
    def y_limits_um(self) -> Limits | None:
        """Soft limits of the x-y stage along y, the lower first; None where there are none."""
        return self._y_limits

    @y_limits_um.setter
    def y_limits_um(self, limits: Limits | None) -> None:
        self._y_limits = None if limits is None else _checked(limits)

    @property
    def x_limits_um(self) -> Limits | None:
        """Soft limits of the x-y stage along x, the lower first; None where there are none."""
        return self._x_limits

    @x_limits_um.setter
    def x_limits_um(self, limits: Limits | None) -> None:
        self._x_limits = None if limits is None else _checked(limits)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the rig for the jobs of one thread; those of another wait until they are done."""
        with self._holder:
            if not self._let_go.alive:
                raise InputError(f"'{self.info.name}' is not connected any more: connect it first.")
            yield

    def travel(self) -> Travel:
        """From where the stage stands, within the limits.

        Raises
        ------
        InputError
            If it stands beyond them, or the depth of field is not known.
        """
        (low, high), depth = self._limits, self.info.depth_of_field_um
        start = self.height_um()
        nearest = min(max(start, low), high)
        # Sent to a limit, a stage may stop a little beyond it.
        start = nearest if abs(start - nearest) <= ARRIVED_DOF * depth else start
        return Travel(start, low, high, depth, self.info.toward)

    @property
    def context(self) -> PlaneContext:
        """What scorers want to know."""
        return PlaneContext(pixel_um=self.info.pixel_um, optics=self.info.optics, device=self.device)

    def snap(self) -> NDArray[Any]:
        """Take an image, (Y, X) or (Y, X, 3)."""
        image: NDArray[Any] = np.array(self.core.snap())
        return image[..., :3] if image.ndim == 3 else image

    def height_um(self) -> float:
        """Where the z stage stands."""
        with _stage_fails():
            return float(self.core.getPosition())

    def start_moving(self, target_um: float) -> None:
        """Set the z stage going.

        Raises
        ------
        StageError
            If the target lies beyond the soft limits; nothing moves then.
        """
        low, high = self._limits
        if not low <= target_um <= high:
            raise StageError(
                f"{target_um:.2f} µm lies beyond the travel limits {low:g} to {high:g} µm: nothing was moved."
            )
        with _stage_fails():
            self.core.setPosition(float(target_um))

    def moving(self) -> bool:
        """Whether the z stage is on its way."""
        with _stage_fails():
            return bool(self.core.deviceBusy(self.core.getFocusDevice()))

    def stop(self) -> None:
        """Stop the stages at once; a stage that can't be stopped is left to arrive, within the limits."""
        for stage in (self.core.getFocusDevice(), self.core.getXYStageDevice()):
            if stage:
                with contextlib.suppress(Exception):  # many drivers have no stop, and the other stage has to stop too
                    self.core.stop(stage)

    @property
    def has_xy(self) -> bool:
        """Whether there is an x-y stage."""
        return bool(self.core.getXYStageDevice())

    def place_um(self) -> Place:
        """(y, x) of the x-y stage; zeros where there is none."""
        if not self.has_xy:
            return 0.0, 0.0
        with _stage_fails():
            return float(self.core.getYPosition()), float(self.core.getXPosition())

    def start_moving_xy(self, y_um: float, x_um: float) -> None:
        """Set the x-y stage going.

        Raises
        ------
        StageError
            If the target lies beyond the soft limits; nothing moves then.
        """
        if not self.within_xy(y_um, x_um):
            raise StageError(f"({y_um:.1f}, {x_um:.1f}) µm lies beyond {self.xy_limits_told}: nothing was moved.")
        with _stage_fails():
            self.core.setXYPosition(float(x_um), float(y_um))

    def within_xy(self, y_um: float, x_um: float) -> bool:
        """Whether a place lies within the soft limits of the x-y stage."""
        pairs = ((y_um, self._y_limits), (x_um, self._x_limits))
        return all(limits is None or limits[0] <= place <= limits[1] for place, limits in pairs)

    @property
    def xy_limits_told(self) -> str:
        """The soft limits of the x-y stage in words."""
        given = (("y", self._y_limits), ("x", self._x_limits))
        told = [f"{axis} from {limits[0]:g} to {limits[1]:g} µm" for axis, limits in given if limits is not None]
        return f"the travel limits ({', '.join(told) or 'none'})"

    def moving_xy(self) -> bool:
        """Whether the x-y stage is on its way."""
        with _stage_fails():
            return bool(self.core.deviceBusy(self.core.getXYStageDevice()))

    @property
    def field_um(self) -> tuple[float, float]:
        """(height, width) of what the camera sees; in pixels where their size is not known."""
        pixel = self.info.pixel_um or 1.0
        return self.core.getImageHeight() * pixel, self.core.getImageWidth() * pixel

    @property
    def image_bytes(self) -> int:
        """Memory that an image takes."""
        size: int = self.core.getImageHeight() * self.core.getImageWidth() * self.core.getBytesPerPixel()
        return size

    def disconnect(self) -> None:
        """Stop the stages and unload the devices, once the running job has let go."""
        self.stop()
        with self._holder:
            self._let_go()


def _unload(core: Any) -> None:
    """Unload the devices; what they say meanwhile, in threads of their own, would reach a Python that is going."""
    from pymmcore_plus import CMMCorePlus

    super(CMMCorePlus, core).registerCallback(None)  # its own refuses
    core.unloadAllDevices()


@contextlib.contextmanager
def _stage_fails() -> Iterator[None]:
    """What is raised of a stage is a `StageError`, whatever its driver raises: cameras raise the same."""
    try:
        yield
    except Exception as error:
        raise StageError(f"The stage does not answer: {error}") from error


def _checked(limits: Limits) -> Limits:
    low, high = limits
    if not (np.isfinite(limits).all() and low < high):
        raise InputError(f"Travel limits from {low:g} to {high:g} µm were given: give two numbers, the lower first.")
    return float(low), float(high)


def _turn(affine: Sequence[float], pixel_um: float | None) -> Turn:
    """From Micro-Manager's affine transform: the stage's motion (x, y) that centres what is seen so many pixels off."""
    xx, xy, _, yx, yy, _ = affine
    size = np.sqrt(abs(xx * yy - xy * yx))
    if pixel_um is None or not abs(size / pixel_um - 1) <= AGREES:  # it is 1 where none was measured
        return (1.0, 0.0), (0.0, 1.0)
    return (yy / size, yx / size), (xy / size, xx / size)


@contextlib.contextmanager
def plain_signals() -> Iterator[None]:
    """Cores made meanwhile have signals without Qt: Qt's belong to the thread that makes them, and workers end."""
    before = os.environ.get(SIGNALS)
    os.environ[SIGNALS] = "psygnal"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SIGNALS]
        else:
            os.environ[SIGNALS] = before


def connect(
    config: Path,
    *,
    limits_um: Limits,
    optics: Optics,
    y_limits_um: Limits | None = None,
    x_limits_um: Limits | None = None,
    pixel_um: float | None = None,
    toward: Literal[1, -1] | None = None,
) -> Rig:
    """Connect a microscope by its Micro-Manager configuration. Moves nothing of its own; a configuration may.

    Parameters
    ----------
    config : Path
        The .cfg file.
    limits_um : (float, float)
        Soft limits of the z stage.
    optics : Optics
        Objective and light; Micro-Manager does not know them.
    y_limits_um, x_limits_um : (float, float), optional
        Soft limits of the x-y stage.
    pixel_um : float, optional
        In the place of the configuration's.
    toward : {1, -1}, optional
        In the place of the configuration's focus direction; positive where that is not known either.

    Raises
    ------
    InputError
        If it can't be loaded.
    """
    try:
        from pymmcore_plus import CMMCorePlus
    except ImportError as error:
        raise InputError(MISSING) from error
    if not config.is_file():
        raise InputError(f"There is no configuration '{config}': give a .cfg file of Micro-Manager.")
    with plain_signals():
        core = CMMCorePlus()
    try:
        core.loadSystemConfiguration(str(config))
    except (RuntimeError, OSError, ValueError) as error:
        _unload(core)
        first = str(error).strip().splitlines()[0]
        raise InputError(f"'{config.name}' can't be loaded ({first}): try it in Micro-Manager first.") from error
    stage = core.getFocusDevice()
    if toward is None:
        toward = -1 if stage and int(core.getFocusDirection(stage)) < 0 else 1
    pixel = pixel_um or core.getPixelSizeUm() or None
    info = RigInfo(config.stem, optics, pixel, toward, _turn(core.getPixelSizeAffine(), pixel))
    return Rig(core, info, limits_um=limits_um, y_limits_um=y_limits_um, x_limits_um=x_limits_um)
