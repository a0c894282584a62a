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


def signed_defocus(output: Tensor, target: Tensor, *, above: Tensor, sided: Tensor) -> Tensor:
    """Loss of a network that tells magnitude and side of defocus.

    Mean squared error of the (coded) magnitude, plus the binary cross-entropy of the side where it can be known:
    symmetric optics can't teach a sign, nor can an image in focus.

    Parameters
    ----------
    output : (N, 2) tensor
        Magnitude, and logit of "above".
    target : (N,) tensor
        True magnitude.
    above : (N,) bool tensor
        True side.
    sided : (N,) tensor
        How much the side can be known, 0 … 1.
    """
    magnitude = functional.mse_loss(output[:, 0], target)
    side = functional.binary_cross_entropy_with_logits(output[:, 1], above.float(), weight=sided)
    return magnitude + side


def stack_scores(score: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """GMANet's losses (Wang et al. 2021, eq. 9-12) of slices of some stacks.

    With x the error of a score and smooth-L1 as ``x²/2 if |x| < 1 else |x| - 1/2`` (eq. 10 drops the modulus)::

        L_score = mean over slices of smooth_L1(ŝ - s)
        L_diff  = mean over the others of smooth_L1((ŝ_c - ŝ_d) - (s_c - s_d))
        α       = 0 while no other slice scores above the clearest, else 1

    Parameters
    ----------
    score : (S, K) tensor
        Predicted, 0 … 100; the clearest slice of each stack comes first.
    label : (S, K) tensor
        True.

    Returns
    -------
    (S,) tensors
        L_score, L_diff and α of each stack; eq. 8 is ``L_score + α·L_diff``.
    """
    scores = functional.smooth_l1_loss(score, label, reduction="none").mean(dim=1)
    found, true = score[:, :1] - score[:, 1:], label[:, :1] - label[:, 1:]
    differences = functional.smooth_l1_loss(found, true, reduction="none").mean(dim=1)
    wrong = (score[:, 1:] > score[:, :1]).any(dim=1)
    return scores, differences, wrong.to(score.dtype)


def similarity(a: Tensor, b: Tensor, *, window_px: int = 7) -> tuple[Tensor, Tensor]:
    """SSIM (Wang et al. 2004, eq. 13) in square windows, and how much there is to compare; differentiable.

    Parameters
    ----------
    a, b : (N, C, Y, X) tensors
        Images of a range of about 1.
    window_px : int
        Side of the window.

    Returns
    -------
    ssim, contrast : (N, C, y, x) tensors
        Of each window; its contrast is the larger one of the two images' standard deviations.
    """
    c1, c2 = 0.01**2, 0.03**2

    def mean(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, window_px, 1)

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    ssim = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return ssim, torch.sqrt(torch.maximum(va, vb).clamp(min=1e-8))


def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
    """``1 - SSIM``, the mean over the windows of all images (N, C, Y, X): see `similarity`."""
    return 1 - similarity(a, b)[0].mean()


def focal(logits: Tensor, clear: Tensor, *, weight: Tensor, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Focal loss of a map of two classes (Lin et al. 2017; Pei et al. 2021, eq. 2): pixels that are easy count little.

    With ŷ the probability of "fuzzy", ``-α·(1 - ŷ)^γ·log ŷ`` where a pixel is fuzzy and ``-(1 - α)·ŷ^γ·log(1 - ŷ)``
    where it is clear (eq. 4 drops a γ). The paper gives neither α nor γ; with α = ½ a probability of ½ is the border.

    Parameters
    ----------
    logits : (N, 2, Y, X) tensor
        Of clear and fuzzy.
    clear : (N, 1, Y, X) tensor
        1 where clear, 0 where fuzzy.
    weight : (N, 1, Y, X) tensor
        How much each pixel counts.
    alpha : float
        Share of the class "fuzzy", 0 … 1.
    gamma : float
        How much easy pixels are held back; 0 gives cross-entropy.

    Returns
    -------
    () tensor
        The weighted mean.
    """
    x = logits[:, 1:] - logits[:, :1]
    fuzzy = -alpha * torch.sigmoid(-x) ** gamma * functional.logsigmoid(x)
    is_clear = -(1 - alpha) * torch.sigmoid(x) ** gamma * functional.logsigmoid(-x)
    loss = torch.where(clear > 0.5, is_clear, fuzzy)
    return (loss * weight).sum() / weight.sum().clamp(min=1)
