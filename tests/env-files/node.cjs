// Has npm's dotenv (node.cjs dotenv17 MODULES), or Node itself (node.cjs node), read env files; their paths on standard
// input. For each it prints NAME, a tab, and the assignments it read in hexadecimal digits, or "!" where it gave up.
const fs = require("node:fs"), path = require("node:path");
const [which, modules] = process.argv.slice(2);

function read(file) {
  if (which !== "node") {
    // As its config() does.
    return require(path.join(modules, which)).parse(fs.readFileSync(file, { encoding: "utf8" }));
  }
  const before = new Set(Object.keys(process.env)), made = {};
  process.loadEnvFile(file);
  for (const key of Object.keys(process.env)) {
    if (!before.has(key)) {
      made[key] = process.env[key];
      delete process.env[key];
    }
  }
  return made;
}

const hex = ([key, value]) => Buffer.from(`${key}=${value}`, "utf8").toString("hex");
for (const file of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  let made = "!";
  try { made = Object.entries(read(file)).map(hex).join(" "); } catch {}
  process.stdout.write(`${path.basename(file)}\t${made}\n`);
}
