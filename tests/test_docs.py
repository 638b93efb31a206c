"""The documentation as web pages: scripts in the editor's colours, and links that lead somewhere."""

import importlib.util
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def build_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / "tools" / "build_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_docs"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(build_docs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("docs")
    build_docs.build(folder)
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.html")}


class Page(HTMLParser):
    """Anchors, links, and the text of each block of code with its classes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.blocks: list[str] = []
        self.classes: set[str] = set()
        self._code = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.add(given.get("id") or "")
        link = given.get("href") or given.get("src")
        if link and "://" not in link and not link.startswith("mailto:"):
            self.links.append(link)
        if tag == "pre":
            self._code = True
            self.blocks.append("")
        if tag == "span" and self._code:
            self.classes.add(given.get("class") or "")

    def handle_endtag(self, tag: str) -> None:
        self._code = self._code and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._code:
            self.blocks[-1] += data


def test_every_script_of_every_page_is_coloured_and_unchanged(build_docs: ModuleType, built: dict[str, str]) -> None:
    count = 0
    for name, path in build_docs.pages().items():
        scripts = re.findall(r"^```sculpt[^\n]*\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        page = Page(built[f"{name}.html"])
        for script in scripts:
            assert script.rstrip("\n") in (block.rstrip("\n") for block in page.blocks), (name, script)
            count += 1
        if scripts:
            assert {"kr", "nc", "m"} & page.classes, name
    assert count > 25


def test_operations_shapes_and_words_have_the_classes_of_the_lexer(build_docs: ModuleType) -> None:
    page = build_docs.to_html("```sculpt file=lib/x.sculpt\nat step 3 move (sphere at x radius 2) by y\n```\n", "docs")
    for text, kind in (("at", "kn"), ("step", "kn"), ("3", "m"), ("move", "kr"), ("sphere", "nc"), ("radius", "nt")):
        assert f'<span class="{kind}">{text}</span>' in page
    assert 'class="err"' not in page


def test_no_block_of_any_page_has_a_word_that_its_language_does_not_know(built: dict[str, str]) -> None:
    assert [name for name, text in built.items() if 'class="err"' in text] == []


def test_links_between_pages_lead_somewhere(build_docs: ModuleType, built: dict[str, str]) -> None:
    parsed = {name: Page(text) for name, text in built.items()}
    missing = []
    for name, page in parsed.items():
        for link in page.links:
            path, _, anchor = link.partition("#")
            target = path or name
            if target in parsed:
                if anchor and anchor not in parsed[target].ids:
                    missing.append((name, link))
            elif target.startswith("pictures/"):
                if not (ROOT / "docs" / target).is_file():
                    missing.append((name, link))
            elif target != "style.css" and not (ROOT / target.removeprefix("../../")).exists():
                missing.append((name, link))
    assert missing == []
