"""The training loop. Everything random comes from (seed, epoch), so a resumed run is the same run."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from msd_edge.data.augment import Augmentation, augment, shrink
from msd_edge.data.batches import Feeder, batch_bounds, epoch_order
from msd_edge.data.dataset import Dataset
from msd_edge.errors import CheckpointError, ConfigError, MsdEdgeError
from msd_edge.models.network import MultiExitNetwork
from msd_edge.models.pretrained import frozen_parts
from msd_edge.training.adapters import make_adapters
from msd_edge.training.config import TrainConfig
from msd_edge.training.distributed import ALONE, World
from msd_edge.training.evaluate import count_correct
from msd_edge.training.int8 import Int8Arithmetic
from msd_edge.training.methods import FEATURE_METHODS, Terms, compute_loss
from msd_edge.training.optimizer import make_optimizer
from msd_edge.training.recorded import RecordedStep, release
from msd_edge.training.report import EpochReport
from msd_edge.training.run import RunFolder, load_weights, make_network
from msd_edge.training.schedule import fine_tuning_rate, freezing_epochs, image_sides, learning_rate

Forward = Callable[[Tensor], tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]

_MIX = 0x9E3779B97F4A7C15
_ADAPTER = "adapter"
_VALIDATED = 256


def pick_device(wanted: str) -> torch.device:
    """Return the device for ``--compute auto|cpu|cuda``.

    Raises:
        ConfigError: there is no such device here.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--compute {wanted}: no such choice (known: auto, cpu, cuda).")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--compute cuda: no CUDA device answers here; use --compute cpu.")
    return torch.device(wanted)


