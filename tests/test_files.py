import errno
import os
import re

import pytest

from bayes_splat import files
from bayes_splat.errors import OutputError


def test_writes_and_makes_missing_folders(tmp_path):
    path = tmp_path / "a" / "b" / "x.txt"
    with files.atomic_path(path) as partial:
        assert partial.suffix == ".txt"
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["x.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_block_keeps_the_earlier_file_and_leaves_nothing_else(tmp_path, error):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail():
        with files.atomic_path(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_full_disk_is_one_sentence_with_path_and_remedy(tmp_path):
    path = tmp_path / "x.nc"
    with pytest.raises(OutputError) as caught, files.atomic_path(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    message = str(caught.value)
    assert str(path) in message
    assert "disk is full" in message
    assert "out=" in message
    assert message.count("\n") == 0


def test_reads_the_number_that_hdf5_hides_in_its_text(tmp_path):
    error = OSError("Can't write data (file write failed: errno = 28, error message = 'No space')")
    assert "disk is full" in str(files.output_error(tmp_path, error))


def test_unknown_reason_is_passed_on(tmp_path):
    message = str(files.output_error(tmp_path, OSError("the moon is full\ntrace")))
    assert "the moon is full" in message
    assert "trace" not in message


def test_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "out").write_text("I am a file")
    with (
        pytest.raises(OutputError, match=r"a file stands where a folder should be"),
        files.atomic_path(tmp_path / "out" / "x.txt") as partial,
    ):
        partial.write_text("never")


def test_folder_where_the_file_should_be(tmp_path):
    path = tmp_path / "x.txt"
    (path / "child").mkdir(parents=True)
    with (
        pytest.raises(OutputError, match=re.escape(str(path))),
        files.atomic_path(path) as partial,
    ):
        partial.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path):
    tmp_path.chmod(0o500)
    with (
        pytest.raises(OutputError, match="permission is denied"),
        files.atomic_path(tmp_path / "x.txt") as partial,
    ):
        partial.write_text("never")


def test_a_folder_is_tried_before_the_work(tmp_path):
    assert list(files.writable_folder(tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a file stands where a folder should be"):
        files.writable_folder(tmp_path / "file")


def test_folders_of_one_name_are_told_apart_by_where_they_lie():
    assert files.distinct_names(["/a/fox", "/b/fern", "/c/fox"]) == ["a/fox", "fern", "c/fox"]
