"""A collection at one moment: candidates by the first stage that it holds.

The table is asked for the pages that are nearest by each signal; what a page can score at most follows from these lists, and the
best are scored exactly, by the arithmetic of :mod:`mmr5.retrieval.hybrid`, until no other can come before them. With the vectors
scanned the candidates are those of the first stage in memory over the same pages; where they are looked up in an index of the
table (:data:`mmr5.retrieval.index.table.SCANNED_PAGES`), a page that no list names can be missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mmr5.errors import ConfigError
from mmr5.languages import ENGLISH, language
from mmr5.pages.files import natural_key
from mmr5.retrieval.base import PageEncoder
from mmr5.retrieval.bm25 import TermWeights
from mmr5.retrieval.dense import NOTHING
from mmr5.retrieval.hybrid import GROUPS, group, main_script, weights
from mmr5.retrieval.index.frequencies import Frequencies
from mmr5.retrieval.index.rows import Document, to_page
from mmr5.retrieval.index.where import Chosen, choose
from mmr5.retrieval.late import maxsim
from mmr5.retrieval.names import SCALES
from mmr5.storage.cache import Cache, digest
from mmr5.types import Candidates, Page

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

STATISTICS = "index-statistics"
"""Namespace of the cache for what is summed over a collection."""
LISTED = 200
"""Pages that each index of the table names."""
WORDS_LISTED = 2 * LISTED
EMBEDDED_NOW = 16
"""Pages that wait for their embedding and are embedded for a question, those whose words fit it best."""
LEAST_SCORED, MOST_SCORED = 50, 800
"""Pages that are scored exactly: at first, and at most where the lists are not whole."""
PARTITIONS_READ, READ_SHARE = 40, 1 / 8
"""Partitions of an index of vectors that are looked at: at least, and as a share of all."""
ENGLISH_ONLY = "minilm"
"""The column that holds vectors of English pages only, as the first stage ``hybrid`` asks it."""
_FTS_SHARE = 1 / 2.2
"""The table's BM25 counts a term up to k1 + 1 times its weight, with k1 = 1.2; ours up to once, and less with k1 = 1.5."""
_SLACK, _ROUNDING = 1.1, 2e-3
"""By how much what a page can score is overestimated: share of its BM25, and cosine."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a first stage sums.

    Attributes:
        words: whether words count.
        encoders: column of vectors → what embeds.
    """

    words: bool
    encoders: Mapping[str, PageEncoder]


