// Runs the test files with node's own runner: `npm test`, or `node scripts/test.mjs unit scripts` for some folders,
// or paths of single files. Ends with the runner's summary.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '..'));

const tests = (path) => {
  if (!existsSync(path)) return [];
  if (statSync(path).isFile()) return [path];
  return readdirSync(path, { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? tests(join(path, e.name)) : /\.test\.ts$/.test(e.name) ? [join(path, e.name)] : [],
  );
};
const wanted = process.argv.slice(2).filter((a) => !a.startsWith('--'));
const flags = process.argv.slice(2).filter((a) => a.startsWith('--'));
const paths = wanted.length ? wanted.map((w) => (existsSync(w) ? w : join('test', w))) : ['test'];
const list = [...new Set(paths.flatMap(tests))].sort();
if (list.length === 0) {
  console.error(`no test files under ${paths.join(', ')}`);
  process.exit(2);
}
const run = spawnSync(
  process.execPath,
  ['--test', '--test-reporter=spec', '--test-concurrency=2', '--test-timeout=600000', ...flags, ...list],
  {
    stdio: 'inherit',
  },
);
process.exit(run.status ?? 1);
