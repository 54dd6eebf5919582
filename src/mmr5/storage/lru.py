"""A bounded memory: the least recently used go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class LRU(Generic[V]):
    """Values with a size each, kept while their sizes sum to no more than a cap; safe to share between threads.

    Args:
        capacity: the cap, at least 0, in the unit of the sizes (bytes, pages, entries); a value larger than it is not kept.
        dropped: called with each value that is no longer kept, such as to close it.

    Attributes:
        hits: how often a value was there.
        misses: how often it was not.
    """

    def __init__(self, capacity: int, dropped: Callable[[V], object] | None = None) -> None:
        self.capacity = capacity
        self._dropped = dropped
        self.hits = 0
        self.misses = 0
        self._held: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """The sizes of all values, summed."""
        return self._size

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable) -> V | None:
        """The value, now the most recently used, or None."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                self.misses += 1
                return None
            self.hits += 1
            self._held.move_to_end(key)
            return found[0]

    def peek(self, key: Hashable) -> V | None:
        """The value or None, without counting as a use."""
        with self._lock:
            found = self._held.get(key)
            return None if found is None else found[0]

    def put(self, key: Hashable, value: V, size: int = 1) -> None:
        """Keep a value, and drop the least recently used ones beyond the cap."""
        with self._lock:
            if key in self._held:
                self._drop(key)
            if size > self.capacity:
                return
            self._held[key] = (value, size)
            self._size += size
            while self._size > self.capacity:
                self._drop(next(iter(self._held)))

    def get_or_make(self, key: Hashable, make: Callable[[], V], size: Callable[[V], int] | None = None) -> V:
        """The value, or else what ``make()`` gives, kept. Two callers at once may both make it.

        Args:
            key: of the value.
            make: called where there is none.
            size: of a value; each counts 1 without it.
        """
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found, 1 if size is None else size(found))
        return found

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            while self._held:
                self._drop(next(iter(self._held)))

    def _drop(self, key: Hashable) -> None:
        value, size = self._held.pop(key)
        self._size -= size
        if self._dropped is not None:
            self._dropped(value)
