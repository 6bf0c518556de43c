"""Running commands in process."""

import sys

import pytest

from napari_qmedsam import cli


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in process, in a folder of its own: status, out, err."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qmedsam", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return call
