"""The journal: nothing lost, nothing doubled, one writer, and half a line is nobody's."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmr5.errors import CorpusError, MMR5Warning, OutputError
from mmr5.storage.journal import Journal


def read(line, where):
    """Key and value of a record; "bad" is refused, and what is no JSON is passed over."""
    if b"bad" in line:
        raise CorpusError(f"{where} is bad")
    try:
        record = json.loads(line)
        return record["key"], record.get("value")
    except (ValueError, KeyError, TypeError):
        return None


def line(key, value=None):
    return json.dumps({"key": key, "value": value}, ensure_ascii=False)


def opened(folder):
    return Journal(folder / "new" / "j.jsonl", read)


def keys(folder):
    return [json.loads(text)["key"] for text in (folder / "new" / "j.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_key_is_kept_once_with_its_first_value(tmp_path):
    with opened(tmp_path) as journal:
        assert journal.append([line("a", 1), line("b", 2), line("a", 3)]) == 2
        assert journal.append([line("b", 4)]) == 0 and journal.append([]) == 0
        assert journal.values == {"a": 1, "b": 2}
    with opened(tmp_path) as journal:
        assert journal.values == {"a": 1, "b": 2} and journal.repaired == 0
        assert journal.append([line("c é \ud800")]) == 1
    assert keys(tmp_path) == ["a", "b", "c é \ud800"]


def test_one_writer_at_a_time_between_and_within_processes(tmp_path):
    with opened(tmp_path) as journal:
        with pytest.raises(OutputError, match=r"another process is writing .*j\.jsonl.*wait for it to end, or name another"):
            opened(tmp_path)
        program = (
            "import sys; from pathlib import Path; from mmr5.storage.journal import Journal; Journal(Path(sys.argv[1]), None)"
        )
        other = subprocess.run([sys.executable, "-c", program, journal.path], capture_output=True, text=True)
        assert other.returncode == 1 and "OutputError: another process is writing" in other.stderr
    opened(tmp_path).close()


def test_half_a_line_goes_and_a_whole_one_without_its_end_stays(tmp_path):
    with opened(tmp_path) as journal:
        journal.append([line("a")])
    path = journal.path
    for half in (b'{"key": "b", "val', '{"key": "é'.encode()[:-1], b"bad"):
        with path.open("ab") as file:
            file.write(half)
        with opened(tmp_path) as journal:
            assert (list(journal.values), journal.repaired) == (["a"], len(half))
        assert keys(tmp_path) == ["a"]
    with path.open("ab") as file:
        file.write(line("b").encode())
    with opened(tmp_path) as journal:
        assert (list(journal.values), journal.repaired) == (["a", "b"], 0)
        journal.append([line("c")])
    assert keys(tmp_path) == ["a", "b", "c"]


def test_what_is_no_record_is_passed_over_and_what_is_refused_lets_go_of_the_file(tmp_path):
    path = tmp_path / "new" / "j.jsonl"
    path.parent.mkdir()
    path.write_text(line("a") + "\nrubbish\n" + line("b") + "\n")
    with pytest.warns(MMR5Warning, match="line 2: not a record, passed over"), opened(tmp_path) as journal:
        assert list(journal.values) == ["a", "b"]
        with pytest.raises(ValueError, match=r"no line of .*rubbish"):
            journal.append(["rubbish"])
        with pytest.raises(ValueError, match="no line of"):
            journal.append([line("c") + "\n"])
        with pytest.raises(CorpusError, match="is bad"):
            journal.append([line("c"), "bad"])
    path.write_text(line("a") + "\nbad\n")
    for _ in range(2):
        with pytest.raises(CorpusError, match=r"j\.jsonl:2 is bad"):
            opened(tmp_path)
    assert path.read_text() == line("a") + "\nbad\n"


@pytest.mark.parametrize("fault", ["short", "full", "fsync"])
def test_a_full_disk_is_named_and_leaves_no_half_line(tmp_path, monkeypatch, fault):
    real = os.write

    def full(*given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(tmp_path) as journal:
        journal.append([line("a")])
        if fault == "fsync":
            monkeypatch.setattr("mmr5.storage.journal.os.fsync", full)
        else:
            monkeypatch.setattr("mmr5.storage.journal.os.write", full if fault == "full" else lambda fd, data: real(fd, data[:9]))
        with pytest.raises(OutputError, match=r"cannot write .*j\.jsonl.*the disk is full"):
            journal.append([line("b")])
        monkeypatch.undo()
        assert list(journal.values) == ["a"]
        assert journal.append([line("b"), line("c")]) == 2
    assert keys(tmp_path) == ["a", "b", "c"]


def test_what_cannot_be_a_journal_is_refused_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OutputError, match="no regular file"):
            Journal(path, read)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands where its folder should be"):
        Journal(tmp_path / "file" / "j.jsonl", read)
    (tmp_path / "link").symlink_to("real")
    with Journal(tmp_path / "link", read) as journal:
        journal.append([line("a")])
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == line("a") + "\n"


def test_a_file_that_cannot_be_opened_or_locked_lets_go_of_its_lock(tmp_path, monkeypatch):
    real = os.open

    def refuse(path, *rest):
        if str(path).endswith("j.jsonl"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *rest)

    monkeypatch.setattr("mmr5.storage.journal.os.open", refuse)
    with pytest.raises(OutputError, match="Name a folder that you may write to"):
        opened(tmp_path)
    monkeypatch.undo()
    opened(tmp_path).close()

    for error, said in (
        (OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)), r"cannot write .*No locks available"),
        (NotImplementedError("no flock"), r"cannot write .*file system has no locks"),
    ):

        def unlockable(self, error=error):
            raise error

        monkeypatch.setattr("filelock.FileLock.acquire", unlockable)
        with pytest.raises(OutputError, match=said):
            opened(tmp_path)


def test_many_threads_keep_every_line_whole(tmp_path):
    with opened(tmp_path) as journal:

        def work(number):
            for i in range(20):
                journal.append([line(f"{number}-{i}", "x" * 1000), line(f"shared-{i}")])

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = keys(tmp_path)
    assert len(found) == len(set(found)) == 8 * 20 + 20
