// Whether npm finds a tree valid that is not its own: writes it as a lockfile and asks `npm ls --all`.
//
//     node npm-ls.mjs local NODE_VERSION CPU OVERRIDES NAME=RANGE... < '{"node_modules/a": "a@1.0.0"}' 
//
// Prints `valid`, or what npm says. Settings as for npm.mjs.
import { createRequire } from 'node:module'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = process.env.NPM_MODULES
const require = createRequire(join(root, 'package.json'))
const pacote = require('pacote')
const [, , , overrides, ...wants] = process.argv.slice(2)
const options = { registry: process.env.NPM_REGISTRY, cache: process.env.NPM_CACHE, fullMetadata: true, preferOffline: true }

const path = mkdtempSync(join(tmpdir(), 'oclock-npm-'))
try {
  const dependencies = Object.fromEntries(wants.map(want => {
    const at = want.indexOf('=')
    return [want.slice(0, at), want.slice(at + 1)]
  }))
  const manifest = { name: 'judged', version: '1.0.0', dependencies, overrides: JSON.parse(overrides || '{}') }
  writeFileSync(join(path, 'package.json'), JSON.stringify(manifest))
  const packages = { '': manifest }
  const bundles = []
  for (const [place, package_] of Object.entries(JSON.parse(readFileSync(0, 'utf8')))) {
    const { name, version, dist, bundleDependencies, dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta } = await pacote.manifest(package_, options)
    for (const bundled of bundleDependencies || []) bundles.push([`${name}@${version}`, bundled])
    const { tarball: resolved, integrity } = dist
    packages[place] = { name, version, resolved, integrity, dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta }
  }
  writeFileSync(join(path, 'package-lock.json'), JSON.stringify({ name: 'judged', version: '1.0.0', lockfileVersion: 3, requires: true, packages }))
  const args = [join(root, 'bin/npm-cli.js'), 'ls', '--all', '--package-lock-only', '--json']
  const { stdout, status } = spawnSync(process.execPath, args, { cwd: path, encoding: 'utf8', maxBuffer: 1 << 28 })
  // What a tarball brings along is not among the places.
  const isBundled = problem => bundles.some(([owner, name]) => problem.startsWith(`missing: ${name}@`) && problem.endsWith(` by ${owner}`))
  const problems = status === 0 ? [] : (JSON.parse(stdout).problems ?? ['npm ls fails']).filter(problem => !isBundled(problem))
  console.log(problems.length ? `not valid: ${problems.slice(0, 5).join('; ')}` : 'valid')
} catch (error) {
  console.log(`not judged: ${error.message}`)
} finally {
  rmSync(path, { recursive: true, force: true })
}
