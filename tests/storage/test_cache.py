from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.errors import ConfigError, MMR5Warning, OutputError
from mmr5.storage.cache import DEFAULT_MAX_BYTES, Cache, digest


def entries(root: Path) -> list[Path]:
    return [path for path in (root / "objects").rglob("*") if path.is_file()]


def test_digest_is_sha256_of_length_prefixed_parts():
    assert digest("ab", b"c") == "601d5476e2ccfe2c87a2bba7a322659734a05749d5b5aa781f513e4912db0d5f"
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert digest("é") == digest("é".encode())
    assert digest("\ud800") != digest("")


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_digest_of_different_parts_differs(first, second):
    assert (digest(*first) == digest(*second)) == (first == second)


def test_value_comes_back(tmp_path):
    cache = Cache(tmp_path)
    assert cache.get("text", "k") is None
    cache.put("text", "k", b"value")
    cache.put("ocr", "k", b"")
    assert cache.get("text", "k") == b"value"
    assert cache.get("ocr", "k") == b""
    assert Cache(tmp_path).get("text", "k") == b"value"


def test_entry_lies_where_documented(tmp_path):
    Cache(tmp_path).put("text", "k", b"value")
    (path,) = entries(tmp_path)
    name = digest("text", "k")
    assert path == tmp_path / "objects" / "text" / name[:2] / name
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:10], lambda b: b"", lambda b: b[:-1] + b"X", lambda b: b + b"!"]
)
def test_damaged_entry_is_a_miss_and_is_deleted(tmp_path, damage):
    cache = Cache(tmp_path)
    cache.put("text", "k", b"value")
    (path,) = entries(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get("text", "k") is None
    assert not path.exists()


def test_entry_of_another_key_is_a_miss(tmp_path):
    cache = Cache(tmp_path)
    cache.put("text", "a", b"1")
    cache.put("text", "b", b"2")
    one, two = entries(tmp_path)
    one.write_bytes(two.read_bytes())
    assert sorted(value for key in "ab" if (value := cache.get("text", key))) in ([b"1"], [b"2"])


def test_get_or_make_makes_once(tmp_path):
    cache, calls = Cache(tmp_path), []
    for _ in range(2):
        assert cache.get_or_make("text", "k", lambda: calls.append(1) or b"made") == b"made"
    assert calls == [1]


def test_least_recently_used_entries_go_first(tmp_path):
    cache = Cache(tmp_path, max_bytes=1000)
    for i, key in enumerate("abcdef"):
        cache.put("text", key, bytes(100))
        path = tmp_path / "objects" / "text" / digest("text", key)[:2] / digest("text", key)
        os.utime(path, ns=(i, i))
    assert cache.get("text", "a") is not None
    cache.put("text", "g", bytes(100))
    cache.put("text", "h", bytes(100))
    assert [key for key in "abcdefgh" if cache.get("text", key) is not None] == list("adefgh")


def test_store_stays_within_its_cap(tmp_path):
    cache = Cache(tmp_path, max_bytes=5000)
    for i in range(60):
        cache.put("text", str(i), bytes(200))
    assert 2500 < sum(path.stat().st_size for path in entries(tmp_path)) <= 5000
    assert cache.get("text", "59") is not None


def test_value_above_the_cap_is_not_stored(tmp_path):
    cache = Cache(tmp_path, max_bytes=100)
    cache.put("text", "k", bytes(100))
    assert cache.get("text", "k") is None
    assert not (tmp_path / "objects").exists()


def test_artifacts_are_never_evicted(tmp_path):
    cache = Cache(tmp_path, max_bytes=300)
    (cache.directory("models") / "weights.bin").write_bytes(bytes(10_000))
    for i in range(10):
        cache.put("text", str(i), bytes(100))
    assert (tmp_path / "models" / "weights.bin").stat().st_size == 10_000


def test_stats_and_clear(tmp_path):
    cache = Cache(tmp_path)
    assert cache.stats() == []
    assert cache.clear() == 0
    cache.put("text", "a", b"12345")
    cache.put("text", "b", b"1")
    cache.put("ocr", "a", b"1")
    (cache.directory("models") / "weights.bin").write_bytes(bytes(10))
    header = 40
    assert [(s.namespace, s.entries, s.bytes, s.evictable) for s in cache.stats()] == [
        ("ocr", 1, 1 + header, True),
        ("text", 2, 6 + 2 * header, True),
        ("models", 1, 10, False),
    ]
    assert cache.clear("text") == 2
    assert cache.clear() == 1
    assert [s.namespace for s in cache.stats()] == ["models"]
    assert cache.clear("models") == 1
    cache.put("text", "a", b"again")
    assert cache.get("text", "a") == b"again"


def test_clear_removes_what_killed_writers_left(tmp_path):
    cache = Cache(tmp_path)
    cache.put("text", "a", b"1")
    old, new = tmp_path / "tmp" / "old", tmp_path / "tmp" / "new"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    cache.clear()
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "a\n"])
def test_names_that_leave_the_root_are_refused(tmp_path, name):
    cache = Cache(tmp_path)
    for call in (lambda: cache.get(name, "k"), lambda: cache.directory(name), lambda: cache.clear(name)):
        with pytest.raises(ConfigError, match="name"):
            call()


