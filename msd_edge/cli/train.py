"""``msd-edge train``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from msd_edge.cli import common
from msd_edge.cli.common import ConfigOption, OverwriteOption, PresetOption, SeedOption, VerboseOption
from msd_edge.cli.network import (
    ArchOptionOption,
    BranchIntervalOption,
    BranchOption,
    BranchWidthOption,
    ExitsAtOption,
    ExitsOption,
    WidthOption,
    read_arch_options,
    warn_of,
)
from msd_edge.cli.together import together
from msd_edge.cli.training import describe, end_dry_run, print_end, print_epoch, print_header
from msd_edge.commands import suggest_command
from msd_edge.errors import CheckpointError, ConfigError, Interrupted, MsdEdgeError, PeerLost
from msd_edge.files import read_json
from msd_edge.installed import require

if TYPE_CHECKING:
    from msd_edge.models.choices import BranchKind
    from msd_edge.training.choices import Method, Precision, Schedule
    from msd_edge.training.report import EpochReport
    from msd_edge.training.setup import Plan

EXAMPLES = """Train a multi-exit network.

Examples:

  msd-edge train

  msd-edge train --data cifar10 --arch resnet20 --exits 3 --epochs 30

  msd-edge train --data photos/ --arch resnet18 --exits-at 1:1,2:1,3:1

  msd-edge train --data cifar10 --arch timm:mobilenetv3_small_100 --exits-at blocks.2,blocks.4 --branch separable

  msd-edge train --data photos/ --arch my_net.py:build --weights my_net.safetensors --freeze-trunk --exits 4

  msd-edge train --data cifar10 --preset fast --width 32

  msd-edge train --resume

  msd-edge train --resume --qat-epochs 3
