"""A job of several processes: see ``distributed``."""

import contextlib
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from msd_edge.data.shards import Shard
from msd_edge.errors import ConfigError, Interrupted, MsdEdgeError, PeerLost
from msd_edge.training.batch_norm import GlobalBatchNorm
from msd_edge.training.distributed import PREPARATION, Place, World

T = TypeVar("T")
TIMEOUT = "MSD_EDGE_TIMEOUT"
_PATIENCE = 300.0
_LAST_WORDS = 10.0
_SEED_STEP = 0xD1B54A32D192ED03
_WHY = "why"


class Together(World):
    """A job of several processes: gloo between processors, NCCL between GPUs."""

    def __init__(self, place: Place) -> None:
        super().__init__(Shard(place.rank, place.size))
        self.own = place
        self.terminated = False
        self.fast: Any = None  # the group of GPUs
        self.patience = timedelta(seconds=_read_patience())
        where = f"{os.environ['MASTER_ADDR']}:{os.environ.get('MASTER_PORT', '?')}"
        try:
            store, _, _ = next(rendezvous("env://", timeout=self.patience))
            self.store = PrefixStore("msd-edge", store)
            joined = PrefixStore("join", self.store)
            dist.init_process_group("gloo", store=joined, rank=place.rank, world_size=place.size, timeout=self.patience)
        except (RuntimeError, ValueError) as problem:
            raise PeerLost(
                f"process {place.rank} of {place.size} does not reach the others by {where} within "
                f"{self.patience.total_seconds():g} s ({_tidy(problem)})."
            ) from problem

    @property
    def cause(self) -> str:
        """See ``World``."""
        return "another process of this job has died, or the job was ended (SIGTERM)" if self.terminated else ""

    def share(self, make: Callable[[], T]) -> T:
        """See ``World``."""
        data = json.dumps(make()).encode() if self.leads else b""
        value: T = json.loads(self._share_bytes(data))
        return value

    def share_tensors(
        self, make: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See ``World``."""
        tensors: dict[str, Tensor] = {}
        facts: dict[str, Any] = {}
        if self.leads:
            tensors, facts = make()
        listed = [(name, list(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in tensors.items()]
        names, facts = self.share(lambda: (listed, facts))
        found = {}
        for name, shape, dtype in names:
            value = tensors[name].contiguous() if self.leads else torch.empty(shape, dtype=getattr(torch, dtype))
            self._broadcast(value)
            found[name] = value
        return found, facts

    def gather(self, value: T) -> list[T]:
        """See ``World``."""
        data = json.dumps(value).encode()
        lengths = self.gather_rows(torch.tensor([len(data)], dtype=torch.int64)).flatten().tolist()
        padded = torch.frombuffer(bytearray(data.ljust(max(lengths))), dtype=torch.uint8)
        rows = self.gather_rows(padded)
        return [json.loads(bytes(row[:length].tolist())) for row, length in zip(rows, lengths, strict=True)]

    def gather_rows(self, values: Tensor) -> Tensor:
        """See ``World``."""
        rows = values.new_empty((self.size, *values.shape))
        with self._exchange():
            dist.all_gather(list(rows), values, group=self._group(values))
        return rows

    def add(self, values: Tensor) -> None:
        """See ``World``."""
        with self._exchange():
            dist.all_reduce(values, group=self._group(values))

    def add_counts(self, counts: Sequence[int]) -> tuple[int, ...]:
        """See ``World``."""
        sums = torch.tensor(list(counts), dtype=torch.int64)
        self.add(sums)
        return tuple(int(n) for n in sums)

    def mean(self, values: Tensor) -> Tensor:
        """See ``World``."""
        both = values.new_tensor([0.0, values.numel()]).double()
        both[0] = values.double().sum()
        self.add(both)
        return both[0] / both[1]

    def weigh(self, loss: Tensor, whole: int) -> Tensor:
        """See ``World``."""
        start, stop = self.shard.bounds(whole)
        # The mean over no images is no number: it must not enter a sum, while its gradient, of no image, is right.
        return loss.nan_to_num(0.0) * 0.0 if stop == start else loss * ((stop - start) / whole)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """See ``World``."""
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for same, flat in _pack(grads):
            self.add(flat)
            _unpack(flat, same)

    def align(self, tensors: Iterable[Tensor]) -> None:
        """See ``World``."""
        for same, flat in _pack(tensors):
            self._broadcast(flat)
            if not self.leads:
                _unpack(flat, same)

    def place(self, device: torch.device) -> torch.device:
        """See ``World``."""
        different = self.find_difference({"kind": device.type})
        if different is not None:
            _, rank, other, first = different
            raise ConfigError(
                f"process {rank} would compute on {other} and process 0 on {first}; --compute {first} or --compute cpu "
                "for all."
            )
        if device.type == "cuda":
            count = torch.cuda.device_count()
            if self.own.local >= count:
                raise ConfigError(
                    f"host {self.own.host} has {count} GPU{'s' if count != 1 else ''} and more processes; "
                    f"torchrun --nproc-per-node {count} starts one for each."
                )
            torch.cuda.set_device(self.own.local)
            self.fast = dist.new_group(backend="nccl", timeout=self.patience)
        return device

    def batch_norm(self) -> AbstractContextManager[Any]:
        """See ``World``."""
        return GlobalBatchNorm(self)

    def seed(self, seed: int) -> int:
        """See ``World``."""
        return (seed + self.shard.rank * _SEED_STEP) % (1 << 63)

    def wait(self, seconds: float = PREPARATION) -> None:
        """See ``World``."""
        with self._exchange():
            dist.monitored_barrier(timeout=timedelta(seconds=seconds))

    def explain(self, error: BaseException) -> bool:
        """See ``World``."""
        _turn_deaf()
        try:
            self.store.set_timeout(timedelta(seconds=_LAST_WORDS))
            stopped_by_others = isinstance(error, PeerLost) or self.terminated
            if not stopped_by_others and not self.store.check([_WHY]):
                self.store.set(_WHY, json.dumps({"rank": self.shard.rank, "sentence": _sentence(error)}))
            return int(self.store.add(f"said by host {self.own.host}", 1)) == 1
        except RuntimeError:  # the store went with its host
            return True

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Turn SIGTERM into an interruption while the block runs, and let one interruption be enough."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(number: int, _frame: object) -> None:
            self.terminated = self.terminated or number == signal.SIGTERM
            _turn_deaf()
            raise KeyboardInterrupt

        before = {name: signal.signal(name, interrupt) for name in (signal.SIGINT, signal.SIGTERM)}
        yield
        for name, handler in before.items():  # not after an error: it is still to be told
            signal.signal(name, handler)

    def leave(self) -> None:
        """Close the connections."""
        if self.fast is None:  # NCCL's may hang where somebody is missing; they end with the process
            with contextlib.suppress(RuntimeError):
                dist.destroy_process_group()

    def _group(self, tensor: Tensor) -> Any:
        return self.fast if tensor.is_cuda else None

    def _broadcast(self, tensor: Tensor) -> None:
        with self._exchange():
            dist.broadcast(tensor, 0, group=self._group(tensor))

    def _share_bytes(self, data: bytes) -> bytes:
        length = torch.tensor([len(data)], dtype=torch.int64)
        self._broadcast(length)
        buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(int(length)).byte()
        self._broadcast(buffer)
        return bytes(buffer.tolist())

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as problem:  # neither gloo nor NCCL tells more precisely
            raise self._lost(problem) from problem

    def _lost(self, problem: RuntimeError) -> PeerLost:
        _turn_deaf()  # torchrun is about to send SIGTERM
        try:
            self.store.set_timeout(timedelta(seconds=_LAST_WORDS))
            if self.store.check([_WHY]):
                why = json.loads(self.store.get(_WHY))
                return PeerLost(f"process {why['rank']} of {self.size} stopped: {why['sentence']}", explained=True)
        except (RuntimeError, ValueError, KeyError):  # the store went with its host
            pass
        return PeerLost(f"another process of this job has died or cannot be reached ({_tidy(problem)}).")


def _turn_deaf() -> None:
    """Let no signal come between an error and what is said of it."""
    with contextlib.suppress(ValueError):  # not the main thread
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)


def _read_patience() -> float:
    text = os.environ.get(TIMEOUT, str(_PATIENCE))
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) or not float(text):
        raise ConfigError(f"{TIMEOUT}={text}: how long to wait for the other processes, in seconds ({_PATIENCE:g}).")
    return float(text)


def _pack(tensors: Iterable[Tensor]) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Yield tensors of one kind together with all their values in a row: one exchange instead of hundreds."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach())
    for same in kinds.values():
        yield same, torch.cat([tensor.reshape(-1) for tensor in same])


def _unpack(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    for tensor, values in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(values.view(tensor.shape))


def _sentence(error: BaseException) -> str:
    if isinstance(error, (MsdEdgeError, Interrupted)):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted."
    return f"unexpected {type(error).__name__}: {error}"


def _tidy(problem: BaseException) -> str:
    """Return the first sentence of what a library says, without the place in its source."""
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return re.sub(r"^(\[[^\]]*:\d+\]\s*)+", "", lines[0]).split(". ")[0].rstrip(".")
