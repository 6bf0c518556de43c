"""Commands that train: train float, train qat, train demo."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_qmedsam.cli import shared
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.models.configuration import CONFIGS

if TYPE_CHECKING:
    from napari_qmedsam.datasets.dataset import DataSet
    from napari_qmedsam.models.medsam import MedSAM
    from napari_qmedsam.training.settings import CommonSettings, TrainingSettings

app = typer.Typer(
    no_args_is_help=True,
    help="Train models of the family. Ctrl-C saves the run; the same command goes "
    "on with it. Start with torchrun to use several processes.",
)

OutOption = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder of the run; resumed if it exists.")
]
DataOption = Annotated[
    str,
    typer.Option(
        metavar="DIR|phantoms",
        help="Folder with labelled images, sorted by modality; or phantoms, or "
        "mixture (the phantoms as one modality).",
    ),
]
ValidationOption = Annotated[
    str | None,
    typer.Option(
        "--validation",
        metavar="DIR|phantoms",
        help="What the best epoch is chosen by; default: a tenth of the files.",
    ),
]
PseudoLabelledOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Slices labelled by 'train pseudo-label'; a share of the slices comes "
        "from there (pseudo_labelled_share in the settings).",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Settings as YAML; options below win."),
]
SamplesOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Slices per modality and epoch.")
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Of weights and samples.")
]
WorkersOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Processes that make samples.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Of torch; 0 leaves it to torch.")
]
ExportOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Where the weights go; default in DIR."),
]
CompactOption = Annotated[
    bool,
    typer.Option(
        "--compact",
        help="Write weights as 8-bit integers: a quarter of the size. A model trained "
        "for int8 gives the same masks; a float model is rounded.",
    ),
]
StepsOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Optimizer steps in all.")
]


@app.command("float")
def train_float(
    context: typer.Context,
    out: OutOption,
    data: DataOption = "phantoms",
    model: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(CONFIGS)}.")
    ] = "demo",
    start: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Weights to start from: a model's name or a file. Default: random.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Model of the same family whose masks targets are drawn to where it "
            "is right (mask_distillation). Default: the weights of --start.",
        ),
    ] = None,
    blend: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Weights of the same family that what is written holds a share of "
            "(start_share). Default: the weights of --start.",
        ),
    ] = None,
    pseudo_labelled: PseudoLabelledOption = None,
    validation: ValidationOption = None,
    config: ConfigOption = None,
    steps: StepsOption = None,
    samples: SamplesOption = None,
    seed: SeedOption = None,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    export: ExportOption = None,
    compact: CompactOption = False,
) -> None:
    """Train a float model, from nothing or from weights.

    With --start, the architecture is that of the weights.
    """
    from napari_qmedsam.training.export import export_float
    from napari_qmedsam.training.float_training import FloatTraining
    from napari_qmedsam.training.processes import join_processes
    from napari_qmedsam.training.settings import (
        TrainedPart,
        TrainingSettings,
        load_settings,
    )

    given = {
        "steps": steps,
        "samples": samples,
        "seed": seed,
        "workers": workers,
        "threads": threads,
    }
    if start is not None:
        why = "the architecture is that of the weights to start from."
        shared.refuse_idle(context, {"model"}, why)
    settings = load_settings(TrainingSettings, config, given)
    if not settings.mask_distillation:
        why = "mask_distillation is 0 in the settings."
        shared.refuse_idle(context, {"teacher"}, why)
    if not settings.start_share:
        shared.refuse_idle(context, {"blend"}, "start_share is 0 in the settings.")
    weights = None if start is None else _load(start)
    master = None if teacher is None else _load(teacher)
    blended = None if blend is None else _load(blend)
    name = model if weights is None else weights.config.name
    target = _target(export, out / f"{name}.safetensors")
    sets = _data(data, validation, settings.seed, name)
    more = _opened(pseudo_labelled)
    with _training(out):
        processes = join_processes()
        if settings.part is TrainedPart.DECODER:
            sets = _embedded(sets, start, settings, out / "embeddings")
        run = FloatTraining(
            name, out, settings, *sets, weights, master, more, processes, blended
        )
        with shared.bar("Training", quiet=not processes.is_first) as advance:
            run.run(lambda *now: advance(*now[:2], _description("Training", now[-1])))
        if processes.is_first:
            command = _command(context, settings)
            path = export_float(run, target, command, start, compact)
            shared.console().print(f"Weights: {path}", soft_wrap=True)


@app.command("pseudo-label")
def pseudo_label(
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder with volumes without labels.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where slices and labels go, as .npz.")
    ],
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="The teacher: a name or a file.")
    ] = "lite_medsam",
    threads: ThreadsOption = None,
) -> None:
    """Label unlabelled slices with a model, to train another one on.

    What the model marks again when it is asked with the box of its own mask counts
    as an object. About six seconds a slice on a laptop; what is there already stays.
    """
    from napari_qmedsam.cohort.cases import readable_entries
    from napari_qmedsam.runtime import load_backend
    from napari_qmedsam.training import pseudo_labels

    volumes = readable_entries(images)
    shared.check_folder_target(out)
    backend = load_backend(model, threads=threads or 0)
    with shared.bar("Labelling volumes") as advance:
        data = pseudo_labels.pseudo_label(volumes, backend, out, advance)
    shared.console().print(
        f"{sum(data.counts)} slices of {', '.join(data.names)}: {out}", soft_wrap=True
    )


@app.command("qat")
def train_qat(
    context: typer.Context,
    out: OutOption,
    data: DataOption = "phantoms",
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="The float model: a name or a file.")
    ] = "demo",
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Model whose embedding stage 1 is drawn to, as medsam_vit_b for "
            "lite_medsam. Default: the float model.",
        ),
    ] = None,
    pseudo_labelled: PseudoLabelledOption = None,
    validation: ValidationOption = None,
    config: ConfigOption = None,
    samples: SamplesOption = None,
    seed: SeedOption = None,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    export: ExportOption = None,
    compact: CompactOption = False,
) -> None:
    """Train a model for int8 in three stages: encoder, decoder, everything.

    The best epoch of each stage is written too, as stage-1.safetensors and
    stage-2.safetensors in the folder of the run.
    """
    from napari_qmedsam.training.export import export_qat
    from napari_qmedsam.training.processes import join_processes
    from napari_qmedsam.training.qat import STAGES, QuantizationAwareTraining
    from napari_qmedsam.training.settings import QATSettings, load_settings

    given = {"samples": samples, "seed": seed, "workers": workers, "threads": threads}
    settings = load_settings(QATSettings, config, given)
    start = _load(model)
    master = None if teacher is None else _load(teacher)
    name = start.config.name
    target = _target(export, out / f"{name}-qat.safetensors")
    sets = _data(data, validation, settings.seed, name)
    more = _opened(pseudo_labelled)
    with _training(out):
        processes = join_processes()
        run = QuantizationAwareTraining(
            start,
            out,
            settings,
            *sets,
            teacher=master,
            pseudo_labelled=more,
            processes=processes,
        )
        with shared.bar("Training", quiet=not processes.is_first) as advance:
            run.run(lambda stage, *now: advance(*now[:2], _description(stage, now[-1])))
        if processes.is_first:
            command = _command(context, settings)
            for stage in STAGES[:-1]:
                file = out / f"{stage}.safetensors"
                export_qat(run, file, command, model, stage)
            path = export_qat(run, target, command, model, STAGES[-1], compact)
            shared.console().print(f"Weights: {path}", soft_wrap=True)


@app.command("demo")
def train_demo(
    context: typer.Context,
    out: OutOption,
    config: ConfigOption = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    export: ExportOption = None,
) -> None:
    """Train a demo model from nothing: train float --data mixture."""
    train_float(
        context,
        out,
        data="mixture",
        config=config,
        steps=steps,
        seed=seed,
        workers=workers,
        threads=threads,
        export=export,
    )


class Kind(str, Enum):
    """What settings are for."""

    FLOAT = "float"
    QAT = "qat"


@app.command("settings")
def print_settings(
    kind: Annotated[Kind, typer.Argument(help="Of train float or of train qat.")],
) -> None:
    """Print all settings with their defaults and help, for a file of your own."""
    from napari_qmedsam.training.settings import (
        QATSettings,
        TrainingSettings,
        settings_text,
    )

    typer.echo(settings_text(TrainingSettings if kind is Kind.FLOAT else QATSettings))


def _command(context: typer.Context, settings: "CommonSettings") -> str:
    """Return the command for the card; steps and seed are told in any case."""
    idle = ["model"] if context.params.get("start") else []
    settled = settings.model_dump(include={"steps", "seed"})
    return shared.command_line(context, ["out", "export", *idle], settled)


def _load(model: str) -> "MedSAM":
    from napari_qmedsam.checkpoints.resolve import resolve_model

    with shared.bar("Downloading weights") as advance:
        source = resolve_model(
            model, progress=lambda done, total: advance(done, total or done)
        )
    return source.build()


def _target(export: Path | None, default: Path) -> Path:
    """Return where the weights go, refused before long work for it starts."""
    target = export or default
    if target.suffix != ".safetensors":
        raise InvalidSettings(f"The weights file '{target}' must end in .safetensors.")
    if export is not None:
        shared.check_file_target(export)
    return target


def _data(
    source: str, validation: str | None, seed: int, model: str
) -> "tuple[DataSet, DataSet | None]":
    from napari_qmedsam.datasets.dataset import open_data
    from napari_qmedsam.models import config_of

    size = min(256, config_of(model).input_size)
    data = open_data(source, seed, size)
    if validation is None:
        return data, None
    return data, open_data(validation, seed, size, held_out=True)


def _opened(folder: Path | None) -> "DataSet | None":
    from napari_qmedsam.datasets.dataset import open_data

    return None if folder is None else open_data(str(folder))


def _embedded(
    sets: "tuple[DataSet, DataSet | None]",
    start: str | None,
    settings: "TrainingSettings",
    folder: Path,
) -> "tuple[DataSet, DataSet | None]":
    """Embed the slices to train on with the encoder that stays as it is."""
    from napari_qmedsam.runtime import load_backend
    from napari_qmedsam.training.embedded import embed
    from napari_qmedsam.training.validation import set_aside

    if start is None:
        raise InvalidSettings(
            "To train a decoder alone, name the weights whose encoder it is to work "
            "with: --start MODEL."
        )
    data, validation = set_aside(*sets, settings)
    backend = load_backend(start, threads=settings.threads)
    with shared.bar("Embedding slices") as advance:
        data = embed(
            data,
            backend.encode,
            backend.config,
            settings,
            folder,
            backend.info.weights_sha256,
            advance,
        )
    return data, validation


@contextmanager
def _training(out: Path) -> Iterator[None]:
    """Make the folder of a run, and say after Ctrl-C that the run is kept."""
    from napari_qmedsam.training.processes import leave_processes

    shared.make_folder(out)
    try:
        yield
    except KeyboardInterrupt:
        if (out / "last.pt").exists():
            typer.echo(
                f"The run is kept in '{out}'; the same command goes on.", err=True
            )
        raise
    finally:
        leave_processes()


def _description(title: str, losses: dict[str, Any]) -> str:
    return f"{title}, Dice loss {losses['dice']:.3f}"