class Trainer:
    """Trains one run, epoch by epoch, writing what is needed to go on after each.

    Several processes train it as one would: ``world`` has the sums and means that go over all of them.
    """

    def __init__(self, folder: RunFolder, config: TrainConfig, dataset: Dataset, world: World = ALONE) -> None:
        self.folder, self.world = folder, world
        self.device = torch.device(config.compute.device)
        self.config, self.dtype = config, torch.float32
        self.use_precision(config)
        torch.manual_seed(config.seed)
        self.network = make_network(config).to(self.device)
        if isinstance(self.network, MultiExitNetwork):
            self.network.equilibrium = config.loss.equilibrium
        self.layout = torch.channels_last if config.compute.channels_last else torch.contiguous_format
        self.network = self.network.to(memory_format=self.layout)
        run: Forward = self.network.forward_features
        self.forward = _compile(run, config) if config.compute.compile else run
        self.frozen: tuple[nn.Module, ...] = ()
        if config.optim.freeze_trunk and isinstance(self.network, MultiExitNetwork):
            new = config.start is not None and config.start.new_classifier
            self.frozen = frozen_parts(self.network, new_classifier=new)
            for part in self.frozen:
                part.requires_grad_(False)
        self.early = self._find_early()
        needed = config.loss.method in FEATURE_METHODS
        self.adapters = adapters.to(self.device) if needed and (adapters := make_adapters(self.network)) else None
        modules = [self.network, *([self.adapters] if self.adapters else [])]
        self.optimizer = make_optimizer(modules, self.early, config)
        self.average: dict[str, Tensor] | None = None
        self.restart_average()
        self.training = Feeder(dataset.train, self.device, config.compute.workers, world.shard)
        self.validation = Feeder(dataset.calibration, self.device, config.compute.workers, world.shard)
        self.train_size = len(dataset.train)
        self.validation_size = len(dataset.calibration)
        mean = config.network.mean
        fill = tuple(round(m) for m in mean)
        self.augmentation = Augmentation(config.augment.pad, config.augment.flip, config.augment.cutout, fill)
        self.recorded = self._make_recorded()
        self.bounds = batch_bounds(self.train_size, config.optim.batch_size)
        self.steps = len(self.bounds)
        self.tau = config.loss.tau
        self.epoch = 0
        self.best_epoch = 0
        self.best_score = -1.0

    def train(self, on_epoch: Callable[[EpochReport], None], on_step: Callable[[int, int, int], None]) -> None:
        """Train the epochs that are left.

        Args:
            on_epoch: called after every epoch.
            on_step: called after every step with epoch (1-based), step (1-based) and steps an epoch.

        Raises:
            MsdEdgeError: the loss is no longer a number.
        """
        rows = [row for row in self.folder.read_metrics() if row["epoch"] <= self.epoch]
        while self.epoch < self.config.optim.all_epochs:
            report = self._run_epoch(on_step)
            rows.append(report.to_json())
            self._save(rows)
            on_epoch(report)

    def resume(self) -> None:
        """Take up the state of the run folder.

        Raises:
            CheckpointError: there is none, or it does not fit.
        """
        path = self.folder.state_path
        tensors, facts = self.folder.read_tensors(path)
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "momentum": {}, "average": {}, "adapter": {}}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition("/")
            if kind not in groups:
                raise CheckpointError(f"{path}: tensor {name} is no part of a training state.")
            groups[kind][rest] = tensor
        load_weights(self.network, groups["model"], path)
        if self.adapters is not None:
            load_weights(self.adapters, groups["adapter"], path)
        parameters = dict(self._named_parameters())
        for name, tensor in groups["momentum"].items():
            if name not in parameters or parameters[name].shape != tensor.shape:
                raise CheckpointError(f"{path}: the momentum of {name} does not fit this network.")
            buffer = torch.empty_like(parameters[name]).copy_(tensor)
            self.optimizer.state[parameters[name]]["momentum_buffer"] = buffer
        if self.average is not None:
            if self.average.keys() != groups["average"].keys():
                raise CheckpointError(f"{path}: this run was trained without --ema; it cannot go on with it.")
            for name, tensor in groups["average"].items():
                if self.average[name].shape != tensor.shape:
                    raise CheckpointError(f"{path}: the average of {name} does not fit this network.")
                self.average[name].copy_(tensor)
        try:
            self.epoch, self.best_epoch = int(facts["epoch"]), int(facts["best_epoch"])
            self.best_score, self.tau = float(facts["best_score"]), float(facts["tau"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise CheckpointError(f"{path}: it does not say which epoch it is of; it is no training state.") from None
        if not min(1, self.epoch) <= self.best_epoch <= self.epoch:  # none yet: given weights, nothing trained
            raise CheckpointError(f"{path}: epoch {self.epoch} with its best at {self.best_epoch} cannot be.")
        if self.epoch and self.best_epoch == self.epoch:  # it may have been stopped between the two files
            self._save_weights()

    def use_precision(self, config: TrainConfig) -> None:
        """Take over a configuration that differs in its precision only."""
        self.config = config
        self.dtype = torch.bfloat16 if config.compute.precision == "bf16" else torch.float32

    def restart_average(self) -> None:
        """Let the averaged weights, if there are any, begin with the network's as they are now."""
        self.average = _copy_state(self.network) if self.config.optim.ema else None

    def probe_step(self) -> Callable[[torch.dtype], None]:
        """Return a function that runs forward and backward on one batch in a number format and waits for the result.

        Weights and statistics are as they were afterwards.
        """
        batch = self._whole_batch
        images, labels = next(iter(self.training.batches(epoch_order(self.train_size, 0, 0)[:batch], batch)))

        def step(dtype: torch.dtype) -> None:
            kept = _copy_state(self.network)
            self._loss(images, labels, 0.0, dtype).total.backward()  # type: ignore[no-untyped-call]
            self.optimizer.zero_grad()
            self.network.load_state_dict(kept)
            if self.device.type == "cuda":
                torch.cuda.synchronize()

        return step

    def _make_recorded(self) -> RecordedStep | None:
        """Return what records steps, where nothing in a step waits for the processor or another process."""
        config = self.config
        if self.device.type != "cuda" or self.world.size > 1:
            return None
        # What a user's or a library's own forward does is not known: it may read back values or draw in Python.
        if config.loss.method == "annealed" or ":" in config.network.arch:
            return None
        parameters = [parameter for _, parameter in self._named_parameters()]
        return RecordedStep(parameters, self._whole_batch)

    def _find_early(self) -> dict[nn.Module, int]:
        """Return the pieces of the trunk that are trained for some of the epochs only, and for how many."""
        optim = self.config.optim
        if optim.freeze_early == 1 or not isinstance(self.network, MultiExitNetwork):
            return {}
        pieces = list(self.network.trunk)
        ends = freezing_epochs(len(pieces), optim.freeze_early, optim.epochs)
        return {piece: end for piece, end in zip(pieces, ends, strict=True) if end < optim.epochs}

    @property
    def _whole_batch(self) -> int:
        """Images of a batch that is not an epoch's last."""
        return min(self.config.optim.batch_size, self.train_size)

    @property
    def _sides(self) -> tuple[int, int]:
        """Height and width of whole images."""
        _, height, width = self.config.network.image_shape
        return height, width

    @property
    def _int8(self) -> bool:
        """Whether this epoch is one of those in int8 arithmetic."""
        return self.epoch >= self.config.optim.epochs

    def _run_epoch(self, on_step: Callable[[int, int, int], None]) -> EpochReport:
        config = self.config.optim
        start = time.perf_counter()
        seed = (self.config.seed * _MIX + self.epoch) % (1 << 63)
        torch.manual_seed(self.world.seed(seed))
        generator = torch.Generator().manual_seed(seed)
        order = epoch_order(self.train_size, self.config.seed, self.epoch)
        progress = min(1.0, self.epoch / config.epochs)
        dtype = torch.float32 if self._int8 else self.dtype
        sides = image_sides(self._sides, config.initial_scale, self.epoch, config.epochs)
        frozen = self._frozen_now
        sums = torch.zeros(3 + self.network.exits, device=self.device)
        lr = 0.0
        self.world.align(self._state())
        self._train_mode()
        batches = self.training.batches(order, config.batch_size)
        for step, ((first, last), (images, labels)) in enumerate(zip(self.bounds, batches, strict=True)):
            whole = last - first
            for group in self.optimizer.param_groups:
                lr = group["lr"] = self._rate(step, group["epochs"])  # the last group is trained in all of them
            changed = augment(images, self.augmentation, generator, whole=whole, shard=self.world.shard)
            terms = self._differentiate(shrink(changed, sides), labels, progress, dtype, whole)
            self.optimizer.step()
            self.tau = terms.tau
            self._update_average()
            scalars = torch.stack([terms.total, terms.distillation, terms.features])
            sums += self.world.weigh(torch.cat([scalars, terms.labels]), whole)
            on_step(self.epoch + 1, step + 1, self.steps)
        self.world.add(sums)
        loss, distilled, matched, *losses = (sums / self.steps).tolist()  # waits for a GPU
        trained = time.perf_counter()
        if not math.isfinite(loss):
            raise MsdEdgeError(
                f"the loss is no longer a number in epoch {self.epoch + 1} (learning rate {lr:.3g}); "
                "start anew with a lower --lr."
            )
        accuracy = self._validate()
        int8, first = self._int8, self.epoch == config.epochs
        self.epoch += 1
        score = sum(accuracy) / len(accuracy)
        if score >= self.best_score or first:  # what int8 arithmetic gives is not compared with what float gave
            self.best_score, self.best_epoch = score, self.epoch
        speed = self.train_size / (trained - start)
        seconds = time.perf_counter() - start
        return EpochReport(
            epoch=self.epoch,
            epochs=config.all_epochs,
            int8=int8,
            loss=loss,
            losses=tuple(losses),
            distillation=distilled,
            features=matched,
            lr=lr,
            tau=self.tau,
            size=sides,
            frozen=frozen,
            accuracy=accuracy,
            speed=round(speed, 1),
            seconds=round(seconds, 2),
            best_epoch=self.best_epoch,
        )

    def _rate(self, step: int, epochs: int) -> float:
        """Return the learning rate of a step of this epoch for weights that are trained in so many epochs."""
        config = self.config.optim
        number = self.epoch * self.steps + step
        if not self._int8:
            steps = epochs * self.steps
            return learning_rate(config.schedule, config.lr, config.warmup, min(number, steps - 1), steps)
        number -= config.epochs * self.steps
        return fine_tuning_rate(config.lr * config.qat_lr, number, config.qat_epochs * self.steps)

    def _differentiate(self, images: Tensor, labels: Tensor, progress: float, dtype: torch.dtype, whole: int) -> Terms:
        """Compute the loss of this process's part of a batch of ``whole`` images, and the gradients of the batch's."""

        def compute(images: Tensor, labels: Tensor) -> Terms:
            self.optimizer.zero_grad()
            terms = self._loss(images, labels, progress, dtype)
            self.world.weigh(terms.total, whole).backward()  # type: ignore[no-untyped-call]
            return release(terms)

        if self.recorded is not None and not self._int8:
            moving = progress if self.config.loss.method in FEATURE_METHODS else 0.0
            return self.recorded.run((moving, dtype), compute, images, labels, way=self._frozen_now)
        terms = compute(images, labels)
        self.world.add_gradients(parameter for _, parameter in self._named_parameters())
        return terms

    def _loss(self, images: Tensor, labels: Tensor, progress: float, dtype: torch.dtype) -> Terms:
        images = images.to(torch.float32, memory_format=self.layout)
        if self._int8:
            with Int8Arithmetic(self.world):
                logits, features = self.network.forward_features(images)
        else:
            enabled = dtype != torch.float32
            with torch.autocast(self.device.type, dtype, enabled=enabled), self.world.batch_norm():
                # Compiled for whole batches of whole images; what is rarer is not worth a compilation of its own.
                usual = len(images) == self._whole_batch and tuple(images.shape[2:]) == self._sides
                logits, features = (self.forward if usual else self.network.forward_features)(images)
        if self.adapters is not None:
            features = self.adapters([f.float() for f in features])
        mean = self.world.mean
        return compute_loss(self.config.loss, logits, features, labels, progress=progress, tau=self.tau, mean=mean)

    @property
    def _frozen_now(self) -> int:
        """How many pieces of the trunk are trained no more."""
        return 0 if self._int8 else sum(end <= self.epoch for end in self.early.values())

    def _train_mode(self) -> None:
        # int8 files have BatchNorm as it was trained.
        self.network.train(not self._int8)
        for part in self.frozen:
            part.eval()
        learning = {parameter for group in self.optimizer.param_groups for parameter in group["params"]}
        for number, piece in enumerate(self.early):
            trained = number >= self._frozen_now
            piece.train(trained and not self._int8)
            for parameter in piece.parameters():  # a user's network may have weights that are never trained
                parameter.requires_grad_(trained and parameter in learning)

    def _named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.network.named_parameters()
        if self.adapters is not None:
            yield from self.adapters.named_parameters(prefix=_ADAPTER)

    def _state(self) -> Iterator[Tensor]:
        """Yield every tensor that training goes on from, in place."""
        yield from self.network.state_dict().values()
        for _, parameter in self._named_parameters():
            buffer = self.optimizer.state.get(parameter, {}).get("momentum_buffer")
            yield from () if buffer is None else (buffer,)
        if self.adapters is not None:
            yield from self.adapters.state_dict().values()
        yield from () if self.average is None else self.average.values()

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None:
            return
        state = self.network.state_dict()
        moving = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_(  # one launch on a GPU
            [self.average[name] for name in moving], [state[name] for name in moving], 1 - self.config.optim.ema
        )
        for name in state.keys() - set(moving):
            self.average[name].copy_(state[name])

    def _validate(self) -> tuple[float, ...]:
        kept = _copy_state(self.network) if self.average is not None else None
        if self.average is not None:
            self.network.load_state_dict(self.average)
        correct = count_correct(
            self.network,
            self.validation,
            self.validation_size,
            batch_size=self._validated_at_once(),
            dtype=self.dtype,
            int8=self._int8,
            world=self.world,
        )
        if kept is not None:
            self.network.load_state_dict(kept)
        return tuple(n / self.validation_size for n in correct)

    def _validated_at_once(self) -> int:
        """Return how many images are validated together: on a GPU more where they are small."""
        height, width = self._sides
        small = 32 * 32 / (height * width)
        return _VALIDATED if self.device.type == "cpu" else int(_VALIDATED * min(8.0, max(1.0, 8 * small)))

    def _save(self, rows: list[dict[str, Any]]) -> None:
        self.folder.write_metrics(rows)
        self.save_state()
        if self.best_epoch == self.epoch:
            self._save_weights()
        self.folder = self.folder.commit()

    def _save_weights(self) -> None:
        kept = self.average if self.average is not None else self.network.state_dict()
        self.folder.write_tensors(self.folder.weights_path, kept, {"epoch": self.epoch})

    def save_state(self) -> None:
        """Write all that is needed to go on from here."""
        weights = self.network.state_dict()
        tensors = {f"model/{name}": value for name, value in weights.items()}
        if self.adapters is not None:
            tensors |= {f"adapter/{name}": value for name, value in self.adapters.state_dict().items()}
        for name, parameter in self._named_parameters():
            buffer = self.optimizer.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                tensors[f"momentum/{name}"] = buffer
        if self.average is not None:
            tensors |= {f"average/{name}": value for name, value in self.average.items()}
        facts = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
            "tau": self.tau,
        }
        self.folder.write_tensors(self.folder.state_path, tensors, facts)


def _compile(run: Forward, config: TrainConfig) -> Forward:
    # Else the networks of earlier trainings in this process count as variants of this one. What else is compiled in
    # this process is compiled anew when it is next called.
    torch.compiler.reset()
    # It lays convolutions out channels-last by itself, also where kernels would write past their buffers (layout.py).
    options: dict[str, Any] | None = None if config.compute.channels_last else {"layout_optimization": False}
    return torch.compile(run, dynamic=False, options=options)


def _copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
