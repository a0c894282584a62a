"""All metrics of a fused image in one pass over its sources."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.quality.base import Image, Metric, Tally, check_pair
from napari_focusstack.core.quality.blind import ARCHITECTURES, DamagedMetricError, metrics_of
from napari_focusstack.core.quality.detail import AVERAGE_GRADIENT, SPATIAL_FREQUENCY
from napari_focusstack.core.quality.edges import QABF
from napari_focusstack.core.quality.information import MUTUAL_INFORMATION, NORMALISED_MUTUAL_INFORMATION
from napari_focusstack.core.quality.reference import PSNR, SSIM
from napari_focusstack.core.registry import Registry
from napari_focusstack.core.stack import Stack

log = logging.getLogger(__name__)

METRICS: Registry[Metric] = Registry("quality metric", networks=ARCHITECTURES)
for _metric in (
    QABF,
    AVERAGE_GRADIENT,
    SSIM,
    PSNR,
    MUTUAL_INFORMATION,
    NORMALISED_MUTUAL_INFORMATION,
    SPATIAL_FREQUENCY,
):
    METRICS.add(_metric)
METRICS.follow_models(metrics_of)


@dataclass(frozen=True)
class Quality:
    """What one metric says of a fused image.

    Attributes
    ----------
    metric : Metric
        Which one.
    value : float
        In the metric's units; higher is better. Infinite PSNR for an exact copy.
    against : {"itself", "sources", "reference"}
        What the image was really compared with.
    """

    metric: Metric
    value: float
    against: Literal["itself", "sources", "reference"]


def assess(
    fused: Image,
    *,
    sources: Stack | None = None,
    reference: Image | None = None,
    metrics: Sequence[str] | None = None,
    slices: Sequence[int] | None = None,
) -> Job[tuple[Quality, ...]]:
    """Rate a fused image by every metric that what is given allows, as a job; one slice in memory at a time.

    Parameters
    ----------
    fused : (Y, X) or (Y, X, 3) array
        The fused image.
    sources : Stack, optional
        The series that it was fused from: one channel, axes ZYX or ZYXS.
    reference : array, optional
        An image of the same scene that is sharp everywhere, of the fused image's shape.
    metrics : sequence of str, optional
        Names in `METRICS`; all of them by default, but for networks whose weights are damaged. Those
        that lack what they need are left out.
    slices : sequence of int, optional
        The slices of `sources` that were fused; all by default.

    Returns
    -------
    tuple of Quality
        In the order of `METRICS`.

    Raises
    ------
    InputError
        If a name is unknown, the images' shapes differ, or the weights of a metric that was asked for are damaged.
    """
    chosen = [METRICS[name] for name in (METRICS.names() if metrics is None else metrics)]
    if sources is not None and not set(sources.axes) <= set("ZYXS"):
        raise InputError(
            f"'{sources.name}' has axes {sources.axes}: give one channel, time point and position of it (ZYX or ZYXS)."
        )
    work: list[tuple[Metric, Tally, Literal["itself", "sources", "reference"]]] = []
    for metric in chosen:
        if metric.against == "reference" and reference is not None:
            check_pair(fused, reference, role="reference")
            tally = metric.begin(fused)
            tally.add(reference)
            work.append((metric, tally, "reference"))
        elif metric.against == "itself":
            try:
                work.append((metric, metric.begin(fused), "itself"))
            except DamagedMetricError as error:
                if metrics is not None:
                    raise
                log.warning("%s is left out: %s", metric.title, error)
        elif sources is not None:
            work.append((metric, metric.begin(fused), "sources"))
    if sources is not None:
        chosen_slices = range(sources.n_slices) if slices is None else slices
        for done, z in enumerate(chosen_slices, 1):
            plane = sources.plane(z)
            check_pair(fused, plane)
            for _, tally, against in work:
                if against == "sources":
                    tally.add(plane)
            yield Progress(done, len(chosen_slices), f"Compared with slice {z}")
    return tuple(Quality(metric, tally.value(), against) for metric, tally, against in work)
