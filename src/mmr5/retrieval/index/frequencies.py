"""How many pages hold a term, kept by document so that adding and removing one changes nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_HASH, _COUNT = "<u8", "<u4"
_ENTRY = 12


def counted(bags: Iterable[Sequence[str]]) -> bytes:
    """How many of some pages hold each term: hashes of terms, ascending, then a count for each."""
    import numpy as np

    counts = Counter(_hash(term) for bag in bags for term in set(bag))
    hashes = np.array(sorted(counts), dtype=_HASH)
    return bytes(hashes.tobytes() + np.array([counts[int(one)] for one in hashes], dtype=_COUNT).tobytes())


def _hash(term: str) -> int:
    return int.from_bytes(blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Frequencies:
    """How many pages of a collection hold each term.

    Attributes:
        hashes: of the terms, ascending.
        counts: of each.
    """

    hashes: Array
    counts: Array

    @classmethod
    def summed(cls, parts: Sequence[bytes]) -> Frequencies:
        """The sum of what :func:`counted` gave for documents."""
        import numpy as np

        split = [(len(part) // _ENTRY, part) for part in parts]
        hashes = np.concatenate([np.frombuffer(part, _HASH, n) for n, part in split] or [np.zeros(0, _HASH)])
        counts = np.concatenate([np.frombuffer(part, _COUNT, n, n * 8) for n, part in split] or [np.zeros(0, _COUNT)])
        order = np.argsort(hashes, kind="stable")
        hashes, counts = hashes[order], counts[order]
        if not len(hashes):
            return cls(hashes, counts)
        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
        return cls(hashes[starts], np.add.reduceat(counts, starts))

    @classmethod
    def read(cls, data: bytes) -> Frequencies:
        """What :meth:`to_bytes` gave."""
        return cls.summed([data])

    def to_bytes(self) -> bytes:
        """As :func:`counted` gives them."""
        return bytes(self.hashes.astype(_HASH).tobytes() + self.counts.astype(_COUNT).tobytes())

    def __call__(self, term: str) -> int:
        """How many pages hold a term."""
        import numpy as np

        wanted = _hash(term)
        place = int(np.searchsorted(self.hashes, np.uint64(wanted)))
        return int(self.counts[place]) if place < len(self.hashes) and int(self.hashes[place]) == wanted else 0
