"""Icons in the colour of napari's theme, drawn for this package."""

from functools import lru_cache
from pathlib import Path

from qtpy.QtCore import QByteArray, QRectF, Qt
from qtpy.QtGui import QIcon, QPainter, QPixmap
from qtpy.QtSvg import QSvgRenderer

FOLDER = Path(__file__).with_name("icons")

SIZE = 64
"""Pixels an icon is drawn with; Qt makes it smaller as needed."""

INK = "#000"
"""Colour in the files that is replaced by the theme's."""


def theme_ink(theme: str) -> str:
    """Return the colour that texts have in one of napari's themes."""
    from napari.utils.theme import get_theme

    return get_theme(theme).text.as_hex()


@lru_cache(maxsize=128)
def icon(name: str, colour: str) -> QIcon:
    """Return an icon of this package in a colour.

    Parameters
    ----------
    name : str
        Of a file in the folder ``icons``, without its ending.
    colour : str
        ``#rrggbb``; disabled buttons get it fainter.
    """
    picture = QIcon()
    text = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    renderer = QSvgRenderer(QByteArray(text.replace(INK, colour).encode()))
    for mode, opacity in ((QIcon.Mode.Normal, 1.0), (QIcon.Mode.Disabled, 0.35)):
        pixmap = QPixmap(SIZE, SIZE)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        painter.setOpacity(opacity)
        renderer.render(painter, QRectF(0, 0, SIZE, SIZE))
        painter.end()
        picture.addPixmap(pixmap, mode)
    return picture
