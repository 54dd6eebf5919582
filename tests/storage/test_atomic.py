"""Every output of the package is written here: each kind of target, and each kind of refusal."""

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmr5.errors import CorpusError, OutputError, SourceNotFoundError
from mmr5.storage import atomic
from mmr5.storage.atomic import make_folder, staged_folder, write_bytes, write_text, writing
from mmr5.storage.jsonl import write_json, write_jsonl


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_and_its_folder_is_made(tmp_path):
    target = tmp_path / "new" / "a.txt"
    write_text(target, "first é")
    assert target.read_text(encoding="utf-8") == "first é"
    with writing(target) as file:
        file.write(b"second")
        assert target.read_text(encoding="utf-8") == "first é"
    assert target.read_bytes() == b"second" and names(target.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [CorpusError("stop"), KeyboardInterrupt(), ValueError("no")])
def test_a_write_that_ends_early_leaves_what_was_there(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(type(error)), writing(target) as file:
        file.write(b"half")
        raise error
    assert target.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_new_file_obeys_the_umask_and_an_old_one_keeps_its_mode(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "new", b"")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
        (tmp_path / "new").chmod(0o604)
        write_bytes(tmp_path / "new", b"x")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604
    finally:
        os.umask(before)


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real").write_text("old")
    (tmp_path / "middle").symlink_to(Path("far") / "real")
    (tmp_path / "link").symlink_to("middle")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").readlink() == Path("middle") and (tmp_path / "middle").is_symlink()
    assert (tmp_path / "far" / "real").read_text() == "new" and names(tmp_path / "far") == ["real"]
    (tmp_path / "dangling").symlink_to(tmp_path / "later" / "made")
    write_text(tmp_path / "dangling", "made")
    assert (tmp_path / "dangling").is_symlink() and (tmp_path / "later" / "made").read_text() == "made"


def test_a_link_in_a_circle_is_refused_and_stays(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match=r"cannot write .*Name another file"):
        write_text(tmp_path / "a", "x")
    assert names(tmp_path) == ["a", "b"] and (tmp_path / "a").is_symlink()


def test_a_fifo_gets_the_content_and_stays_a_fifo(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_text(tmp_path / "pipe", "through")
    reader.join(timeout=10)
    assert read == [b"through"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and names(tmp_path) == ["pipe"]


def test_a_device_is_written_to_and_never_replaced():
    before = names(Path("/dev"))
    write_text(Path("/dev/null"), "gone")
    with pytest.raises(OutputError, match=r"cannot write '/dev/full': the disk is full \(No space left on device\)"):
        write_text(Path("/dev/full"), "too much")
    for device in ("/dev/null", "/dev/full"):
        assert stat.S_ISCHR(os.stat(device).st_mode)
    assert names(Path("/dev")) == before


PROGRAM = """
import sys
from pathlib import Path
from mmr5.storage.atomic import write_text
print("before", flush=True)
write_text(Path(sys.argv[1]), "page\\n")
print("after", flush=True)
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
def test_standard_output_is_written_in_its_turn_to_a_pipe_and_to_a_file(name, tmp_path):
    told = subprocess.run([sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, check=True)
    assert told.stdout == "before\npage\nafter\n"
    with (tmp_path / "out").open("w") as out:
        out.write("kept\n")
        out.flush()
        subprocess.run([sys.executable, "-c", PROGRAM, name], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "kept\nbefore\npage\nafter\n" and names(tmp_path) == ["out"]


def test_a_link_to_standard_output_is_standard_output(tmp_path):
    (tmp_path / "link").symlink_to("/dev/stdout")
    told = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / "link"], capture_output=True, text=True, check=True)
    assert told.stdout == "before\npage\nafter\n" and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "the disk is full .*Free some space"),
        (errno.EDQUOT, "the disk is full .*Free some space"),
        (errno.EACCES, "Name a folder that you may write to"),
        (errno.EROFS, "Name a folder that you may write to"),
        (errno.ENAMETOOLONG, "Name another file"),
    ],
)
@pytest.mark.parametrize("step", ["open", "fsync"])
def test_a_refusal_is_worded_by_its_kind_and_leaves_what_was_there(tmp_path, monkeypatch, code, said, step):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def refuse(*given):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, step, refuse)
    with pytest.raises(OutputError, match=f"cannot write .*a.txt.*{said}") as raised:
        write_text(target, "new")
    monkeypatch.undo()
    assert raised.value.__cause__.errno == code
    assert ("full" in str(raised.value)) == (code in (errno.ENOSPC, errno.EDQUOT))
    assert target.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_folder_or_a_file_in_the_way_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"it is a folder\. Name a file"):
        write_text(tmp_path, "x")
    (tmp_path / "file").write_text("")
    for write in (lambda: write_text(tmp_path / "file" / "a", "x"), lambda: make_folder(tmp_path / "file")):
        with pytest.raises(OutputError, match="a file stands where its folder should be"):
            write()
    with pytest.raises(OutputError, match="Name a file in a folder that exists"):
        write_bytes(tmp_path / "no" / "a", b"", parents=False)
    assert names(tmp_path) == ["file"]


def test_a_folder_that_may_not_be_written_says_so(tmp_path):
    home = tmp_path / "closed"
    home.mkdir(mode=0o500)
    try:
        (home / "probe").write_text("")
    except PermissionError:
        pass
    else:
        pytest.skip("this user may write everywhere")
    with pytest.raises(OutputError, match=r"Permission denied\. Name a folder that you may write to"):
        write_text(home / "a", "x")
    assert names(home) == []


def test_a_folder_that_is_removed_meanwhile_is_made_again(tmp_path):
    target = tmp_path / "objects" / "a"
    with atomic.staged(target, folder=tmp_path / "tmp") as file:
        file.write(b"x")
        target.parent.rmdir()
    assert target.read_bytes() == b"x" and names(tmp_path / "tmp") == []


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(ValueError), staged_folder(tmp_path / "models" / "m") as made:
        (made / "half").write_text("")
        raise ValueError("stop")
    assert names(tmp_path / "models") == []
    for content in ("first", "second"):
        with staged_folder(tmp_path / "models" / "m") as made:
            (made / content).write_text(content)
    assert names(tmp_path / "models") == ["m"] and names(tmp_path / "models" / "m") == ["second"]


def test_a_lone_surrogate_is_written_as_an_escape_that_json_reads_back(tmp_path):
    record = {"question": "a \udfff é"}
    write_json(tmp_path / "a.json", record)
    write_jsonl(tmp_path / "a.jsonl", [record, record])
    assert json.loads((tmp_path / "a.json").read_bytes()) == record
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_bytes().splitlines()] == [record, record]
    assert "é" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_an_open_descriptor_is_written_and_stays_open(tmp_path):
    out, into = os.pipe()
    try:
        write_text(Path(f"/proc/self/fd/{into}"), "one ")
        write_text(Path(f"/dev/fd/{into}"), "two")
        assert os.read(out, 100) == b"one two"
    finally:
        os.close(out)
        os.close(into)
    with pytest.raises(OutputError, match="Bad file descriptor"):
        write_text(Path(f"/dev/fd/{into}"), "gone")


@pytest.mark.parametrize("error", [OutputError("other file"), SourceNotFoundError("no such input")])
def test_an_error_of_ours_within_the_block_keeps_its_words(tmp_path, error):
    with pytest.raises(type(error), match=f"^{error}$"), writing(tmp_path / "a"):
        raise error
    assert names(tmp_path) == []
