"""Page rows → groups: a relevant page of a question and some pages that do not answer it. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

from mmr5.data.rows import PageRow
from mmr5.errors import ConfigError

Group = tuple[PageRow, ...]
"""Rows of one question; the first is relevant, the others are not."""


def make_groups(rows: Sequence[PageRow], pages: int, passes: int, seed: int) -> list[Group]:
    """Groups for several passes over all questions, in training order.

    Every pass draws anew: one relevant page, and up to ``pages - 1`` others. A question without a relevant or without an
    irrelevant row has no group.

    Args:
        rows: of any number of questions.
        pages: most rows in a group, at least 2.
        passes: how often each question comes, at least 1.
        seed: of the order and of the draws; the same seed gives the same groups.

    Raises:
        ConfigError: an impossible number, or no question has both kinds of rows.
    """
    if pages < 2 or passes < 1:
        raise ConfigError(f"groups of {pages} pages in {passes} passes: at least 2 pages and 1 pass")
    questions: dict[tuple[str, str], tuple[list[PageRow], list[PageRow]]] = {}
    for row in rows:
        questions.setdefault((row.doc_name, row.qid), ([], []))[0 if row.relevant else 1].append(row)
    whole = [(key, good, bad) for key, (good, bad) in questions.items() if good and bad]
    if not whole:
        raise ConfigError("no question has both a relevant and an irrelevant row: make the rows with 'mmr5 data rows'")
    made: list[Group] = []
    for number in range(passes):
        order = list(whole)
        random.Random(f"{seed}:{number}").shuffle(order)  # noqa: S311 - a seeded order
        for (doc_name, qid), good, bad in order:
            draw = random.Random(f"{seed}:{number}:{doc_name}:{qid}")  # noqa: S311 - seeded draws
            made.append((draw.choice(good), *draw.sample(bad, min(pages - 1, len(bad)))))
    return made
