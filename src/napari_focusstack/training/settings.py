"""Settings of the simulator. Free of torch and NumPy, so that the command line can show them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Blur = Literal["fluorescence", "brightfield", "gaussian", "bessel"]
Relief = Literal["flat", "tilt", "smooth", "layers"]


class SimulationSettings(BaseModel):
    """Microscope, specimen and camera of a simulated stack. Lengths in µm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slices: int = Field(default=11, ge=1, description="Number of slices.")
    z_um: float = Field(default=2.0, gt=0, description="Step between slices.")
    blur: Blur = Field(default="fluorescence", description="How defocus blurs: the optics, or a paper's own blur.")
    na: float = Field(default=0.75, gt=0, description="Numerical aperture.")
    wavelength_um: float = Field(default=0.55, gt=0, description="Wavelength in vacuum.")
    index: float = Field(default=1.0, gt=0, description="Refractive index between objective and specimen.")
    pixel_um: float = Field(default=0.325, gt=0, description="Pixel size.")
    spherical_waves: float = Field(
        default=0.0, ge=-1, le=1, description="Spherical aberration; tells the sides of focus apart."
    )
    coherence: float = Field(default=0.7, ge=0.05, le=1, description="Brightfield: condenser over objective aperture.")
    phase_rad: float = Field(
        default=0.0, description="Brightfield: phase of the densest specimen; contrast inverts in focus."
    )
    relief: Relief = Field(default="smooth", description="Shape of the specimen.")
    relief_um: float = Field(default=10.0, ge=0, description="From its lowest to its highest point.")
    occlusion: bool = Field(
        default=False, description="Higher layers hide lower ones (opaque), instead of adding light."
    )
    electrons: float = Field(default=20_000.0, gt=0, description="Full well: fewer means more shot noise.")
    read_noise: float = Field(default=3.0, ge=0, description="Camera noise in electrons.")
    offset: float = Field(default=0.01, ge=0, lt=1, description="Signal without light, share of full scale.")
    bits: Literal[8, 12, 16] = Field(default=16, description="Bits of the camera; 12 come in 16.")
    jpeg: int | None = Field(
        default=None, ge=1, le=100, description="JPEG quality; none for no compression. 8 bit only."
    )
    shading: float = Field(default=0.0, ge=0, description="Uneven light (standard deviation, log units).")
    flicker: float = Field(default=0.0, ge=0, description="Change of brightness between slices (standard deviation).")
    drift_px: float = Field(default=0.0, ge=0, description="Shift from slice to slice (standard deviation in pixels).")
    dirt: int = Field(default=0, ge=0, description="Pieces of dirt and drops.")
    dirt_um: float | None = Field(
        default=None, description="Height of the dirt; none for the camera's own: sharp everywhere."
    )
    seed: int = Field(default=0, ge=0)

    @property
    def heights_um(self) -> NDArray[np.float64]:
        """(Z,) height of each slice; the middle of the stack is 0."""
        import numpy as np

        heights = np.arange(self.slices, dtype=np.float64) - (self.slices - 1) / 2
        return heights * self.z_um
