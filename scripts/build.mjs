// Builds dist/ from src/ with tsc. Does nothing when nothing changed since the last build, so that `npm start` is quick.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync, cpSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);
const stampFile = 'dist/.build-stamp';

function files(dir) {
  return readdirSync(dir, { withFileTypes: true })
    .flatMap((e) => (e.isDirectory() ? files(join(dir, e.name)) : [join(dir, e.name)]))
    .sort();
}

const hash = createHash('sha256');
for (const f of [...files('src'), 'tsconfig.json', 'package-lock.json', 'scripts/build.mjs'])
  hash.update(f).update('\0').update(readFileSync(f));
const stamp = hash.digest('hex');

if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) process.exit(0);
rmSync('dist', { recursive: true, force: true });
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
const built = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.json'], { stdio: 'inherit' });
if (built.status !== 0) process.exit(built.status ?? 1);
// tsc turns `./x.ts` into `./x.js` in what it emits, but not in declarations, where a consumer's compiler looks for what is beside them.
for (const f of files('dist').filter((name) => name.endsWith('.d.ts'))) {
  const text = readFileSync(f, 'utf8');
  writeFileSync(f, text.replace(/((?:from|import) ?\(?)(['"])(\.{1,2}\/[^'"\n]+)\.ts\2/g, '$1$2$3.js$2'));
}
// What is not TypeScript goes along as it is.
for (const f of files('src')) {
  if (f.endsWith('.ts') || !statSync(f).isFile()) continue;
  const to = join('dist', f.slice('src/'.length));
  mkdirSync(dirname(to), { recursive: true });
  cpSync(f, to);
}
writeFileSync(stampFile, stamp);
// Built by root in somebody's folder: that somebody must be able to build again.
const { uid, gid } = statSync('.');
if (process.getuid?.() === 0 && uid !== 0)
  for (const path of ['dist', ...readdirSync('dist', { recursive: true }).map((name) => join('dist', name))])
    chownSync(path, uid, gid);
