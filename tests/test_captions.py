"""Captions of figures and tables, and what belongs to them."""

import pytest

from mmr5.captions import caption_kind, kept_together


@pytest.mark.parametrize(
    "line",
    ["Figure 3: Pumps", "Fig. 2.1 Pumps", "FIG 4", "Abb. 12: Pumpen", "Figura 2 – Bombas", "Рис. 5. Насосы", "图 4 水泵", "図3", "รูปที่ 2 ปั๊ม",
     "شكل 3", "3. ábra: Szivattyúk", "Obr. 7 Čerpadla", "Figure A.1", "Figure IV"],
)  # fmt: skip
def test_captions_of_figures(line):
    assert caption_kind(line) == "figure"


@pytest.mark.parametrize(
    "line", ["Table 2", "Tab. 3.1: Litres", "Tabelle 4", "Таблица 1", "表 2 流量", "Tableau II", "2. táblázat", "جدول 2"]
)
def test_captions_of_tables(line):
    assert caption_kind(line) == "table"


@pytest.mark.parametrize(
    "line", ["Figures are given below.", "The figure 3 shows", "", "Imagine 3", "图书馆", "Bildung 3", "table tennis"]
)
def test_other_lines(line):
    assert caption_kind(line) is None


def test_runs_do_not_overlap_and_keep_their_size():
    lines = [
        "a",
        "b",
        "Figure 1. One.",
        "Figure 2. Two.",
        "c",
        "Table 1. Three.",
        "d 1",
        "A line of prose that is no label at all, since it is long.",
    ]
    words = [len(line.split()) for line in lines]
    assert kept_together(lines, words, 60) == [(0, 2), (3, 4), (5, 6)]
    assert kept_together(lines, words, 4) == [(1, 2), (3, 4)]
    assert kept_together(lines, words, 2) == []
