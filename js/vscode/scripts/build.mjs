// Builds the extension and packs it: dist/lmkit.vsix, with nothing in it that is not listed here.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { common } from "../../scripts/bundle.mjs";
import { zip } from "./zip.mjs";

const here = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const root = (path) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const MOST_BYTES = 1_000_000;

const out = here("dist");
mkdirSync(out, { recursive: true });
const node = {
  ...common,
  format: "cjs",
  platform: "node",
  target: "node18",
  external: ["vscode"],
  minify: true,
};
const page = { ...common, minify: true };
await Promise.all([
  build({
    ...node,
    entryPoints: ["vscode/src/extension.ts"],
    outfile: `${out}/extension.js`,
    // the extension tells how long it took itself, its modules included
    banner: { js: "const lmkitBegan=performance.now();" },
  }),
  build({
    ...node,
    platform: "browser",
    entryPoints: ["vscode/src/web.ts"],
    outfile: `${out}/web.js`,
  }),
  build({ ...page, entryPoints: ["vscode/src/renderer.ts"], outfile: `${out}/renderer.js` }),
  build({
    ...page,
    format: "iife",
    entryPoints: ["vscode/src/page.ts"],
    outfile: `${out}/page.js`,
  }),
  // not packed: what tests and measurements run inside the extension host
  ...[
    ["index", "tests"],
    ["measure", "measure"],
  ].map(([name, made]) =>
    build({
      ...node,
      minify: false,
      entryPoints: [`vscode/test/host/${name}.ts`],
      outfile: `${out}/host-${made}.cjs`,
    }),
  ),
]);

// The page stands inside a document: nothing in it may end its script element, or open a comment.
if (/<\/script|<!--/i.test(readFileSync(`${out}/page.js`, "utf8"))) {
  throw new Error("page.js holds what HTML would read as markup.");
}

const manifest = JSON.parse(readFileSync(here("manifest.json"), "utf8"));
const words = JSON.parse(readFileSync(here("package.nls.json"), "utf8"));
const escaped = (text) => text.replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);
const files = new Map([
  ["extension/package.json", readFileSync(here("manifest.json"))],
  ["extension/readme.md", readFileSync(here("README.md"))],
  ["extension/LICENSE.txt", readFileSync(root("LICENSE"))],
]);
for (const name of ["extension.js", "web.js", "renderer.js", "page.js"]) {
  files.set(`extension/${name}`, readFileSync(`${out}/${name}`));
}
const asTheyStand = [
  "media/icon.png",
  "media/lmkit.svg",
  "package.nls.json",
  "package.nls.zh-cn.json",
  "l10n/bundle.l10n.zh-cn.json",
];
for (const name of asTheyStand) {
  files.set(`extension/${name}`, readFileSync(here(name)));
}
const types = {
  js: "application/javascript",
  json: "application/json",
  md: "text/markdown",
  png: "image/png",
  svg: "image/svg+xml",
  txt: "text/plain",
  vsixmanifest: "text/xml",
};
files.set(
  "[Content_Types].xml",
  Buffer.from(
    `<?xml version="1.0" encoding="utf-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
${Object.entries(types)
  .map(([suffix, type]) => `<Default Extension=".${suffix}" ContentType="${type}"/>`)
  .join("\n")}
</Types>
`,
  ),
);
const property = (id, value) =>
  `<Property Id="Microsoft.VisualStudio.${id}" Value="${escaped(value)}"/>`;
files.set(
  "extension.vsixmanifest",
  Buffer.from(`<?xml version="1.0" encoding="utf-8"?>
<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011">
<Metadata>
<Identity Language="en-US" Id="${manifest.name}" Version="${manifest.version}" Publisher="${manifest.publisher}"/>
<DisplayName>${escaped(manifest.displayName)}</DisplayName>
<Description xml:space="preserve">${escaped(words.description)}</Description>
<Tags>${escaped(manifest.keywords.join(","))}</Tags>
<Categories>${escaped(manifest.categories.join(","))}</Categories>
<Properties>
${property("Code.Engine", manifest.engines.vscode)}
${property("Code.ExtensionKind", manifest.extensionKind.join(","))}
</Properties>
<License>extension/LICENSE.txt</License>
<Icon>extension/media/icon.png</Icon>
</Metadata>
<Installation><InstallationTarget Id="Microsoft.VisualStudio.Code"/></Installation>
<Dependencies/>
<Assets>
<Asset Type="Microsoft.VisualStudio.Code.Manifest" Path="extension/package.json" Addressable="true"/>
<Asset Type="Microsoft.VisualStudio.Services.Content.Details" Path="extension/readme.md" Addressable="true"/>
<Asset Type="Microsoft.VisualStudio.Services.Content.License" Path="extension/LICENSE.txt" Addressable="true"/>
<Asset Type="Microsoft.VisualStudio.Services.Icons.Default" Path="extension/media/icon.png" Addressable="true"/>
</Assets>
</PackageManifest>
`),
);
const vsix = zip(files);
if (vsix.length > MOST_BYTES) {
  console.error(`The extension has ${vsix.length} bytes; at most ${MOST_BYTES} are allowed.`);
  process.exit(1);
}
mkdirSync(root("dist"), { recursive: true });
writeFileSync(root("dist/lmkit.vsix"), vsix);
console.log(`dist/lmkit.vsix: ${vsix.length} bytes`);
