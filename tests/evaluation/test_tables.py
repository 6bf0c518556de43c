"""Tables as text that people read."""

from napari_qmedsam.evaluation.tables import html_text, plain_text

CELLS = [["name", "DSC %"], ["a", "9.50"], ["longer", "100.00"], ["b", ""]]


def test_plain_columns_are_as_wide_as_their_widest_and_numbers_end_together():
    assert plain_text(CELLS).splitlines() == [
        "name    DSC %",
        "a         9.50",
        "longer  100.00",
        "b",
    ]


def test_html_shows_what_it_is_given_and_nothing_else():
    page = html_text([["<name>"], ["a & b"]], note="x < y")
    assert page == (
        "<table><thead><tr><th>&lt;name&gt;</th></tr></thead>"
        "<tbody><tr><td>a &amp; b</td></tr></tbody></table><p>x &lt; y</p>"
    )
