"""The language server: diagnostics as you type, completion, hover, definition, references, rename, formatting, folding, colours, symbols,
quick fixes. Needs pygls (`pip install interactive3d[editor]`), which is imported by `make_server` alone.

`python -m interactive3d.dsl.server` serves on standard input and output with the language's own knowledge; `interactive3d lsp` serves with
the engine's settings and priors too.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

from interactive3d.dsl.analysis import Analysis, Site
from interactive3d.dsl.diagnostics import Diagnostic, SculptError, Severity
from interactive3d.dsl.formatter import format_source
from interactive3d.dsl.program import CheckContext
from interactive3d.dsl.source import Source
from interactive3d.dsl.values import Span

if TYPE_CHECKING:
    from pygls.lsp.server import LanguageServer

NAME = "sculpt-language-server"
VERSION = "1"


def path_of(uri: str) -> Path | None:
    """The file of a `file:` address, None for a text that has none."""
    parsed = urlparse(uri)
    return Path(url2pathname(unquote(parsed.path))) if parsed.scheme == "file" else None


def units(text: str) -> int:
    """Length in UTF-16 code units, which the protocol counts columns in."""
    return len(text.encode("utf-16-le")) // 2


class Documents:
    """Open texts and their analyses; what is not open is read from the disk."""

    def __init__(self, context: CheckContext) -> None:
        self.context = replace(context, read_text=self.read)
        self.open: dict[str, str] = {}
        self._analyses: dict[str, Analysis] = {}

    def change(self, uri: str, text: str) -> None:
        self.open[uri] = text.replace("\r\n", "\n")
        # Others may use this file.
        self._analyses.clear()

    def close(self, uri: str) -> None:
        self.open.pop(uri, None)
        self._analyses.clear()

    def read(self, path: Path) -> str:
        wanted = path.resolve()
        for uri, text in self.open.items():
            at = path_of(uri)
            if at is not None and at.resolve() == wanted:
                return text
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as fault:
            raise OSError(f"{path}: not UTF-8") from fault

    def analysis(self, uri: str) -> Analysis:
        known = self._analyses.get(uri)
        if known is None:
            path = path_of(uri)
            name = str(path) if path is not None else uri
            known = self._analyses[uri] = Analysis(self.open.get(uri, ""), self.context, path, name)
        return known

    def uri_of(self, name: str, analysis: Analysis) -> str:
        for uri in self.open:
            path = path_of(uri)
            if name == (str(path) if path is not None else uri):
                return uri
        return Path(name).resolve().as_uri() if name != analysis.source.name else name


class Converter:
    """Between offsets of a text and lines and UTF-16 columns of the protocol."""

    def __init__(self, source: Source, types: Any) -> None:
        self.source = source
        self.types = types

    def offset(self, position: Any) -> int:
        source = self.source
        line = min(position.line, len(source.line_starts) - 1)
        text = source.line_text(line + 1)
        column = 0
        for i, char in enumerate(text):
            if column >= position.character:
                return source.line_starts[line] + i
            column += units(char)
        return source.line_starts[line] + len(text)

    def position(self, offset: int) -> Any:
        line, column = self.source.position(offset)
        return self.types.Position(line=line - 1, character=units(self.source.line_text(line)[: column - 1]))

    def range(self, start: int, end: int) -> Any:
        return self.types.Range(start=self.position(start), end=self.position(end))

    def span(self, span: Span) -> Any:
        return self.range(span.start, span.end)


def make_server(context: CheckContext | None = None) -> "LanguageServer":
    """A server that is ready to be started. ImportError, with what to install, when pygls is missing."""
    try:
        from lsprotocol import types
        from pygls.lsp.server import LanguageServer
    except ImportError as fault:
        raise ImportError("the language server needs pygls: pip install 'interactive3d[editor]'") from fault
    server = LanguageServer(NAME, VERSION, text_document_sync_kind=types.TextDocumentSyncKind.Full)
    _Features(server, Documents(context or CheckContext()), types)
    return server


class _Features:
    """Registers one method per request."""

    def __init__(self, server: "LanguageServer", documents: Documents, types: Any) -> None:
        self.server = server
        self.documents = documents
        self.types = types
        self.published: dict[str, set[str]] = {}
        trigger = types.CompletionOptions(trigger_characters=[".", " "])
        rename = types.RenameOptions(prepare_provider=True)
        actions = types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix])
        features: tuple[tuple[str, Callable[[Any], Any], Any], ...] = (
            (types.TEXT_DOCUMENT_DID_OPEN, self.did_open, None),
            (types.TEXT_DOCUMENT_DID_CHANGE, self.did_change, None),
            (types.TEXT_DOCUMENT_DID_CLOSE, self.did_close, None),
            (types.TEXT_DOCUMENT_COMPLETION, self.completion, trigger),
            (types.TEXT_DOCUMENT_HOVER, self.hover, None),
            (types.TEXT_DOCUMENT_DEFINITION, self.definition, None),
            (types.TEXT_DOCUMENT_REFERENCES, self.references, None),
            (types.TEXT_DOCUMENT_PREPARE_RENAME, self.prepare_rename, None),
            (types.TEXT_DOCUMENT_RENAME, self.rename, rename),
            (types.TEXT_DOCUMENT_FORMATTING, self.formatting, None),
            (types.TEXT_DOCUMENT_FOLDING_RANGE, self.folding, None),
            (types.TEXT_DOCUMENT_DOCUMENT_COLOR, self.colors, None),
            (types.TEXT_DOCUMENT_COLOR_PRESENTATION, self.color_presentation, None),
            (types.TEXT_DOCUMENT_DOCUMENT_SYMBOL, self.symbols, None),
            (types.TEXT_DOCUMENT_CODE_ACTION, self.code_actions, actions),
        )
        for name, method, options in features:
            server.feature(name, options)(_named(method))

    def _at(self, params: Any) -> tuple[Analysis, Converter, int]:
        analysis = self.documents.analysis(params.text_document.uri)
        converter = Converter(analysis.source, self.types)
        offset = converter.offset(params.position) if hasattr(params, "position") else 0
        return analysis, converter, offset

    # Diagnostics.

    def did_open(self, params: Any) -> None:
        self.documents.change(params.text_document.uri, params.text_document.text)
        self._publish_all()

    def did_change(self, params: Any) -> None:
        document = self.server.workspace.get_text_document(params.text_document.uri)
        self.documents.change(params.text_document.uri, document.source)
        self._publish_all()

    def did_close(self, params: Any) -> None:
        uri = params.text_document.uri
        self.documents.close(uri)
        self._send(uri, [])
        self._publish_all()

    def _publish_all(self) -> None:
        for uri in list(self.documents.open):
            self._publish(uri)

    def _publish(self, uri: str) -> None:
        """Those of the file itself, and those of files that it uses and that are not open themselves."""
        analysis = self.documents.analysis(uri)
        by_file: dict[str, list[Any]] = {uri: []}
        sources = {source.name: source for source in analysis.checker.reporter.sources}
        for diagnostic in analysis.diagnostics:
            name = diagnostic.span.file
            target = (
                uri if name not in sources or name == analysis.source.name else self.documents.uri_of(name, analysis)
            )
            if target == uri or target not in self.documents.open:
                by_file.setdefault(target, []).append(self._diagnostic(diagnostic, sources, analysis))
        for gone in self.published.get(uri, set()) - by_file.keys():
            self._send(gone, [])
        self.published[uri] = set(by_file) - {uri}
        for target, items in by_file.items():
            self._send(target, items)

    def _send(self, uri: str, items: list[Any]) -> None:
        self.server.text_document_publish_diagnostics(self.types.PublishDiagnosticsParams(uri=uri, diagnostics=items))

    def _diagnostic(self, diagnostic: Diagnostic, sources: dict[str, Source], analysis: Analysis) -> Any:
        types = self.types
        converter = Converter(sources.get(diagnostic.span.file, analysis.source), types)
        severe = diagnostic.severity is Severity.ERROR
        related = [
            types.DiagnosticRelatedInformation(
                location=types.Location(
                    uri=self.documents.uri_of(item.span.file, analysis),
                    range=Converter(sources.get(item.span.file, analysis.source), types).span(item.span),
                ),
                message=item.text,
            )
            for item in diagnostic.related
        ]
        unused = [types.DiagnosticTag.Unnecessary] if diagnostic.code in ("W0802", "W0803") else None
        return types.Diagnostic(
            range=converter.span(diagnostic.span),
            severity=types.DiagnosticSeverity.Error if severe else types.DiagnosticSeverity.Warning,
            code=diagnostic.code,
            source="sculpt",
            message=diagnostic.message + (f"\n{diagnostic.help}" if diagnostic.help else ""),
            related_information=related or None,
            tags=unused,
        )

    # Questions.

    def completion(self, params: Any) -> Any:
        types = self.types
        kinds = {
            "keyword": types.CompletionItemKind.Keyword,
            "name": types.CompletionItemKind.Variable,
            "gesture": types.CompletionItemKind.Method,
            "function": types.CompletionItemKind.Function,
            "color": types.CompletionItemKind.Color,
            "setting": types.CompletionItemKind.Property,
            "type": types.CompletionItemKind.TypeParameter,
            "choice": types.CompletionItemKind.EnumMember,
            "label": types.CompletionItemKind.Reference,
        }
        analysis, converter, offset = self._at(params)
        text = analysis.source.text
        start = offset
        while start and (text[start - 1].isalnum() or text[start - 1] in "._"):
            start -= 1
        edit = converter.range(start, offset)
        items = [
            types.CompletionItem(
                label=item.text,
                kind=kinds[item.kind],
                detail=item.detail or None,
                text_edit=types.TextEdit(range=edit, new_text=item.text),
            )
            for item in analysis.complete(offset)
        ]
        return types.CompletionList(is_incomplete=False, items=items)

    def hover(self, params: Any) -> Any:
        analysis, converter, offset = self._at(params)
        told = analysis.hover(offset)
        if told is None:
            return None
        word = analysis.word_at(offset)
        content = self.types.MarkupContent(kind=self.types.MarkupKind.Markdown, value=told)
        return self.types.Hover(contents=content, range=converter.range(word[1], word[2]) if word else None)

    def _location(self, site: Site, analysis: Analysis) -> Any:
        sources = {source.name: source for source in analysis.checker.reporter.sources}
        source = sources.get(site.file, analysis.source)
        return self.types.Location(
            uri=self.documents.uri_of(site.file, analysis),
            range=Converter(source, self.types).range(site.start, site.end),
        )

    def definition(self, params: Any) -> Any:
        analysis, _, offset = self._at(params)
        site = analysis.definition(offset)
        return None if site is None else self._location(site, analysis)

    def references(self, params: Any) -> Any:
        analysis, _, offset = self._at(params)
        sites = analysis.uses(offset)
        if not params.context.include_declaration:
            declared = analysis.definition(offset)
            sites = tuple(site for site in sites if site != declared)
        return [self._location(site, analysis) for site in sites]

    def prepare_rename(self, params: Any) -> Any:
        analysis, converter, offset = self._at(params)
        for site in analysis.uses(offset):
            if site.file == analysis.source.name and site.start <= offset <= site.end:
                return converter.range(site.start, site.end)
        return None

    def rename(self, params: Any) -> Any:
        from pygls.exceptions import JsonRpcInvalidParams

        analysis, _, offset = self._at(params)
        try:
            sites = analysis.rename(offset, params.new_name)
        except ValueError as fault:
            raise JsonRpcInvalidParams(message=str(fault)) from fault
        changes: dict[str, list[Any]] = {}
        for site in sites:
            location = self._location(site, analysis)
            edit = self.types.TextEdit(range=location.range, new_text=params.new_name)
            changes.setdefault(location.uri, []).append(edit)
        return self.types.WorkspaceEdit(changes=changes)

    def formatting(self, params: Any) -> Any:
        analysis, converter, _ = self._at(params)
        text = analysis.source.text
        try:
            formatted = format_source(text)
        except SculptError:
            return None
        if formatted == text:
            return []
        return [self.types.TextEdit(range=converter.range(0, len(text)), new_text=formatted)]

    def folding(self, params: Any) -> Any:
        analysis, _, _ = self._at(params)
        return [self.types.FoldingRange(start_line=first - 1, end_line=last - 1) for first, last in analysis.folds()]

    def colors(self, params: Any) -> Any:
        analysis, converter, _ = self._at(params)
        types = self.types
        return [
            types.ColorInformation(
                range=converter.range(start, end), color=types.Color(red=rgb[0], green=rgb[1], blue=rgb[2], alpha=1.0)
            )
            for start, end, rgb in analysis.colors()
        ]

    def color_presentation(self, params: Any) -> Any:
        color = params.color
        channels = (round(channel * 255) for channel in (color.red, color.green, color.blue))
        label = "#" + "".join(f"{channel:02x}" for channel in channels)
        return [self.types.ColorPresentation(label=label)]

    def symbols(self, params: Any) -> Any:
        types = self.types
        kinds = {
            "gesture": types.SymbolKind.Function,
            "param": types.SymbolKind.Property,
            "view": types.SymbolKind.Interface,
            "part": types.SymbolKind.Object,
            "label": types.SymbolKind.Event,
        }
        analysis, converter, _ = self._at(params)
        return [
            types.DocumentSymbol(
                name=symbol.name,
                kind=kinds.get(symbol.kind, types.SymbolKind.Variable),
                range=converter.range(symbol.start, symbol.end),
                selection_range=converter.range(symbol.start, symbol.end),
            )
            for symbol in analysis.symbols()
        ]

    def code_actions(self, params: Any) -> Any:
        """The cure of every diagnostic in a range that knows one."""
        types = self.types
        uri = params.text_document.uri
        analysis, converter, _ = self._at(params)
        low, high = converter.offset(params.range.start), converter.offset(params.range.end)
        sources = {source.name: source for source in analysis.checker.reporter.sources}
        actions = []
        for diagnostic in analysis.diagnostics:
            fix, span = diagnostic.fix, diagnostic.span
            if fix is None or span.file != analysis.source.name or span.end < low or span.start > high:
                continue
            edit = types.TextEdit(range=converter.span(fix.span), new_text=fix.replacement)
            actions.append(
                types.CodeAction(
                    title=f"Write `{fix.replacement}`",
                    kind=types.CodeActionKind.QuickFix,
                    diagnostics=[self._diagnostic(diagnostic, sources, analysis)],
                    edit=types.WorkspaceEdit(changes={uri: [edit]}),
                )
            )
        return actions


def _named(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """pygls marks the functions it is given, which bound methods do not allow."""

    def answer(params: Any) -> Any:
        return method(params)

    answer.__name__ = method.__name__
    return answer


def serve(context: CheckContext | None = None) -> None:
    """Answers on standard input and output until the editor goes."""
    make_server(context).start_io()


if __name__ == "__main__":
    serve()
