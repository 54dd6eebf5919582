import pytest

from mmr5.errors import CorpusError, OutputError
from mmr5.storage.atomic import write_bytes
from mmr5.storage.jsonl import read_json, read_jsonl, write_jsonl


def test_files_of_lines(tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    assert write_jsonl(path, [{"a": "ä"}, {"b": 1}]) == 2 and [r for _, r in read_jsonl(path)] == [{"a": "ä"}, {"b": 1}]

    def failing():
        yield {"c": 1}
        raise CorpusError("stop")

    with pytest.raises(CorpusError, match="stop"):
        write_jsonl(path, failing())
    assert [r for _, r in read_jsonl(path)] == [{"a": "ä"}, {"b": 1}] and len(list(path.parent.iterdir())) == 1
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n[1]\n')
    with pytest.raises(CorpusError, match="line 3: expected one JSON object, found list"):
        list(read_jsonl(path))
    path.write_bytes(b"{]\n")
    for read in (lambda: list(read_jsonl(path)), lambda: read_json(path)):
        with pytest.raises(CorpusError, match="line 1: not valid JSON"):
            read()
    path.write_bytes(b"\xff")
    with pytest.raises(CorpusError, match="not UTF-8"):
        read_json(path)
    with pytest.raises(CorpusError, match="there is no file"):
        read_json(tmp_path / "gone")
    with pytest.raises(OutputError, match="cannot write"):
        write_bytes(path / "under a file", b"")


def test_what_cannot_be_read_says_so(tmp_path):
    with pytest.raises(CorpusError, match="cannot be read: Is a directory"):
        read_json(tmp_path)