"""

_EPOCHS = 30


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("train", help=EXAMPLES)(together(train))


def train(
    context: typer.Context,
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="For --resume; default the newest.")] = None,
    data: Annotated[
        str, typer.Option(help="digits, cifar10, cifar100, fashion-mnist, FILE.npz or a folder.")
    ] = "digits",
    arch: Annotated[str, typer.Option(help="The network; --list-archs shows all.")] = "resnet20",
    arch_option: ArchOptionOption = None,
    width: WidthOption = None,
    exits: ExitsOption = 3,
    exits_at: ExitsAtOption = None,
    branch: BranchOption = "sampled",
    branch_width: BranchWidthOption = 1.0,
    branch_interval: BranchIntervalOption = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Start from a trained single-classifier network: FILE.safetensors, a run, or pretrained."),
    ] = None,
    freeze_trunk: Annotated[
        bool, typer.Option("--freeze-trunk", help="Leave trunk and last exit as --weights has them; train branches.")
    ] = False,
    mean: Annotated[
        str | None, typer.Option(help="Normalization in pixels, one value or one per channel; default the data's.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="As --mean.")] = None,
    preset: PresetOption = None,
    method: Annotated[
        str, typer.Option(help="msd, msd-better, joint, last-teacher, annealed, ensemble or single.")
    ] = "msd",
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Weight of distillation; labels have 1 - alpha.")] = 0.1,
    tau: Annotated[float, typer.Option(min=0.01, max=100, help="Temperature of distillation.")] = 3.0,
    beta_start: Annotated[float, typer.Option(min=0, max=1e6, help="Weight of the feature term at the start.")] = 0.1,
    beta_end: Annotated[float, typer.Option(min=0, max=1e6, help="… and at the end; a cosine between.")] = 0.0,
    detach: Annotated[bool, typer.Option(help="No gradient into a teacher.")] = True,
    tau_squared: Annotated[bool, typer.Option(help="Distillation times tau squared.")] = True,
    label_smoothing: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of each label that is spread over all classes.")
    ] = 0.0,
    equilibrium: Annotated[
        bool, typer.Option("--equilibrium", help="Weigh the exits' gradients into the trunk (gradient equilibrium).")
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Default 30; with --resume, a new total.")] = None,
    qat_epochs: Annotated[
        int | None,
        typer.Option(min=0, help="So many more in int8 arithmetic, for a network that int8 costs too much."),
    ] = None,
    qat_lr: Annotated[
        float, typer.Option(min=1e-6, max=1, help="Highest learning rate of those, as a share of --lr.")
    ] = 0.05,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step, over all processes.")] = 128,
    lr: Annotated[float, typer.Option(min=1e-9, max=1000, help="Highest learning rate.")] = 0.1,
    momentum: Annotated[float, typer.Option(min=0, max=0.999, help="Of SGD (Nesterov's).")] = 0.9,
    weight_decay: Annotated[float, typer.Option(min=0, max=100, help="Pull of weights towards zero.")] = 5e-4,
    schedule: Annotated[str, typer.Option(help="cosine or one-cycle.")] = "cosine",
    warmup: Annotated[float, typer.Option(min=0, max=1, help="Share of all steps in which the rate rises.")] = 0.1,
    ema: Annotated[float, typer.Option(min=0, max=0.99999, help="Decay a step of averaged weights; 0: none.")] = 0.0,
    initial_scale: Annotated[
        float,
        typer.Option(min=0.25, max=1, help="Images start at this share of their side and grow (in eighths): faster."),
    ] = 1.0,
    freeze_early: Annotated[
        float,
        typer.Option(
            min=0.1, max=1, help="Freeze the trunk, exit by exit, from this share of the epochs on; costs accuracy."
        ),
    ] = 1.0,
    whiten: Annotated[
        bool, typer.Option("--whiten", help="First layer begins as a whitening of patches of the images.")
    ] = False,
    pad: Annotated[int | None, typer.Option(min=0, help="Random crop after padding by so many pixels.")] = None,
    flip: Annotated[bool | None, typer.Option(help="Random horizontal flip; default by the data.")] = None,
    cutout: Annotated[int, typer.Option(min=0, help="Side of a random square blanked out.")] = 0,
    image_size: Annotated[
        str | None, typer.Option(metavar="N|HxW", help="Size of a folder's images; default 224.")
    ] = None,
    grey: Annotated[bool, typer.Option("--grey", help="Read a folder's images as grey.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable images out.")] = False,
    data_root: Annotated[Path, typer.Option(help="Where downloaded data sets are kept.")] = Path("data"),
    calibration_share: Annotated[float, typer.Option(min=0.001, max=0.9, help="Share of the training images.")] = 0.1,
    memory_gib: Annotated[float, typer.Option(min=0, max=1e6, help="Images beyond this size stream from disk.")] = 4.0,
    compute: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (timed), fp32 or bf16.")] = "auto",
    channels_last: Annotated[bool, typer.Option(help="Memory layout; faster nearly everywhere.")] = True,
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile the network.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Workers that read images which do not fit in memory.")] = 2,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default runs/ARCH-DATA.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with RUN, or with the newest run.")] = False,
    overwrite: OverwriteOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document an epoch instead of text.")] = False,
    list_archs: Annotated[bool, typer.Option("--list-archs", help="List the networks, and stop.")] = False,
    config: ConfigOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Train a multi-exit network."""
    del verbose, preset
    if list_archs:
        from msd_edge.models.archs import outline

        common.say("\n".join(outline()))
        return
    require("training", "torch", "safetensors", extra="train")
    given, world = _explicit(context), common.state.world
    # Before torch is imported, which takes seconds.
    if resume:
        _check_resume(given, run, out, config)
        path = Path(world.share(lambda: str(run or out or common.newest_run())))
        _check_run(path)
    else:
        _check_choices(given, run, branch, method, schedule, precision, compute)
    from msd_edge.data.config import DataConfig
    from msd_edge.models.archs import check_arch
    from msd_edge.training import setup
    from msd_edge.training.config import ComputeConfig, OptimConfig
    from msd_edge.training.methods import LossConfig
    from msd_edge.training.run import RunFolder

    if resume:
        where = common.resolve_source(data) if "data" in given else None
        device = compute if "compute" in given else None
        plan = setup.plan_resume(
            RunFolder(path), epochs=epochs, qat_epochs=qat_epochs, device=device, data=where, world=world
        )
    else:
        check_arch(arch)
        if method == "single" and exits > 1 and equilibrium:
            raise ConfigError("--equilibrium weighs what exits send into one trunk; --method single has no such.")
        options = setup.TrainOptions(
            data=DataConfig(
                source=common.resolve_source(data),
                root=str(data_root.resolve()),
                size=None if image_size is None else common.read_size(image_size),
                channels=1 if grey else None,
                calibration_share=calibration_share,
                skip_bad=skip_bad,
                memory_gib=memory_gib,
            ),
            arch=arch,
            arch_options=read_arch_options(arch_option or []),
            width=width,
            exits=exits,
            exits_at=exits_at,
            branch=cast("BranchKind", branch),
            branch_width=branch_width,
            branch_interval=branch_interval,
            loss=LossConfig(
                method=cast("Method", method),
                alpha=alpha,
                tau=tau,
                beta_start=beta_start,
                beta_end=beta_end,
                detach=detach,
                tau_squared=tau_squared,
                smoothing=label_smoothing,
                equilibrium=equilibrium,
            ),
            optim=OptimConfig(
                epochs=epochs or _EPOCHS,
                qat_epochs=qat_epochs or 0,
                qat_lr=qat_lr,
                batch_size=batch_size,
                lr=lr,
                momentum=momentum,
                weight_decay=weight_decay,
                schedule=cast("Schedule", schedule),
                warmup=warmup,
                ema=ema,
                initial_scale=initial_scale,
                freeze_early=freeze_early,
                whiten=whiten,
                freeze_trunk=freeze_trunk,
            ),
            compute=ComputeConfig(
                device=compute,
                precision=cast("Precision", precision),
                channels_last=channels_last,
                compile=compile_,
                workers=workers,
            ),
            pad=pad,
            flip=flip,
            cutout=cutout,
            seed=seed,
            weights=weights,
            mean=_read_pixels("--mean", mean),
            std=_read_pixels("--std", std),
        )
        setup.check_options(options)  # whether or not the run is there already
        path = out or Path("runs") / f"{_safe_name(arch)}-{_short(data)}"
        world.share(lambda: setup.prepare_folder(path, overwrite=overwrite))
        plan = setup.plan_run(options, path, world)
        if method == "single" and plan.network.exits > 1:
            common.warn("--method single trains every exit as a network of its own: there is no cascade to export.")
    for note in plan.dataset.notes:
        common.warn(note)
    if not as_json:
        describe(plan)
    if not plan.resumed:
        warn_of(plan.network, plan.costs, plan.info.config.network)
    if dry_run:
        end_dry_run(plan, as_json=as_json)
    else:
        _run(plan, as_json=as_json)


