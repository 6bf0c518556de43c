"""Whether files can be written somewhere."""

import errno
import os
import tempfile

from napari_qmedsam.places import nearest_folder, why_not_writable


def test_a_folder_that_can_be_written_to(tmp_path):
    assert why_not_writable(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_reasons_why_not(tmp_path, monkeypatch):
    assert "no folder" in why_not_writable(tmp_path / "none")
    (tmp_path / "file").write_text("")
    assert "no folder" in why_not_writable(tmp_path / "file")

    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert why_not_writable(tmp_path).startswith(os.strerror(errno.EROFS))


def test_nearest_folder_is_what_would_hold_the_new_ones(tmp_path):
    assert nearest_folder(tmp_path / "a" / "b") == tmp_path
    assert nearest_folder(tmp_path) == tmp_path
