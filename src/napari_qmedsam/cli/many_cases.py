"""What segment and evaluate do with many cases at once."""

import typer

from napari_qmedsam.cli import cohorts, shared
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.margins import Margins


def segment_many(context: typer.Context) -> None:
    """Segment many images; the parameters are those of the command segment."""
    from napari_qmedsam.cohort import tables
    from napari_qmedsam.cohort.case_lists import read_boxes
    from napari_qmedsam.cohort.plan import Labelling
    from napari_qmedsam.cohort.run_folder import LABELS, RunFolder
    from napari_qmedsam.evaluation.tables import save_table

    given = context.params
    single = {"image", "box", "box3d", "output", "weights", "frame", "series"}
    single |= {"keys", "propagate", "tighten", "add", "take", "absent", "embeddings_gb"}
    single |= {"smooth", "largest_piece", "fill_holes"}
    why = "it is for a single image."
    shared.refuse_idle(context, {*single, "modality", "as_json"}, why)
    if given["boxes"] is None:
        raise InvalidSettings("Give the boxes of the images: --boxes CSV.")
    cohort = read_boxes(given["images"], given["boxes"])
    machines = cohorts.Machines.of(given)
    folder = RunFolder(given["run"])
    shared.check_folder_target(folder.path)
    models = cohorts.planned_models(given)
    task = Labelling((folder.path / LABELS).absolute())
    plan = cohorts.plan_of(given, models, task, machines)
    results = cohorts.run(plan, cohort, folder, machines)
    save_table(tables.object_cells(results), folder.path / "objects.csv")
    done = sum(not result.error for result in results)
    shared.console().print(f"{done} of {len(results)} images segmented.")
    shared.console().print(f"Labels: {task.folder}", soft_wrap=True)
    cohorts.end(results)


def evaluate_many(context: typer.Context) -> None:
    """Score many cases; the parameters are those of the command evaluate."""
    from napari_qmedsam.cohort import summary, tables
    from napari_qmedsam.cohort.case_lists import read_case_list
    from napari_qmedsam.cohort.pairing import pair_folders
    from napari_qmedsam.cohort.plan import Scoring
    from napari_qmedsam.cohort.run_folder import MODELS, RunFolder
    from napari_qmedsam.cohort.verdicts import references_of
    from napari_qmedsam.evaluation.tables import save_table
    from napari_qmedsam.evaluation.volumes import Mode

    given = context.params
    idle = {"image", "effort", "weights", "frame", "series", "modality", "json_path"}
    why = "it is for a single case (--image)."
    shared.refuse_idle(context, idle, why)
    mode = shared.parse_choice(Mode, given["mode"] or Mode.SLICE.value, "--mode")
    if mode is Mode.SLICE:
        why = "every slice has a box of its own; 3D boxes are --mode volume."
        shared.refuse_idle(context, {"follow"}, why)
    if not given["box_jitter"]:
        shared.refuse_idle(context, {"seed"}, "it is that of --box-jitter.")
    margins = Margins(given["margin_dsc"], given["margin_nsd"])
    classes = shared.class_ids(given["classes"])
    widths = _bit_widths(given["bits"])
    if given["case_list"] is not None:
        why = "--case-list names images and labels."
        shared.refuse_idle(context, {"images", "labels", "pattern"}, why)
        cohort = read_case_list(given["case_list"])
    elif given["labels"] is None:
        raise InvalidSettings("Give the folder of the reference labels: --labels DIR.")
    else:
        cohort = pair_folders(given["images"], given["labels"], given["pattern"])
    machines = cohorts.Machines.of(given)
    folder = RunFolder(given["run"])
    shared.check_folder_target(folder.path)
    models = cohorts.planned_models(given)
    for model in list(models) if widths else []:
        made = cohorts.quantized_models(model.variant, widths, folder.path / MODELS)
        models += made
    references_of([model.description() for model in models], given["against"])
    task = Scoring(
        mode,
        None if classes is None else tuple(classes),
        given["box_jitter"],
        given["tolerance_mm"],
        given["seed"],
    )
    plan = cohorts.plan_of(given, models, task, machines)
    results = cohorts.run(plan, cohort, folder, machines)
    save_table(tables.score_cells(results), folder.path / "scores.csv")
    scores = summary.CohortScores(results)
    if scores.models:
        summary_cells = scores.cells(task.tolerance_mm, scores.groups())
        save_table(summary_cells, folder.path / "summary.csv")
        shared.print_table(scores.mean_cells(task.tolerance_mm))
        cohorts.say_verdict(folder, results, margins, given["against"])
    shared.console().print(f"Run: {folder.path}", soft_wrap=True)
    cohorts.end(results)


def _bit_widths(text: str | None) -> list[int]:
    """Read ``8,4,3,2``."""
    if text is None:
        return []
    try:
        widths = [int(part) for part in text.split(",")]
    except ValueError:
        widths = [0]
    if not all(1 <= width <= 8 for width in widths):
        raise InvalidSettings(f"--bits '{text}' must be numbers from 1 to 8: 8,4,3.")
    return sorted(set(widths), reverse=True)