def _run(plan: "Plan", *, as_json: bool) -> None:
    from msd_edge.training.forecast import weigh_epochs
    from msd_edge.training.setup import start_trainer

    with plan.folder.lock():
        trainer, info, reason = start_trainer(plan)
        left = info.config.optim.all_epochs - trainer.epoch
        if not as_json:
            common.facts([("compute", f"{info.config.compute.device} · {info.config.compute.precision} ({reason})")])
            if left == 0:
                trained = "the one epoch is" if trainer.epoch == 1 else f"all {trainer.epoch} epochs are"
                common.facts([("done", f"{trained} trained; --epochs N goes on")])
                return
            print_header(info)
        height, width, _ = plan.dataset.image_shape
        weights = weigh_epochs(info.config.optim, (height, width), plan.costs)
        with common.progress(left * trainer.steps, "training") as bar:

            def on_step(epoch: int, step: int, steps: int) -> None:
                bar.advance(1, f"epoch {epoch}/{info.config.optim.all_epochs} · step {step}/{steps}")

            def on_epoch(report: "EpochReport") -> None:
                bar.clear()
                if as_json:
                    common.say(json.dumps(report.to_json()))
                else:
                    print_epoch(report, weights, (height, width))

            try:
                trainer.train(on_epoch, on_step)
            except MsdEdgeError as error:
                plan.folder.discard()
                if isinstance(error, PeerLost) and not error.explained and trainer.epoch:
                    raise PeerLost(f"{str(error).rstrip('.')}; {_going_on(plan, trainer.epoch)}") from error
                raise
            except KeyboardInterrupt:
                bar.clear()
                if trainer.folder.path != plan.folder.path:
                    plan.folder.discard()
                    raise Interrupted(
                        f"stopped in the first epoch; the run that was in {plan.folder.path} is there as it was."
                    ) from None
                cause = f"{plan.world.cause}; " if plan.world.cause else ""
                raise Interrupted(f"{cause}{_going_on(plan, trainer.epoch)}") from None
    if not as_json:
        print_end(plan, trainer.best_epoch)


