// How every bundle of the front end is made.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { transform } from "esbuild";

const js = fileURLToPath(new URL("..", import.meta.url));

/** Style sheets are bundled as minified text, put into each view's shadow root. */
const styleText = {
  name: "style-text",
  setup(bundle) {
    bundle.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const css = readFileSync(path, "utf8");
      const { code } = await transform(css, { loader: "css", minify: true, charset: "utf8" });
      return { contents: code.trimEnd(), loader: "text" };
    });
  },
};

export const common = {
  absWorkingDir: js,
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  plugins: [styleText],
  logLevel: "warning",
};
