"""Do the letters of a text form words? Fonts whose Unicode map is permuted give other letters than a reader sees. Pure functions.

Judged are pairs of letters in Latin and Cyrillic words, by the pairs that no language writes often, and the share of
common characters among Chinese ones. The pairs are those below 1 in 1,000 in each of 26 languages (word lists of
Danish to Vietnamese; Bulgarian, Russian and Ukrainian) and in the opendocs corpora: 1.4 % of the pairs of natural text
are among them (a page of prose has at most 6 %), and at least 15 % (mostly 25 to 50 %) when the letters are permuted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

MAX_RARE_OF_LINE = 0.14
"""Most rare pairs, as a share of a line's pairs of letters."""
MAX_RARE_OF_RUN = 0.17
"""Most rare pairs of consecutive lines that are each above :data:`MAX_RARE_OF_LINE`, together."""
MAX_RARE_OF_FONT = 0.09
"""Most rare pairs of all words in one font, on a page that has unlikely lines."""
MIN_PAIRS_OF_LINE = 12
MIN_PAIRS_OF_RUN = 50
"""With fewer pairs than these, nothing is judged."""
MIN_WORDS = 0.45
"""Fewest letters in plain words (not in names of programs, formulas, capitals), as a share of a run's characters."""
MIN_HAN = 20
MIN_COMMON_HAN = 0.2
"""Fewest common characters among Chinese ones; natural Chinese and Japanese pages have at least 35 %."""

MAX_ODD_WORDS = 0.16
"""Most odd words, as a share; the median page of the corpora has 5 %, nine of ten have at most 12 %."""
MIN_WORDS_READ = 12
_TOKEN = re.compile(r"[^\W_]{2,}")
_MIXED = re.compile(r"[^\W\d]\d+[^\W\d]|^\d[^\W\d]+$|^[^\W\d]\d{2,}$|[a-z]\d$")
_VOWEL = re.compile("[aeiouyAEIOUY]")

_RARE_PAIRS = """
ax bcdfghkmnpqtvwxz cbdfgmpqvwx dcgjkmpqw fbcdghjkmnpqsvwxyz gbcdfmpqvxz hbcdfghjkpqvxyz jbfghjlpqrtvwxyz kbdfgmpqxz
lfpqrwx mcdghjqrvxz npqrwx oqx pbgjkmqvwxz qabcdefghijklmnopqrstvwxyz rjqx sdwx tbcdfgq uq vbcdfghkmpqtvwxz
wbcdfgjklmqrtvxz xbcdfghjklnqrsvwxz yfhqvxy zbfghjqx
ааоуъыьэі ббвгджзкмнпстфхцчшщьэюяє вбгджзмпфхцчщьэює гбвгежзкмпстфхцчшщъыьэюяє дбгдзкмстфхцчшщъьэює еуфцъыьэюяіє
жбвгжзклмопрстфхцчшщъыьэюяіє збгежзфхцчшщъьэюяіє ибжущъыьэіє кбгджзкмнпфхчшщыьэюяє лбвгджзлмпрстфхцшщыэє
мбвгджзклмрстфхцчшщьэює нбвгжзлмпрфхцчшщъэє оауфцшщъыьэяє пбгджзкмнпстфхчшщыьэюяє рбдзклпрфхцчшщьэює сбгджзрфхцчшщэює
тбгджзлмптфхцшщэює уагзоуфхцщъыьэяі фбвгдежзклмнпрстфхцчшщъыьэюяє хбвгдежзиклнпрсуфхцчшщъыьэюяіє
цбвгджзклмнопрстуфхцчшщъьэюяє чбгджзклмопрсфхцчшщъыьэюяіє шбвгджзклмнопртфхцчшщъыьэюяіє щбвгджзклмнпрстуфхцчшщъыьэюяіє
ъабвгджикмнопуфхцчшщъыьэюяіє ыабгджнорсуфцчшщъыьэюяіє ьабвгджилмпртуфхцчшщъыьэюяіє эабвгдежзикмнопрсуфхцчшщъыьэюяіє
юабгдежзиклмнопруфхцшъыьэюяіє яабгджзикопрсуфцчшъыьэяіє іабгежпуфхцщъыьэюяіє єабвгдежзиклнопрсуфхцчщъыьэюяіє
"""
"""A letter, and the letters that seldom follow it in any language."""
_RARE = frozenset(group[0] + letter for group in _RARE_PAIRS.split() for letter in group[1:])
_RARE_PAIR = re.compile("|".join(f"{group[0]}[{group[1:]}]" for group in _RARE_PAIRS.split()))
_COMMON_HAN = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运"
    "這個們來為國說時會對過發後裡種經麼學現當沒動還進樣開從實軍無與長機關點業將兩間問應戰頭體見產話給東聲員論處義幾條氣題爾別變總電數報結務場計資許統區隊書則聽達難權設類據邊張該規萬術領確傳師觀識帶導爭運"
    "本語文書字体行間組版約物場合用使時変対応処理値図表示形式設定方法年月日次例参照関数出力入力前後同名作成内容指定確認読込線数値項目必要可能全部選択追加結果分析変数標準機能情報記述番号位置以上以下等最初最後"
)
_MIN_HAN_RANGE = 256
"""An alphabet that was moved among the Chinese characters stays together; Chinese text is spread over thousands."""
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"(?:(?<=[\s(\"“„«'’-])|^)[^\W\d_]{3,}(?=[\s).,;:!?\"”“»'’-]|$)")


