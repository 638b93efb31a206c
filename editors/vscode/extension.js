// Starts the language server and connects the editor to it.
const { workspace, window } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

async function activate() {
  const [command, ...args] = workspace.getConfiguration("sculpt").get("server.command");
  client = new LanguageClient(
    "sculpt",
    "Sculpt",
    { command, args },
    { documentSelector: [{ language: "sculpt" }] }
  );
  try {
    await client.start();
  } catch (error) {
    window.showErrorMessage(
      `Sculpt: the language server did not start (${error.message}). ` +
        "Install it with: pip install 'interactive3d[editor]', or set sculpt.server.command."
    );
  }
}

function deactivate() {
  return client ? client.stop() : undefined;
}

module.exports = { activate, deactivate };
