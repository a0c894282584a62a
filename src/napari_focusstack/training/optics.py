"""Physics of defocus: scalar pupil, point spread functions and transfer functions.

Conventions
-----------
Lengths are in µm and spatial frequencies in units of NA/λ (``nu``), so that one table serves every objective. The
pupil's radius is 1, ``rho`` is the distance from its centre. Wavefront errors are in waves. Defocus is positive where
the plane in focus lies above the object.

- Defocus of ``z`` µm adds ``W(rho) = z/λ · (n - sqrt(n² - NA²·rho²))`` waves; its value at the pupil's edge is what
  `waves_per_um` gives, the *optical unit* of this package. For small NA it is ``z·NA²/(2nλ)``.
- Spherical aberration is Zernike's primary term without its piston, ``a·(6·rho⁴ - 6·rho²)``; the ρ² part balances it,
  so best focus stays near ``z = 0``. With it the two sides of focus differ.
- ``sampling`` is pixel size · NA/λ: 0.25 is Nyquist's limit for an incoherent image.

One integral gives the transfer of fluorescence and of brightfield (Streibl 1985, J. Opt. Soc. Am. A 2:121, eq. 17-20;
Hopkins 1955, Proc. R. Soc. A 231:91 for ``coherence = 1``)::

    C(f) = 1/(pi S²) ∫_{|u| <= S, |u + f| <= 1} exp(2 pi i [W(u) - W(u + f)]) du

with S the ratio of condenser to objective aperture. ``Re C`` transfers absorption, ``Im C`` phase; at S = 1 it is the
incoherent OTF and real.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_focusstack.core.defocus import waves_per_um
from napari_focusstack.core.errors import InputError

_X_NODES, _Y_NODES = 160, 16
_NU_MAX = 2.0


@dataclass(frozen=True)
class Microscope:
    """What decides how an object blurs.

    Attributes
    ----------
    na : float
        Numerical aperture of the objective, below `index`.
    wavelength_um : float
        Wavelength in vacuum.
    index : float
        Refractive index between objective and specimen.
    pixel_um : float
        Pixel size in the specimen.
    spherical_waves : float
        Primary spherical aberration (coefficient ``a`` above), in waves.
    coherence : float
        Condenser aperture over objective aperture, 0.05 … 1, for brightfield; fluorescence ignores it.
    """

    na: float = 0.75
    wavelength_um: float = 0.55
    index: float = 1.0
    pixel_um: float = 0.1725
    spherical_waves: float = 0.0
    coherence: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.na < self.index:
            raise InputError(
                f"A numerical aperture of {self.na} was given for a refractive index of {self.index}: "
                "give an aperture above 0 and below the index (1.0 air, 1.33 water, 1.515 oil)."
            )
        if min(self.wavelength_um, self.pixel_um) <= 0:
            raise InputError(
                f"Wavelength {self.wavelength_um} µm and pixels of {self.pixel_um} µm were given: give lengths above 0."
            )
        if not 0.05 <= self.coherence <= 1:
            raise InputError(f"A condenser ratio of {self.coherence} was given: give one from 0.05 to 1.")

    @property
    def sampling(self) -> float:
        """Pixel size · NA/λ."""
        return self.pixel_um * self.na / self.wavelength_um

    @property
    def depth_of_field_um(self) -> float:
        """Total depth of field ``n·λ/NA² + n·pixel/NA``: diffraction's part and the pixel's (Inoué & Spring 1997)."""
        return self.index * (self.wavelength_um / self.na**2 + self.pixel_um / self.na)

    @property
    def waves_per_um(self) -> float:
        """Waves of defocus at the pupil's edge for each µm."""
        return waves_per_um(na=self.na, wavelength_um=self.wavelength_um, index=self.index)


def wavefront(rho2: Tensor, defocus_um: Tensor, microscope: Microscope) -> Tensor:
    """Wavefront error in waves over the pupil.

    Parameters
    ----------
    rho2 : (...) tensor
        Squared distance from the pupil's centre, 0 … 1.
    defocus_um : tensor
        Defocus, of a shape that broadcasts with `rho2`.
    microscope : Microscope
        The optics.
    """
    m = microscope
    path = m.index - torch.sqrt(torch.clamp(m.index**2 - m.na**2 * rho2, min=0.0))
    return defocus_um / m.wavelength_um * path + m.spherical_waves * 6.0 * (rho2 * rho2 - rho2)


