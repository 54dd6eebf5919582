"""Filters: ``field = value and …`` → which documents and pages. Pure but for the parser.

A comparison of a document's field is answered here, one of a page's field by the table; both can stand in one filter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

from mmr5.errors import ConfigError, missing_extra

PAGE_FIELDS = {"page": "page", "language": "language", "page_label": "label"}
"""Fields of pages → columns of the table."""
MAX_CHARS = 2_000
"""Most characters of a filter."""

Value = str | float | bool
_INTEGERS = 2**31
Fields = Mapping[str, Value]

_SHAPE = "write comparisons joined by and, or, not, such as: year >= 2020 and kind = 'pdf'"
_ORDER: dict[str, Callable[[Any, Any], bool]] = {"GT": gt, "GTE": ge, "LT": lt, "LTE": le}
_SIGNS = {"EQ": "=", "NEQ": "<>", "GT": ">", "GTE": ">=", "LT": "<", "LTE": "<="}
_TURNED = {"GT": "LT", "LT": "GT", "GTE": "LTE", "LTE": "GTE"}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a filter lets through.

    Attributes:
        documents: keys of documents, all of whose pages pass; None where pages are told apart, by ``sql``.
        sql: the condition on a page's row; None where ``documents`` says it all.
    """

    documents: frozenset[str] | None = None
    sql: str | None = None

    def condition(self) -> str:
        """The condition on a page's row."""
        if self.sql is not None:
            return self.sql
        return f"document IN ({', '.join(map(quoted, sorted(self.documents or ())))})" if self.documents else "false"


def choose(text: str, documents: Mapping[str, Fields]) -> Chosen:
    """The documents and pages that a filter lets through.

    Args:
        text: the filter; values are numbers, true, false, or texts with or without quotes; further forms are ``in (…)``,
            ``between … and …``, ``like`` (``%`` stands for any text) and ``is null``.
        documents: key of each document → its fields; a field that it lacks passes no comparison but ``is null``.

    Raises:
        ConfigError: it is no such filter, or names a field that no document has.
        MissingExtraError: without the extra ``index``.
    """
    try:
        import sqlglot
        from sqlglot import errors
    except ImportError as error:
        raise missing_extra("sqlglot", "index", "read a filter") from error
    if len(text) > MAX_CHARS:
        raise ConfigError(f"the filter has {len(text):,} characters: give at most {MAX_CHARS:,}")
    known = set().union(*documents.values()) | set(PAGE_FIELDS)
    try:
        trees = sqlglot.parse(f"SELECT 1 WHERE {text}")
        if len(trees) != 1 or type(trees[0]).__name__ != "Select" or set(_given(trees[0])) != {"expressions", "where"}:
            raise ConfigError(f"the filter {text!r} is no condition: {_SHAPE}")
        return _Filter(text, documents, known).of(trees[0].args["where"].this)
    except (errors.SqlglotError, RecursionError) as error:
        raise ConfigError(f"the filter {text!r} cannot be read: {_SHAPE}") from error


def _given(node: Any) -> list[str]:
    return [name for name, value in node.args.items() if value]


