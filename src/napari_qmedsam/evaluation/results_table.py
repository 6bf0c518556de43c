"""A comparison that is done, as a table that prints itself."""

from dataclasses import dataclass
from pathlib import Path

from napari_qmedsam.evaluation.comparison import Comparison
from napari_qmedsam.evaluation.comparison_table import note_of, table_cells
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.evaluation.tables import (
    Cells,
    html_text,
    markdown_text,
    plain_text,
    save_table,
)


@dataclass(frozen=True, eq=False)
class ComparisonTable:
    """Scores, sizes and times of models on the same boxes.

    Printed, it is a table; notebooks show it as one. A row for each model with the
    means over all objects, then a row for each object of each model.

    Parameters
    ----------
    comparison : Comparison
        With the masks of each model, and what they differ in.
    """

    comparison: Comparison

    @property
    def cells(self) -> Cells:
        """Rows of text, headings first."""
        return table_cells(self.comparison)

    @property
    def note(self) -> str:
        """What it was measured on, in a sentence."""
        return note_of(self.comparison)

    def scores(self, name: str, object_id: int | None = None) -> Scores:
        """Return the scores of a model by its name in the table.

        Parameters
        ----------
        name : str
        object_id : int, optional
            Default: means over all objects.
        """
        return self.comparison.results[name].scores_of(object_id)

    def save(self, path: str | Path) -> Path:
        """Write the table; the name ends in ``.csv`` or ``.md``.

        Raises
        ------
        InvalidSettings
            If it ends otherwise, or cannot be written.
        """
        return save_table(self.cells, Path(path), self.note)

    def __str__(self) -> str:
        return f"{plain_text(self.cells)}\n{self.note}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_text(self.cells, self.note)

    def _repr_markdown_(self) -> str:
        return f"{markdown_text(self.cells)}\n{self.note}\n"
