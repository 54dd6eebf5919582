"""What a document refers to outside itself is taken out before it is opened: pictures, templates, sections from network or disk.

Links that a reader may follow stay. Pure functions over a file's bytes.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser

_RELATIONSHIP = re.compile(
    rb"<(?:\w+:)?Relationship\b[^>]*?/>|<(?:\w+:)?Relationship\b[^>]*?>.*?</(?:\w+:)?Relationship>", re.DOTALL
)
_EXTERNAL = re.compile(rb"""TargetMode\s*=\s*["']External["']""")
_HYPERLINK = re.compile(rb"""Type\s*=\s*["'][^"']*/hyperlink["']""")
_ODF_TAG = re.compile(rb"<(?!text:a\b)[\w:.-]+\s[^>]*>")
_ODF_OUTSIDE = re.compile(rb"""(xlink:href\s*=\s*)(["'])\s*(?:[a-zA-Z][a-zA-Z0-9+.-]*:|//|/|\.\./)[^"']*\2""")
_ODF_PARTS = ("content.xml", "styles.xml", "settings.xml", "meta.xml")
_ODF_DELETED = re.compile(rb"<(/?)text:tracked-changes\b[^<>]*>")
_ODF_MARK = re.compile(rb"<text:change(?:-start|-end)?\b[^<>]*/>")
"""What was deleted stands in one place, and marks in the text say where it stood."""
_WORD_PART = re.compile(r"word/(?:document\d*|header\d*|footer\d*|footnotes|endnotes)\.xml")
_WORD_DELETED = re.compile(rb"<(/?)w:(?:del|moveFrom)(?:\s[^<>]*)?>")
_DROPPED = frozenset({"script", "iframe", "frame", "object", "embed", "applet", "base", "link", "meta", "noscript", "template"})
_ENDS_PARAGRAPH = frozenset("p div ul ol dl table section article header footer main nav h1 h2 h3 h4 h5 h6 pre hr form".split())
"""Before these a paragraph ends that was not closed."""
_TRANSPARENT = frozenset({"frameset", "noframes"})
"""Of these the content stays."""
_NOT_SHOWN = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.IGNORECASE)
_VOID = frozenset({"area", "br", "col", "hr", "img", "input", "source", "track", "wbr", "base", "link", "meta", "embed", "frame"})
_FETCHED = frozenset(
    {"src", "srcset", "background", "data", "poster", "action", "formaction", "longdesc", "xlink:href", "usemap"}
)
_INNER_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|bmp);", re.IGNORECASE)
_CSS_OUTSIDE = re.compile(r"@import\b[^;]*;?|url\s*\([^)]*\)|expression\s*\(", re.IGNORECASE)


def without_references(data: bytes, kind: str) -> bytes:
    """A document that refers to nothing outside itself but by links.

    Args:
        data: its content.
        kind: as :data:`mmr5.pages.office.OFFICE` names it; what is no archive and no web page is left as it is.
    """
    if kind == "html":
        return _web_page(data)
    if kind in ("docx", "pptx", "xlsx"):
        return _repacked(data, _change_of_office)
    if kind in ("odt", "ods", "odp"):
        return _repacked(data, lambda name: _without_outside if name.rsplit("/", 1)[-1] in _ODF_PARTS else None)
    return data


def _change_of_office(part: str) -> Callable[[bytes], bytes] | None:
    if part.endswith(".rels"):
        return _without_external
    return _without_deleted if _WORD_PART.match(part) else None


def _repacked(data: bytes, change_of: Callable[[str], Callable[[bytes], bytes] | None]) -> bytes:
    """An archive with some of its parts changed; an archive that needs no change is given back as it is.

    Args:
        data: the archive.
        change_of: from a part's name to what is done with it, or None.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        changed = {}
        for part in archive.infolist():
            change = change_of(part.filename)
            if change is not None:
                before = archive.read(part)
                after = change(before)
                if after != before:
                    changed[part.filename] = after
        if not changed:
            return data
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
            for part in archive.infolist():
                kind = zipfile.ZIP_STORED if part.filename == "mimetype" else zipfile.ZIP_DEFLATED
                made.writestr(part.filename, changed.get(part.filename) or archive.read(part), kind)
    return out.getvalue()


def _without_external(relationships: bytes) -> bytes:
    def kept(found: re.Match[bytes]) -> bytes:
        return b"" if _EXTERNAL.search(found[0]) and not _HYPERLINK.search(found[0]) else found[0]

    return _RELATIONSHIP.sub(kept, relationships)


def _without_outside(content: bytes) -> bytes:
    inside = _ODF_TAG.sub(lambda tag: _ODF_OUTSIDE.sub(rb"\1\2\2", tag[0]), content)
    return _ODF_MARK.sub(b"", _without_elements(inside, _ODF_DELETED))


def _without_deleted(content: bytes) -> bytes:
    """A part of a Word document without what was deleted or moved away, which LibreOffice prints struck through."""
    return _without_elements(content, _WORD_DELETED)


def _without_elements(content: bytes, tags: re.Pattern[bytes]) -> bytes:
    """Content without what stands between opening and closing tags, in one pass.

    An empty element stays, and so does one that is not closed.

    Args:
        content: XML.
        tags: finds both kinds of tags; the first group is a slash in closing ones.
    """
    kept: list[bytes] = []
    done = start = depth = 0
    for tag in tags.finditer(content):
        if tag[0].endswith(b"/>"):
            continue
        if not tag[1]:
            start = tag.start() if depth == 0 else start
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                kept.append(content[done:start])
                done = tag.end()
    return b"".join([*kept, content[done:]])


def _web_page(data: bytes) -> bytes:
    """A web page in UTF-8 without scripts, frames, what is not shown and what would be fetched; pictures inside it stay."""
    from mmr5.pages.prose import decoded

    parser = _Inert()
    parser.feed(decoded(data, declared=True))
    parser.close()
    return ('<meta charset="utf-8">' + "".join(parser.out)).encode("utf-8")


class _Inert(HTMLParser):
    """Writes what it reads, but for what is dropped."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.out: list[str] = []
        self._hidden: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _ENDS_PARAGRAPH and self._hidden and self._hidden[-1] == "p":
            self._hidden.pop()
        if self._hidden or tag in _DROPPED or _is_not_shown(attrs):
            if tag not in _VOID and (not self._hidden or tag in self._hidden):
                self._hidden.append(tag)
            return
        if tag in _TRANSPARENT:
            return
        self._style = tag == "style"
        kept = "".join(f' {name}="{escape(value or "")}"' for name, value in attrs if _keeps(name, value or ""))
        self.out.append(f"<{tag}{kept}>")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            self._hidden.reverse()
            del self._hidden[: self._hidden.index(tag) + 1]
            self._hidden.reverse()
        elif not self._hidden and tag not in _DROPPED | _TRANSPARENT:
            self._style = False
            self.out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.out.append(_CSS_OUTSIDE.sub("", data) if self._style else data)

    def handle_entityref(self, name: str) -> None:
        self._plain(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._plain(f"&#{name};")

    def _plain(self, text: str) -> None:
        if not self._hidden:
            self.out.append(text)


def _is_not_shown(attrs: list[tuple[str, str | None]]) -> bool:
    return any(name == "hidden" or (name == "style" and _NOT_SHOWN.search(value or "")) for name, value in attrs)


def _keeps(name: str, value: str) -> bool:
    if name.startswith("on"):
        return False
    if name in _FETCHED:
        return name == "src" and _INNER_PICTURE.match(value.strip()) is not None
    return not (name == "style" and _CSS_OUTSIDE.search(value))
