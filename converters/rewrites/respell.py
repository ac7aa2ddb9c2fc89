"""Lets a network compute some of its calls in another spelling, without touching it.

A respelled network runs the network's own forward and answers the chosen calls itself. Modules, weights and the names
of layers stay the network's; torch's exporters see nothing but the new spelling.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .trace import Call, Trace, record, tensors_in


@dataclass(frozen=True)
class Respelling:
    """What stands for one call.

    Attributes:
        module: computes the call's result from one tensor; its constants are buffers of its own.
        source: number of the call whose first tensor it takes; None: the call it stands for. An earlier one where a
            chain of calls is respelled at its end; what becomes useless of the chain, the exporters drop.
    """

    module: nn.Module
    source: int | None = None


# Gives the respelling of a call, or None where it stays as written.
Find = Callable[[Trace, Call], Respelling | None]


class Respelled(nn.Module):
    """A network with other spellings of some calls; it computes the same as ``body``.

    Attributes:
        body: the network, shared, unchanged.
        spellings: the modules that stand for calls, named after the module whose call it was.
    """

    def __init__(self, body: nn.Module, trace: Trace, chosen: Mapping[int, Respelling]) -> None:
        super().__init__()
        self.body = body
        self.spellings = nn.ModuleDict()
        self._calls = {number: trace.calls[number] for number in chosen}
        self._chosen = dict(chosen)
        for number, one in chosen.items():
            name = self._calls[number].module.replace(".", "-")  # torch keeps dots for itself
            self.spellings[f"{name}#{number}" if name in self.spellings or not name else name] = one.module
        self.eval()

    @property
    def chosen(self) -> tuple[tuple[int, str], ...]:
        """The numbers of the respelled calls, each with the name of the module that stands for it."""
        return tuple((number, type(one.module).__name__) for number, one in self._chosen.items())

    def forward(self, *inputs: Tensor) -> Any:
        """Compute what the body computes."""
        with _Replay(self._calls, self._chosen):
            return self.body(*inputs)


def respell(module: nn.Module, inputs: Sequence[Tensor], finds: Iterable[Find]) -> nn.Module:
    """Return a module that computes the same in other spellings, or the module itself if there is nothing to respell.

    Args:
        module: in evaluation mode; neither it nor its weights are changed, and the result shares them.
        inputs: of the shapes that it is going to be run with.
        finds: the first that respells a call has it.
    """
    trace = record(module, inputs)
    finds = tuple(finds)
    chosen: dict[int, Respelling] = {}
    for call in trace.calls:
        for find in finds:
            one = find(trace, call)
            if one is not None:
                chosen[call.number] = one
                break
    return Respelled(module, trace, chosen) if chosen else module


class _Replay(TorchFunctionMode):
    """Counts calls as the recorder did, and answers the chosen ones."""

    def __init__(self, calls: Mapping[int, Call], chosen: Mapping[int, Respelling]) -> None:
        super().__init__()
        self._calls, self._chosen = calls, chosen
        self._sources = {one.source for one in chosen.values()}
        self._kept: dict[int, Tensor] = {}
        self._number = 0

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, or what stands for it."""
        kwargs = kwargs or {}
        first = next(tensors_in((args, kwargs)), None)
        number, one = self._number, self._chosen.get(self._number)
        # Functions that give no tensors (``x.size()``) have no number of their own.
        if one is not None and function is self._calls[number].function and first is not None:
            given = first if one.source is None else self._kept[one.source]
            # Not called as a module: it would stand in the layer's name, and layers keep theirs.
            result = one.module.forward(given)
            if self._calls[number].in_place:
                result = first.copy_(result)
        else:
            result = function(*args, **kwargs)
            if not any(True for _ in tensors_in(result)):
                return result
            if one is not None:
                raise RuntimeError(f"the network runs otherwise when it is exported: {function} was not expected")
            if number in self._sources and first is not None:
                self._kept[number] = first
        self._number += 1
        return result
