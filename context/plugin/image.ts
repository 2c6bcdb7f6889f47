// The image's own plugin: proof that plugins load (`image_status`), sessions into the memory, clean child processes.
//
// Nothing here may throw or wait for long: OpenCode runs hooks inside its own work, and a store that is down
// is no reason to disturb a session.

import { spawn } from "node:child_process"
import { type Plugin, type PluginInput, tool } from "@opencode-ai/plugin"

type Client = PluginInput["client"]
type Finished = { code: number | null; stdout: string; stderr: string }
type Turn = { info: { id: string; role: string; time: { created: number } }; parts: { type: string; text?: string; synthetic?: boolean }[] }

const MEMORY = ["/opt/venv/bin/python", "-B", "/root/.opencode/graphiti"]
const STATUS_MS = 30_000
const RECORD_MS = 600_000
const MAX_EPISODE_CHARACTERS = 20_000

// What the server needs and a command of the model does not. A hook can set variables but not remove them;
// empty counts as unset for all of these. This is hygiene, not a wall: children run as the same user.
const HIDDEN_FROM_CHILDREN = [
  // ddtrace-run puts its start-up hook here; any Python outside /opt/venv fails to import it.
  "PYTHONPATH",
  "OPENCODE_SERVER_PASSWORD",
  "OPENAI_API_KEY",
  "FALKORDB_PASSWORD",
  "VALKEY_PASSWORD",
  "DD_API_KEY",
  "DD_APP_KEY",
  "B2_APPLICATION_KEY",
  "B2_APPLICATION_KEY_ID",
]

/** Runs one command of the memory. Always resolves; a code of null means it did not run to its end. */
function runMemory(command: string, input: string, timeout: number): Promise<Finished> {
  return new Promise((resolve) => {
    const [program, ...rest] = MEMORY
    const child = spawn(program, [...rest, command], { stdio: ["pipe", "pipe", "pipe"], timeout })
    const finished: Finished = { code: null, stdout: "", stderr: "" }
    child.stdout.on("data", (data) => (finished.stdout += data))
    child.stderr.on("data", (data) => (finished.stderr += data))
    child.on("error", (error) => resolve({ ...finished, stderr: error.message }))
    child.on("close", (code) => resolve({ ...finished, code }))
    // A child that ends before it reads would otherwise raise EPIPE here.
    child.stdin.on("error", () => {})
    child.stdin.end(input)
  })
}

/** The texts people and models wrote, without tool output, files and what OpenCode added by itself. */
function renderTurn(turn: Turn): string {
  const texts = turn.parts.filter((part) => part.type === "text" && !part.synthetic && part.text).map((part) => part.text)
  return texts.length === 0 ? "" : `${turn.info.role}: ${texts.join("\n")}`
}

/** The last question with its answers, as an episode; undefined when there is nothing to remember. */
function makeEpisode(sessionID: string, title: string, turns: Turn[]) {
  const start = turns.findLastIndex((turn) => turn.info.role === "user")
  const last = turns.at(-1)
  if (start < 0 || !last || last.info.role !== "assistant") return undefined
  const body = turns.slice(start).map(renderTurn).filter(Boolean).join("\n\n")
  if (body === "") return undefined
  return {
    // Idle can be told more than once for the same answer.
    id: `${sessionID}/${last.info.id}`,
    name: title || sessionID,
    body: body.slice(0, MAX_EPISODE_CHARACTERS),
    source: "OpenCode session",
    happened: new Date(last.info.time.created).toISOString(),
  }
}

async function recordSession(client: Client, sessionID: string): Promise<void> {
  const session = (await client.session.get({ path: { id: sessionID } })).data
  // A session with a parent is a subtask; its result is part of the parent's text.
  if (!session || session.parentID) return
  const turns = (await client.session.messages({ path: { id: sessionID } })).data as Turn[] | undefined
  const episode = makeEpisode(sessionID, session.title, turns ?? [])
  if (!episode) return
  const finished = await runMemory("record", JSON.stringify(episode), RECORD_MS)
  const message = (finished.code === 0 ? finished.stdout : finished.stderr).trim().slice(-500)
  await log(client, finished.code === 0 ? "info" : "warn", `episode ${episode.id}: ${message}`)
}

async function log(client: Client, level: "info" | "warn", message: string): Promise<void> {
  await client.app.log({ body: { service: "image-plugin", level, message } }).catch(() => {})
}

export const ImagePlugin: Plugin = async ({ client }) => {
  const recordsSessions =
    Boolean(process.env.OPENAI_API_KEY || process.env.OPENAI_API_KEY_FILE) && process.env.GRAPHITI_RECORD_SESSIONS !== "false"
  return {
    tool: {
      image_status: tool({
        description: "Says whether this server's long-term memory works: language model, FalkorDB, Valkey, waiting episodes.",
        args: {},
        async execute() {
          // The exit code is no part of the answer: tracing may keep the program busy after it has spoken.
          const { stdout, stderr } = await runMemory("status", "", STATUS_MS)
          return stdout.trim() || `the memory's status is unknown: ${stderr.trim() || "no answer in time"}`
        },
      }),
    },
    event: async ({ event }) => {
      if (event.type !== "session.idle" || !recordsSessions) return
      // Not awaited: extraction takes as long as the language model does.
      recordSession(client, event.properties.sessionID).catch((error) => log(client, "warn", `not recorded: ${error}`))
    },
    "shell.env": async (_input, output) => {
      for (const name of HIDDEN_FROM_CHILDREN) if (process.env[name]) output.env[name] = ""
    },
  }
}
