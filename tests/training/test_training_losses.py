"""Every loss term against a slow, literal version of its formula."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from msd_edge.training import losses
from msd_edge.training.choices import METHODS
from msd_edge.training.methods import LossConfig, compute_loss

BATCH, CLASSES, WIDTH = 5, 4, 6


def make(exits: int, seed: int = 0) -> tuple[list[Tensor], list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = [
        (3 * torch.randn(BATCH, CLASSES, generator=generator, dtype=torch.float32)).requires_grad_()
        for _ in range(exits)
    ]
    features = [torch.randn(BATCH, WIDTH, generator=generator).requires_grad_() for _ in range(exits)]
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    return logits, features, labels


def softmax(row: list[float], tau: float = 1.0) -> list[float]:
    largest = max(row)
    values = [math.exp((v - largest) / tau) for v in row]
    return [v / sum(values) for v in values]


def literal_kl(teacher: Tensor, student: Tensor, tau: float) -> float:
    total = 0.0
    for t, s in zip(teacher.tolist(), student.tolist(), strict=True):
        p, q = softmax(t, tau), softmax(s, tau)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(teacher)  # the mean over the batch, and not over the classes too


@given(st.integers(2, 5), st.floats(0.5, 8), st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_all_pairs_is_the_sum_over_ordered_pairs_over_n_minus_1(exits: int, tau: float, seed: int) -> None:
    logits, _, _ = make(exits, seed)
    pairs = [(i, j) for i in range(exits) for j in range(exits) if i != j]
    expected = sum(literal_kl(logits[j], logits[i], tau) for i, j in pairs) / (exits - 1)
    for squared, factor in ((True, tau * tau), (False, 1.0)):
        found = losses.distill_all_pairs(logits, tau, tau_squared=squared)
        assert found.item() == pytest.approx(expected * factor, rel=2e-4, abs=1e-5)


@given(st.integers(2, 5), st.floats(0.5, 8), st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_a_better_exit_teaches_on_each_image(exits: int, tau: float, seed: int) -> None:
    logits, _, labels = make(exits, seed)
    expected = 0.0
    for image, label in enumerate(labels.tolist()):
        errors = [-math.log(softmax(a[image].tolist())[label]) for a in logits]
        for student in range(exits):
            for teacher in range(exits):
                if errors[teacher] < errors[student]:
                    pair = (logits[teacher][image : image + 1], logits[student][image : image + 1])
                    expected += literal_kl(*pair, tau) / BATCH
    expected /= exits - 1
    for squared, factor in ((True, tau * tau), (False, 1.0)):
        found = losses.distill_from_better(logits, labels, tau, tau_squared=squared)
        assert found.item() == pytest.approx(expected * factor, rel=2e-4, abs=1e-5)


def test_who_knows_every_image_best_learns_from_nobody() -> None:
    logits, _, labels = make(3)
    best = (10 * torch.nn.functional.one_hot(labels, CLASSES)).float().requires_grad_()
    losses.distill_from_better([*logits, best], labels, 3.0).backward()
    assert best.grad is not None
    assert not best.grad.any()
    assert all(a.grad is not None and a.grad.any() for a in logits)


def test_all_pairs_gradient_is_that_of_detached_teachers() -> None:
    logits, _, _ = make(3)
    losses.distill_all_pairs(logits, 3.0).backward()
    found = [a.grad.clone() for a in logits if a.grad is not None]
    for a in logits:
        a.grad = None
    literal = torch.zeros(())
    for i in range(3):
        for j in range(3):
            if i != j:
                teacher = torch.softmax(logits[j].detach() / 3, -1)
                student = torch.log_softmax(logits[i] / 3, -1)
                literal = literal + (teacher * (teacher.log() - student)).sum() / BATCH
    (9 * literal / 2).backward()
    for a, b in zip(logits, found, strict=True):
        assert torch.allclose(a.grad, b, atol=1e-6)


def test_all_pairs_without_detach_reaches_the_teachers() -> None:
    logits, _, _ = make(2)
    with_detach, without = ([a.detach().clone().requires_grad_() for a in logits] for _ in range(2))
    losses.distill_all_pairs(with_detach, 2.0).backward()
    losses.distill_all_pairs(without, 2.0, detach=False).backward()
    assert not torch.allclose(with_detach[0].grad, without[0].grad)


def test_equal_exits_have_no_divergence() -> None:
    logits = [torch.randn(BATCH, CLASSES)] * 4
    assert losses.distill_all_pairs(logits, 3.0).item() == pytest.approx(0, abs=1e-5)
    assert losses.distill_from(logits[0], logits, 3.0).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("detach", [True, False])
def test_last_teacher_is_one_way(detach: bool) -> None:
    logits, _, _ = make(3)
    found = losses.distill_from(logits[-1], logits[:-1], 2.5, detach=detach)
    expected = 2.5**2 * sum(literal_kl(logits[-1], a, 2.5) for a in logits[:-1])
    assert found.item() == pytest.approx(expected, rel=1e-4)
    found.backward()
    assert (logits[-1].grad is None) == detach


def test_ensemble_teacher_is_the_softmax_of_the_mean_logits() -> None:
    logits, _, _ = make(3)
    mean = torch.stack(logits).mean(0)
    expected = 9 * sum(literal_kl(mean, a, 3.0) for a in logits)
    assert losses.distill_from_ensemble(logits, 3.0).item() == pytest.approx(expected, rel=1e-4)


def test_cross_entropy_sums_over_exits_with_weight_one() -> None:
    logits, _, labels = make(3)
    expected = -sum(
        math.log(softmax(row)[label]) for a in logits for row, label in zip(a.tolist(), labels.tolist(), strict=True)
    )
    assert losses.cross_entropies(logits, labels).sum().item() == pytest.approx(expected / BATCH, rel=1e-5)


def test_features_match_the_deepest_and_never_move_it() -> None:
    _, features, _ = make(3)
    found = losses.match_features(features)
    last = features[-1].tolist()
    expected = sum(
        (x - y) ** 2
        for f in features[:-1]
        for row, target in zip(f.tolist(), last, strict=True)
        for x, y in zip(row, target, strict=True)
    ) / (BATCH * WIDTH)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert features[-1].grad is None
    assert features[0].grad is not None


@given(st.floats(0, 2), st.floats(0, 2))
def test_beta_starts_and_ends_where_it_should(start: float, end: float) -> None:
    assert losses.anneal_beta(start, end, 0.0) == pytest.approx(start)
    assert losses.anneal_beta(start, end, 1.0) == pytest.approx(end)
    assert losses.anneal_beta(start, end, 0.5) == pytest.approx((start + end) / 2)


def test_tau_grows_while_the_teacher_is_sure() -> None:
    sure = torch.tensor([[9.0, 0, 0, 0]])
    assert losses.anneal_tau(2.0, sure) == pytest.approx(2.1)
    assert losses.anneal_tau(2.0, torch.zeros(1, 4)) == 2.0


@pytest.mark.parametrize("method", METHODS)
def test_total_puts_the_terms_together(method: str) -> None:
    logits, features, labels = make(3)
    config = LossConfig(method=method, alpha=0.3, tau=2.0, beta_start=0.2, beta_end=0.1)
    terms = compute_loss(config, logits, features, labels, progress=0.5, tau=2.0)
    cross = losses.cross_entropies(logits, labels).sum().item()
    if method in ("joint", "single"):
        assert terms.total.item() == pytest.approx(cross)
        return
    beta = 0.15 if method in ("msd", "msd-better", "last-teacher") else 0.0
    matched = losses.match_features(features).item()
    distilled = {
        "msd": lambda: losses.distill_all_pairs(logits, 2.0),
        "msd-better": lambda: losses.distill_from_better(logits, labels, 2.0),
        "ensemble": lambda: losses.distill_from_ensemble(logits, 2.0),
        "last-teacher": lambda: losses.distill_from(logits[-1], logits[:-1], 2.0),
        "annealed": lambda: losses.distill_from(logits[-1], logits[:-1], 2.0),
    }[method]().item()
    assert terms.total.item() == pytest.approx(0.7 * cross + 0.3 * distilled + beta * matched, rel=1e-5)


def test_one_exit_has_labels_only() -> None:
    logits, features, labels = make(1)
    terms = compute_loss(LossConfig(), logits, features, labels, progress=0.0, tau=3.0)
    assert terms.total.item() == pytest.approx(losses.cross_entropies(logits, labels).sum().item())


def test_half_precision_logits_are_taken_in_float32() -> None:
    logits, features, labels = make(3)
    config = LossConfig()
    low = [a.detach().to(torch.bfloat16) for a in logits]
    terms = compute_loss(config, low, [f.detach() for f in features], labels, progress=0.0, tau=3.0)
    assert terms.total.dtype == torch.float32
