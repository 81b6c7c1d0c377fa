import errno
import os
import stat
import sys
import threading

import pytest
from disk_events import record, whole

from spikeflip.writing import PARTIAL, make_folder, place_folder, remove_partial, whole_file, whole_path, write_bytes

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")


@pytest.fixture
def events(tmp_path, monkeypatch):
    return record(monkeypatch, tmp_path)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_when_it_is_whole(tmp_path):
    for content in (b"one", b"two"):
        with whole_file(tmp_path / "whole") as file:
            file.write(content)
            file.flush()
            assert len([name for name in names(tmp_path) if name.endswith(PARTIAL)]) == 1
            assert not (tmp_path / "whole").exists() or (tmp_path / "whole").read_bytes() == b"one"
        assert names(tmp_path) == ["whole"]
        assert (tmp_path / "whole").read_bytes() == content


@posix
def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, events):
    write_bytes(tmp_path / "whole", b"one")
    assert events == whole("whole", "home") == [("sync", "whole*"), ("name", "whole*", "whole"), ("sync", "home")]


@posix
def test_who_writes_many_files_may_sync_them_later(tmp_path, events):
    with whole_path(tmp_path / "whole", durable=False) as partial:
        partial.write_bytes(b"one")
    assert events == [("name", "whole*", "whole")]


@posix
def test_folders_that_are_made_are_on_the_disk(tmp_path, events):
    make_folder(tmp_path / "a" / "b")
    assert sorted(events) == [("sync", "a"), ("sync", "home")]
    events.clear()
    make_folder(tmp_path / "a" / "b")
    assert events == [("sync", "a")]  # who made it may have been killed right then


@posix
def test_a_folder_has_its_name_when_all_in_it_is_on_the_disk(tmp_path, events):
    (tmp_path / "new" / "sub").mkdir(parents=True)
    (tmp_path / "new" / "sub" / "file").write_text("one")
    place_folder(tmp_path / "new", tmp_path / "whole")
    assert sorted(events[:3]) == [("sync", "file"), ("sync", "new"), ("sync", "sub")]
    assert events[3:] == [("name", "new", "whole"), ("sync", "home")]
    assert (tmp_path / "whole" / "sub" / "file").read_text() == "one"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no"), OSError(errno.ENOSPC, "full")])
def test_what_fails_leaves_the_old_file_alone(tmp_path, error):
    write_bytes(tmp_path / "whole", b"old")

    def fail():
        with whole_file(tmp_path / "whole") as file:
            file.write(b"new")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == ["whole"]
    assert (tmp_path / "whole").read_bytes() == b"old"


def test_an_error_names_the_file_and_not_its_temporary_name(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as caught:
        write_bytes(tmp_path / "missing" / "whole", b"one")
    assert caught.value.filename == str(tmp_path / "missing" / "whole")

    def refuse(source, target):
        raise OSError(errno.EACCES, "no", source, None, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError) as caught:
        write_bytes(tmp_path / "whole", b"one")
    assert str(caught.value) == f"[Errno {errno.EACCES}] no: {str(tmp_path / 'whole')!r}"
    assert names(tmp_path) == []


@posix
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(os.devnull, path)])
def test_a_pipe_a_folder_or_a_device_is_not_replaced(tmp_path, make):
    make(tmp_path / "place")
    before = os.lstat(tmp_path / "place")
    with pytest.raises(OSError, match="no plain file"), whole_path(tmp_path / "place"):
        pytest.fail("something was written")
    assert os.lstat(tmp_path / "place") == before
    assert names(tmp_path) == ["place"]


@posix
def test_a_new_file_has_the_permissions_of_any_and_a_replaced_one_its_own(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "new", b"one")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    for mode in (0o600, 0o644, 0o444):
        (tmp_path / "new").chmod(mode)
        write_bytes(tmp_path / "new", b"two")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode


def test_several_may_write_one_file(tmp_path):
    both = threading.Barrier(2, timeout=20)

    def write(content):
        with whole_file(tmp_path / "whole") as file:
            both.wait()
            file.write(content * 100_000)
            both.wait()

    threads = [threading.Thread(target=write, args=(content,)) for content in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == ["whole"]
    assert (tmp_path / "whole").read_bytes() in (b"a" * 100_000, b"b" * 100_000)


def test_a_long_name_still_has_room_for_a_temporary_one(tmp_path):
    write_bytes(tmp_path / ("x" * 255), b"one")
    write_bytes(tmp_path / ("é" * 127), b"one")
    assert len(names(tmp_path)) == 2


@posix
def test_a_folder_that_cannot_be_read_can_be_written_to(tmp_path, monkeypatch):
    real = os.open

    def refuse(path, flags, *given):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "no", str(path))
        return real(path, flags, *given)

    monkeypatch.setattr(os, "open", refuse)
    write_bytes(tmp_path / "whole", b"one")
    assert (tmp_path / "whole").read_bytes() == b"one"


def test_what_a_killed_writer_left_can_be_removed(tmp_path):
    """And nothing that anybody else may have made."""
    others = [".file.2.partial", ".hidden", ".mine.0123abcd.partial", ".run.0123abcd.partial", "mine.partial"]
    (tmp_path / ".run.0123abcd.partial").mkdir()
    for name in (".file.0123abcd.partial", *others[:3], *others[4:]):
        (tmp_path / name).touch()
    remove_partial(tmp_path, {"file", "run"})
    assert names(tmp_path) == others


def test_a_write_that_fails_names_the_file_and_not_its_temporary_name(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as write and fsync raise it: without a name
    with pytest.raises(OSError, match="No space left on device") as failed, whole_path(tmp_path / "a.json"):
        raise full
    assert failed.value.filename == str(tmp_path / "a.json")
