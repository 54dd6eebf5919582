"""The site builds strictly, its links lead somewhere, and no page loads anything from another host."""

import re
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest

from docs.blocks import PAGES, ROOT

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchor(heading):
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_links_of_the_repository_lead_somewhere(page):
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        parts = urlsplit(target)
        if parts.scheme in {"http", "https", "mailto"}:
            continue
        path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not path.exists():
            broken.append(target)
        elif parts.fragment and path.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
            if parts.fragment not in {anchor(heading) for heading in headings}:
                broken.append(target)
    assert broken == []


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_builds_strictly_with_every_page(site):
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), page
    front = (site / "index.html").read_text(encoding="utf-8")
    assert "A multimodal reasoning reranker for document pages" in front


def test_links_out_of_docs_became_paths_and_none_is_left(site):
    page = (site / "integrations" / "langchain.html").read_text(encoding="utf-8")
    assert "<code>examples/langchain_rerank.py</code>" in page
    assert 'href="../../examples' not in page


def test_no_page_loads_anything_from_another_host(site):
    loads = re.compile(r"""<(?:script|img|iframe|source)[^>]*\ssrc=["'](?:https?:)?//|<link[^>]*\shref=["'](?:https?:)?//""")
    outside = [page.name for page in site.rglob("*.html") if loads.search(page.read_text(encoding="utf-8"))]
    assert outside == []
    assert not any("@import url(http" in css.read_text(encoding="utf-8") for css in site.rglob("*.css"))


def test_a_broken_link_fails_the_build(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Home\n\n[there](../README.md) [gone](../GONE.md)\n")
    (tmp_path / "README.md").write_text("# Read me\n")
    (tmp_path / "mkdocs.yml").write_text(
        f"site_name: x\nhooks: [{ROOT / 'scripts' / 'site_links.py'}]\nvalidation: {{unrecognized_links: warn}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "GONE.md" in done.stderr
    assert "README.md" not in done.stderr
