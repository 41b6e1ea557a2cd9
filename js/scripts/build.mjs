// Builds what the Python package carries: lmkit/static/{core,widget}.js and lmkit/labextension/.
// The labextension, the slow part, is built again only when what goes into it has changed.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { common } from "./bundle.mjs";

const js = fileURLToPath(new URL("..", import.meta.url));
const staticDir = fileURLToPath(new URL("../../lmkit/static", import.meta.url));
const labextension = fileURLToPath(new URL("../../lmkit/labextension", import.meta.url));
const require = createRequire(import.meta.url);

mkdirSync(staticDir, { recursive: true });
await Promise.all([
  build({
    ...common,
    entryPoints: ["core/src/index.ts"],
    outfile: `${staticDir}/core.js`,
    minify: true,
  }),
  build({
    ...common,
    entryPoints: ["widget/src/index.ts"],
    outfile: `${staticDir}/widget.js`,
    minify: true,
  }),
  build({
    ...common,
    entryPoints: ["jupyterlab/src/index.ts"],
    outfile: "jupyterlab/lib/index.js",
    external: ["@jupyterlab/*", "@lumino/*"],
  }),
]);

const inputs = [
  "jupyterlab/lib/index.js",
  "jupyterlab/package.json",
  "jupyterlab/schema/side-panel.json",
  "jupyterlab/style/index.css",
  "package-lock.json",
];
const hash = createHash("sha256");
for (const input of inputs) hash.update(readFileSync(`${js}/${input}`));
const digest = hash.digest("hex");
const stamp = `${js}/jupyterlab/lib/labextension.sha256`;
const built = existsSync(`${labextension}/package.json`) && existsSync(stamp);
if (!built || readFileSync(stamp, "utf8") !== digest) {
  rmSync(labextension, { recursive: true, force: true });
  const core = require.resolve("@jupyterlab/core-meta/core.package.json");
  const builder = require.resolve("@jupyter/builder/lib/build-labextension.js");
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [builder, "--core-package-file", core, `${js}/jupyterlab`],
    { encoding: "utf8" },
  );
  if (status !== 0) {
    // it reports its progress on stderr too: worth reading only when it failed
    console.error(stdout, stderr);
    process.exit(1);
  }
  // tells pip and Jupyter where the extension comes from
  const install = {
    packageManager: "python",
    packageName: "lmkit-core",
    uninstallInstructions: "pip uninstall lmkit-core",
  };
  writeFileSync(`${labextension}/install.json`, `${JSON.stringify(install, null, 2)}\n`);
  writeFileSync(stamp, digest);
}
// for make, which goes by times
utimesSync(`${labextension}/package.json`, new Date(), new Date());
for (const file of ["core.js", "widget.js"]) {
  console.log(`lmkit/static/${file}: ${readFileSync(`${staticDir}/${file}`).length} bytes`);
}
console.log("lmkit/labextension: built");
