"""Times a training step of one method against another, in turns on the same batch."""

import time
from collections.abc import Iterator

import torch

from msd_edge.models.build import NetworkConfig, build_network
from msd_edge.training.choices import Method
from msd_edge.training.methods import LossConfig, compute_loss

_BATCH = 128
_SIDE = 32
_CLASSES = 10


def time_steps(ours: Method, beside: Method, rounds: int) -> Iterator[tuple[float, float]]:
    """Yield milliseconds of a whole step (forward, loss, backward, update) of two methods, taken in turns.

    The network is ResNet-20 with three exits, the batch 128 images of 32 x 32, the processor's threads all in use.

    Args:
        ours: the method in question.
        beside: what it is held against.
        rounds: how many pairs.
    """
    shape = (3, _SIDE, _SIDE)
    torch.manual_seed(0)
    network = build_network(NetworkConfig(classes=_CLASSES, image_shape=shape, mean=(121.0,), std=(64.0,)))
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    images = torch.randint(0, 256, (_BATCH, *shape)).float().to(memory_format=torch.channels_last)
    labels = torch.randint(0, _CLASSES, (_BATCH,))

    def step(method: Method) -> float:
        config = LossConfig(method=method)
        start = time.perf_counter()
        logits, features = network.forward_features(images)
        terms = compute_loss(config, logits, features, labels, progress=0.0, tau=config.tau)
        optimizer.zero_grad()
        terms.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return 1e3 * (time.perf_counter() - start)

    step(ours), step(beside)
    for _ in range(rounds):
        yield step(ours), step(beside)