class Snapshot:
    """See the module.

    Args:
        table: of LanceDB, set to one version.
        version: that version.
        identity: of the collection, for the cache.
        parts: what can be asked.
        retriever: the first stage that the collection was made for.
        partitions: of the table's index of each column of vectors that has one; the others are scanned.
        cache: where sums over the collection are kept.
    """

    def __init__(
        self, table: Any, version: int, identity: str, parts: Parts, retriever: str, partitions: Mapping[str, int], cache: Cache
    ) -> None:
        import numpy as np

        self.version = version
        self.retriever = retriever
        self.partitions = partitions
        self._table, self._parts, self._cache = table, parts, cache
        self._identity = digest(identity, str(version))
        found = rows_of(table, "page = 0", ["about"])["about"].to_pylist()
        self.documents = sorted(map(Document.read, found), key=lambda one: natural_key(one.source))
        self.by_key = {one.key: one for one in self.documents}
        rows = rows_of(table, "page > 0", ["document", "page", "main", "script", "read", "embedded"])
        place = {one.key: i for i, one in enumerate(self.documents)}
        owners, self._keys = _coded(rows["document"])
        ranks = np.array([place[key] for key in self._keys], dtype=np.int64)[owners] if len(owners) else owners
        order = np.lexsort((rows["page"].to_numpy(), ranks))
        self._owner = owners[order]
        self._number = rows["page"].to_numpy()[order]
        self._row = rows["_rowid"].to_numpy()[order]
        mains, self._mains = _coded(rows["main"])
        scripts, self._scripts = _coded(rows["script"])
        self._main, self._script = mains[order], scripts[order]
        self._read = rows["read"].to_numpy(zero_copy_only=False)[order]
        self._waits = ~rows["embedded"].to_numpy(zero_copy_only=False)[order]
        self._by_row = np.argsort(self._row)
        self._rows_sorted = self._row[self._by_row]

    @property
    def n_pages(self) -> int:
        """Pages of the collection."""
        return len(self._row)

    @property
    def waiting(self) -> int:
        """Pages that have still to be embedded, and are found by their words."""
        return int(self._waits.sum())

    @cached_property
    def _frequencies(self) -> Frequencies:
        def summed() -> bytes:
            found = rows_of(self._table, "page = 0", ["frequencies"])["frequencies"]
            return Frequencies.summed(found.to_pylist()).to_bytes()

        return Frequencies.read(self._cache.get_or_make(STATISTICS, self._identity, summed))

    @cached_property
    def _fields(self) -> dict[str, dict[str, Any]]:
        return {one.key: one.fields() for one in self.documents}

    def candidates(self, query: str, n: int, *, where: str | None = None, retriever: str | None = None) -> Candidates:
        """The first stage's best pages.

        Args:
            query: the question.
            n: how many, at least 1.
            where: only pages that this filter lets through (:func:`mmr5.retrieval.index.where.choose`); frequencies stay those
                of the whole collection.
            retriever: another first stage of which the collection has all parts; None takes its own.

        Returns:
            Candidates whose indices count the collection's pages, document by document in the natural order of their names.

        Raises:
            ConfigError: a bad filter, or a first stage that the collection cannot ask.
        """
        import numpy as np

        if n < 1:
            raise ConfigError(f"candidates is {n}: give at least 1")
        name = retriever or self.retriever
        parts = chosen_parts(name, self._parts)
        allowed, condition = self._allowed(where)
        left = int(allowed.sum())
        search = _Search(self, query, name, parts, allowed, condition, scan=not self.partitions or left <= LISTED)
        at_most = search.at_most()
        open_places = np.flatnonzero(allowed & np.isfinite(at_most))
        ranked = open_places[np.lexsort((open_places, -at_most[open_places]))]
        scored: dict[int, float] = {}
        pages: dict[int, Page] = {}
        step = max(LEAST_SCORED, 3 * n)
        while len(scored) < len(ranked):
            part = ranked[len(scored) : len(scored) + step]
            for position, (score, page) in search.exact(part).items():
                scored[position], pages[position] = score, page
            best = sorted(scored.values(), reverse=True)[:n]
            done = len(scored) >= len(ranked) or (len(best) == n and at_most[ranked[len(scored)]] < best[-1])
            if done or (not search.whole and len(scored) >= MOST_SCORED):
                break
            step = len(scored)
        order = sorted(scored, key=lambda position: (-scored[position], position))[:n]
        return Candidates(
            query, tuple(pages[i] for i in order), tuple(scored[i] for i in order), tuple(order), SCALES.get(name),
            pooled=len(self.documents) > 1,
        )  # fmt: skip

    def chosen(self, where: str | None) -> list[Document]:
        """The documents that have a page which a filter lets through; None stands for all documents."""
        if where is None:
            return list(self.documents)
        allowed, _ = self._allowed(where)
        keys = {self._keys[owner] for owner in set(self._owner[allowed].tolist())}
        return [one for one in self.documents if one.key in keys]

    def page(self, key: str, number: int) -> Page | None:
        """A page of a document, or None where there is none.

        Args:
            key: of the document.
            number: one-based page.
        """
        if key not in self.by_key:
            return None
        found = rows_of(self._table, f"id = '{key}/{int(number)}'", None).to_pylist() if number > 0 else []
        return to_page(found[0], self.by_key[key]) if found else None

    def pages(self, key: str) -> list[Page]:
        """The pages of a document in order."""
        found = rows_of(self._table, f"document = '{key}' AND page > 0", None).to_pylist()
        return [to_page(row, self.by_key[key]) for row in sorted(found, key=lambda row: row["page"])]

    def _allowed(self, where: str | None) -> tuple[Array, str | None]:
        """Which pages pass, and the condition on their rows."""
        import numpy as np

        if where is None:
            return np.ones(self.n_pages, dtype=bool), None
        chosen: Chosen = choose(where, self._fields)
        if chosen.documents is not None:
            wanted = np.array([key in chosen.documents for key in self._keys], dtype=bool)
            return (wanted[self._owner] if len(wanted) else np.zeros(0, dtype=bool)), chosen.condition()
        allowed = np.zeros(self.n_pages, dtype=bool)
        found = rows_of(self._table, f"page > 0 AND ({chosen.condition()})", ["page"])["_rowid"].to_numpy()
        allowed[self._positions(found)] = True
        return allowed, chosen.condition()

    def _positions(self, rows: Array) -> Array:
        import numpy as np

        return self._by_row[np.searchsorted(self._rows_sorted, rows)]

    def _groups(self, query: str) -> Array:
        """The group of each page, as its place in :data:`mmr5.retrieval.hybrid.GROUPS`."""
        import numpy as np

        asked, script = language(query), main_script(query)
        table = np.array([[GROUPS.index(group(asked, script, m, s)) for s in self._scripts] for m in self._mains], dtype=np.int64)
        return table[self._main, self._script] if table.size else np.zeros(0, dtype=np.int64)