@dataclass(frozen=True, slots=True)
class _Filter:
    """A filter over documents."""

    text: str
    documents: Mapping[str, Fields]
    known: set[str]

    def of(self, node: Any) -> Chosen:
        kind = type(node).__name__
        if kind == "Paren":
            return self.of(node.this)
        if kind == "Not":
            inner = self.of(node.this)
            if inner.documents is not None:
                return Chosen(frozenset(self.documents) - inner.documents)
            return Chosen(sql=f"NOT ({inner.sql})")
        if kind in {"And", "Or"}:
            a, b = self.of(node.left), self.of(node.right)
            if a.documents is not None and b.documents is not None:
                return Chosen(a.documents & b.documents if kind == "And" else a.documents | b.documents)
            return Chosen(sql=f"({a.condition()}) {kind.upper()} ({b.condition()})")
        return self.comparison(node, kind)

    def comparison(self, node: Any, kind: str) -> Chosen:
        if kind in _SIGNS:
            left, right = node.left, node.right
            if type(left).__name__ != "Column" and type(right).__name__ == "Column":
                left, right, kind = right, left, _TURNED.get(kind, kind)
            value = self.value(right)
            test = {"EQ": _equal, "NEQ": lambda a, b: not _equal(a, b)}.get(kind) or _ordered(_ORDER[kind])
            return self.leaf(
                left, lambda own: test(own, value), lambda column: f"{column} {_SIGNS[kind]} {self.literal(column, value)}"
            )
        if kind in {"Like", "ILike"}:
            value = str(self.value(node.expression))
            pattern = re.compile(
                "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in value),
                re.DOTALL | (re.IGNORECASE if kind == "ILike" else 0),
            )
            sign = "ILIKE" if kind == "ILike" else "LIKE"
            return self.leaf(
                node.this,
                lambda own: pattern.fullmatch(_shown(own)) is not None,
                lambda column: f"CAST({column} AS STRING) {sign} {quoted(value)}",
            )
        if kind == "In" and node.expressions and not node.args.get("query"):
            values = [self.value(one) for one in node.expressions]
            return self.leaf(
                node.this,
                lambda own: any(_equal(own, value) for value in values),
                lambda column: f"{column} IN ({', '.join(self.literal(column, value) for value in values)})",
            )
        if kind == "Between":
            low, high = self.value(node.args["low"]), self.value(node.args["high"])
            return self.leaf(
                node.this,
                lambda own: _ordered(ge)(own, low) and _ordered(le)(own, high),
                lambda column: f"{column} BETWEEN {self.literal(column, low)} AND {self.literal(column, high)}",
            )
        if kind == "Is" and type(node.expression).__name__ == "Null":
            name = self.field(node.this)
            if name in PAGE_FIELDS:
                return Chosen(sql=f"{PAGE_FIELDS[name]} IS NULL")
            return Chosen(frozenset(key for key, own in self.documents.items() if name not in own))
        raise ConfigError(f"the filter {self.text!r} holds {node.sql()!r}, which is no comparison: {_SHAPE}")

    def leaf(self, node: Any, test: Callable[[Value], bool], sql: Callable[[str], str]) -> Chosen:
        name = self.field(node)
        if name in PAGE_FIELDS:
            return Chosen(sql=sql(PAGE_FIELDS[name]))
        return Chosen(frozenset(key for key, own in self.documents.items() if name in own and test(own[name])))

    def field(self, node: Any) -> str:
        if type(node).__name__ != "Column":
            raise ConfigError(f"the filter {self.text!r} compares {node.sql()!r}, which is no field: {_SHAPE}")
        name = ".".join(part.name for part in node.parts)
        if name not in self.known:
            raise ConfigError(
                f"the filter {self.text!r} names {name!r}, which no document has: use {', '.join(sorted(self.known))}"
            )
        return name

    def literal(self, column: str, value: Value) -> str:
        """A value as the table compares it with a column."""
        if column != "page":
            return quoted(_shown(value))
        number = _number(value)
        if number is None or not number.is_integer() or abs(number) >= _INTEGERS:
            raise ConfigError(f"the filter {self.text!r} compares page with {value!r}: give a page's number, from 1")
        return f"{number:.0f}"

    def value(self, node: Any) -> Value:
        kind = type(node).__name__
        if kind == "Literal":
            return str(node.this) if node.is_string else float(node.this)
        if kind == "Boolean":
            return bool(node.this)
        if kind == "Neg" and type(node.this).__name__ == "Literal" and not node.this.is_string:
            return -float(node.this.this)
        if kind == "Column":
            return ".".join(part.name for part in node.parts)
        raise ConfigError(f"the filter {self.text!r} has {node.sql()!r} for a value: give a number or a text in quotes")


def _equal(own: Value, value: Value) -> bool:
    """Whether two values are the same; a number and a text are where the text is that number."""
    if isinstance(own, bool) or isinstance(value, bool):
        return _shown(own).lower() == _shown(value).lower()
    if isinstance(own, str) and isinstance(value, str):
        return own == value
    a, b = _number(own), _number(value)
    return a is not None and a == b


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Value, Value], bool]:
    """A comparison by order, of two numbers or of two texts."""

    def compare(own: Value, value: Value) -> bool:
        if isinstance(own, str) and isinstance(value, str):
            return test(own, value)
        a, b = _number(own), _number(value)
        return a is not None and b is not None and test(a, b)

    return compare


def _number(value: Value) -> float | None:
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _shown(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def quoted(text: str) -> str:
    """A text as the table reads it."""
    return "'" + text.replace("'", "''") + "'"
