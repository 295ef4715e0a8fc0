// Builds the pages into gateway/http/static/: bundled scripts and styles with their content's hash in the name, and the
// two HTML shells that refer to them. `--test` bundles the unit tests into .test/ instead.
import { build } from "esbuild";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";

const TARGET = ["chrome109", "firefox115", "safari16.4"];

async function pages() {
  const out = new URL("../gateway/http/static/", import.meta.url).pathname;
  await mkdir(out, { recursive: true });
  for (const old of await readdir(out)) await rm(out + old);
  const made = await build({
    entryPoints: ["src/room.ts", "src/operator.ts", "src/page.css"],
    outdir: out,
    entryNames: "[name]-[hash]",
    bundle: true,
    minify: true,
    format: "esm",
    target: TARGET,
    charset: "utf8",
    legalComments: "none",
    metafile: true,
    logLevel: "warning",
    absWorkingDir: new URL(".", import.meta.url).pathname,
  });
  const names = new Map();
  for (const [path, output] of Object.entries(made.metafile.outputs)) {
    if (output.entryPoint) names.set(basename(output.entryPoint), basename(path));
  }
  for (const shell of ["room.html", "operator.html"]) {
    const text = await readFile(new URL(`src/${shell}`, import.meta.url), "utf8");
    const filled = text.replace(/\{\{([\w.]+)\}\}/g, (_, name) => {
      if (!names.has(name)) throw new Error(`${shell} refers to ${name}, which was not built`);
      return names.get(name);
    });
    await writeFile(out + shell, filled);
  }
}

async function tests() {
  const folder = new URL("test/", import.meta.url).pathname;
  const files = (await readdir(folder)).filter((name) => name.endsWith(".test.ts"));
  await rm(new URL(".test/", import.meta.url), { recursive: true, force: true });
  await build({
    entryPoints: files.map((name) => folder + name),
    outdir: new URL(".test/", import.meta.url).pathname,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node18",
    sourcemap: "inline",
    logLevel: "warning",
  });
}

await (process.argv.includes("--test") ? tests() : pages());
