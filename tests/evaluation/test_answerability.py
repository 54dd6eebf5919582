"""Unanswerable questions and quotes in the scores."""

from __future__ import annotations

import itertools
import random

import pytest

from mmr5.corpora.records import Layout
from mmr5.evaluation.answerability import (
    answerability,
    auroc,
    calibration_error,
    cut_keeping,
    evidence_scores,
    refused,
    relevance_scores,
    reliability,
    roc,
)  # fmt: skip
from mmr5.evaluation.benchmark import gold_boxes, shown_boxes
from mmr5.evaluation.report_page import signal_plots
from mmr5.evaluation.runs import RunLine, parse_line
from mmr5.evaluation.statistics import language_group, summarise
from mmr5.evidence import Passage, share_held
from mmr5.metrics import box_found, box_iou
from mmr5.types import Page


def line(qid="d#0", relevant=(1,), top=1.0, probability=None, **more):
    answerable = None if probability is None else {"probability": probability, "verdict": "unsure"}
    return RunLine(qid, "d", "x", "q", relevant, (0, 1), (1, 0), (top, top - 1), answerable=answerable, **more)


def test_auroc_is_the_share_of_pairs_in_order():
    draw = random.Random(1)
    positive, negative = [draw.randint(3, 9) for _ in range(40)], [draw.randint(0, 7) for _ in range(30)]
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(positive, negative) == pytest.approx(sum(pairs) / len(pairs))
    assert (auroc([2.0], [1.0]), auroc([1.0], [2.0]), auroc([1.0], [1.0])) == (1, 0, 0.5)


def test_what_is_refused_where_most_answerable_questions_are_kept():
    positive = [float(i) for i in range(1, 21)]
    assert refused(positive, [0.0, 1.9, 2.0, 30.0], 0.95) == 0.5
    assert refused(positive, [0.0, 0.9, 1.0, 30.0], 1.0) == 0.5


def test_calibration_error_by_hand():
    assert calibration_error([0.1, 0.1, 0.9, 0.9], [0, 0, 1, 1], bins=2) == pytest.approx(0.1)
    assert calibration_error([0.5] * 4, [0, 1, 0, 1], bins=2) == pytest.approx(0)
    assert calibration_error([0.9] * 10, [0] * 10) == pytest.approx(0.9)


def test_the_top_score_stands_where_there_is_no_probability():
    lines = [line(top=2.0), line(top=3.0), line(relevant=(), top=1.0, kind="neighbour"), line(relevant=(), top=2.5)]
    found = answerability(lines)
    assert (found["of"], found["n_answerable"], found["n_unanswerable"]) == ("score", 2, 2)
    assert found["auroc"] == 0.75
    assert found["refused_at_95"] == 0.5
    assert found["by_kind"] == {
        "neighbour": {"n": 1, "auroc": 1.0, "refused_at_95": 1.0},
        "unknown": {"n": 1, "auroc": 0.5, "refused_at_95": 0.0},
    }
    assert (found["ece"], found["brier"], found["brier_skill"]) == (None, None, None)
    assert answerability(lines[:2]) is None


def test_probabilities_are_measured_against_the_base_rate():
    lines = [line(probability=0.8), line(probability=0.6), line(relevant=(), probability=0.3), line(relevant=(), probability=0.1)]
    found = answerability(lines)
    brier = (0.2**2 + 0.4**2 + 0.3**2 + 0.1**2) / 4
    assert (found["of"], found["auroc"], found["brier"]) == ("probability", 1.0, pytest.approx(brier))
    assert found["brier_skill"] == pytest.approx(1 - brier / 0.25)


def test_unanswerable_questions_count_in_no_recall():
    lines = [line("d#0"), line("d#1"), line("d#2", relevant=())]
    found = summarise(lines, resamples=20)
    assert found["n_questions"] == 3
    assert found["reranked"]["micro"]["recall@1"] == 1
    assert found["by_gold_count"].keys() == {"1"}
    assert found["answerability"]["n_unanswerable"] == 1
    assert summarise(lines[2:], resamples=20)["reranked"]["micro"]["recall@1"] == 0
    layouts = [line("d#0", relevant=(), areas=(0.0, 0.0))]
    assert summarise(layouts, resamples=20)["by_gold_count"].keys() == {"0"}


