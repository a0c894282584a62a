"""`PlaneArray`: an array whose planes are made (read, warped) only when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Plane = NDArray[Any]


class PlaneArray:
    """An array of planes behind NumPy's indexing, holding none of them.

    Indexing the leading axes only gives another `PlaneArray`, and a NumPy array as soon as one plane is left or the
    plane axes are cut. Nothing is cached and nothing memory-mapped, so that memory holds what the caller holds.

    Parameters
    ----------
    read : callable
        ``read(number) -> (Y, X) or (Y, X, 3) array``; called from any thread.
    numbers : (...) int array
        The leading axes: the number of each plane.
    plane_shape : tuple of int
        Shape of a plane.
    dtype : dtype
        Type of a pixel.
    """

    def __init__(
        self,
        read: Callable[[int], Plane],
        numbers: NDArray[np.intp],
        *,
        plane_shape: tuple[int, ...],
        dtype: DTypeLike,
    ) -> None:
        self._read = read
        self._numbers = numbers
        self._plane_shape = plane_shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the leading axes and of the plane's."""
        return (*self._numbers.shape, *self._plane_shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes that all planes together take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"PlaneArray(shape={self.shape}, dtype={self.dtype})"

    def __getitem__(self, key: Any) -> Any:
        key = self._full_key(key)
        n_leading = self._numbers.ndim
        numbers = np.asarray(self._numbers[key[:n_leading]])
        cut = key[n_leading:]
        if numbers.ndim and all(isinstance(k, slice) and k == slice(None) for k in cut):
            return self._with(numbers)
        if numbers.ndim == 0:
            return self._read(int(numbers))[cut]
        if not numbers.size:
            return np.empty(self._plane_shape, self.dtype)[cut][np.newaxis][:0].reshape(*numbers.shape, -1)
        planes = [self._read(int(n))[cut] for n in numbers.flat]
        return np.stack(planes).reshape(*numbers.shape, *planes[0].shape)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        out = np.empty(self.shape, self.dtype if dtype is None else dtype)
        flat = out.reshape(-1, *self._plane_shape)
        for i, number in enumerate(self._numbers.flat):
            flat[i] = self._read(int(number))
        return out

    def transpose_leading(self, order: Sequence[int]) -> PlaneArray:
        """The same planes with the leading axes in another order."""
        return self._with(self._numbers.transpose(order))

    def squeeze_leading(self) -> PlaneArray:
        """The same planes without leading axes of length 1."""
        return self._with(self._numbers.squeeze())

    def _with(self, numbers: NDArray[np.intp]) -> PlaneArray:
        return PlaneArray(self._read, numbers, plane_shape=self._plane_shape, dtype=self.dtype)

    def _full_key(self, key: Any) -> tuple[Any, ...]:
        """The key with one entry for each axis."""
        key = key if isinstance(key, tuple) else (key,)
        given = [k for k in key if k is not Ellipsis]
        if len(given) > self.ndim or len(key) - len(given) > 1:
            raise IndexError(f"{key} does not index an array of {self.ndim} axes")
        missing = (slice(None),) * (self.ndim - len(given))
        if Ellipsis not in [k for k in key if k is Ellipsis]:
            return (*key, *missing)
        at = next(i for i, k in enumerate(key) if k is Ellipsis)
        return (*key[:at], *missing, *key[at + 1 :])


def in_memory(pixels: Any) -> NDArray[Any]:
    """An array's pixels as a NumPy array; those of a dask array are computed past the callbacks of the process.

    napari registers such ones, for a cache, whenever it draws a dask array. They are not made for threads: where it is
    done with its slice while another thread reads one, that thread fails (KeyError in ``dask.cache``).
    """
    return np.asarray(pixels.compute(callbacks=()) if hasattr(pixels, "dask") else pixels)


def join_planes(arrays: Sequence[PlaneArray]) -> PlaneArray:
    """Put arrays of one shape and type one behind the other along a new first axis, nothing read.

    Raises
    ------
    ValueError
        If their shapes or types differ.
    """
    if len({(a.shape, a.dtype) for a in arrays}) != 1:
        raise ValueError("arrays of different shape or type can't be joined")
    flat = [(a, int(n)) for a in arrays for n in a._numbers.flat]

    def read(number: int) -> Plane:
        array, inner = flat[number]
        return array._read(inner)

    numbers = np.arange(len(flat)).reshape(len(arrays), *arrays[0]._numbers.shape)
    return PlaneArray(read, numbers, plane_shape=arrays[0]._plane_shape, dtype=arrays[0].dtype)
