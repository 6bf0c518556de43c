"""Measure what boxes buy, on phantoms and on labelled volumes given, by model.

    python benchmarks/effort.py [NAME=IMAGE,LABELS ...] [--model demo --model FILE ...]
        [--jitter 5] [--seeds 2] [--no-run-time] [--out docs/benchmarks.md]

`qmedsam evaluate --effort` for several volumes and models. The phantoms are abdomens
in CT and MR, of seeds that no training takes.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from pages import put_between

from napari_qmedsam.evaluation.effort import measure_effort
from napari_qmedsam.evaluation.effort_report import effort_table
from napari_qmedsam.evaluation.tables import markdown_text
from napari_qmedsam.phantoms.abdomen import abdomen_case
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes import Modality, Volume, read_labels, read_volume

FIRST_SEED = 900
"""Of the phantoms; the sample volumes have seed 2."""


def of_phantoms(seeds: int) -> Iterator[tuple[str, Volume, Volume]]:
    for modality in (Modality.CT, Modality.MR):
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            case = abdomen_case(modality, seed)
            yield f"{modality.value} phantom {seed}", case.volume, case.labels


def of_files(given: list[str]) -> Iterator[tuple[str, Volume, Volume]]:
    for text in given:
        name, _, files = text.partition("=")
        image, labels = (Path(part) for part in files.split(","))
        volume = read_volume(image)
        yield name, volume, read_labels(labels, like=volume)


def report(arguments: argparse.Namespace, model: str) -> Iterator[str]:
    segmenter = SliceSegmenter(load_backend(model))
    cases = [*of_phantoms(arguments.seeds), *of_files(arguments.volumes)]
    for name, volume, labels in cases:
        found = measure_effort(
            segmenter,
            volume,
            labels,
            box_jitter=arguments.jitter,
            seed=0,
            run_time=not arguments.no_run_time,
        )
        yield f"**{model}**, {name}, {len(found.class_ids)} objects. {found.summary()}"
        yield markdown_text(effort_table([found], not arguments.no_run_time))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="*", metavar="NAME=IMAGE,LABELS")
    parser.add_argument("--model", action="append")
    parser.add_argument("--jitter", type=int, default=0, help="pixels a side")
    parser.add_argument("--seeds", type=int, default=1, help="phantoms a modality")
    parser.add_argument("--no-run-time", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    parts = []
    for model in arguments.model or ["demo"]:
        for part in report(arguments, model):
            print(part, flush=True)
            parts.append(part)
    if arguments.out:
        put_between(arguments.out, "effort", "\n\n".join(parts).rstrip())


if __name__ == "__main__":
    main()