def test_own_folders_are_refused_as_artifacts(tmp_path):
    with pytest.raises(ConfigError, match="objects"):
        Cache(tmp_path).directory("objects")
    with pytest.raises(ConfigError, match="locks"):
        Cache(tmp_path).clear("locks")


def test_unusable_root_warns_once_and_breaks_nothing(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    cache = Cache(blocked / "cache")
    with pytest.warns(MMR5Warning, match="MMR5_CACHE") as caught:
        for _ in range(3):
            cache.put("text", "k", b"value")
        with cache.lock("work"):
            pass
    assert len(caught) == 1
    assert cache.get("text", "k") is None
    assert cache.get_or_make("text", "k", lambda: b"made") == b"made"
    assert cache.stats() == []
    assert cache.clear() == 0
    with pytest.raises(OutputError, match="MMR5_CACHE"):
        cache.directory("models")


def test_root_and_cap_come_from_the_environment(monkeypatch, tmp_path):
    for name in ("MMR5_CACHE", "XDG_CACHE_HOME", "MMR5_CACHE_MAX_BYTES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (Cache().root, Cache().max_bytes) == (tmp_path / ".cache" / "mmr5", DEFAULT_MAX_BYTES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Cache().root == tmp_path / "xdg" / "mmr5"
    monkeypatch.setenv("MMR5_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("MMR5_CACHE_MAX_BYTES", "123")
    assert (Cache().root, Cache().max_bytes) == (tmp_path / "own", 123)
    monkeypatch.setenv("MMR5_CACHE_MAX_BYTES", "4GB")
    with pytest.raises(ConfigError, match="4GB"):
        Cache()
    with pytest.raises(ConfigError, match="-1"):
        Cache(tmp_path, max_bytes=-1)


def test_cache_can_be_sent_to_another_process(tmp_path):
    copy = pickle.loads(pickle.dumps(Cache(tmp_path, max_bytes=7)))
    assert (copy.root, copy.max_bytes) == (tmp_path, 7)


def test_lock_excludes_other_threads(tmp_path):
    cache, inside, most = Cache(tmp_path), [], []

    def work(i: int) -> None:
        with cache.lock("work"):
            inside.append(i)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5


HAMMER = """
import sys, warnings
from pathlib import Path
from mmr5.storage.cache import Cache

def hammer(root, seed):
    warnings.simplefilter("error")
    cache, wrong = Cache(Path(root), max_bytes=20_000), 0
    for i in range(120):
        key = str((i * 7 + seed) % 40)
        cache.put("text", key, key.encode() * 300)
        value = cache.get("text", str((i * 11) % 40))
        wrong += value is not None and value != str((i * 11) % 40).encode() * 300
    return wrong

if __name__ == "__main__":
    print(hammer(sys.argv[1], int(sys.argv[2])))
"""
"""Write, read and evict; gives how many reads brought a wrong value."""


def test_many_threads_never_read_a_wrong_value(tmp_path):
    scope: dict[str, object] = {"__name__": "hammer"}
    exec(HAMMER, scope)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda seed: scope["hammer"](tmp_path, seed), range(8))) == 0
    assert entries(tmp_path)


def test_many_processes_never_read_a_wrong_value(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(tmp_path), str(seed)], env=environment, stdout=subprocess.PIPE, text=True
        )
        for seed in range(3)
    ]
    assert [process.communicate(timeout=60)[0] for process in running] == ["0\n"] * 3
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 20_000 + 3 * 700