def test_questions_with_several_relevant_pages_are_counted_by_all_of_them():
    lines = [
        RunLine("d#0", "d", "x", "q", relevant=(1, 2), candidates=(0, 1, 3, 4, 5, 2), ranking=(1, 2, 0, 3, 4, 5)),
        RunLine("d#1", "d", "x", "q", relevant=(1, 2), candidates=(1, 2, 3, 4, 5, 0), ranking=(1, 0, 3, 4, 5, 2)),
        RunLine("d#2", "d", "x", "q", relevant=(1, 7), candidates=(1, 2, 3, 4, 5, 0), ranking=(1, 0, 3, 4, 5, 2)),
        RunLine("d#3", "d", "x", "q", relevant=(1,), candidates=(1, 2, 3, 4, 5, 0), ranking=(1, 2, 3, 4, 5, 0)),
    ]
    found = summarise(lines, resamples=20)["all_within_5"]
    assert found == {"n": 3, "retriever": pytest.approx(1 / 3), "reranked": pytest.approx(1 / 3)}
    assert summarise(lines[3:], resamples=20)["all_within_5"] is None


def test_quotes_are_looked_for_in_the_evidence():
    quotes = {1: "the pump moves 312 litres", 2: "", 3: "green"}
    shown = {1: "It moves 312 litres a minute, the pump.", 2: "x", 3: None}
    found = evidence_scores([line(quotes=quotes, quote_evidence=shown), line()])
    assert (found["n"], found["n_visual"], found["quote_coverage"], found["box_iou"]) == (2, 1, 0.5, None)
    assert found["words_mean"] == 4.0
    assert evidence_scores([line()]) is None


def test_boxes_of_the_evidence_meet_annotated_ones():
    gold = {1: ((0.1, 0.1, 0.5, 0.2),), 2: ((0.1, 0.1, 0.5, 0.2), (0.1, 0.2, 0.5, 0.3)), 3: ((0.0, 0.0, 1.0, 0.1),), 4: ()}
    shown = {1: ((0.1, 0.1, 0.5, 0.19),), 2: ((0.1, 0.1, 0.5, 0.29),), 3: ((0.0, 0.06, 1.0, 0.2),)}
    found = evidence_scores([line(gold_boxes=gold, evidence_boxes=shown)])
    assert (found["n"], found["n_boxes"], found["box_iou"]) == (0, 3, pytest.approx(2 / 3))
    assert evidence_scores([line(gold_boxes=gold)]) is None


def test_words_of_a_quote_are_counted_as_often_as_they_stand():
    assert share_held("one two two", "two one") == pytest.approx(2 / 3)
    assert share_held("苹果产量", "去年苹果产量很高") == 1
    assert share_held("a", "") == 0


def test_languages_are_told_apart():
    assert language_group(line(language="de", page_language="de")) == "de"
    assert language_group(line(language="en", page_language="ja")) == "en about ja"
    assert language_group(line()) == "unknown"


def test_a_line_with_everything_is_read_back():
    whole = line(
        language="en", page_language="de", relevance=(0.9, 0.1), evidence=("a", None), probability=0.7, quotes={1: "w"},
        quote_evidence={1: "v"}, gold_boxes={1: ((0.1, 0.2, 0.3, 0.4),)}, evidence_boxes={1: ()},
    )  # fmt: skip
    assert parse_line(whole.to_json(), "x") == whole


def test_the_roc_curve_by_hand_and_its_area():
    assert roc([3.0, 1.0], [2.0]) == [(0.0, 0.0), (0.0, 0.5), (1.0, 0.5), (1.0, 1.0)]
    assert roc([1.0], [1.0]) == [(0.0, 0.0), (1.0, 1.0)], "ties are one step"
    draw = random.Random(2)
    positive, negative = [draw.randint(3, 9) for _ in range(40)], [draw.randint(0, 7) for _ in range(30)]
    points = roc(positive, negative)
    area = sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in itertools.pairwise(points))
    assert area == pytest.approx(auroc(positive, negative))


