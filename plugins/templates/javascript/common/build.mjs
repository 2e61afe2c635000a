// node build.mjs WIT SDK ROLE SOURCE OUTPUT: from modules to a component.
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { componentize } from "@bytecodealliance/componentize-js";
import { build } from "esbuild";

const [wit, sdk, role, source, output] = process.argv.slice(2);
const bundle = output.replace(/\.wasm$/, ".js");

// One module of all that is imported: the SDK, other files, packages, TypeScript.
await build({
  entryPoints: [source],
  outfile: bundle,
  bundle: true,
  format: "esm",
  target: "es2022",
  alias: { weir: resolve(sdk, "weir.js") },
  external: ["weir:*"],
});
// Without any feature of the engine the component imports nothing but the contract.
const { component } = await componentize({
  sourcePath: bundle,
  witPath: wit,
  worldName: `${role}-plugin`,
  disableFeatures: ["stdio", "random", "clocks", "http", "fetch-event"],
});
await writeFile(output, component);
