"""The tables of a paper as a file: which rows, with what settings, beside which published numbers.

title = "..."
corpus = "mmdocir"
candidates = 10

[[row]]
name = "MM-R5"
retriever = "colqwen"
model = "i2vec/MM-R5"
method = "reason"
gpu_gb = 24
macro = [0.6951, 0.8520, 0.8842]
micro = [0.6759, 0.8401, 0.8755]
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from mmr5.errors import ConfigError, SourceNotFoundError
from mmr5.evaluation.rankers import BASELINES
from mmr5.retrieval import check_retriever
from mmr5.retrieval.names import NAMED

CUTS = (1, 3, 5)
"""Cut-offs of the recall that a row's numbers are."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        name: as shown; no two rows share it.
        retriever: the first stage.
        model: what orders its candidates; ``none`` leaves them as they are.
        engine: what runs the model.
        method: how the order is won (``auto``: the model's own).
        view: how a page is shown to the model (``auto``: the model's own).
        gpu_gb: memory of a GPU that the model needs in bfloat16, in GB; 0 runs anywhere.
        unavailable: why nobody can run this row, or empty.
        macro: published Recall@1, 3, 5 averaged over domains, or empty.
        micro: the same over questions.
    """

    name: str
    retriever: str = "hybrid"
    model: str = "none"
    engine: str = "transformers"
    method: str = "auto"
    view: str = "auto"
    gpu_gb: float = 0.0
    unavailable: str = ""
    macro: tuple[float, ...] = ()
    micro: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_retriever(self.retriever)
        for kind in ("macro", "micro"):
            if len(getattr(self, kind)) not in (0, len(CUTS)):
                raise ConfigError(f"row {self.name!r}: {kind} is {list(getattr(self, kind))}: give Recall@1, 3 and 5")

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return slug(self.name)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The names of the checkpoints that the row asks for, those of its first stage first."""
        stages = [part for part in self.retriever.split("+") if part.partition(":")[0] in NAMED]
        return (*stages, *(() if self.model in BASELINES else (self.model,)))


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        title: what it is.
        rows: in the order shown.
        corpus: what it was published for.
        split: of the corpus, or None for all questions.
        candidates: pages that a first stage hands on.
        source: where the published numbers come from.
    """

    title: str
    rows: tuple[Row, ...]
    corpus: str = "mmdocir"
    split: str | None = None
    candidates: int = 10
    source: str = ""
    name: str = field(default="table")

    def __post_init__(self) -> None:
        if not self.rows:
            raise ConfigError("the table has no rows: add [[row]] with a name")
        slugs = [row.slug for row in self.rows]
        if twice := sorted({s for s in slugs if slugs.count(s) > 1}):
            raise ConfigError(f"two rows of the table are called {twice[0]!r}: give each its own name")

    def only(self, wanted: Sequence[str]) -> tuple[Row, ...]:
        """The rows of these names (as shown, or as their folders are called); all for none.

        Raises:
            ConfigError: there is no such row.
        """
        found = {row.slug: row for row in self.rows}
        unknown = [name for name in wanted if slug(name) not in found]
        if unknown:
            raise ConfigError(f"the table has no row {unknown[0]!r}; its rows are {', '.join(row.name for row in self.rows)}")
        asked = {slug(name) for name in wanted}
        return tuple(row for row in self.rows if not asked or row.slug in asked)

    def using(self, checkpoints: Mapping[str, str]) -> Table:
        """The same table with other checkpoints in place of the named ones.

        Args:
            checkpoints: name → folder or name. A name is a model's, or a first stage's such as ``colqwen``.

        Raises:
            ConfigError: no row asks for such a name.
        """
        known = {name for row in self.rows for name in row.checkpoints}
        unknown = sorted(set(checkpoints) - known)
        if unknown:
            raise ConfigError(f"no row asks for {unknown[0]!r}; the table's checkpoints are {', '.join(sorted(known))}")
        return replace(self, rows=tuple(_using(row, checkpoints) for row in self.rows))


def slug(name: str) -> str:
    """A name in small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def shipped() -> dict[str, Path]:
    """The tables that come with the package: name → file."""
    folder = Path(str(resources.files("mmr5"))) / "configs" / "eval"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def load_table(name_or_path: str | Path) -> Table:
    """Read a table: one that comes with the package by its name, or a file.

    Raises:
        SourceNotFoundError: there is neither.
        ConfigError: it is no TOML, or holds an unknown key or an impossible value.
    """
    known = shipped()
    path = known.get(str(name_or_path), Path(name_or_path))
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceNotFoundError(f"no table at {str(name_or_path)!r}: give {', '.join(known)}, or a TOML file") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    rows = tuple(_read(Row, row, f"{path}, row {i}") for i, row in enumerate(values.pop("row", []), start=1))
    table: Table = _read(Table, {**values, "rows": rows, "name": path.stem}, str(path))
    return table


def _read(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"{where} holds {', '.join(unknown)}: the keys are {', '.join(sorted(known))}")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except TypeError as error:
        raise ConfigError(f"{where}: {str(error).partition('() ')[2] or error}") from error


def _using(row: Row, checkpoints: Mapping[str, str]) -> Row:
    stages = (f"{part}:{checkpoints[part]}" if part in checkpoints else part for part in row.retriever.split("+"))
    return replace(row, retriever="+".join(stages), model=checkpoints.get(row.model, row.model))
