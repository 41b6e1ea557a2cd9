#!/usr/bin/env bash
# Makes a VS Code that runs in a browser, in FOLDER, from the npm registry alone: setup.sh FOLDER
# The package's own installer refuses to run as root and builds what no test needs (kerberos, device
# ids), so its steps are done here: packages as its own lock files say, then the native modules that
# the server loads. Needs a C++ compiler, make and Python.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
folder="$1"
rm -rf "$folder"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$folder/"
cd "$folder"
# node-gyp takes Node's headers from where Node is, if they are there, and so needs no download
prefix="$(node -p 'require("node:path").resolve(process.execPath, "../..")')"
if [ -z "${npm_config_nodedir:-}" ] && [ -f "$prefix/include/node/node.h" ]; then
  export npm_config_nodedir="$prefix"
fi
quiet=(--ignore-scripts --no-audit --no-fund --loglevel=error)
npm ci "${quiet[@]}"
npm rebuild --loglevel=error argon2
server="$folder/node_modules/code-server"
cd "$server/lib/vscode"
npm install "${quiet[@]}" --omit=dev
npm rebuild --loglevel=error @vscode/spdlog native-watchdog
# Terminals. Once it is built, a script of its own fails that only writes a list for other tools.
npm rebuild --loglevel=silent node-pty || node -e 'require("node-pty")'
ln -sfn node_modules node_modules.asar
(cd extensions && npm install "${quiet[@]}" --omit=dev)
node "$server/out/node/entry.js" --version --config "$folder/config.yaml" --user-data-dir "$folder/user"