def psf(microscope: Microscope, *, defocus_um: float, size: int = 129) -> Tensor:
    """Fluorescence point spread function as a camera's pixels see it.

    The pupil is transformed on a grid fine enough for its bandwidth (λ/4NA), then summed over each pixel.

    Returns
    -------
    (size, size) float64 tensor
        Energy that falls on each pixel; the point is at the centre of the middle pixel; the whole grid sums to 1.
    """
    m = microscope
    if size % 2 == 0:
        raise InputError(
            f"A point spread function of {size} pixels was asked for: give an odd size, it needs a middle."
        )
    fine = max(3, math.ceil(4 * m.sampling))
    fine += 1 - fine % 2  # odd: the middle pixel has a middle
    n = size * fine
    step = fine / (n * m.sampling)
    f = torch.fft.fftfreq(n, d=m.sampling / fine, dtype=torch.float64)
    rho2 = f[:, None] ** 2 + f[None, :] ** 2
    inside = ((1 - rho2.sqrt()) / step + 0.5).clamp(0, 1)  # share of each cell within the pupil: no jagged edge
    phase = 2 * torch.pi * wavefront(rho2.clamp(max=1.0), torch.tensor(defocus_um, dtype=torch.float64), m)
    field = torch.fft.fftshift(torch.fft.ifft2(torch.polar(inside, phase)))
    intensity = field.abs() ** 2
    binned = intensity.reshape(size, fine, size, fine).sum(dim=(1, 3))
    total: Tensor = binned / binned.sum()
    return total