def _going_on(plan: "Plan", epoch: int) -> str:
    return f"stopped after epoch {epoch}; `{suggest_command('train', '--resume', plan.folder.path)}` goes on."


def _check_choices(
    given: set[str], run: Path | None, branch: str, method: str, schedule: str, precision: str, compute: str
) -> None:
    from typing import get_args

    from msd_edge.models.choices import BranchKind
    from msd_edge.training.choices import METHODS, Precision, Schedule

    if run is not None:
        raise ConfigError(f"{run}: a run is named with --resume only; --out says where a new one goes.")
    common.choose("--branch", branch, get_args(BranchKind))
    common.choose("--method", method, METHODS)
    common.choose("--schedule", schedule, get_args(Schedule))
    common.choose("--precision", precision, get_args(Precision))
    common.choose("--compute", compute, ("auto", "cpu", "cuda"))
    if {"exits", "exits_at"} <= given:
        raise ConfigError("--exits and --exits-at both say how many exits there are; give one of them.")


def _check_resume(given: set[str], run: Path | None, out: Path | None, config: Path | None) -> None:
    if config is not None:
        raise ConfigError("--resume goes on with the run's own settings; it does not take --config.")
    if run is not None and out is not None:
        raise ConfigError("--resume takes the run's folder once: as an argument or by --out.")
    other = sorted(
        given - {"resume", "run", "out", "epochs", "qat_epochs", "compute", "data", "verbose", "dry_run", "as_json"}
    )
    if other:
        names = ", ".join(f"--{name.strip('_').replace('_', '-')}" for name in other)
        raise ConfigError(f"--resume goes on with the run's own settings; it does not take {names}.")


def _check_run(path: Path) -> None:
    """Raise where a folder is no run; what its configuration says is checked later."""
    if not path.is_file():
        read_json(path / "run.json", what="run", error=CheckpointError)


def _read_pixels(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    least = 0 if option == "--mean" else 1e-6
    if not values or not all(least <= value <= 255 for value in values):
        raise ConfigError(f"{option} {text}: pixel values up to 255, one or one per channel (123.7,116.3,103.5).")
    return values


def _explicit(context: typer.Context) -> set[str]:
    source = context.get_parameter_source
    return {name for name in context.params if getattr(source(name), "name", "") == "COMMANDLINE"}


def _safe_name(arch: str) -> str:
    """Return an arch as part of a folder's name: what is called, without where it is imported from."""
    return arch.rpartition(":")[2] if ":" in arch else arch


def _short(data: str) -> str:
    path = Path(data)
    return (path.stem if path.suffix == ".npz" else path.name) or "data"
