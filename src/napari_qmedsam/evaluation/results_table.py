"""A comparison that is done, as a table that prints itself."""

from dataclasses import dataclass

from napari_qmedsam.evaluation.comparison import Comparison
from napari_qmedsam.evaluation.comparison_table import note_of, table_cells
from napari_qmedsam.evaluation.margins import STANDARD, Margins
from napari_qmedsam.evaluation.noninferiority import Verdict
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.evaluation.tables import Cells, PrintedTable


@dataclass(frozen=True, eq=False, repr=False)
class ComparisonTable(PrintedTable):
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

    def verdict(self, name: str, margins: Margins = STANDARD) -> Verdict | None:
        """Say whether a model is enough by the objects of this scan.

        Parameters
        ----------
        name : str
        margins : Margins
            Points of DSC and NSD that may be lost.

        Returns
        -------
        Verdict or None
            None of a model without a float one of its kind beside it.
        """
        return self.comparison.judged(margins).get(name)