def bessel_psf(microscope: Microscope, *, defocus_um: float, size: int = 129) -> Tensor:
    """Born and Wolf's paraxial PSF by its Bessel integral, the blur of Yang et al. 2018 (BMC Bioinformatics 19:77).

    ``h(r) = |∫_0^1 J0(2 pi NA r rho/λ) exp(i pi z NA²/(n λ) rho²) rho d rho|²``, sampled at pixel centres.

    Returns
    -------
    (size, size) float64 tensor
        Sums to 1.
    """
    m = microscope
    nodes, weights = np.polynomial.legendre.leggauss(256)
    rho = torch.from_numpy((nodes + 1) / 2)
    kernel = torch.from_numpy(weights / 2) * rho
    phase = torch.pi * defocus_um * m.na**2 / (m.index * m.wavelength_um) * rho**2
    pupil = torch.polar(kernel, phase)
    axis = (torch.arange(size, dtype=torch.float64) - size // 2) * m.sampling
    radius = torch.hypot(axis[:, None], axis[None, :])
    distinct, where = torch.unique(radius, return_inverse=True)
    bessel = torch.special.bessel_j0(2 * torch.pi * distinct[:, None] * rho[None, :])
    values = (bessel.to(pupil.dtype) @ pupil).abs() ** 2
    kernel_2d: Tensor = values[where]
    return kernel_2d / kernel_2d.sum()


@lru_cache(maxsize=8)
def _lens_nodes(coherence: float, n_nu: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Quadrature nodes over the lens-shaped domain of C(f) for `n_nu` frequencies.

    Returns nu (n_nu,), u_x (n_nu, X), u_y (n_nu, X, Y) and weights (n_nu, X, Y), normalised by the source's area.
    Frequencies lie densest at 0 (quadratic spacing), where strongly defocused transfer lives.
    """
    nu = _NU_MAX * torch.linspace(0, 1, n_nu, dtype=torch.float64) ** 2
    lo = torch.maximum(torch.tensor(-coherence), -1 - nu)
    hi = torch.minimum(torch.tensor(coherence), 1 - nu)
    half, mid = ((hi - lo) / 2).clamp(min=0.0), (hi + lo) / 2
    # x = mid + half·sin(theta) takes the square-root ends of the domain away.
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(_X_NODES))
    theta = nodes * torch.pi / 2
    x = mid[:, None] + half[:, None] * torch.sin(theta)
    wx = half[:, None] * torch.cos(theta) * weights * torch.pi / 2
    top = torch.minimum(coherence**2 - x**2, 1 - (x + nu[:, None]) ** 2).clamp(min=0.0).sqrt()
    ny, wy = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(_Y_NODES))
    y = top[..., None] * (ny + 1) / 2
    w = 2 * wx[..., None] * top[..., None] * wy / 2 / (torch.pi * coherence**2)
    return nu, x, y, w


def transfer(microscope: Microscope, *, defocus_um: Tensor, fluorescence: bool, n_nu: int = 192) -> Tensor:
    """Radial transfer functions of an objective, with the exact (high-NA) defocus phase.

    Parameters
    ----------
    microscope : Microscope
        The optics.
    defocus_um : (K,) tensor
        Defocus of each wanted function.
    fluorescence : bool
        Incoherent image (``coherence`` 1), else brightfield with the microscope's condenser.
    n_nu : int
        Frequencies of the profile, at ``nu = 2·(i/(n_nu - 1))²``.

    Returns
    -------
    (K, n_nu) complex64 tensor
        C(f): real part for absorption or fluorescence (1 at frequency 0), imaginary part for phase.
    """
    coherence = 1.0 if fluorescence else microscope.coherence
    nu, x, y, w = _lens_nodes(coherence, n_nu)
    here = (x[..., None] ** 2 + y**2).clamp(max=1.0)
    there = ((x + nu[:, None])[..., None] ** 2 + y**2).clamp(max=1.0)
    out = []
    for z in defocus_um.double():
        difference = wavefront(here, z, microscope) - wavefront(there, z, microscope)
        out.append(torch.polar(w, 2 * torch.pi * difference).sum(dim=(1, 2)))
    profile = torch.stack(out)
    return (profile / _area(coherence, n_nu)).to(torch.complex64)


@lru_cache(maxsize=8)
def _area(coherence: float, n_nu: int) -> Tensor:
    """Sum of the weights at frequency 0: 1 but for the quadrature's own error, which this takes out."""
    return _lens_nodes(coherence, n_nu)[3][0].sum()


class TransferTable:
    """Radial transfer functions of all objectives at once, for simulation on the fly.

    The wavefront is ``W2·rho² + W4·(6·rho⁴ - 6·rho²)``; high-NA defocus is that plus a W4 proportional to W2, to
    0.03 waves in each wave for NA/n up to 0.9 (sixth order left out). Interpolated linearly in both.

    Parameters
    ----------
    coherence : float
        Condenser over objective aperture; 1 for fluorescence.
    max_waves : float
        Largest |W2|.
    max_spherical : float
        Largest |W4|.
    """

    def __init__(
        self, *, coherence: float = 1.0, max_waves: float = 60.0, max_spherical: float = 1.0, n_nu: int = 192
    ) -> None:
        self.max_waves, self.max_spherical, self.n_nu = max_waves, max_spherical, n_nu
        self._bend = 1.5  # waves at which the spacing of W2 turns from even to geometric
        self._n_waves, self._n_spherical = 321, 33
        steps = torch.linspace(-1, 1, self._n_waves, dtype=torch.float64)
        waves = self._bend * torch.sinh(steps * math.asinh(max_waves / self._bend))
        spherical = torch.linspace(-max_spherical, max_spherical, self._n_spherical, dtype=torch.float64)
        nu, x, y, w = _lens_nodes(coherence, n_nu)
        here, there = x[..., None] ** 2 + y**2, (x + nu[:, None])[..., None] ** 2 + y**2
        fourth = 6 * (here**2 - here - there**2 + there)
        second = (here - there)[..., 0]  # the difference of rho² does not depend on y
        table = torch.empty((self._n_spherical, self._n_waves, n_nu), dtype=torch.complex64)
        for k in range(n_nu):
            over_y = torch.polar(w[k], torch.zeros_like(w[k]))[None] * torch.exp(
                2j * torch.pi * spherical[:, None, None] * fourth[k]
            )
            along_x = torch.exp(2j * torch.pi * waves[:, None] * second[k])
            table[:, :, k] = (over_y.sum(dim=2) @ along_x.T).to(torch.complex64)
        self._table = table / _area(coherence, n_nu)

    def __call__(self, waves: Tensor, spherical: Tensor) -> Tensor:
        """(K, n_nu) complex profiles for (K,) waves of defocus and of spherical aberration."""
        scale = math.asinh(self.max_waves / self._bend)
        a = torch.asinh(waves.clamp(-self.max_waves, self.max_waves) / self._bend) / scale
        i, fi = _cell((a + 1) / 2, self._n_waves)
        j, fj = _cell((spherical / self.max_spherical + 1).clamp(0, 2) / 2, self._n_spherical)
        t = self._table
        low = torch.lerp(t[j, i], t[j, i + 1], fi[:, None].to(t.dtype))
        high = torch.lerp(t[j + 1, i], t[j + 1, i + 1], fi[:, None].to(t.dtype))
        return torch.lerp(low, high, fj[:, None].to(t.dtype))


def as_table_waves(defocus_um: Tensor, microscope: Microscope) -> tuple[Tensor, Tensor]:
    """Split defocus into the ρ² and the spherical part of `TransferTable` (least squares over the pupil's area).

    Parameters
    ----------
    defocus_um : (K,) tensor
        Defocus.
    microscope : Microscope
        The optics; its own aberration is added.

    Returns
    -------
    waves, spherical : (K,) float32 tensors
        W2 and W4.
    """
    rho2 = (torch.arange(256, dtype=torch.float64) + 0.5) / 256  # even in rho²: even over the area
    flat = Microscope(microscope.na, microscope.wavelength_um, microscope.index, microscope.pixel_um)
    path = wavefront(rho2, torch.tensor(1.0, dtype=torch.float64), flat)
    terms = torch.stack([torch.ones_like(rho2), rho2, 6 * (rho2**2 - rho2)], dim=1)
    _, second, fourth = torch.linalg.lstsq(terms, path[:, None]).solution.flatten().tolist()
    return (defocus_um * second).float(), (defocus_um * fourth + microscope.spherical_waves).float()


N_NU = 192
"""Frequencies of a radial transfer function."""
_REACH, _STEPS, _NODES = 48.0, 385, 256


@lru_cache(maxsize=1)
def _hankel() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nodes in ρ² and their weights (N,), pupil → radius (R, N), radius → frequency (n_nu, R); radii in λ/NA."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(_NODES))
    rho = (nodes + 1) / 2
    radius = torch.linspace(0, _REACH, _STEPS, dtype=torch.float64)
    nu = _NU_MAX * torch.linspace(0, 1, N_NU, dtype=torch.float64) ** 2
    share = rho * weights  # of the pupil's area
    out = torch.special.bessel_j0(2 * torch.pi * radius[:, None] * rho) * share
    ring = radius.clone()
    ring[0] = _REACH / (_STEPS - 1) / 12  # what the trapezoidal rule misses at 0 (Euler and Maclaurin)
    return rho**2, share, out, torch.special.bessel_j0(2 * torch.pi * nu[:, None] * radius) * ring


def wide_transfer(waves: Tensor, *, aperture: Tensor, spherical: Tensor, layer: Tensor) -> Tensor:
    """Transfer of fluorescence by objectives of any aperture, with the exact phases of defocus and of a layer.

    The pupil's field goes to the point image and from there to the transfer function by two Hankel transforms::

        h(r) = ∫ exp(2 pi i [W·d(ρ²) + a·g(ρ²)]) J0(2 pi r ρ) ρ dρ,   C(nu) ~ ∫ |h(r)|² J0(2 pi nu r) r dr

    with ``d = (1 - sqrt(1 - s²ρ²)) / (1 - sqrt(1 - s²))``, ``s = NA/n``, and g of the difference between the paths
    through a layer of another index and through the immersion, ``sqrt(m² - s²ρ²) - sqrt(1 - s²ρ²)`` (Gibson and Lanni
    1991), without its piston and defocus: a cover glass of the wrong thickness, or a specimen above the focus.

    Parameters
    ----------
    waves : (K,) tensor
        Defocus at the pupil's edge; up to 14.
    aperture : (K,) tensor
        NA/n, below 1.
    spherical : (K,) tensor
        Waves of primary spherical aberration in g, by least squares over the pupil's area.
    layer : (K,) tensor
        The layer's index over the immersion's, m, above `aperture` and other than 1.

    Returns
    -------
    (K, 192) float32 tensor
        At the frequencies of `TransferTable`; 1 at 0.
    """
    rho2, share, out, across = _hankel()
    s2 = aperture.double()[:, None] ** 2
    inside = (1 - s2 * rho2).sqrt()
    bent = (layer.double()[:, None] ** 2 - s2 * rho2).sqrt() - inside
    terms = torch.stack([torch.ones_like(rho2), rho2, 6 * (rho2**2 - rho2)], dim=1)
    _, tilt, primary = torch.linalg.solve((terms.T * share) @ terms, (terms.T * share) @ bent.T)
    balanced = (bent - tilt[:, None] * rho2) / primary[:, None]
    defocus = (1 - inside) / (1 - (1 - s2).sqrt())
    phase = 2 * torch.pi * (waves.double()[:, None] * defocus + spherical.double()[:, None] * balanced)
    image = (phase.cos() @ out.T).square() + (phase.sin() @ out.T).square()
    found: Tensor = image @ across.T
    return (found / found[:, :1]).float()


def _cell(position: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Lower neighbour and fraction of positions 0 … 1 on `n` even nodes."""
    p = position * (n - 1)
    i = p.floor().clamp(0, n - 2).long()
    return i, (p - i).float()


def spread(profiles: Tensor, *, sampling: Tensor, shape: tuple[int, int]) -> Tensor:
    """Lay radial profiles out on the half plane of a real FFT.

    Parameters
    ----------
    profiles : (K, n_nu) tensor
        Values at ``nu = 2·(i/(n_nu - 1))²``; zero is taken beyond.
    sampling : (K,) tensor
        Pixel size · NA/λ of each.
    shape : (int, int)
        Height and width of the images.

    Returns
    -------
    (K, height, width // 2 + 1) tensor
        To be multiplied with `torch.fft.rfft2` of the images.
    """
    h, w = shape
    n = profiles.shape[1]
    distinct, where = _radii(h, w)
    nu = distinct[None, :] / sampling[:, None].float()
    position = torch.sqrt(nu / _NU_MAX) * (n - 1)
    inside = position <= n - 1
    i = position.floor().clamp(0, n - 2).long()
    f = (position - i).clamp(0, 1).to(profiles.dtype)
    values = torch.lerp(torch.gather(profiles, 1, i), torch.gather(profiles, 1, i + 1), f) * inside
    return values[:, where].reshape(-1, h, w // 2 + 1)


def lookup(*, sampling: float, shape: tuple[int, int], n_nu: int = 192, fine: int = 16) -> Tensor:
    """Where each frequency of a real FFT's half plane falls on a profile refined `fine` times (see `refine`).

    For many large images of one sampling: `spread` by a single gather, ``refine(profiles)[:, lookup(...)]``.
    """
    h, w = shape
    nu = torch.hypot(torch.fft.fftfreq(h)[:, None], torch.fft.rfftfreq(w)[None, :]) / sampling
    position = torch.sqrt(nu / _NU_MAX) * ((n_nu - 1) * fine)
    return position.round().clamp(max=(n_nu - 1) * fine + 1).long()


def refine(profiles: Tensor, *, fine: int = 16) -> Tensor:
    """(K, n) profiles, interpolated linearly to (K, (n - 1)·fine + 2); the last is 0, the transfer beyond the end."""
    n = profiles.shape[1]
    position = torch.arange((n - 1) * fine + 1) / fine
    i = position.floor().clamp(max=n - 2).long()
    values = torch.lerp(profiles[:, i], profiles[:, i + 1], (position - i).to(profiles.dtype))
    return torch.cat([values, torch.zeros_like(values[:, :1])], dim=1)


@lru_cache(maxsize=16)
def _radii(h: int, w: int) -> tuple[Tensor, Tensor]:
    """Different radii of the half plane and where each belongs: a profile is interpolated once for each."""
    radius = torch.hypot(torch.fft.fftfreq(h)[:, None], torch.fft.rfftfreq(w)[None, :]).flatten()
    distinct, where = torch.unique(radius, return_inverse=True)
    return distinct, where


def gaussian_transfer(sigma_px: Tensor, *, shape: tuple[int, int]) -> Tensor:
    """Transfer of Gaussian blurs, ``exp(-2 pi² sigma² f²)``: (K,) sigmas in pixels → (K, height, width // 2 + 1)."""
    h, w = shape
    f2 = torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.rfftfreq(w)[None, :] ** 2
    return torch.exp(-2 * torch.pi**2 * sigma_px[:, None, None].float() ** 2 * f2)


def kernel_transfer(kernel: NDArray[np.floating] | Tensor, *, shape: tuple[int, int]) -> Tensor:
    """Transfer of a centred kernel (odd sides) on images of `shape`: (height, width // 2 + 1), complex."""
    k = torch.as_tensor(kernel, dtype=torch.float32)
    canvas = torch.zeros(shape)
    canvas[: k.shape[0], : k.shape[1]] = k
    canvas = torch.roll(canvas, (-(k.shape[0] // 2), -(k.shape[1] // 2)), dims=(0, 1))
    out: Tensor = torch.fft.rfft2(canvas)
    return out
