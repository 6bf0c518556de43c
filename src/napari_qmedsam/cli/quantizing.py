"""Commands that quantize: quantize."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_qmedsam.cli import options, shared
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.quantization.methods import METHODS, NNCF

if TYPE_CHECKING:
    from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
    from napari_qmedsam.quantization.job import QuantizationJob

NNCF_TAKES = {"model", "weights", "method", "calibration", "slices", "seed"} | {
    "output",
    "as_json",
}
"""Parameters that mean something to NNCF; whatever is added here is refused."""

SETTINGS = {"method", "bits", "granularity", "permutation", "sweeps", "damping"}
"""Parameters that a recipe says instead."""

CALIBRATING = {"calibration", "slices", "seed", "damping", "sequential", "sums"}
"""Parameters of the calibration."""


def quantize(
    context: typer.Context,
    model: options.ModelOption = "auto",
    weights: options.WeightsOption = None,
    method: Annotated[
        str, typer.Option(help=f"{', '.join(METHODS)}, or {NNCF}.")
    ] = "permutation-comq",
    bits: Annotated[
        int, typer.Option(min=1, max=8, help="Bits of each weight's code.")
    ] = 4,
    granularity: Annotated[
        str | None,
        typer.Option(help="How far a scale reaches: layer, channel, group:G."),
    ] = None,
    permutation: Annotated[
        str | None, typer.Option(help="rows or elements, for permutation-comq.")
    ] = None,
    sweeps: Annotated[
        int, typer.Option(min=1, help="Sweeps of coordinate descent.")
    ] = 3,
    budget_mb: Annotated[
        float | None,
        typer.Option(help="Bits per layer chosen for a model of this many MB."),
    ] = None,
    avg_bits: Annotated[
        float | None,
        typer.Option(help="Bits per layer chosen for this many effective bits."),
    ] = None,
    calibration: Annotated[
        str, typer.Option(help="phantoms, or an image file or a folder of them.")
    ] = "phantoms",
    slices: Annotated[
        int,
        typer.Option(
            min=1, help="Calibration slices. nncf-int8 takes 16 unless it is given."
        ),
    ] = 32,
    damping: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Share of the inputs' mean energy added to each. Default: 0.1 up to 3 "
            "bits, 0.01 above.",
        ),
    ] = None,
    sequential: Annotated[
        bool | None,
        typer.Option(
            "--sequential/--float-inputs",
            help="Take each block's inputs from the already quantized blocks before "
            "it (the default up to 3 bits, without --sums), or all from the float "
            "model.",
        ),
    ] = None,
    sums: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep the sums of the calibration here; a run that was stopped goes "
            "on from them, and another recipe need not calibrate again.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="YAML or JSON with settings and exceptions by layer."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the calibration.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Ends in .qmedsam.safetensors; a folder for nncf-int8.",
        ),
    ] = None,
    show_recipe: Annotated[
        bool, typer.Option("--show-recipe", help="Print the recipe as YAML and stop.")
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Quantize a model after training, layer by layer, without gradients.

    nncf-int8 quantizes activations as well: NNCF's own method on OpenVINO graphs,
    with its own settings. Only the calibration is chosen here.
    """
    from napari_qmedsam.checkpoints.default_model import resolve_auto
    from napari_qmedsam.checkpoints.resolve import resolve_model
    from napari_qmedsam.quantization.job import Budget, QuantizationJob, default_target
    from napari_qmedsam.quantization.recipe import Recipe, dump_recipe, load_recipe
    from napari_qmedsam.quantization.settings import QuantizationSettings
    from napari_qmedsam.runtime import nncf_subprocess

    model, weights = resolve_auto(model, weights)
    if method == NNCF:
        idle = {*context.params} - NNCF_TAKES
        shared.refuse_idle(context, idle, f"{NNCF} has its own settings.")
        if "slices" not in shared.given(context):
            slices = nncf_subprocess.PLAN.slices
        _nncf(model, weights, (calibration, slices, seed), output, as_json)
        return
    known = (*METHODS, NNCF)
    if method not in known:
        raise InvalidSettings(f"--method is one of {', '.join(known)}, not '{method}'.")
    budget = None
    if budget_mb is not None and avg_bits is not None:
        raise InvalidSettings("Give --budget-mb or --avg-bits, not both.")
    if budget_mb is not None or avg_bits is not None:
        budget = Budget(budget_mb, avg_bits)
        idle = {"bits", "show_recipe"}
        shared.refuse_idle(context, idle, "a budget chooses the bits of each layer.")
    chosen: Recipe
    if recipe is not None:
        shared.refuse_idle(context, SETTINGS, f"the recipe '{recipe}' says that.")
        chosen = load_recipe(recipe)
    else:
        settings = QuantizationSettings.of(
            method=method,
            bit_width=bits,
            granularity=granularity,
            permutation=permutation,
            sweeps=sweeps,
        )
        chosen = Recipe(settings=settings, overrides=(), damping=damping)
        if not METHODS[settings.method].has_sweeps:
            shared.refuse_idle(context, {"sweeps"}, f"{method} makes no sweeps.")
    if not chosen.needs_inputs and budget is None:
        why = f"{chosen.settings.method} looks at no inputs, so nothing is calibrated."
        shared.refuse_idle(context, CALIBRATING, why)
    if show_recipe:
        typer.echo(dump_recipe(chosen), nl=False)
        return
    named = "" if recipe is None else recipe.stem
    target = output or default_target(model, chosen.settings, budget, named)
    _check_target(target)
    job = QuantizationJob(
        resolve_model(model, weights),
        chosen.settings,
        _plan(calibration, slices, seed),
        budget,
        sequential,
        chosen.overrides,
        chosen.damping,
        sums,
    )
    report = _run(job, target)
    if as_json:
        typer.echo(json.dumps(report))
        return
    console = shared.console()
    console.print(
        f"{report['effective_bits']:.2f} effective bits per weight, "
        f"{report['size_bytes'] / 1e6:.2f} MB (float: "
        f"{report['float_size_bytes'] / 1e6:.2f} MB), {report['seconds']:.0f} s"
    )
    console.print(f"Model: {report['output']}", soft_wrap=True)