def unlikely_lines(text: str) -> list[int]:
    """Zero-based lines of a text whose letters form no words of any language."""
    if text.isascii() or not _HAN.search(text):
        if not _may_be_unlikely(text):
            return []
        lines = text.split("\n")
    else:
        lines = text.split("\n")
        if _han_is_unlikely(text):
            return [i for i, line in enumerate(lines) if _HAN.search(line)]
    return _rare_runs(lines)


def is_unlikely(text: str) -> bool:
    """Whether all words of a text together, such as those in one font, look like none of any language."""
    words = [word for word in _WORD.findall(text) if not word.isupper()]
    pairs = sum(map(len, words)) - len(words)
    if pairs >= MIN_PAIRS_OF_RUN and sum(map(_count_rare, words)) > MAX_RARE_OF_FONT * pairs:
        return True
    return _han_is_unlikely(text)


def _may_be_unlikely(text: str) -> bool:
    """A quick look: whether in some line more than a third of the words holds a rare pair."""
    words = set(text.split())
    _learn(words)
    if len(words & _odd_words) < _MIN_ODD:
        return False
    is_odd = _odd_words.__contains__
    return any(sum(map(is_odd, words)) * 3 > len(words) for words in map(str.split, text.split("\n")) if len(words) > 1)


_plain_words: set[str] = set()
_odd_words: set[str] = set()
"""Words that were looked at, without and with a rare pair: most words of a document come again."""
_MOST_WORDS = 200_000
_MIN_ODD = 4


def _learn(words: set[str]) -> None:
    """Sort words that were not seen before into those with and without a rare pair."""
    if len(_plain_words) > _MOST_WORDS or len(_odd_words) > _MOST_WORDS:
        _plain_words.clear()
        _odd_words.clear()
    new = words - _plain_words - _odd_words
    odd = {word for word in new if _RARE_PAIR.search(word.lower() if word.isascii() else _folded(word))}
    _odd_words.update(odd)
    _plain_words.update(new - odd)


def _folded(word: str) -> str:
    """A word in lower case without accents."""
    return "".join(char for char in unicodedata.normalize("NFD", word.lower()) if not unicodedata.combining(char))


def _rare_runs(lines: Sequence[str]) -> list[int]:
    """Runs of lines with too many rare pairs; lines with too few letters to be judged go along with those around them."""
    found: list[int] = []
    run: list[int] = []
    pairs = rare = letters = visible = 0
    for i, line in enumerate((*lines, "This line ends the last of the runs.")):
        words = [word for word in _WORD.findall(line) if not word.isupper()]
        of_words = sum(map(len, words))
        of_line, rare_of_line = of_words - len(words), sum(map(_count_rare, words))
        if rare_of_line > MAX_RARE_OF_LINE * of_line or (of_line < MIN_PAIRS_OF_LINE and i < len(lines)):
            run.append(i)
            pairs, rare, letters, visible = pairs + of_line, rare + rare_of_line, letters + of_words, visible + len(line)
            continue
        if pairs >= MIN_PAIRS_OF_RUN and rare > MAX_RARE_OF_RUN * pairs and letters > MIN_WORDS * visible:
            found += run
        run, pairs, rare, letters, visible = [], 0, 0, 0, 0
    return found


def looks_misread(text: str) -> bool:
    """Whether many words look like a poor recognition: digits among letters, pairs that no language writes, no vowel."""
    words = [word for word in _TOKEN.findall(text) if not word.isdigit()]
    odd = sum(map(_is_odd, words))
    return len(words) >= MIN_WORDS_READ and odd > MAX_ODD_WORDS * len(words)


@lru_cache(50_000)
def _is_odd(word: str) -> bool:
    if any(map(str.isdigit, word)):
        return _MIXED.search(word) is not None
    if len(word) < 3:
        return False
    return _count_rare(word) > 0 or (word.isascii() and not word.isupper() and not _VOWEL.search(word))


@lru_cache(50_000)
def _count_rare(word: str) -> int:
    """How many pairs of letters in a word are rare ones."""
    word = word.lower() if word.isascii() else _folded(word)
    return sum(first + second in _RARE for first, second in pairwise(word))


def _han_is_unlikely(text: str) -> bool:
    han = _HAN.findall(text)
    if len(han) < MIN_HAN:
        return False
    if ord(max(han)) - ord(min(han)) < _MIN_HAN_RANGE:
        return True
    return sum(char in _COMMON_HAN for char in han) < MIN_COMMON_HAN * len(han)
