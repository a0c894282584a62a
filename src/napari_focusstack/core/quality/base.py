"""What a quality metric is: it starts from the fused image and takes its partners one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError

Image = NDArray[Any]
Against = Literal["itself", "sources", "reference"]


class Tally(Protocol):
    """A metric at work on one fused image. It keeps sums, never the images that it was given."""

    def add(self, other: Image) -> None:
        """Take one partner into account, an image of the fused image's shape."""
        ...

    def value(self) -> float:
        """The metric over all the partners so far."""
        ...


@dataclass(frozen=True)
class Metric:
    """A number that says how good a fused image is.

    Attributes
    ----------
    name : str
        By which a user, the command line and JSON know it.
    title : str
        What to call it in a list.
    units : str
        Units of its values; ``"1"`` where it is a plain number.
    against : {"itself", "sources", "reference"}
        What the image is compared with: nothing; the slices that it was fused from; or a reference (an all-in-focus
        image that is known to be right) and, where there is none, each slice in turn, averaged
        (PSNR: the errors are).
    hint : str
        What it means, for a person who reads the number.
    published : str
        Where it was published.
    begin : callable
        ``begin(fused) -> Tally``.
    """

    name: str
    title: str
    units: str
    against: Against
    hint: str
    published: str
    begin: Callable[[Image], Tally]


@dataclass
class MeanOverPartners:
    """A tally of a metric between two images: its mean over the partners.

    Attributes
    ----------
    fused : (Y, X) or (Y, X, 3) array
        The fused image.
    compare : callable
        ``compare(fused, partner) -> float``.
    """

    fused: Image
    compare: Callable[[Image, Image], float]
    total: float = 0.0
    n: int = 0

    def add(self, other: Image) -> None:
        """Compare with one partner."""
        self.total += self.compare(self.fused, other)
        self.n += 1

    def value(self) -> float:
        """Mean over the partners."""
        require_partners(self.n)
        return self.total / self.n


@dataclass(frozen=True)
class Known:
    """A tally of a metric that needs no partner.

    Attributes
    ----------
    number : float
        Its value.
    """

    number: float

    def add(self, other: Image) -> None:
        """Nothing to compare."""

    def value(self) -> float:
        """The value."""
        return self.number


def require_partners(n: int) -> None:
    """Raise `InputError` where there was nothing to compare with."""
    if n == 0:
        raise InputError("No source image was given to compare the fused image with: give one at least.")


def check_pair(image: Image, other: Image, *, role: str = "source") -> None:
    """Raise `InputError` unless two images have the same shape."""
    if image.shape != other.shape:
        raise InputError(
            f"The fused image is {image.shape} and the {role} {other.shape}: give images of the same size and colours."
        )
