// The real npm's answers for many small made-up registries: the trees that its arborist plans.
//
//     node npm-universes.mjs < '[{ "registry": URL, "mode": "local", "dependencies": {…}, "overrides": {…} }, …]'
//
// Prints a JSON array: for each an object, place below the root → `name@version`, or { error }. NPM_MODULES as for npm.mjs.
import { createRequire } from 'node:module'
import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const require = createRequire(join(process.env.NPM_MODULES, 'package.json'))
const Arborist = require('@npmcli/arborist')
const npmVersion = require(join(process.env.NPM_MODULES, 'package.json')).version
const answers = []
const top = mkdtempSync(join(tmpdir(), 'oclock-universes-'))
try {
  for (const [at, { registry, mode, dependencies, overrides }] of JSON.parse(readFileSync(0, 'utf8')).entries()) {
    const path = join(top, `p${at}`)
    const global = mode === 'global'
    mkdirSync(path)
    if (!global) writeFileSync(join(path, 'package.json'), JSON.stringify({ dependencies, overrides }))
    const options = {
      path, global, registry, npmVersion, nodeVersion: '20.20.2', cache: join(top, `cache${at}`),
      cpu: 'x64', os: 'linux', libc: 'glibc', audit: false, save: true, fetchRetries: 0,
    }
    const add = global ? Object.entries(dependencies).map(([name, range]) => `${name}@${range}`) : null
    try {
      const tree = await new Arborist(options).buildIdealTree({ ...options, add })
      const nodes = [...tree.inventory.values()].filter(node => !node.isRoot && !node.inert && !node.inDepBundle)
      const links = nodes.filter(node => node.isLink)
      answers.push(links.length
        ? { error: 'LINK' }
        : Object.fromEntries(nodes.map(node => [node.location, `${node.packageName}@${node.version}`])))
    } catch (error) {
      answers.push({ error: error.code ?? String(error) })
    }
  }
} finally {
  rmSync(top, { recursive: true, force: true })
}
console.log(JSON.stringify(answers))
