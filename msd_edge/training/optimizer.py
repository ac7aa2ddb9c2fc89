"""The optimizer of a run."""

from collections.abc import Sequence

import torch
from torch import nn

from msd_edge.training.config import TrainConfig


def make_optimizer(modules: Sequence[nn.Module], early: dict[nn.Module, int], config: TrainConfig) -> torch.optim.SGD:
    """Return SGD over what is to be trained: no weight decay for biases and norms, a group for each end of training.

    Args:
        modules: the network, and what is trained beside it.
        early: pieces of the trunk that are trained for some of the epochs only, and for how many.
        config: of the run.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    shorter = {p: end for piece, end in early.items() for p in piece.parameters()}
    groups = []
    for epochs in sorted({*early.values(), config.optim.epochs}):
        members = [p for p in parameters if shorter.get(p, config.optim.epochs) == epochs]
        decayed = [p for p in members if p.dim() > 1]
        plain = [p for p in members if p.dim() <= 1]
        groups.append({"params": decayed, "weight_decay": config.optim.weight_decay, "epochs": epochs})
        groups.append({"params": plain, "weight_decay": 0.0, "epochs": epochs})
    return torch.optim.SGD(
        groups,
        lr=config.optim.lr,
        momentum=config.optim.momentum,
        nesterov=config.optim.momentum > 0,
        fused=config.compute.device == "cuda",
    )
