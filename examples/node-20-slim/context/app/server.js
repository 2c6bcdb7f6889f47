// Answers with the versions that are locked, and runs the Python environment once to show that it is there.
const { createServer } = require("node:http");
const { execFileSync } = require("node:child_process");
const semver = require("/usr/local/lib/node_modules/semver");

const answer = {
  node: process.version,
  isTwenty: semver.satisfies(process.version, "20.x"),
  idna: execFileSync("python", ["-c", "import idna; print(idna.__version__)"], { encoding: "utf8" }).trim(),
};

if (process.argv.includes("--once")) {
  console.log(JSON.stringify(answer));
} else {
  createServer((_, response) => response.end(JSON.stringify(answer))).listen(process.env.PORT);
  process.on("SIGTERM", () => process.exit(0));
}
