// Copies what pages need from node_modules into web/static/vendor, noVNC as one bundle. Run by `npm run build`.
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const web = dirname(fileURLToPath(import.meta.url));
const from = join(web, "../node_modules");
const vendor = join(web, "static/vendor");

const FILES = {
  "bootstrap/dist/css/bootstrap.min.css": "bootstrap.min.css",
  "bootstrap/dist/js/bootstrap.bundle.min.js": "bootstrap.bundle.min.js",
  "bootstrap-icons/icons": "icons",
  "htmx.org/dist/htmx.min.js": "htmx.min.js",
  "idiomorph/dist/idiomorph-ext.min.js": "idiomorph-ext.min.js",
  "socket.io-client/dist/socket.io.esm.min.js": "socket.io.esm.min.js",
  "uplot/dist/uPlot.esm.js": "uplot.esm.js",
  "uplot/dist/uPlot.min.css": "uplot.min.css",
  "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2": "inter-latin.woff2",
  "@fontsource-variable/inter/files/inter-latin-ext-wght-normal.woff2": "inter-latin-ext.woff2",
};

rmSync(vendor, { recursive: true, force: true });
mkdirSync(vendor, { recursive: true });
for (const [source, target] of Object.entries(FILES)) {
  cpSync(join(from, source), join(vendor, target), { recursive: true });
}

buildSync({
  entryPoints: [join(from, "@novnc/novnc/core/rfb.js")],
  outfile: join(vendor, "rfb.js"),
  bundle: true,
  minify: true,
  format: "esm",
});
