"""Losses that the recipes use."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def ranked_probability_score(logits: Tensor, target: Tensor) -> Tensor:
    """Distance between cumulative distributions over ordered classes (Epstein 1969, J. Appl. Meteorol. 8:985).

    ``RPS = 1/(C - 1) · sum_k (sum_{j<=k} p_j - sum_{j<=k} t_j)²``, the mean over the batch: a near miss costs less
    than a far one, unlike cross-entropy.

    Parameters
    ----------
    logits : (N, C) tensor
        Before softmax.
    target : (N, C) tensor
        True distribution: one-hot, or spread where the truth is not one class.

    Returns
    -------
    () tensor
        0 (perfect) … 1.
    """
    difference = torch.cumsum(torch.softmax(logits, dim=1) - target, dim=1)[:, :-1]
    return (difference**2).sum(dim=1).mean() / (logits.shape[1] - 1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """``-sum_k t_k log p_k`` with (N, C) logits and target distributions, the mean over the batch."""
    return -(target * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()


def signed_defocus(output: Tensor, waves: Tensor, asymmetry: Tensor, *, scale: float) -> Tensor:
    """Loss of a network that tells magnitude and side of defocus.

    Squared error of the magnitude, ``((m - |W|/scale) / (1 + |W|/4))²`` (the paper's MSE on normalised labels, with
    errors far out counting less: there nobody needs a tenth of a wave), plus the binary
    cross-entropy of the side, weighted by how much the optics tell the sides apart and by how far out of focus it is: a
    symmetric objective can't teach a sign, nor can an image in focus.

    Parameters
    ----------
    output : (N, 2) tensor
        Magnitude in units of `scale`, and logit of "positive side".
    waves : (N,) tensor
        True signed defocus.
    asymmetry : (N,) tensor
        See `patches.Batch`.
    scale : float
        Waves in one unit of the output.
    """
    magnitude = (((output[:, 0] - waves.abs() / scale) / (1 + waves.abs() / 4)) ** 2).mean()
    known = asymmetry.clamp(max=1.0) * (waves.abs() / 0.5).clamp(max=1.0)
    side = functional.binary_cross_entropy_with_logits(output[:, 1], (waves > 0).float(), weight=known)
    return magnitude + 0.01 * side
