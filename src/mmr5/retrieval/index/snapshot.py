"""A collection at one moment: candidates by the first stage that it holds.

The table is asked for the pages that are nearest by each signal, and these are scored exactly, by the arithmetic of
:mod:`mmr5.retrieval.hybrid`. With the vectors scanned, what a page can score at most is known of all pages, and the best are
scored until no other can come before them: the candidates are those of the first stage in memory over the same pages. Where the
vectors are looked up in an index of the table (:data:`mmr5.retrieval.index.table.SCANNED_PAGES`), all that a list names is
scored, with a list for each group of pages whose weights differ, and a page that no list names can be missed.
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
from mmr5.retrieval.index import table
from mmr5.retrieval.index.frequencies import Frequencies
from mmr5.retrieval.index.rows import Document, to_page
from mmr5.retrieval.index.where import Chosen, choose, quoted
from mmr5.retrieval.late import maxsim
from mmr5.retrieval.names import SCALES
from mmr5.storage.cache import Cache, digest
from mmr5.types import Candidates, Page

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

STATISTICS = "index-statistics"
"""Namespace of the cache for what is summed over a collection."""
LISTED, WORDS_LISTED = 250, 500
"""Pages that a list names: of vectors that are looked up, and of words."""
EMBEDDED_NOW = 16
"""Pages that wait for their embedding and are embedded for a question, those whose words fit it best."""
LEAST_SCORED = 50
"""Pages that are scored exactly at first."""
PARTITIONS_READ, READ_SHARE = 1000, 1 / 2
"""Partitions of an index of vectors that are looked at: at least, which are those of 10⁶ pages, and as a share of all."""
ENGLISH_ONLY = "minilm"
"""The column that holds vectors of English pages only, as the first stage ``hybrid`` asks it."""
_FTS_SHARE = 1 / 2.2
"""The table's BM25 counts a term up to k1 + 1 times its weight, with k1 = 1.2; ours up to once, and less with k1 = 1.5."""
_NOT_OF_PAGES = {"terms", "frequencies", "about"}
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
        stored: the table of LanceDB, set to one version.
        version: that version.
        identity: of the collection, for the cache.
        parts: what can be asked.
        retriever: the first stage that the collection was made for.
        partitions: of the table's index of each column of vectors that has one; the others are scanned.
        cache: where sums over the collection are kept.
    """

    def __init__(
        self, stored: Any, version: int, identity: str, parts: Parts, retriever: str, partitions: Mapping[str, int], cache: Cache
    ) -> None:
        import numpy as np

        self.version = version
        self.retriever = retriever
        self.partitions = partitions
        self._table, self._parts, self._cache = stored, parts, cache
        found = rows_of(stored, "page = 0", ["about"])["about"].to_pylist()
        self._identity = digest(identity, *sorted(found))  # a copy of the folder has versions of the same numbers
        self.documents = sorted(map(Document.read, found), key=lambda one: natural_key(one.source))
        self.by_key = {one.key: one for one in self.documents}
        rows = rows_of(stored, "page > 0", ["document", "page", "main", "script", "read", "embedded"])
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
        scan = not self.partitions or int(allowed.sum()) <= table.SCANNED_PAGES
        search = _Search(self, query, name, parts, allowed, condition, scan=scan)
        at_most = search.at_most()
        open_places = np.flatnonzero(allowed & (at_most > -np.inf))
        ranked = open_places[np.lexsort((open_places, -at_most[open_places]))]
        scored: dict[int, float] = {}
        step = max(LEAST_SCORED, 3 * n) if search.whole else max(1, len(ranked))
        while len(scored) < len(ranked):
            scored |= search.exact(ranked[len(scored) : len(scored) + step])
            best = sorted(scored.values(), reverse=True)[:n]
            if len(best) == n and len(scored) < len(ranked) and at_most[ranked[len(scored)]] < best[-1]:
                break
            step = len(scored)
        order = sorted(scored, key=lambda position: (-scored[position], position))[:n]
        pages = self._pages_at(order)
        return Candidates(
            query, tuple(pages), tuple(scored[i] for i in order), tuple(order), SCALES.get(name),
            pooled=len(self.documents) > 1,
        )  # fmt: skip

    def _pages_at(self, positions: Sequence[int]) -> list[Page]:
        """The pages at some positions."""
        rows = self._taken(
            positions, [field for field in self._table.schema.names if field not in _NOT_OF_PAGES | {*self._parts.encoders}]
        )
        return [to_page(row, self.by_key[row["document"]]) for row in rows.to_pylist()]

    def _taken(self, positions: Sequence[int] | Array, columns: Sequence[str]) -> Any:
        """Columns of the rows at some positions, in their order."""
        import numpy as np

        if not len(positions):
            return self._table.schema.empty_table().select(list(columns))
        rows = (
            self._table.take_row_ids([int(self._row[i]) for i in positions])
            .select(list(dict.fromkeys([*columns, "id"])))
            .to_arrow()
        )
        places = {one: k for k, one in enumerate(rows["id"].to_pylist())}
        return rows.take(np.array([places[f"{self._keys[self._owner[i]]}/{self._number[i]}"] for i in positions]))

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

    def _groups(self, query: str) -> tuple[Array, dict[int, str]]:
        """The group of each page, as its place in :data:`mmr5.retrieval.hybrid.GROUPS`, and the condition on the rows of each."""
        import numpy as np

        asked, script = language(query), main_script(query)
        known = np.array([[GROUPS.index(group(asked, script, m, s)) for s in self._scripts] for m in self._mains], dtype=np.int64)
        if not known.size:
            return np.zeros(0, dtype=np.int64), {}
        conditions: dict[int, list[str]] = {}
        for main, row in zip(self._mains, known, strict=True):
            if len(set(row)) == 1:
                conditions.setdefault(int(row[0]), []).append(f"main = {quoted(main)}")
                continue
            for written, own in zip(self._scripts, row, strict=True):
                conditions.setdefault(int(own), []).append(f"(main = {quoted(main)} AND script = {quoted(written)})")
        return known[self._main, self._script], {own: " OR ".join(parts) for own, parts in conditions.items()}


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
        self._allowed, self._left = allowed, int(allowed.sum())
        self._embedded_now: set[int] = set()
        self.whole = scan or not parts.encoders
        self._asked = {column: encoder.question(query) for column, encoder in parts.encoders.items()}
        spoken = sorted({one for document in at.documents for one in document.languages})
        self._holders = sum(document.holders for document in at.documents)
        self._mean = sum(document.terms for document in at.documents) / max(1, self._holders)
        self._terms = TermWeights.of(query, spoken, at._frequencies, self._holders) if parts.words else None
        self._groups: Array | None = None
        self._conditions: dict[int, str] = {}
        if name == "hybrid":
            self._groups, self._conditions = at._groups(query)

    def at_most(self) -> Array:
        """What each page can score at most; where the lists are not whole, infinity for what they name, else minus infinity."""
        import numpy as np

        at, n = self._at, self._at.n_pages
        words = np.zeros(n)
        listed = np.zeros(0, dtype=np.int64)
        if self._terms is not None and self._terms.terms:
            listed, scores = self._words()
            words[listed] = np.minimum(scores, 1.0)
        waiting = np.flatnonzero(at._waits & self._allowed & (words > 0)) if self._asked else listed[:0]
        waiting = waiting[np.argsort(-words[waiting], kind="stable")][:EMBEDDED_NOW]
        self._embedded_now = set(waiting.tolist())
        near = {column: self._near(column, asked) for column, asked in self._asked.items()}
        if not self.whole:
            found = np.full(n, -np.inf)
            for places in (listed, waiting, *(places for places, _ in near.values())):
                found[places] = np.inf
            return found
        like = {}
        for column, (places, values) in near.items():
            like[column] = np.full(n, NOTHING)
            like[column][places] = values
            like[column][at._waits] = NOTHING
            like[column][waiting] = len(self._asked[column])  # what they are like is not known before they are embedded
        return self._summed(words, like, np.arange(n))

    def _words(self) -> tuple[Array, Array]:
        """Pages with words of the question, and the most that these can count."""
        from lancedb.query import MatchQuery

        assert self._terms is not None
        times = Counter(self._terms.terms)
        query = self._at._table.search(MatchQuery(" ".join(times), "terms"), query_type="fts")
        found = _listed(query, self._condition, max(1, self._left if self.whole else WORDS_LISTED), "_score")
        scores = found["_score"].to_numpy() * (_FTS_SHARE * _SLACK * max(times.values()) / self._terms.reachable)
        return self._at._positions(found["_rowid"].to_numpy()), scores

    def _near(self, column: str, asked: Array) -> tuple[Array, Array]:
        """Pages near the question by a column of vectors, and the most that they can be like it.

        Where the vectors are looked up, each group of pages has a list of its own: a page of another group may be less like the
        question and score higher.
        """
        import numpy as np

        places, values = [], []
        for condition in self._lists(column):
            query = self._at._table.search(asked if len(asked) > 1 else asked[0], vector_column_name=column).distance_type(
                "cosine"
            )
            if self.whole:
                query = query.bypass_vector_index()
            else:
                query = query.nprobes(max(PARTITIONS_READ, round(self._at.partitions.get(column, 0) * READ_SHARE)))
            found = _listed(query, condition, max(1, self._left if self.whole else LISTED), "_distance")
            places.append(self._at._positions(found["_rowid"].to_numpy()))
            values.append(len(asked) - found["_distance"].to_numpy() + _ROUNDING * len(asked))
        return np.concatenate(places), np.concatenate(values)

    def _lists(self, column: str) -> list[str | None]:
        """The conditions on the rows of each list."""
        if self.whole or not self._conditions or column == ENGLISH_ONLY:
            return [self._condition]
        own = "" if self._condition is None else f" AND ({self._condition})"
        return [f"({condition}){own}" for condition in self._conditions.values()]

    def exact(self, positions: Array) -> dict[int, float]:
        """The scores of the pages at some positions."""
        import numpy as np

        rows = self._at._taken(positions, [*(["terms"] if self._parts.words else []), *self._asked])
        words = np.zeros(len(positions))
        if self._terms is not None and self._terms.terms:
            words = np.array([self._share(text) for text in rows["terms"].to_pylist()])
        late = [k for k, place in enumerate(positions) if int(place) in self._embedded_now]
        pages = dict(zip(late, self._at._pages_at([int(positions[k]) for k in late]), strict=True))
        near = {}
        for column, asked in self._asked.items():
            vectors = _vectors(rows[column])
            own = [k for k in late if column != ENGLISH_ONLY or self._at._mains[self._at._main[positions[k]]] == ENGLISH]
            made = self._parts.encoders[column].pages([pages[k] for k in own]) if own else []
            for k, one in zip(own, made, strict=True):
                vectors[k] = one
            near[column] = np.array([NOTHING if one is None else maxsim(asked, one.astype(np.float32)) for one in vectors])
        scores = self._summed(words, near, np.asarray(positions))
        return {int(i): float(score) for i, score in zip(positions, scores, strict=True)}

    def _share(self, text: str | None) -> float:
        if self._terms is None or not text:
            return 0.0
        terms = text.split(" ")
        return self._terms.share(Counter(term for term in terms if term in self._terms.weights), len(terms), self._mean)

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
