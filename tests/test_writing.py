import os
import sys

import pytest

from spikeflip.writing import replace_file


def test_a_written_file_takes_its_name(tmp_path):
    for content in ("one", "two"):
        (tmp_path / "partial").write_text(content)
        replace_file(tmp_path / "partial", tmp_path / "whole")
        assert [path.name for path in tmp_path.iterdir()] == ["whole"]
        assert (tmp_path / "whole").read_text() == content


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
def test_a_pipe_is_not_replaced(tmp_path):
    (tmp_path / "partial").write_text("one")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no plain file"):
        replace_file(tmp_path / "partial", tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
