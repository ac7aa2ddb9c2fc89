"""What a network computes, call by call: recorded while it runs, so that no module or spelling can hide anything."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from msd_edge.models.network import MultiExitNetwork

# A tensor by where it came from: (number of the call, place among its results). From outside: (-1, anything).
Value = tuple[int, int]
OUTSIDE = -1


@dataclass(frozen=True)
class Call:
    """One call of a torch function that gives tensors.

    Attributes:
        number: its place among the calls of a run.
        function: what was called.
        args, kwargs: as given, with the tensors of the recorded run; weights among them are the network's own.
        takes: the tensors among them, in order.
        module: path of the module whose forward called it, "" for the network itself.
        in_place: it gives the tensor that it takes.
        shape: of the first result.
    """

    number: int
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    takes: tuple[Value, ...]
    module: str
    in_place: bool
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """The function's name, without the underscore that marks an in-place twin."""
        name: str = getattr(self.function, "__name__", "")
        return name if name.startswith("__") else name.rstrip("_")

    @property
    def given_shape(self) -> tuple[int, ...]:
        """The shape of the first tensor that it takes, () if there is none."""
        return tuple(next((tensor.shape for tensor in tensors_in((self.args, self.kwargs))), ()))

    def bind(self, **defaults: Any) -> dict[str, Any]:
        """Return its arguments by name; ``defaults`` gives the names in the function's order."""
        return defaults | dict(zip(defaults, self.args, strict=False)) | self.kwargs


@dataclass(frozen=True)
class Trace:
    """All calls of one run, and who uses what.

    Attributes:
        inputs: what the network was given.
        calls: in order.
        users: numbers of the calls that take a value, each once a use; the number of calls stands for the network's
            output.
    """

    inputs: tuple[Value, ...] = ()
    calls: list[Call] = field(default_factory=list)
    users: dict[Value, list[int]] = field(default_factory=dict)

    def maker(self, value: Value) -> Call | None:
        """Return the call that gave a value, None for inputs and weights."""
        return None if value[0] == OUTSIDE else self.calls[value[0]]

    def used_once(self, value: Value) -> bool:
        """Return whether a single call takes a value, and the network does not give it."""
        return len(self.users.get(value, [])) == 1 and self.users[value][0] < len(self.calls)


def record(module: nn.Module, inputs: Sequence[Tensor]) -> Trace:
    """Run a module once and return what it called; it must be in evaluation mode."""
    given = tuple(tensor.clone() for tensor in inputs)  # a network may change them in place
    recorder = _Recorder(given)
    hooks = [hook for name, child in module.named_modules() for hook in recorder.follow(name, child)]
    try:
        with torch.no_grad(), recorder:
            outputs = module(*given)
    finally:
        for hook in hooks:
            hook.remove()
    recorder.end(outputs)
    return recorder.trace


def record_network(network: MultiExitNetwork) -> Trace:
    """Run a network on a black image and return what it called; it must be in evaluation mode."""
    return record(network, (torch.zeros(1, *network.image_shape),))


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Find the tensors among arguments or results, in order."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        yield from tensors_in(list(values.values()))


class _Recorder(TorchFunctionMode):
    """Writes every call down while the network runs."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.trace = Trace(tuple((OUTSIDE, id(tensor)) for tensor in inputs))
        self._modules = [""]
        # The version tells a tensor that was changed in place through a view of it: nobody made what it holds now.
        self._known: dict[int, tuple[Value, int]] = {}
        self._alive: list[Tensor] = []  # a freed tensor's id would be given to another

    def follow(self, name: str, module: nn.Module) -> tuple[RemovableHandle, RemovableHandle]:
        """Know while a module's forward runs that it is this one."""

        def enter(*_: Any) -> None:
            self._modules.append(name)

        def leave(*_: Any) -> None:
            self._modules.pop()

        return module.register_forward_pre_hook(enter), module.register_forward_hook(leave)

    def end(self, outputs: Any) -> None:
        """Note what the network gives."""
        for tensor in tensors_in(outputs):
            self._use(self._value(tensor), len(self.trace.calls))

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, and write it down if it gives tensors."""
        kwargs = kwargs or {}
        # Looked up before the call, which may change a tensor in place.
        takes = tuple(self._value(tensor) for tensor in tensors_in((args, kwargs)))
        result = function(*args, **kwargs)
        made = list(tensors_in(result))
        if made:
            number = len(self.trace.calls)
            for value in takes:
                self._use(value, number)
            in_place = made[0] is next(tensors_in((args, kwargs)), None)
            shape = tuple(made[0].shape)
            self.trace.calls.append(Call(number, function, args, kwargs, takes, self._modules[-1], in_place, shape))
            for place, tensor in enumerate(made):
                self._known[id(tensor)] = ((number, place), tensor._version)
                self._alive.append(tensor)
        return result

    def _value(self, tensor: Tensor) -> Value:
        self._alive.append(tensor)
        value, version = self._known.get(id(tensor), ((OUTSIDE, id(tensor)), tensor._version))
        return value if version == tensor._version else (OUTSIDE, id(tensor))

    def _use(self, value: Value, user: int) -> None:
        self.trace.users.setdefault(value, []).append(user)