def test_reliability_bins_and_the_cut_by_hand():
    said, true = [0.9, 0.1, 0.2, 0.8], [1.0, 0.0, 1.0, 1.0]
    assert reliability(said, true, bins=2) == [(pytest.approx(0.15), 0.5, 2), (pytest.approx(0.85), 1.0, 2)]
    assert reliability([0.5], [1.0]) == [(0.5, 1.0, 1)], "empty bins are left out"
    assert cut_keeping([float(i) for i in range(1, 21)], 0.95) == 2.0


def test_relevance_of_all_candidates_and_of_first_pages():
    lines = [line("d#0", relevance=(0.8, 0.2)), line("d#1", relevant=(0,), relevance=(0.6, 0.4))]
    found = relevance_scores(lines)
    assert (found["all"]["n"], found["all"]["share"], found["all"]["mean"]) == (4, 0.5, 0.5)
    assert found["all"]["brier"] == pytest.approx((0.2**2 + 0.2**2 + 0.6**2 + 0.6**2) / 4)
    assert (found["first"]["n"], found["first"]["share"], found["first"]["mean"]) == (2, 0.5, pytest.approx(0.7))
    assert relevance_scores([lines[0], line("d#2")]) is None
    assert summarise(lines, resamples=20)["relevance"] == found


def test_languages_with_questions_of_both_sorts_are_told_apart():
    lines = [
        line("d#0", probability=0.8, language="de"), line("d#1", relevant=(), probability=0.3, language="de"),
        line("d#2", probability=0.4, language="en"), line("d#3", relevant=(), probability=0.7, language="en"),
        line("d#4", probability=0.4, language="ja"),
    ]  # fmt: skip
    assert answerability(lines)["by_language"] == {
        "de": {"n": 1, "n_answerable": 1, "auroc": 1.0, "refused_at_95": 1.0},
        "en": {"n": 1, "n_answerable": 1, "auroc": 0.0, "refused_at_95": 0.0},
    }


def test_plots_hold_every_question_and_the_cut():
    yes, no = [0.9, 0.8, 0.7], [0.2, 0.8]
    lines = [line(f"d#{i}", probability=p, relevance=(p, 0.1)) for i, p in enumerate(yes)]
    lines += [
        line(f"e#{i}", relevant=(), probability=p, relevance=(p, 0.1), kind=k)
        for i, (p, k) in enumerate(zip(no, "ab", strict=True))
    ]
    found = {title: (how, str(svg)) for title, how, svg in signal_plots(lines)}
    assert list(found) == [
        "Does it know that nothing answers?", "Answerable above, unanswerable below", "Is “answerable” right?", "Is relevance right?"
    ]  # fmt: skip
    assert all(f">{name} {value} ({n})<" in found["Does it know that nothing answers?"][1] for name, value, n in
               (("all", "0.75", 2), ("a", "1.00", 1), ("b", "0.50", 1)))  # fmt: skip
    how, svg = found["Answerable above, unanswerable below"]
    assert "lie 50% of" in how and "cut 0.70" in svg and "answerable, 3" in svg and "unanswerable, 2" in svg
    assert found["Is relevance right?"][1].count("<circle") == 10 + 5
    assert signal_plots([line("d#0")]) == []


def test_annotated_and_shown_boxes_are_shares_of_the_page():
    layouts = [
        Layout("d", 3, (10, 20, 50, 100), page_size=(100, 400)),
        Layout("d", 3, (0, 0, 100, 40), page_size=(100, 400)),
        Layout("d", 4, (1, 2, 3, 4)),
    ]
    assert gold_boxes(layouts) == {3: ((0.1, 0.05, 0.5, 0.25), (0.0, 0.0, 1.0, 0.1))}

    class Lines:
        def of(self, start, end):
            return [(0.1, start / 100, 0.4, start / 100 + 0.05), (0.2, end / 100, 0.9, end / 100 + 0.05)]

    page = Page("d", 4, text="The fee is twelve crowns.", boxes=Lines())
    shown = shown_boxes(page, [Passage("The fee", (0, 7)), Passage("twelve", (11, 17))])
    assert shown == (pytest.approx((0.1, 0.0, 0.9, 0.12)), pytest.approx((0.1, 0.11, 0.9, 0.22)))
    assert shown_boxes(Page("d", 4, text="The fee"), [Passage("The fee", (0, 7))]) == ()


def test_an_iou_is_of_areas():
    assert box_iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert box_iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    assert box_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0
    assert not box_found([], [(0, 0, 1, 1)])
