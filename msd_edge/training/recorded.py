"""A training step recorded once and replayed: a small network's step on a GPU is a thousand launches, a replay one.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from msd_edge.training.methods import Terms

# Kernels are chosen and workspaces made in steps that are run as they are.
_WARM = 3


@dataclass(frozen=True)
class _Recording:
    key: Hashable
    graph: torch.cuda.CUDAGraph
    images: Tensor
    labels: Tensor
    terms: Terms
    gradients: tuple[Tensor | None, ...]


class RecordedStep:
    """Computes loss and gradients of batches on a GPU, from a recording where one fits.

    Args:
        parameters: whose gradients a step makes.
        whole: images of a whole batch, the only size that is recorded.
    """

    def __init__(self, parameters: Sequence[Tensor], whole: int) -> None:
        self._parameters = parameters
        self._whole = whole
        self._recording: _Recording | None = None
        self._warm: Counter[Hashable] = Counter()

    def run(
        self,
        key: Hashable,
        step: Callable[[Tensor, Tensor], Terms],
        images: Tensor,
        labels: Tensor,
        *,
        way: Hashable = None,
    ) -> Terms:
        """Return the terms of the loss, gradients in the parameters; valid until the next step.

        Args:
            key: all that a step depends on beside the batch and tensors that stay in place; a new one, and images of
                another size, are recorded anew.
            step: clears the gradients, computes the loss and its gradients; reads no value back from the GPU.
            images: (batch, C, H, W); a batch that is not whole is computed as it is.
            labels: (batch,) int64.
            way: the part of it that changes which operations there are; steps of a new one are run as they are first,
                since what compiles them cannot do so while they are recorded.
        """
        key, kind = (key, way), (way, images.shape)
        recording = self._recording
        if len(images) != self._whole:
            return step(images, labels)
        if recording is not None and (recording.key != key or recording.images.shape != images.shape):
            recording = self._recording = None
        if recording is None:
            if self._warm[kind] < _WARM:
                self._warm[kind] += 1
                return step(images, labels)
            recording = self._recording = self._record(key, step, images, labels)
        recording.images.copy_(images)
        recording.labels.copy_(labels)
        recording.graph.replay()
        for parameter, gradient in zip(self._parameters, recording.gradients, strict=True):
            parameter.grad = gradient
        return recording.terms

    def _record(
        self, key: Hashable, step: Callable[[Tensor, Tensor], Terms], images: Tensor, labels: Tensor
    ) -> _Recording:
        images, labels = images.clone(), labels.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            terms = step(images, labels)
        gradients = tuple(parameter.grad for parameter in self._parameters)
        return _Recording(key, graph, images, labels, terms, gradients)


def release(terms: Terms) -> Terms:
    """Return the terms without what their gradients were computed from."""
    return replace(terms, total=terms.total.detach())
