"""arch/files.py: files appear whole or not at all, and what cannot be written is said before."""

import os
import stat

import pytest
from heddle.arch.errors import HeddleError
from heddle.arch.files import require_writable, write_whole


def test_text_bytes_and_what_a_function_writes(tmp_path):
    write_whole(tmp_path / "text", "naïve ×")
    assert (tmp_path / "text").read_bytes() == "naïve ×".encode()
    write_whole(tmp_path / "bytes", b"\0\xff")
    assert (tmp_path / "bytes").read_bytes() == b"\0\xff"
    given = []
    write_whole(tmp_path / "drawn.png", lambda path: (given.append(path), path.write_text("drawn")))
    assert (tmp_path / "drawn.png").read_text() == "drawn" and given[0].suffix == ".png"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bytes", "drawn.png", "text"]


def test_what_was_there_stays_when_writing_fails(tmp_path):
    (tmp_path / "file").write_text("before")

    def fail(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", fail)
    assert (tmp_path / "file").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "file").write_text("before")
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "after"
    write_whole("/dev/null", "nothing")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(HeddleError, match="cannot write /dev/full: No space left"):
        write_whole("/dev/full", "more")


@pytest.mark.parametrize("name, message", [
    ("none/file.png", "its directory does not exist"),
    ("file/file.png", "its directory is not one"),
    ("folder.png", "it is a directory"),
    ("a.bmp", "must end in .png, .svg or .pdf"),
    ("png", "must end in .png, .svg or .pdf"),
    ("a" * 252 + ".png", "File name too long"),
    ("a\0.png", "no file can have that name"),
])  # fmt: skip
def test_what_cannot_be_written_is_said_before(tmp_path, name, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(HeddleError, match=message):
        require_writable(tmp_path / name, (".png", ".svg", ".pdf"))
    with pytest.raises(HeddleError, match="cannot write"):
        require_writable(tmp_path / name, (".x", ".y"))


def test_what_can_be_written_is_not_refused(tmp_path):
    for path in (tmp_path / "a.PNG", tmp_path / "a.svg"):
        require_writable(path, (".png", ".svg", ".pdf"))
    require_writable("/dev/null")