def chosen_parts(name: str, parts: Parts) -> Parts:
    """What a first stage needs of what a collection has.

    Raises:
        ConfigError: the collection lacks it.
    """
    if name == "bm25" and parts.words:
        return Parts(True, {})
    if name == "hybrid" and parts.words and {"dense", "minilm"} <= set(parts.encoders):
        return parts
    alone = {column: one for column, one in parts.encoders.items() if column != ENGLISH_ONLY}
    found = {column: one for column, one in alone.items() if one.name == name}
    if not found:
        has = [*(["hybrid"] if len(alone) < len(parts.encoders) else []), *(["bm25"] if parts.words else [])]
        has += [one.name for one in alone.values()]
        raise ConfigError(f"the index holds nothing for the first stage {name!r}: use {', '.join(has)}, or make another index")
    return Parts(False, found)


class _Search:
    """One question to a snapshot; arrays are by the position of pages.

    Args:
        at: the snapshot.
        query: the question.
        name: of the first stage.
        parts: what it sums.
        allowed: which pages may be found.
        condition: the same, on rows; None for all.
        scan: compare with every vector instead of asking the table's index.
    """

    def __init__(
        self, at: Snapshot, query: str, name: str, parts: Parts, allowed: Array, condition: str | None, *, scan: bool
    ) -> None:
        self._at, self._name, self._parts, self._condition = at, name, parts, condition
        self._allowed = allowed
        self._embedded_now: set[int] = set()
        self.whole = scan or not parts.encoders
        self._asked = {column: encoder.question(query) for column, encoder in parts.encoders.items()}
        spoken = sorted({one for document in at.documents for one in document.languages})
        self._holders = sum(document.holders for document in at.documents)
        self._mean = sum(document.terms for document in at.documents) / max(1, self._holders)
        self._terms = TermWeights.of(query, spoken, at._frequencies, self._holders) if parts.words else None
        self._groups = at._groups(query) if name == "hybrid" else None

    def at_most(self) -> Array:
        """What each page can score at most; minus infinity for one that no list names where the lists are not whole."""
        import numpy as np

        n = self._at.n_pages
        named = np.zeros(n, dtype=bool)
        words = np.zeros(n)
        if self._terms is not None and self._terms.terms:
            words, named = self._words(named)
        near: dict[str, Array] = {}
        for column in self._parts.encoders:
            near[column], named = self._near(column, named)
        waiting = np.flatnonzero(self._at._waits & self._allowed & (words > 0)) if near else np.zeros(0, dtype=np.int64)
        self._embedded_now = set(waiting[np.argsort(-words[waiting], kind="stable")][:EMBEDDED_NOW].tolist())
        for column, asked in self._asked.items():
            near[column][self._at._waits] = NOTHING
            near[column][list(self._embedded_now)] = len(asked)  # what they are like is not known before they are embedded
        found = self._summed(words, near, np.arange(n))
        return found if self.whole else np.where(named, found, -np.inf)

    def _words(self, named: Array) -> tuple[Array, Array]:
        """The most that the words of each page can count, and the pages named so far."""
        import numpy as np
        from lancedb.query import MatchQuery

        assert self._terms is not None
        times = Counter(self._terms.terms)
        most = self._at.n_pages if self.whole else WORDS_LISTED
        query = self._at._table.search(MatchQuery(" ".join(times), "terms"), query_type="fts")
        found = _listed(query, self._condition, max(1, most), "_score")
        scores = found["_score"].to_numpy() * (_FTS_SHARE * _SLACK * max(times.values()) / self._terms.reachable)
        at_most = np.full(self._at.n_pages, 0.0 if len(scores) < most else float(np.clip(scores.min(initial=1.0), 0, 1)))
        positions = self._at._positions(found["_rowid"].to_numpy())
        at_most[positions] = np.minimum(scores, 1.0)
        named[positions] = True
        return at_most, named

    def _near(self, column: str, named: Array) -> tuple[Array, Array]:
        """The most that each page can be like the question by a column of vectors, and the pages named so far."""
        import numpy as np

        asked = self._asked[column]
        most = self._at.n_pages if self.whole else LISTED
        query = self._at._table.search(asked if len(asked) > 1 else asked[0], vector_column_name=column).distance_type("cosine")
        if self.whole:
            query = query.bypass_vector_index()
        else:
            query = query.nprobes(max(PARTITIONS_READ, round(self._at.partitions.get(column, 0) * READ_SHARE)))
        found = _listed(query, self._condition, max(1, most), "_distance")
        like = len(asked) - found["_distance"].to_numpy() + _ROUNDING * len(asked)
        at_most = np.full(self._at.n_pages, NOTHING if len(like) < most else float(like.min(initial=len(asked))))
        positions = self._at._positions(found["_rowid"].to_numpy())
        at_most[positions] = like
        named[positions] = True
        return at_most, named

    def exact(self, positions: Array) -> dict[int, tuple[float, Page]]:
        """The scores and the pages at some positions."""
        import numpy as np

        at = self._at
        rows = at._table.take_row_ids([int(one) for one in at._row[positions]]).to_arrow()
        ids = {f"{at._keys[at._owner[i]]}/{at._number[i]}": int(i) for i in positions}
        places = np.array([ids[one] for one in rows["id"].to_pylist()], dtype=np.int64)
        bags = [Counter(text.split(" ")) if text else Counter() for text in rows["terms"].to_pylist()]
        words = np.array([self._share(bag) for bag in bags])
        light = rows.drop_columns(["terms", "frequencies", "about", *at._parts.encoders]).to_pylist()
        pages = [to_page(row, at.by_key[row["document"]]) for row in light]
        late = [k for k, place in enumerate(places) if int(place) in self._embedded_now]
        near = {}
        for column, asked in self._asked.items():
            vectors = _vectors(rows[column])
            own = [k for k in late if column != ENGLISH_ONLY or light[k]["main"] == ENGLISH]
            made = self._parts.encoders[column].pages([pages[k] for k in own]) if own else []
            for k, one in zip(own, made, strict=True):
                vectors[k] = one
            near[column] = np.array([NOTHING if one is None else maxsim(asked, one.astype(np.float32)) for one in vectors])
        scores = self._summed(words, near, places)
        return {int(i): (float(score), page) for i, score, page in zip(places, scores, pages, strict=True)}

    def _share(self, bag: Counter[str]) -> float:
        if self._terms is None or not self._terms.terms:
            return 0.0
        return self._terms.share(bag, bag.total(), self._mean)

    def _summed(self, words: Array, near: Mapping[str, Array], places: Array) -> Array:
        """The scores of pages at some positions by the values of each part."""
        import numpy as np

        if self._name != "hybrid":
            return next(iter(near.values()), words)
        assert self._groups is not None
        known = [weights()[name] for name in GROUPS]
        own = self._groups[places]

        def each(name: str) -> Array:
            return np.array([getattr(one, name) for one in known])[own]

        english = np.where(own == GROUPS.index("english"), each("minilm") * np.maximum(near["minilm"], 0.0), 0.0)
        found = each("bm25") * words + each("dense") * np.maximum(near["dense"], each("floor")) + english + each("bias")
        return np.where(self._at._read[places], found, 0.0)


def _vectors(column: Any) -> list[Array | None]:
    """The vectors of each row, (one or more, dimension), or None."""
    found: list[Array | None] = []
    for own in column:
        if not own.is_valid or not len(own.values):
            found.append(None)
            continue
        found.append(own.values.flatten().to_numpy(zero_copy_only=False).reshape(len(own.values), -1))
    return found


def _listed(query: Any, condition: str | None, most: int, score: str) -> Any:
    """The rows that a search names with their scores."""
    query = query.limit(most).select([score]).with_row_id(True)
    if condition is not None:
        query = query.where(condition, prefilter=True)
    return query.to_arrow()


def rows_of(table: Any, condition: str, columns: Sequence[str] | None) -> Any:
    """Rows with their ids."""
    query = table.search().where(condition).limit(None).with_row_id(True)
    return (query if columns is None else query.select(list(columns))).to_arrow()


def _coded(column: Any) -> tuple[Array, list[str]]:
    """A column of strings as places in the list of its different values; null counts as ``""``."""
    import pyarrow.compute as pc

    coded = pc.fill_null(column, "").combine_chunks().dictionary_encode()
    return coded.indices.to_numpy(zero_copy_only=False).astype("int64"), coded.dictionary.to_pylist()
