"""Each family against its definition written out slowly in NumPy, on a small image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import pywt
import scipy.fft

from napari_focusstack.core.measures import MEASURES

PATCH = 8
NOISE = 5.0
RANGE = (0.0, 300.0)
rng = np.random.default_rng(3)
y, x = np.mgrid[:32, :24]
IMAGE = (150 + 60 * np.sin(x / 3) * np.cos(y / 4) + rng.normal(0, 15, x.shape)).astype(np.float32).astype(np.float64)
GRID = (4, 3)


def cells(length: int, n: int) -> np.ndarray:
    """(n, length) share of each pixel in each of n equal cells, rows with sum 1."""
    size = length / n
    share = np.zeros((n, length))
    for i in range(n):
        for j in range(length):
            share[i, j] = max(0.0, min((i + 1) * size, j + 1) - max(i * size, j)) / size
    return share


def area_mean(energy: np.ndarray) -> np.ndarray:
    return cells(energy.shape[0], GRID[0]) @ energy @ cells(energy.shape[1], GRID[1]).T


def per_patch(statistic: Callable[[np.ndarray], float], image: np.ndarray = IMAGE) -> np.ndarray:
    return np.array(
        [
            [statistic(image[r * PATCH : (r + 1) * PATCH, c * PATCH : (c + 1) * PATCH]) for c in range(GRID[1])]
            for r in range(GRID[0])
        ]
    )


def correlate(mask: np.ndarray, image: np.ndarray = IMAGE) -> np.ndarray:
    """Correlation with an odd mask; the image is mirrored about its outermost pixels."""
    (h, w), (a, b) = image.shape, mask.shape
    framed = np.pad(image, ((a // 2, a // 2), (b // 2, b // 2)), mode="reflect")
    return np.array([[(framed[r : r + a, c : c + b] * mask).sum() for c in range(w)] for r in range(h)])


def windows(size: int) -> np.ndarray:
    """(33, 25, size, size) even windows around each corner between pixels."""
    framed = np.pad(IMAGE, size // 2, mode="symmetric")
    return np.lib.stride_tricks.sliding_window_view(framed, (size, size))


def lag(k: int) -> np.ndarray:
    return area_mean((IMAGE[k:] - IMAGE[:-k]) ** 2) + area_mean((IMAGE[:, k:] - IMAGE[:, :-k]) ** 2)


def differences(keep: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return area_mean(keep(np.abs(np.diff(IMAGE, axis=0)))) + area_mean(keep(np.abs(np.diff(IMAGE, axis=1))))


SOBEL = np.outer([1, 2, 1], [-1, 0, 1]) / 8
LAPLACE = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
BEND = np.array([[0, 0, 0], [-1, 2, -1], [0, 0, 0]])
SLANT = np.diag([-1, 2, -1]) / np.sqrt(2)


def gaussian_slope(sigma: float) -> tuple[np.ndarray, np.ndarray]:
    r = int(np.ceil(3.5 * sigma))
    t = np.arange(-r, r + 1)
    g = np.exp(-(t**2) / (2 * sigma**2))
    return correlate(np.outer(g / g.sum(), t * g / (t * t * g).sum())), correlate(
        np.outer(t * g / (t * t * g).sum(), g / g.sum())
    )


def magnitude() -> np.ndarray:
    return np.hypot(correlate(SOBEL), correlate(SOBEL.T))


def local_maximum_gradient() -> np.ndarray:
    z = (IMAGE - IMAGE.mean()) / IMAGE.std()
    dy, dx = np.abs(np.diff(z, axis=0)), np.abs(np.diff(z, axis=1))
    g = (dx[:-1] + dx[1:] + dy[:, :-1] + dy[:, 1:]) / 4  # (31, 23): blocks of 8, spread evenly
    rows, cols = np.rint(np.linspace(0, 23, 4)).astype(int), np.rint(np.linspace(0, 15, 3)).astype(int)
    return np.array([[g[r : r + 8, c : c + 8].max() for c in cols] for r in rows])


def wavelet_details(level: int, image: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    wavelet = pywt.Wavelet("bior4.4")
    low, high = (np.trim_zeros(np.array(f)) / np.sqrt(2) for f in (wavelet.dec_lo, wavelet.dec_hi))
    step = 2 ** (level - 1)

    def spread(taps: np.ndarray) -> np.ndarray:
        out = np.zeros((len(taps) - 1) * step + 1)
        out[::step] = taps
        return out

    low, high = spread(low), spread(high)
    bands = [correlate(np.outer(a, b), image) for a, b in ((low, high), (high, low), (high, high))]
    return bands, correlate(np.outer(low, low), image)


def wavelet_ratio() -> np.ndarray:
    rest, energy = IMAGE, np.zeros(IMAGE.shape)
    for level in (1, 2, 3):
        bands, rest = wavelet_details(level, rest)
        energy += sum(b**2 for b in bands)
    return area_mean(energy) / (rest**2).mean()


def entropy(patch: np.ndarray) -> float:
    counts, _ = np.histogram(patch.clip(*RANGE), bins=256, range=RANGE)
    p = counts[counts > 0] / patch.size
    return float(-(p * np.log2(p)).sum())


def chebyshev() -> np.ndarray:
    t = np.linspace(-1, 1, PATCH)
    low_terms = [np.outer(t**p, t**q).ravel() for p in range(3) for q in range(3) if p + q <= 2]
    basis, _ = np.linalg.qr(np.array(low_terms).T)

    def energies(patch: np.ndarray) -> tuple[float, float]:
        low = ((basis.T @ patch.ravel()) ** 2).sum()
        return (patch**2).sum() - low, low

    high, low = (per_patch(lambda p, i=i: energies(p)[i]) for i in range(2))
    return high / low.mean()


def top_eigenvalues(patch: np.ndarray) -> float:
    values = np.linalg.svd(patch - patch.mean(), compute_uv=False) ** 2 / patch.size
    return float(values[:5].sum())


def window_variances() -> np.ndarray:
    framed = np.pad(IMAGE, 3, mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(framed, (7, 7)).var(axis=(2, 3))


def dct_energies() -> np.ndarray:
    return scipy.fft.dctn(windows(8), axes=(2, 3), norm="ortho") ** 2


def dct_ratio(indices: list[tuple[int, int]]) -> np.ndarray:
    energies = dct_energies()
    return area_mean(sum(energies[..., i, j] for i, j in indices)) / energies[..., 0, 0].mean()


ALL_VARYING = [(i, j) for i in range(8) for j in range(8) if i + j > 0]


def dct_entropy(patch: np.ndarray) -> float:
    c = np.abs(scipy.fft.dctn(patch, norm="ortho"))
    c /= np.sqrt((c**2).sum())
    r = 2 * PATCH * 0.25
    return -2 / r**2 * sum(c[i, j] * np.log2(c[i, j]) for i in range(8) for j in range(8) if i + j < r)


def midband() -> np.ndarray:
    mirrored = np.block([[IMAGE, IMAGE[:, ::-1]], [IMAGE[::-1], IMAGE[::-1, ::-1]]])
    fy, fx = np.fft.fftfreq(64)[:, None], np.fft.fftfreq(48)[None, :]
    f = np.hypot(fy, fx)
    band = np.fft.ifft2(np.fft.fft2(mirrored) * ((f >= 1 / 16) & (f < 1 / 8))).real
    return area_mean(band[:32, :24] ** 2)


def neighbours() -> np.ndarray:
    framed = np.pad(IMAGE, 1, mode="reflect")
    around = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    return np.array([np.abs(framed[1 + r : 33 + r, 1 + c : 25 + c] - IMAGE) for r, c in around])


def curvature() -> np.ndarray:
    framed = np.pad(IMAGE, 1, mode="reflect")
    dy, dx = (d.ravel() for d in np.mgrid[-1:2, -1:2])
    terms = np.array([dx, dy, dx**2, dy**2]).T
    total = np.zeros(IMAGE.shape)
    for r in range(32):
        for c in range(24):
            around = framed[r : r + 3, c : c + 3] - framed[r + 1, c + 1]
            total[r, c] = np.abs(np.linalg.lstsq(terms, around.ravel(), rcond=None)[0]).sum()
    return area_mean(total)


def helmli() -> np.ndarray:
    level = IMAGE + 0.01 * IMAGE.mean()
    mean = np.lib.stride_tricks.sliding_window_view(np.pad(level, 7, mode="reflect"), (15, 15)).mean(axis=(2, 3))
    return area_mean(np.maximum(level / mean, mean / level)) - 1


def smooth_window() -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(np.pad(IMAGE, 7, mode="reflect"), (15, 15)).mean(axis=(2, 3))


def patterns() -> np.ndarray:
    bits = neighbours() >= 0.016 * 300
    changes = (bits != np.roll(bits, 1, axis=0)).sum(axis=0)
    return area_mean((np.where(changes <= 2, bits.sum(axis=0), 9) >= 6).astype(float))


LEAST = 3 * np.sqrt(2) * NOISE
REFERENCES: dict[str, Callable[[], np.ndarray]] = {
    "tenengrad": lambda: area_mean(magnitude() ** 2),
    "tenengrad_variance": lambda: per_patch(np.var, magnitude()),
    "gaussian_derivative": lambda: area_mean(sum(g**2 for g in gaussian_slope(1.0))),
    "gradient_energy": lambda: lag(1),
    "absolute_gradient": lambda: differences(lambda d: d),
    "thresholded_gradient": lambda: differences(lambda d: d * (d > LEAST)),
    "squared_gradient": lambda: differences(lambda d: d**2 * (d > LEAST)),
    "local_maximum_gradient": local_maximum_gradient,
    "laplacian_energy": lambda: area_mean(correlate(LAPLACE) ** 2),
    "modified_laplacian": lambda: area_mean(sum(np.abs(correlate(m)) for m in (BEND, BEND.T))),
    "diagonal_laplacian": lambda: area_mean(sum(np.abs(correlate(m)) for m in (BEND, BEND.T, SLANT, SLANT[::-1]))),
    "variance_of_laplacian": lambda: per_patch(np.var, correlate(LAPLACE)),
    "wavelet_sum": lambda: area_mean(sum(np.abs(b) for b in wavelet_details(1, IMAGE)[0])),
    "wavelet_variance": lambda: sum(per_patch(np.var, b) for b in wavelet_details(1, IMAGE)[0]),
    "wavelet_ratio": wavelet_ratio,
    "variance": lambda: per_patch(np.var),
    "normalised_variance": lambda: per_patch(np.var) / IMAGE.mean(),
    "modified_variance": lambda: area_mean((IMAGE - smooth_window()) ** 2),
    "local_variance": lambda: per_patch(np.var, window_variances()),
    "histogram_entropy": lambda: per_patch(entropy),
    "histogram_range": lambda: per_patch(np.ptp),
    "chebyshev_moments": chebyshev,
    "eigenvalues": lambda: per_patch(top_eigenvalues) / (IMAGE**2).mean(),
    "dct_energy_ratio": lambda: dct_ratio(ALL_VARYING),
    "dct_reduced_ratio": lambda: dct_ratio([(0, 1), (1, 0), (0, 2), (1, 1), (2, 0)]),
    "modified_dct": lambda: area_mean(np.abs((windows(4) * np.outer([1, 1, -1, -1], [1, 1, -1, -1])).sum(axis=(2, 3)))),
    "dct_entropy": lambda: per_patch(dct_entropy),
    "midband_power": midband,
    "brenner": lambda: lag(2),
    "vollath_f4": lambda: (lag(2) - lag(1)) / 2,
    "vollath_f5": lambda: per_patch(np.var) - lag(1) / 4,
    "absolute_central_moment": lambda: per_patch(lambda p: float(np.abs(p - p.mean()).mean())),
    "contrast": lambda: area_mean(neighbours().sum(axis=0)),
    "curvature": curvature,
    "helmli_mean": helmli,
    "local_binary_patterns": patterns,
    "steerable_filters": lambda: area_mean(np.hypot(*gaussian_slope(2.0))),
    "spatial_frequency": lambda: np.sqrt(lag(1)),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_map_equals_the_definition_written_out(name: str) -> None:
    score = MEASURES[name].score(IMAGE, patch_px=PATCH, value_range=RANGE, noise=NOISE)
    assert score.grid.shape == GRID
    np.testing.assert_allclose(score.map, REFERENCES[name](), rtol=1e-3)


def test_laplacian_of_gaussian_answers_to_a_bowl_by_its_curvature() -> None:
    rows, cols = np.mgrid[-40:41, -40:41]
    bowl = 0.5 * (rows**2 + cols**2).astype(np.float32)
    inner = MEASURES["laplacian_of_gaussian"].score(bowl, patch_px=9).map[4, 4]
    assert inner == pytest.approx(2.0**2, rel=1e-3)


@pytest.mark.parametrize("name", ["vollath_f4", "vollath_f5"])
def test_vollath_equals_the_published_sums_but_for_the_border(name: str) -> None:
    """With the whole plane as one patch, and nothing but background near its border."""
    image = np.zeros((128, 128))
    image[32:96, 32:96] = np.kron(rng.normal(0, 50, (32, 32)), np.ones((2, 2)))
    f = image - image.mean() if name == "vollath_f5" else image
    total = 0.0
    for g in (f, f.T):
        first = (g[:-1] * g[1:]).sum()
        total += first - (g[:-2] * g[2:]).sum() if name == "vollath_f4" else first / 2
    value = MEASURES[name].score(image.astype(np.float32), patch_px=128).map.item()
    assert value == pytest.approx(total / image.size, rel=0.03)


@pytest.mark.parametrize("name", ["vollath_f4", "vollath_f5"])
def test_white_noise_adds_nothing_to_vollath(name: str) -> None:
    noise = np.random.default_rng(0).normal(100, 10, (512, 512)).astype(np.float32)
    assert abs(MEASURES[name].score(noise).map.mean()) < 0.01 * 10**2


def test_midband_power_of_a_wave_in_the_band_is_its_power() -> None:
    wave = np.cos(2 * np.pi * np.arange(256) / 11)[None, :].repeat(256, axis=0).astype(np.float32)
    assert MEASURES["midband_power"].score(wave).map.mean() == pytest.approx(0.5, rel=0.05)


def test_variance_is_exact_beside_a_much_brighter_patch() -> None:
    plane = rng.normal(100, 1, (64, 64))
    plane[:32, :32] += 60000
    plane = plane.astype(np.float32)
    expected = plane[:32, :32].astype(np.float64).var()
    assert MEASURES["variance"].score(plane, patch_px=32).map[0, 0] == pytest.approx(expected, rel=1e-3)