def _nncf(
    model: str,
    weights: Path | None,
    calibration: tuple[str, int, int],
    output: Path | None,
    as_json: bool,
) -> None:
    from napari_qmedsam.checkpoints.resolve import resolve_model
    from napari_qmedsam.runtime.nncf_subprocess import quantize_graphs_in_subprocess

    folder = output or Path(f"{Path(model).name.split('.')[0]}-{NNCF}")
    shared.check_folder_target(folder)
    source = resolve_model(model, weights)
    shared.make_folder(folder)
    with shared.bar("Quantizing", quiet=as_json) as advance:
        quantize_graphs_in_subprocess(source, _plan(*calibration), folder, advance)
    size = resolve_model(str(folder)).size_bytes
    report = {"output": str(folder), "size_bytes": size}
    if as_json:
        typer.echo(json.dumps(report))
        return
    console = shared.console()
    console.print(f"{size / 1e6:.2f} MB in int8")
    console.print(f"Model: {report['output']}", soft_wrap=True)


def _run(job: "QuantizationJob", target: Path) -> dict[str, Any]:
    import time

    from napari_qmedsam.quantization.whole_model import QuantizationProgress

    start = time.perf_counter()
    layers: list[dict[str, Any]] = []
    with shared.bar("Quantizing") as advance:

        def step(progress: QuantizationProgress) -> None:
            text = progress.layer
            if progress.report is not None:
                error = progress.report.relative_error
                layers.append({"layer": progress.layer, "relative_error": error})
                text = f"{progress.layer} (error {error:.1e})"
            advance(progress.done, progress.total, text)

        result = job.run(target, step)
    return {
        "output": str(target),
        "effective_bits": round(result.effective_bits, 4),
        "size_bytes": target.stat().st_size,
        "float_size_bytes": job.source.size_bytes,
        "seconds": round(time.perf_counter() - start, 2),
        "layers": layers,
    }


def _check_target(target: Path) -> None:
    from napari_qmedsam.checkpoints.packed.model_file import SUFFIX

    if not target.name.endswith(SUFFIX):
        raise InvalidSettings(f"The output '{target.name}' must end in {SUFFIX}.")
    shared.check_file_target(target)


def _plan(where: str, slices: int, seed: int) -> "CalibrationPlan":
    from napari_qmedsam.datasets.calibration_plan import CalibrationPlan

    path = None if where == "phantoms" else Path(where)
    return CalibrationPlan(path=path, slices=slices, seed=seed)
