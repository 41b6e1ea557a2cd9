// tsc for each workspace's sources, which know no Node, and for all tests, which do.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const js = fileURLToPath(new URL("..", import.meta.url));
const { workspaces } = JSON.parse(readFileSync(`${js}/package.json`, "utf8"));
for (const project of [...workspaces, "tsconfig.tests.json"]) {
  if (!existsSync(`${js}/${project}`)) continue;
  const { status } = spawnSync("npx", ["tsc", "-p", project], { cwd: js, stdio: "inherit" });
  if (status !== 0) process.exitCode = 1;
}
