from mmr5.storage.lru import LRU


def test_the_least_recently_used_goes_first_and_the_cap_holds():
    held = LRU(10)
    held.put("a", 1, 4)
    held.put("b", 2, 4)
    assert held.get("a") == 1
    held.put("c", 3, 4)
    assert (held.get("b"), held.get("a"), held.get("c"), held.size, len(held)) == (None, 1, 3, 8, 2)
    assert (held.hits, held.misses) == (3, 1)


def test_a_value_larger_than_the_cap_is_not_kept_and_replaces_its_elder():
    held = LRU(10)
    held.put("a", 1, 4)
    held.put("a", 2, 6)
    assert (held.peek("a"), held.size) == (2, 6)
    held.put("a", 3, 11)
    assert (held.peek("a"), held.size) == (None, 0)
    held.put("b", 1, 1)
    held.clear()
    assert (len(held), held.size) == (0, 0)


def test_what_is_not_there_is_made_once_and_kept_by_its_size():
    held, made = LRU(3), []

    def make(value):
        return lambda: made.append(value) or [value] * value

    assert held.get_or_make("a", make(2), len) == [2, 2] == held.get_or_make("a", make(9), len)
    assert held.get_or_make("b", make(2), len) == [2, 2]
    assert (made, held.size, held.peek("a")) == ([2, 2], 2, None)
    held = LRU(2)
    for key in "abc":
        held.get_or_make(key, lambda: 1)
    assert (len(held), held.peek("a")) == (2, None)


def test_what_is_no_longer_kept_is_told():
    gone = []
    held = LRU(2, dropped=gone.append)
    for name in "abc":
        held.put(name, name.upper())
    assert gone == ["A"]
    held.put("b", "B2")
    assert gone == ["A", "B"]
    held.clear()
    assert gone == ["A", "B", "C", "B2"]
    assert (len(held), held.size) == (0, 0)
