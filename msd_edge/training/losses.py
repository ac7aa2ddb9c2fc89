"""The terms of the training losses, each a pure function.

Notation: N exits; exit n has logits aⁿ (batch, classes), p = softmax(a), q = softmax(a / τ), and F_n, the pooled
features (batch, features) that enter its last linear layer. Means are over the batch.

The all-pairs, feature and total losses are those of multi-self-distillation (Luan et al. 2019, arXiv 1911.09418).
Logits and features are taken in float32 whatever the network computes in.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropies(logits: Sequence[Tensor], labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return CE(pⁿ, y) of every exit, (N,); their sum is loss1 = Σ_n CE(pⁿ, y), every exit with weight 1.

    Args:
        logits: N tensors (batch, classes).
        labels: (batch,) int64.
        smoothing: label smoothing in [0, 1).
    """
    return torch.stack([F.cross_entropy(a.float(), labels, label_smoothing=smoothing) for a in logits])


def distill_all_pairs(logits: Sequence[Tensor], tau: float, *, detach: bool = True, tau_squared: bool = True) -> Tensor:
    """Return loss2 = 1/(N-1) · Σ_i Σ_{j≠i} KL(q^j ‖ q^i): every exit learns from every other (arXiv 1911.09418).

    Args:
        logits: N tensors (batch, classes), N >= 2.
        tau: temperature τ.
        detach: no gradient into the teacher's side q^j, as in deep mutual learning; the paper does not say.
        tau_squared: multiply by τ², so that gradients keep their size; the printed formula has no such factor.

    With the teachers summed first the N(N-1) divergences cost N products: Σ_{j≠i} q^j·log q^i = (Q - q^i)·log q^i.
    """
    stacked = torch.stack([a.float() for a in logits]) / tau
    log_q = F.log_softmax(stacked, dim=-1)
    q = log_q.exp()
    teacher_q, teacher_log_q = (q.detach(), log_q.detach()) if detach else (q, log_q)
    others = teacher_q.sum(0, keepdim=True) - teacher_q
    count, batch = log_q.shape[:2]
    entropies = (count - 1) * (teacher_q * teacher_log_q).sum()
    total = (entropies - (others * log_q).sum()) / batch
    return total * ((tau * tau if tau_squared else 1.0) / (count - 1))


def distill_from_better(
    logits: Sequence[Tensor], labels: Tensor, tau: float, *, detach: bool = True, tau_squared: bool = True
) -> Tensor:
    """Return 1/(N-1) · Σ_i Σ_{j≠i} mean_b m_ij(b) · KL(q^j_b ‖ q^i_b), all pairs where the teacher knows better.

    m_ij(b) is 1 on images b where CE(p^j_b, y_b) < CE(p^i_b, y_b), else 0: of two exits one teaches on each image, and
    none learns another's mistakes. With m = 1 it is ``distill_all_pairs``. Arguments as there, and labels (batch,).
    """
    raw = torch.stack([a.float() for a in logits])
    with torch.no_grad():
        errors = -F.log_softmax(raw, dim=-1).gather(-1, labels.expand(len(raw), -1)[..., None])[..., 0]
        teaches = (errors[None] < errors[:, None]).float()  # (student, teacher, batch)
    log_q = F.log_softmax(raw / tau, dim=-1)
    q = log_q.exp()
    teacher_q, teacher_log_q = (q.detach(), log_q.detach()) if detach else (q, log_q)
    entropies = (teacher_q * teacher_log_q).sum(-1)
    crossed = torch.einsum("jbc,ibc->ijb", teacher_q, log_q)
    count, batch = log_q.shape[:2]
    total = (teaches * (entropies[None] - crossed)).sum() / batch
    return total * ((tau * tau if tau_squared else 1.0) / (count - 1))


def distill_from(
    teacher: Tensor, students: Sequence[Tensor], tau: float, *, detach: bool = True, tau_squared: bool = True
) -> Tensor:
    """Return Σ_i KL(q^teacher ‖ q^i) over the students.

    Args:
        teacher: logits (batch, classes).
        students: logits (batch, classes) each.
        tau: temperature τ.
        detach: no gradient into the teacher.
        tau_squared: multiply by τ².
    """
    log_t = F.log_softmax(teacher.float() / tau, dim=-1)
    if detach:
        log_t = log_t.detach()
    losses = [
        F.kl_div(F.log_softmax(s.float() / tau, dim=-1), log_t, reduction="batchmean", log_target=True)
        for s in students
    ]
    return torch.stack(losses).sum() * (tau * tau if tau_squared else 1.0)


def distill_from_ensemble(
    logits: Sequence[Tensor], tau: float, *, detach: bool = True, tau_squared: bool = True
) -> Tensor:
    """Return Σ_i KL(q̄ ‖ q^i), q̄ = softmax(mean of all logits / τ): the ensemble teaches every exit.

    Exit-ensemble distillation (Lee and Lee 2021, arXiv 2104.00299). Arguments as in ``distill_all_pairs``.
    """
    mean = torch.stack([a.float() for a in logits]).mean(0)
    return distill_from(mean, logits, tau, detach=detach, tau_squared=tau_squared)


def match_features(features: Sequence[Tensor], *, detach: bool = True) -> Tensor:
    """Return loss3 = Σ_{i<N} mean (F_i - F_N)²: the deepest features are the target.

    The paper sums the squares; the mean over batch and features keeps β's size free of both (β of 0.07 here is the
    BYOT code's 1e-6 on a sum over 128 x 512 values).

    Args:
        features: N tensors (batch, features) of one width.
        detach: no gradient into F_N.
    """
    target = features[-1].float()
    if detach:
        target = target.detach()
    return torch.stack([F.mse_loss(f.float(), target) for f in features[:-1]]).sum()


def anneal_beta(start: float, end: float, progress: float) -> float:
    """Return β = ½(1 + cos(π·t))·(start - end) + end for t = progress in 0..1: start at 0, end at 1.

    The paper prints the bracket elsewhere; read literally β would stay near its middle for ever.
    """
    return 0.5 * (1 + math.cos(math.pi * progress)) * (start - end) + end


def anneal_tau(
    tau: float,
    teacher: Tensor,
    factor: float = 1.05,
    limit: float = 0.5,
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> float:
    """Return τ multiplied by ``factor`` while the teacher's mean top probability at τ exceeds ``limit``.

    Phuong and Lampert, ICCV 2019 ("Distillation-based training for multi-exit architectures").

    Args:
        tau: the temperature now.
        teacher: logits (batch, classes).
        factor: growth.
        limit: of the mean top probability.
        mean: over the batch, which may go on in other processes.
    """
    top = torch.softmax(teacher.detach().float() / tau, dim=-1).amax(-1)
    return tau * factor if float(mean(top)) > limit else tau
