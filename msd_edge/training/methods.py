"""The training methods: which terms make up the loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from msd_edge.training import losses
from msd_edge.training.choices import Method
from msd_edge.typed import Model

# Those with a feature term.
FEATURE_METHODS: tuple[Method, ...] = ("msd", "msd-better", "last-teacher")


class LossConfig(Model):
    """The method and its weights.

    Attributes:
        method: msd: labels, all pairs, features. msd-better: the same, but on each image only who knows it better than
            the student teaches. joint: labels only. last-teacher: the last exit teaches the others
            (BYOT, Zhang et al. 2019). annealed: the same with a growing τ, no features (Phuong and Lampert 2019).
            ensemble: the mean of all exits teaches each. single: every exit's path alone, labels only.
        alpha: weight of distillation; labels have 1 - alpha.
        tau: temperature, for annealed its first value.
        beta_start, beta_end: weight of the feature term, first and last; it falls by a cosine.
        detach: no gradient into a teacher.
        tau_squared: distillation times τ².
        smoothing: label smoothing.
        equilibrium: the exits' gradients into the trunk have weights that keep their sum's variance (IMTA).
    """

    method: Method = "msd"
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    tau: Annotated[float, Field(gt=0, le=100)] = 3.0
    beta_start: Annotated[float, Field(ge=0)] = 0.1
    beta_end: Annotated[float, Field(ge=0)] = 0.0
    detach: bool = True
    tau_squared: bool = True
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    equilibrium: bool = False


@dataclass(frozen=True)
class Terms:
    """A loss and what it is made of: ``labels`` (N,) per exit; ``tau`` is the temperature for the next step."""

    total: Tensor
    labels: Tensor
    distillation: Tensor
    features: Tensor
    tau: float


def compute_loss(
    config: LossConfig,
    logits: Sequence[Tensor],
    features: Sequence[Tensor],
    targets: Tensor,
    *,
    progress: float,
    tau: float,
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> Terms:
    """Return total = (1-α)·labels + α·distillation + β·features (arXiv 1911.09418) for the method chosen.

    With one exit, and for joint and single, it is the sum of cross-entropies alone.

    Args:
        config: the method and its weights.
        logits: N tensors (batch, classes).
        features: N tensors (batch, features).
        targets: labels (batch,) int64.
        progress: how much of the training is done, 0..1.
        tau: the temperature now (it moves for ``annealed`` only).
        mean: over the batch, which may go on in other processes; what decides about τ is taken by it.
    """
    each = losses.cross_entropies(logits, targets, config.smoothing)
    labels = each.sum()
    zero = labels.new_zeros(())
    if config.method in ("joint", "single") or len(logits) == 1:
        return Terms(labels, each.detach(), zero, zero, tau)
    distillation = _distill(config, logits, targets, tau)
    total = (1 - config.alpha) * labels + config.alpha * distillation
    matched = zero
    beta = losses.anneal_beta(config.beta_start, config.beta_end, progress)
    if config.method in FEATURE_METHODS and beta > 0:
        matched = losses.match_features(features, detach=config.detach)
        total = total + beta * matched
    if config.method == "annealed":
        tau = losses.anneal_tau(tau, logits[-1], mean=mean)
    return Terms(total, each.detach(), distillation.detach(), matched.detach(), tau)


def _distill(config: LossConfig, logits: Sequence[Tensor], targets: Tensor, tau: float) -> Tensor:
    if config.method == "msd":
        return losses.distill_all_pairs(logits, tau, detach=config.detach, tau_squared=config.tau_squared)
    if config.method == "msd-better":
        return losses.distill_from_better(logits, targets, tau, detach=config.detach, tau_squared=config.tau_squared)
    if config.method == "ensemble":
        return losses.distill_from_ensemble(logits, tau, detach=config.detach, tau_squared=config.tau_squared)
    *students, teacher = logits
    return losses.distill_from(teacher, students, tau, detach=config.detach, tau_squared=config.tau_squared)
