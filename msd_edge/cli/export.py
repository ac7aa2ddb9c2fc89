"""``msd-edge export``."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msd_edge.cli import common
from msd_edge.cli.common import ConfigOption, JsonOption, OverwriteOption, VerboseOption
from msd_edge.commands import suggest_command
from msd_edge.errors import ConfigError
from msd_edge.files import refuse_existing
from msd_edge.installed import require

if TYPE_CHECKING:
    from msd_edge.bundle.manifest import Manifest, Precision, TensorSpec, Variant
    from msd_edge.converters.export import ExportOptions

EXAMPLES = """Split a run at its exits, convert and quantize every piece, and prove that the files compute the same.

float32 files are always made: they are what int8 is held against. Without a precision, int8 is made too.

Examples:

  msd-edge export --int8

  msd-edge export runs/resnet20-cifar10 --int8 --target tflite --target onnx

  msd-edge export --int8 --fallback --max-drop 0.3

  msd-edge export --int8 --keep-exits 1,3

  msd-edge export bundles/resnet20-cifar10 --android-assets android_demo/app/src/main/assets

The last one exports nothing: it copies a bundle, calibrated meanwhile, into an app's assets.
"""


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("export", help=EXAMPLES)(export)


def export(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="A run folder; default the newest in runs/. A bundle with --android-assets."
        ),
    ] = None,
    target: Annotated[list[str] | None, typer.Option(help="tflite or onnx; repeatable; default both.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Full-integer int8 files.")] = False,
    float32: Annotated[bool, typer.Option("--float32", help="float32 files alone, unless others are named.")] = False,
    float16: Annotated[bool, typer.Option("--float16", help="float16 weights (TFLite).")] = False,
    keep_exits: Annotated[
        str | None,
        typer.Option(metavar="1,3", help="Only these exits; the trunk is merged across the others. See plan."),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(min=0, max=100, help="Points of accuracy that an int8 exit may lose.")
    ] = 0.5,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Keep the costliest layers in float where int8 loses more.")
    ] = False,
    calibration_images: Annotated[
        int, typer.Option(min=16, help="Training images that activation ranges come from.")
    ] = 256,
    proof_images: Annotated[int, typer.Option(min=32, help="Calibration images for parity and accuracy.")] = 512,
    data: Annotated[str | None, typer.Option(help="Where the run's data is now, if it moved.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default bundles/RUN.")] = None,
    android_assets: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also copy the bundle into an Android app's assets.")
    ] = None,
    overwrite: OverwriteOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be exported, and stop.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Split, convert, quantize and prove."""
    from msd_edge.bundle.reader import MANIFEST
    from msd_edge.converters.capability import parse_targets

    del config, verbose
    path = run if run is not None else common.newest_run()
    if common.run_or_bundle(path) != "run":
        if android_assets is None:
            raise ConfigError(f"{path}: this is a bundle already; export takes a run.")
        _copy_only(path, android_assets, overwrite=overwrite, dry_run=dry_run, as_json=as_json)
        return
    require("export", "torch", "safetensors", extra="export")
    # Before torch is imported, which takes seconds.
    targets, kept = parse_targets(target or ["tflite", "onnx"]), _read_exits(keep_exits)
    bundle = out or common.export_target(path, [str(index) for index in kept])
    refuse_existing(bundle, overwrite=overwrite, marker=MANIFEST)
    from msd_edge.converters.export import ExportOptions, plan_variants
    from msd_edge.segments import check_kept
    from msd_edge.training.run import RunFolder

    precisions: list[Precision] = ["float32"]
    precisions += ["float16"] if float16 else []
    precisions += ["int8"] if int8 or not (float16 or float32) else []
    info = RunFolder(path).read_info()
    if kept:
        check_kept(kept, len(info.places))
    options = ExportOptions(
        targets=targets,
        precisions=tuple(precisions),
        out=bundle,
        overwrite=overwrite,
        max_drop=max_drop,
        fallback=fallback,
        calibration_images=calibration_images,
        proof_images=proof_images,
        data=None if data is None else common.resolve_source(data),
        keep_exits=kept,
    )
    pairs = plan_variants(options)
    assets = None if android_assets is None else _assets_target(options.out, android_assets, overwrite=overwrite)
    names = [f"{target}-{precision}" for target, precision in pairs]
    if not as_json:
        common.facts([("run", common.tell_choice(path, run))])
    if dry_run:
        if as_json:
            common.say_json({"run": str(path), "bundle": str(options.out), "variants": names})
        else:
            common.facts([("would", f"write {options.out}: {', '.join(names)}")])
        return
    manifest = _run(path, options)
    if android_assets is not None:
        from msd_edge.bundle.android import write_assets
        from msd_edge.bundle.reader import read_bundle

        write_assets(read_bundle(options.out), android_assets, overwrite=overwrite)
    if as_json:
        more = {} if assets is None else {"assets": str(assets)}
        common.say_json({"bundle": str(options.out), "manifest": manifest.model_dump(mode="json"), **more})
        return
    _show(options.out, manifest, options.max_drop)
    if assets is not None and android_assets is not None:
        again = suggest_command("export", options.out, "--android-assets", android_assets, "--overwrite")
        common.facts([("assets", f"{assets} · after calibrating: {again}")])


