// npm leaves out of the lock file what the registry at hand does not carry, such as binaries for other
// systems, and `npm ci` then refuses the file. This adds them by name and version, which is all that
// npm needs to pass over what the machine does not fit. Run it after `npm install` changed the lock.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const path = fileURLToPath(new URL("../package-lock.json", import.meta.url));
const lock = JSON.parse(readFileSync(path, "utf8"));
const SYSTEMS =
  /(?:^|-)(aix|android|darwin|freebsd|linux|netbsd|openbsd|openharmony|sunos|win32)(?:-|$)/;
const PROCESSORS = /(arm64|armv7l|arm|ia32|loong64|mips64el|ppc64|riscv64|s390x|wasm32|x64)/;

const known = (name) =>
  Object.keys(lock.packages).some(
    (place) => place === `node_modules/${name}` || place.endsWith(`/node_modules/${name}`),
  );
for (const parent of Object.values({ ...lock.packages })) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    if (known(name)) continue;
    const own = name.split("/").at(-1);
    const os = SYSTEMS.exec(own)?.[1];
    const cpu = PROCESSORS.exec(own)?.[1];
    const libc =
      os !== "linux" ? null : own.includes("musl") ? "musl" : own.includes("gnu") ? "glibc" : null;
    lock.packages[`node_modules/${name}`] = {
      version,
      ...(cpu && { cpu: [cpu === "armv7l" ? "arm" : cpu] }),
      ...(parent.dev && { dev: true }),
      ...(libc && { libc: [libc] }),
      ...(parent.license && { license: parent.license }),
      optional: true,
      ...(os && { os: [os] }),
    };
    console.log(`added ${name} ${version}`);
  }
}
const sorted = Object.entries(lock.packages).sort(([one], [other]) => (one < other ? -1 : 1));
lock.packages = Object.fromEntries(sorted);
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
