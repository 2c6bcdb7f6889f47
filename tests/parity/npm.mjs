// The real npm's answer: the tree that it would install, without installing it.
//
//     node npm.mjs local|global NODE_VERSION CPU OVERRIDES NAME=RANGE...
//
// Prints a JSON object: place below the root → { name, version, integrity }, for what would be installed on linux with glibc,
// or { error }. A project is asked of the program itself (`npm install --package-lock-only`); what of its lockfile does not run
// on the target is left out as on a first installation. Global packages, for which npm writes no lockfile, are asked of the library that
// does the work. What a tarball brings along in its own node_modules is not in the answer. Registry and cache are npm's own
// settings; NPM_MODULES is the directory of another npm than the one on the PATH.
import { createRequire } from 'node:module'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const npm = (...args) => execFileSync('npm', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
const root = process.env.NPM_MODULES ?? join(npm('root', '-g'), 'npm')
const require = createRequire(join(root, 'package.json'))
const Arborist = require('@npmcli/arborist')
const [mode, nodeVersion, cpu, overrides, ...wants] = process.argv.slice(2)

/** Runs the program as if on another Node. */
const install = path => {
  const preload = join(path, 'preload.cjs')
  writeFileSync(preload, `Object.defineProperty(process, 'version', { value: 'v${nodeVersion}' })`)
  const options = ['--package-lock-only', '--ignore-scripts', '--json', '--os=linux', `--cpu=${cpu}`, '--libc=glibc', '--allow-remote=all']
  const args = ['-r', preload, join(root, 'bin/npm-cli.js'), 'install', ...options, '--no-audit', '--no-fund']
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { cwd: path, encoding: 'utf8', maxBuffer: 1 << 28 })
  if (status !== 0) {
    let error
    try {
      error = JSON.parse(stdout).error
    } catch {
      error = {}
    }
    throw Object.assign(new Error(error.summary || stderr), { code: error.code || undefined })
  }
  return JSON.parse(readFileSync(join(path, 'package-lock.json'), 'utf8')).packages
}

const path = mkdtempSync(join(tmpdir(), 'oclock-npm-'))

const refuse = error => console.log(JSON.stringify({ error: error.code ?? String(error), message: String(error.message).slice(0, 2000) }))
// npm leaves some of its errors to nobody: then it ends with them, which is an answer too.
process.on('uncaughtException', error => {
  refuse(error)
  rmSync(path, { recursive: true, force: true })
  process.exit(0)
})

try {
  const dependencies = Object.fromEntries(wants.map(want => {
    const at = want.indexOf('=')
    return [want.slice(0, at), want.slice(at + 1)]
  }))
  const global = mode === 'global'
  const options = {
    path, global, nodeVersion, cpu, os: 'linux', libc: 'glibc', audit: false, save: true,
    npmVersion: require(join(root, 'package.json')).version,
    registry: process.env.NPM_REGISTRY ?? npm('config', 'get', 'registry'),
    cache: process.env.NPM_CACHE ?? npm('config', 'get', 'cache'),
    preferOffline: process.env.npm_config_prefer_offline === 'true',
  }
  const add = global ? Object.entries(dependencies).map(([name, range]) => `${name}@${range}`) : null
  if (!global) {
    writeFileSync(join(path, 'package.json'), JSON.stringify({ dependencies, overrides: JSON.parse(overrides || '{}') }))
  }
  // The tree of a first installation, before there is a lockfile: read back from one, bundles, tags and what is extraneous count
  // otherwise.
  const tree = await new Arborist(options).buildIdealTree({ ...options, add })
  const nodes = [...tree.inventory.values()].filter(node => !node.isRoot)
  const answer = {}
  const put = (place, name, version, integrity, link) => { answer[place] = { name, version, integrity, link } }
  if (global) {
    for (const node of nodes.filter(node => !node.inert && !node.inDepBundle)) {
      put(node.location, node.packageName, node.version, node.integrity, node.isLink)
    }
  } else {
    // The lockfile has what is extraneous too: npm installs it, and would take it out the next time.
    const inert = new Set(nodes.filter(node => node.inert).map(node => node.location))
    for (const [place, { name, version, integrity, link, inBundle }] of Object.entries(install(path))) {
      if (place === '' || inBundle || inert.has(place)) continue
      put(place, name ?? place.split('node_modules/').pop(), version, integrity, link)
    }
  }
  console.log(JSON.stringify(answer, Object.keys(answer).sort().concat('name', 'version', 'integrity', 'link'), 1))
} catch (error) {
  refuse(error)
} finally {
  rmSync(path, { recursive: true, force: true })
}
