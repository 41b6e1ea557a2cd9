#!/usr/bin/env bash
# Makes the page of the VS Code widget manager test, in FOLDER, from the npm registry alone:
# setup.sh FOLDER. The widget manager is the one that VS Code's Jupyter extension ships, as its own
# bundle; its package names dependencies that the registry lacks and the bundle does not need, so it
# is unpacked rather than installed, and held to the hash that npm's lock files use.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
js="$(cd "$here/../../../js" && pwd)"
folder="$1"
rm -rf "$folder"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
cd "$folder"

unpack() { # unpack NAME@VERSION SHA512 SUBFOLDER
  local archive
  archive="$(npm pack --silent "$1")"
  if [ "$(node -p "$hash" "$archive")" != "$2" ]; then
    echo "$1 is not the package that was tested." >&2
    exit 1
  fi
  mkdir "$3"
  tar xzf "$archive" -C "$3" --strip-components=1
  rm "$archive"
}
hash='require("node:crypto").createHash("sha512")
  .update(require("node:fs").readFileSync(process.argv[1])).digest("base64")'
unpack @vscode/jupyter-ipywidgets8@1.0.9 bocCThfa4JDIDd7qCFAfW3HpzHfTLYxOTpTbiDfw4DXOUjKHnr6ObkMBiIkuzYPRybh5bY4FhYLemuDuTvIbpQ== manager
unpack requirejs@2.3.7 DouTG8T1WanGok6Qjg2SXuCMzszOo0eHeH9hDZ5Y4x8Je+9JB38HdTLT4/VA8OaUhBa0JPVHJ0pyBkM1z+pDsw== requirejs
NODE_PATH="$js/node_modules" "$js/node_modules/.bin/esbuild" "$here/page.js" --bundle --format=iife \
  --log-level=error "--alias:widget-manager=$folder/manager/dist/ipywidgets.js" --outfile=page.js
