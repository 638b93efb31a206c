"""The documentation as a folder of web pages: ``python tools/build_docs.py [FOLDER]`` (``make docs``).

Every page of docs/ and the README, with Sculpt highlighted as editors show it: by the Pygments lexer that is made from the editors' grammar
(`interactive3d.dsl.pygments_lexer`). Needs no network, and nothing beyond what the tool itself is installed with.
"""

import html
import posixpath
import re
import shutil
import sys
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.style import Style
from pygments.styles import get_style_by_name
from pygments.token import Comment, Error, Keyword, Literal, Name, Number, Operator, Punctuation, String
from pygments.util import ClassNotFound

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ROOT / "out" / "docs"
ORDER = (
    "README",
    "tutorial",
    "language",
    "gestures",
    "stories",
    "window",
    "settings",
    "prior",
    "field",
    "architecture",
)


class Paper(Style):
    """The colours of VS Code's light theme, so that a script looks the same on the page and in the editor."""

    background_color = "#f7f7f5"
    styles = {  # noqa: RUF012
        **get_style_by_name("default").styles,
        Comment: "#008000",
        Keyword: "#af00db",
        Keyword.Constant: "#0000ff",
        Keyword.Declaration: "#0000ff",
        Keyword.Namespace: "#af00db",
        Keyword.Reserved: "#0550ae bold",
        Keyword.Type: "#098658",
        Literal: "#0451a5",
        Number: "#098658",
        String: "#a31515",
        String.Escape: "#ee0000",
        String.Interpol: "#001080",
        Name: "#1f2328",
        Name.Attribute: "#001080",
        Name.Builtin: "#795e26",
        Name.Class: "#267f99",
        Name.Constant: "#0451a5",
        Name.Function: "#795e26",
        Name.Label: "#795e26 bold",
        Name.Tag: "#6e5494",
        Operator: "#1f2328",
        Operator.Word: "#af00db",
        Punctuation: "#1f2328",
        Error: "border:#ff0000",
    }


FORMATTER = HtmlFormatter(style=Paper, cssclass="code")
STYLE = """
body { max-width: 60rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; font: 16px/1.55 system-ui, sans-serif; color: #1f2328; }
nav { border-bottom: 1px solid #ddd; padding-bottom: .5rem; }
nav a { margin-right: 1rem; }
a { color: #0550ae; text-decoration: none; }
a:hover { text-decoration: underline; }
img { max-width: 100%; }
code { font: 14px/1.5 ui-monospace, "SF Mono", Consolas, monospace; background: #f7f7f5; padding: .1em .3em; }
pre { padding: .8rem 1rem; overflow-x: auto; border-radius: 6px; background: #f7f7f5; }
pre code { padding: 0; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border: 1px solid #ddd; padding: .25rem .6rem; vertical-align: top; text-align: left; }
"""


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def coloured(code: str, language: str, attributes: str) -> str:
    """A block of code as HTML; plain where no lexer is known."""
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return f"<pre><code>{html.escape(code)}</code></pre>\n"
    return highlight(code, lexer, FORMATTER)


def reader() -> MarkdownIt:
    """Markdown as the pages are written in."""
    markdown = MarkdownIt("commonmark", {"highlight": coloured}).enable("table")

    def fence(tokens: list[Token], index: int, options: object, env: object) -> str:
        language = (tokens[index].info.split() or ["text"])[0]
        return coloured(tokens[index].content, language, "")

    markdown.renderer.rules["fence"] = fence
    return markdown


def to_html(text: str, home: str) -> str:
    """A page's body. ``home`` is its folder below the root, "" for the README; links to pages become links to their HTML."""
    markdown = reader()
    tokens = markdown.parse(text)
    seen: dict[str, int] = {}
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            name = slug(_plain(tokens[i + 1]))
            count = seen.get(name, 0)
            seen[name] = count + 1
            token.attrSet("id", f"{name}-{count}" if count else name)
        for child in token.children or []:
            for attribute in ("href", "src"):
                target = child.attrGet(attribute)
                if isinstance(target, str):
                    child.attrSet(attribute, linked(target, home))
    return markdown.renderer.render(tokens, markdown.options, {})


def linked(target: str, home: str) -> str:
    """Where a link of a Markdown file leads among the pages, which all lie in one folder."""
    path, mark, anchor = target.partition("#")
    if not path or "://" in path:
        return target
    full = posixpath.normpath(f"{home}/{path}" if home else path)
    if full.startswith("docs/") or full == "README.md":
        full = full.removeprefix("docs/")
        return (full.removesuffix(".md") + ".html" if full.endswith(".md") else full) + mark + anchor
    return f"../../{full}{mark}{anchor}" if not full.startswith("../") else target


def _plain(inline: Token) -> str:
    return "".join(child.content for child in inline.children or [] if child.type in ("text", "code_inline"))


def pages() -> dict[str, Path]:
    """The pages by name, in the order of the menu."""
    found = {"README": ROOT / "README.md"} | {p.stem: p for p in sorted((ROOT / "docs").glob("*.md"))}
    order = [name for name in ORDER if name in found]
    return {name: found[name] for name in [*order, *(n for n in found if n not in order)]}


def build(folder: Path) -> list[Path]:
    """All pages, their style and their pictures, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "docs" / "pictures", folder / "pictures", dirs_exist_ok=True)
    (folder / "style.css").write_text(STYLE + FORMATTER.get_style_defs(), encoding="utf-8")
    found = pages()
    menu = " ".join(f'<a href="{name}.html">{name.lower()}</a>' for name in found)
    written = []
    for name, path in found.items():
        text = path.read_text(encoding="utf-8")
        title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), name)
        body = to_html(text, path.parent.relative_to(ROOT).as_posix().removeprefix("."))
        written.append(folder / f"{name}.html")
        written[-1].write_text(
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f'<link rel="stylesheet" href="style.css"></head>\n<body><nav>{menu}</nav>\n{body}</body></html>\n',
            encoding="utf-8",
        )
    (folder / "index.html").write_text((folder / "README.html").read_text(encoding="utf-8"), encoding="utf-8")
    return written


def main() -> None:
    """See the module's docstring."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    for page in build(folder):
        print(page)


if __name__ == "__main__":
    main()
