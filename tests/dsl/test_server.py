"""The language server, driven over its protocol as an editor drives it."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pygls", reason="the language server needs pygls (extra: editor)")

# Starting Python and making the grammar's tables takes seconds on a busy machine.
PATIENCE_SECONDS = 60.0

SCRIPT = """prompt "a 🐉 dragon"
steps 1200
part head = sphere at (0, 0.3, 0.3) radius 0.15
at step 300 {
  paint haed #ff8800
  move head by (0, 0.1, 0)
}
"""


class Editor:
    """A client of a few lines: requests wait for their answer, notifications are kept."""

    def __init__(self, *command: str) -> None:
        command = (sys.executable, "-m", *(command or ("interactive3d.dsl.server",)))
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self.published: dict[str, list[dict[str, Any]]] = {}
        self.count = 0
        self.capabilities: dict[str, Any] = {}
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while header := stream.readline():
            length = 0
            while header.strip():
                name, _, value = header.decode().partition(":")
                if name.lower() == "content-length":
                    length = int(value)
                header = stream.readline()
            self.messages.put(json.loads(stream.read(length)))

    def _write(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.process.stdin.flush()

    def tell(self, method: str, params: Any) -> None:
        self._write({"method": method, "params": params})

    def ask(self, method: str, params: Any) -> Any:
        answer = self.answer(method, params)
        assert "error" not in answer, answer
        return answer["result"]

    def answer(self, method: str, params: Any) -> dict[str, Any]:
        self.count += 1
        self._write({"id": self.count, "method": method, "params": params})
        while True:
            message = self.messages.get(timeout=PATIENCE_SECONDS)
            if message.get("id") == self.count and "method" not in message:
                return message
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "textDocument/publishDiagnostics":
            self.published[message["params"]["uri"]] = message["params"]["diagnostics"]

    def close(self) -> int:
        """The exit code."""
        self.listener.join(timeout=PATIENCE_SECONDS)
        code = self.process.wait(timeout=PATIENCE_SECONDS)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        return code

    def diagnostics(self, uri: str) -> list[dict[str, Any]]:
        """The newest ones; a question in between makes sure that they have come."""
        self.ask("textDocument/foldingRange", {"textDocument": {"uri": uri}})
        return self.published[uri]

    def open(self, uri: str, text: str) -> None:
        document = {"uri": uri, "languageId": "sculpt", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": document})

    def change(self, uri: str, text: str, version: int) -> None:
        document = {"uri": uri, "version": version}
        self.tell("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]})


@contextmanager
def connected(*command: str) -> Iterator[Editor]:
    client = Editor(*command)
    client.capabilities = client.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})[
        "capabilities"
    ]
    client.tell("initialized", {})
    yield client
    client.ask("shutdown", None)
    client.tell("exit", None)
    assert client.close() == 0


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    with connected() as client:
        yield client


def place(text: str, mark: str) -> dict[str, int]:
    """Where `mark` begins, as the protocol counts: UTF-16 units."""
    before = text[: text.index(mark)]
    line = before.count("\n")
    column = before.rpartition("\n")[2]
    return {"line": line, "character": len(column.encode("utf-16-le")) // 2}


def at(uri: str, text: str, mark: str, shift: int = 0) -> dict[str, Any]:
    position = place(text, mark)
    position["character"] += shift
    return {"textDocument": {"uri": uri}, "position": position}


@pytest.fixture
def opened(editor: Editor, tmp_path: Path) -> tuple[Editor, str]:
    uri = (tmp_path / "a.sculpt").as_uri()
    editor.open(uri, SCRIPT)
    return editor, uri


def test_what_it_can_do(editor: Editor) -> None:
    can = editor.capabilities
    for name in (
        "completion",
        "hover",
        "definition",
        "references",
        "rename",
        "documentFormatting",
        "foldingRange",
        "color",
        "documentSymbol",
    ):
        assert can[f"{name}Provider"]
    assert can["textDocumentSync"]["change"] == 1


def test_diagnostics_as_one_types(opened: tuple[Editor, str]) -> None:
    editor, uri = opened
    (fault,) = editor.diagnostics(uri)
    assert (fault["code"], fault["severity"], fault["source"]) == ("E0207", 1, "sculpt")
    assert fault["range"] == {"start": place(SCRIPT, "haed"), "end": {**place(SCRIPT, "haed"), "character": 12}}
    editor.change(uri, SCRIPT.replace("haed", "head"), 2)
    assert editor.diagnostics(uri) == []
    editor.change(uri, "let a = \n", 3)
    assert {d["code"] for d in editor.diagnostics(uri)} == {"E0111"}


def test_what_the_engine_knows_is_shown_too(tmp_path: Path) -> None:
    """`interactive3d lsp`: a folder that is no model, while it is typed, and the file that a guidance lacks."""
    text = 'prompt "a red fox"\nsteps 9\nguidance diffusers "./sd-2.1"\n'
    uri = (tmp_path / "fox.sculpt").as_uri()
    with connected("interactive3d.runtime.cli", "lsp") as engine:
        engine.open(uri, text)
        (fault,) = engine.diagnostics(uri)
        assert (fault["code"], fault["severity"]) == ("W0809", 2)
        start = place(text, '"./sd')
        assert fault["range"]["start"] == start and fault["range"]["end"]["character"] == start["character"] + 10
        assert str(tmp_path / "sd-2.1") in fault["message"]
        (tmp_path / "sd-2.1").mkdir()
        (tmp_path / "sd-2.1" / "model_index.json").write_text("{}")
        engine.change(uri, text + "\n", 2)
        assert engine.diagnostics(uri) == []
        engine.change(uri, text.replace('diffusers "./sd-2.1"', 'reference "fox.glb"'), 3)
        assert [d["code"] for d in engine.diagnostics(uri)] == ["E0707"]


def test_a_quick_fix_cures(opened: tuple[Editor, str]) -> None:
    editor, uri = opened
    (fault,) = editor.diagnostics(uri)
    wanted = {"textDocument": {"uri": uri}, "range": fault["range"], "context": {"diagnostics": [fault]}}
    (action,) = editor.ask("textDocument/codeAction", wanted)
    assert action["edit"]["changes"][uri][0]["newText"] == "head"
    assert action["edit"]["changes"][uri][0]["range"] == fault["range"]


def test_columns_count_in_utf16(editor: Editor, tmp_path: Path) -> None:
    uri = (tmp_path / "b.sculpt").as_uri()
    text = 'prompt "🐉🐉" haed\nsteps 10\n'
    editor.open(uri, text)
    fault = next(d for d in editor.diagnostics(uri) if d["code"] != "W0804")
    assert fault["range"]["start"] == {"line": 0, "character": 14}


def test_completion_hover_definition_references(opened: tuple[Editor, str]) -> None:
    editor, uri = opened
    items = editor.ask("textDocument/completion", at(uri, SCRIPT, "haed", 2))["items"]
    assert [item for item in items if not item["label"].startswith("ha")] == []
    items = editor.ask("textDocument/completion", at(uri, SCRIPT, "haed"))["items"]
    offered = {item["label"]: item for item in items}
    assert {"head", "all", "sphere"} <= set(offered)
    assert offered["head"]["textEdit"]["range"]["start"] == place(SCRIPT, "haed")
    told = editor.ask("textDocument/hover", at(uri, SCRIPT, "head by"))
    assert "sphere at (0, 0.3, 0.3)" in told["contents"]["value"]
    assert editor.ask("textDocument/hover", at(uri, SCRIPT, "🐉")) is None
    found = editor.ask("textDocument/definition", at(uri, SCRIPT, "head by", 1))
    assert found == {"uri": uri, "range": {"start": place(SCRIPT, "head ="), "end": {"line": 2, "character": 9}}}
    wanted = {**at(uri, SCRIPT, "head ="), "context": {"includeDeclaration": True}}
    assert [r["range"]["start"] for r in editor.ask("textDocument/references", wanted)] == [
        place(SCRIPT, "head ="),
        place(SCRIPT, "head by"),
    ]


def test_rename(opened: tuple[Editor, str]) -> None:
    editor, uri = opened
    assert editor.ask("textDocument/prepareRename", at(uri, SCRIPT, "head by"))["start"] == place(SCRIPT, "head by")
    edits = editor.ask("textDocument/rename", {**at(uri, SCRIPT, "head by"), "newName": "skull"})["changes"][uri]
    assert sorted(edit["range"]["start"]["line"] for edit in edits) == [2, 5]
    refused = editor.answer("textDocument/rename", {**at(uri, SCRIPT, "head by"), "newName": "size"})
    assert "words of the language" in refused["error"]["message"]


def test_formatting_folding_colours_symbols(opened: tuple[Editor, str]) -> None:
    editor, uri = opened
    options = {"textDocument": {"uri": uri}, "options": {"tabSize": 2, "insertSpaces": True}}
    (edit,) = editor.ask("textDocument/formatting", options)
    assert edit["newText"].startswith('prompt "a 🐉 dragon"\nsteps  1200\n')
    editor.change(uri, edit["newText"], 2)
    assert editor.ask("textDocument/formatting", options) == []
    editor.change(uri, "let a = (", 3)
    assert editor.ask("textDocument/formatting", options) is None
    editor.change(uri, SCRIPT, 4)
    assert editor.ask("textDocument/foldingRange", {"textDocument": {"uri": uri}}) == [{"startLine": 3, "endLine": 5}]
    (color,) = editor.ask("textDocument/documentColor", {"textDocument": {"uri": uri}})
    assert color["range"]["start"] == place(SCRIPT, "#ff8800")
    shown = {"textDocument": {"uri": uri}, "color": color["color"], "range": color["range"]}
    assert editor.ask("textDocument/colorPresentation", shown)[0]["label"] == "#ff8800"
    (symbol,) = editor.ask("textDocument/documentSymbol", {"textDocument": {"uri": uri}})
    assert symbol["name"] == "head"


def test_used_files_are_watched_while_they_are_open(editor: Editor, tmp_path: Path) -> None:
    (tmp_path / "lib.sculpt").write_text("let tall = 1 +\n")
    main, library = (tmp_path / "main.sculpt").as_uri(), (tmp_path / "lib.sculpt").as_uri()
    text = 'prompt "x"\nsteps 10\nuse "lib.sculpt" as lib\nat step 3 move all by (0, lib.tall, 0)\n'
    editor.open(main, text)
    assert editor.diagnostics(main) == []
    assert [d["code"] for d in editor.published[library]] == ["E0111"]
    editor.open(library, "let tall = 1\n")
    assert editor.diagnostics(main) == []
    assert [d["code"] for d in editor.published[library]] == ["W0802"]
    found = editor.ask("textDocument/definition", at(main, text, "tall"))
    assert found["uri"] == library
    editor.change(library, "let high = 1\n", 2)
    assert [d["code"] for d in editor.diagnostics(main)] == ["E0213"]