def _read_exits(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,6}", part) for part in parts):
        raise ConfigError(f"--keep-exits {text}: numbers of exits with commas between (1,3).")
    return tuple(int(part) for part in parts)


def _assets_target(path: Path, assets: Path, *, overwrite: bool) -> Path:
    """Return where a bundle's copy in an app's assets will be; checked before long work."""
    from msd_edge.bundle.android import FOLDER, folder_name
    from msd_edge.bundle.reader import MANIFEST

    target = assets / FOLDER / folder_name(path.resolve().name)
    refuse_existing(target, overwrite=overwrite, marker=MANIFEST)
    return target


def _copy_only(path: Path, assets: Path, *, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    """Copy a bundle that is there already into an app's assets."""
    from msd_edge.bundle.android import write_assets
    from msd_edge.bundle.reader import read_bundle

    bundle = read_bundle(path)
    target = _assets_target(path, assets, overwrite=overwrite)
    if not dry_run:
        write_assets(bundle, assets, overwrite=overwrite)
    if as_json:
        common.say_json({"bundle": str(path), "assets": str(target)})
        return
    common.facts([("bundle", str(path)), ("would" if dry_run else "assets", f"{'write ' if dry_run else ''}{target}")])
    bare = [variant.name for variant in bundle.manifest.variants if variant.calibration is None]
    if bare:
        following = suggest_command("calibrate", path)
        common.say(f"note     not calibrated, so only the last exit answers: {', '.join(bare)}; {following}")


def _run(path: Path, options: "ExportOptions") -> "Manifest":
    from msd_edge.converters.export import export_run

    with common.progress(0, "starting") as bar:
        return export_run(path, options, bar.note).manifest


def _show(path: Path, manifest: "Manifest", max_drop: float) -> None:
    count = len(manifest.exits)
    seams = manifest.variants[0].segments[:-1]
    shapes = ", ".join("×".join(str(n) for n in spec.shape[1:]) for s in seams for spec in s.features)
    common.facts([("cut", f"{_count(count, 'segment')} at the branch points; hand-over {shapes or 'none'}")])
    for variant in manifest.variants:
        _show_variant(variant)
    first = manifest.variants[0]
    forms = f"{_count(count, 'segment')}, {_count(len(first.exits), 'exit')} alone"
    forms += ", 1 multi-signature file (TFLite)" if any(v.multi_signature for v in manifest.variants) else ""
    named = [] if path.parent == Path("bundles") else [path]
    proven = ", ".join(f"{v.accuracy.images:,} for {v.name}" for v in manifest.variants)
    common.say()
    common.facts(
        [
            *_note_drops(manifest, max_drop),
            ("proven", f"on calibration images: {proven}"),
            ("bundle", f"{path} · {forms}"),
            ("next", suggest_command("calibrate", *named)),
        ]
    )


def _show_variant(variant: "Variant") -> None:
    common.say()
    seams = [_seam(k, spec) for k, segment in enumerate(variant.segments, 1) for spec in segment.features]
    if variant.precision == "int8" and seams:
        common.facts([("seams", " · ".join(seams) + " · equal on both sides")])
    header = [variant.name, "kB", "operators", "largest difference", "same class", "accuracy (float → file)"]
    rows = []
    for segment, exit_ in zip(variant.segments, variant.accuracy.exits, strict=True):
        parity = segment.parity
        rows.append(
            [
                Path(segment.path).name,
                f"{segment.bytes / 1000:,.1f}",
                str(sum(segment.operators.values())),
                f"{parity.max_abs:.2g} of {parity.logit_range:.3g}",
                f"{100 * parity.top1_agreement:.1f} %",
                f"{100 * exit_.reference:.2f} → {100 * exit_.exported:.2f} %",
            ]
        )
    common.table(header, rows)
    if variant.float_layers:
        common.facts([("float", f"kept in float: {', '.join(variant.float_layers)}")])


def _note_drops(manifest: "Manifest", max_drop: float) -> list[tuple[str, str]]:
    """Return a note on int8 exits that lost more than allowed where the paired test says that this may be chance."""
    from msd_edge.converters.accuracy import SIGNIFICANCE, list_drops

    lost = [
        f"{variant.name} exit {drop.exit} {drop.points:.2f} points (p {drop.p_value:.2g})"
        for variant in manifest.variants
        if variant.precision == "int8"
        for drop in list_drops(variant.accuracy, max_drop)
    ]
    if not lost:
        return []
    return [
        (
            "note",
            f"int8 lost more than --max-drop {max_drop:g}, within chance: {', '.join(lost)}; a paired test on the "
            f"calibration images counts a drop as proven below p {SIGNIFICANCE:g}.",
        )
    ]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _seam(index: int, spec: "TensorSpec") -> str:
    setting = "" if spec.scale is None else f" scale {spec.scale:.6g} zero point {spec.zero_point}"
    return f"{index}→{index + 1} {spec.dtype}{setting}"
