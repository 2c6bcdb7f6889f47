// The real npm's answer: the tree that its own arborist plans, without installing it.
//
//     node npm.mjs local|global NODE_VERSION NAME=RANGE...
//
// Prints a JSON object: place below the root → { name, version, integrity }, for what would be installed on linux/x64 with
// glibc, extraneous packages included, since npm installs them. What a tarball brings along in its own node_modules is not
// in it. Registry and cache are npm's own settings.
import { createRequire } from 'node:module'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const npm = (...args) => execFileSync('npm', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
const root = process.env.NPM_MODULES ?? join(npm('root', '-g'), 'npm')
const require = createRequire(join(root, 'package.json'))
const Arborist = require('@npmcli/arborist')
const [mode, nodeVersion, ...wants] = process.argv.slice(2)

const path = mkdtempSync(join(tmpdir(), 'oclock-npm-'))
try {
  const dependencies = Object.fromEntries(wants.map(want => {
    const at = want.indexOf('=')
    return [want.slice(0, at), want.slice(at + 1)]
  }))
  const global = mode === 'global'
  if (!global) writeFileSync(join(path, 'package.json'), JSON.stringify({ dependencies }))
  const options = {
    path, global, nodeVersion,
    npmVersion: require(join(root, 'package.json')).version,
    registry: process.env.NPM_REGISTRY ?? npm('config', 'get', 'registry'),
    cache: process.env.NPM_CACHE ?? npm('config', 'get', 'cache'),
    os: 'linux', cpu: 'x64', libc: 'glibc', audit: false, save: true,
  }
  const add = global ? Object.entries(dependencies).map(([name, range]) => `${name}@${range}`) : null
  const tree = await new Arborist(options).buildIdealTree({ ...options, add })
  const answer = {}
  for (const node of [...tree.inventory.values()].filter(node => !node.isRoot && !node.inert)) {
    answer[node.location] = { name: node.packageName, version: node.version, integrity: node.integrity, link: node.isLink }
  }
  console.log(JSON.stringify(answer, Object.keys(answer).sort().concat('name', 'version', 'integrity', 'link'), 1))
} catch (error) {
  console.log(JSON.stringify({ error: error.code ?? String(error) }))
} finally {
  rmSync(path, { recursive: true, force: true })
}
