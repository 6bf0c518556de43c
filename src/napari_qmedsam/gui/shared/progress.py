"""The bar under a panel that shows how far its work is."""

from qtpy.QtWidgets import QProgressBar, QWidget


class StepBar(QProgressBar):
    """A progress bar without text, told of steps done."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setToolTip("Share of the work that is done.")
        self.setTextVisible(False)

    def show_steps(self, done: int, total: int) -> None:
        """Show steps done; total 0 means that nobody knows how many there are."""
        self.setRange(0, total)
        if done:
            self.setValue(done)
        else:
            self.reset()
