// Runs the test files with node's own runner: `npm test`, or `node scripts/test.mjs unit scripts` for some folders,
// or paths of single files. A run of everything also holds test/coverage-map.yaml against what ran: a test that the map names and
// that is missing, skipped or failed fails the run (in CI; elsewhere a skipped one is only told). Ends with the runner's summary.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

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
/** It mostly waits: it begins first, beside the others. */
const LONGEST = join('test', 'e2e', 'endurance.test.ts');
const list = [...new Set(paths.flatMap(tests))].sort((a, b) => Number(b === LONGEST) - Number(a === LONGEST) || (a < b ? -1 : 1));
if (list.length === 0) {
  console.error(`no test files under ${paths.join(', ')}`);
  process.exit(2);
}

/** What the map names and the run did not prove: [problems, remarks]. */
function holdAgainstMap(results) {
  const problems = [];
  const remarks = [];
  const map = parse(readFileSync('test/coverage-map.yaml', 'utf8'));
  for (const [section, entries] of Object.entries(map))
    for (const [what, named] of Object.entries(entries))
      for (const { file, test } of named) {
        const found = results.filter((r) => r.file === file && r.name === test);
        const where = `${section} ${what}: ${file} "${test}"`;
        if (found.length === 0) problems.push(`${where} did not run`);
        else if (found.some((r) => r.failed)) problems.push(`${where} failed`);
        else if (found.some((r) => r.skipped)) (process.env.CI === 'true' ? problems : remarks).push(`${where} was skipped`);
      }
  return [problems, remarks];
}

const scratch = mkdtempSync(join(tmpdir(), 'buzon-test-'));
const resultsFile = join(scratch, 'results.jsonl');
const child = spawn(
  process.execPath,
  [
    // A test that failed with a socket or a timer left open must not hold up the run: files end when their tests have.
    ...['--test', '--test-force-exit', `--test-concurrency=${list[0] === LONGEST ? 3 : 2}`, '--test-timeout=600000', ...flags],
    ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
    ...['--test-reporter=./scripts/results-reporter.mjs', `--test-reporter-destination=${resultsFile}`],
    ...list,
  ],
  { stdio: ['inherit', 'pipe', 'inherit'] },
);
// Whatever happens, the run ends and says so: the runner is asked to name what runs, then ended.
const MINUTES = 60;
const overdue = setTimeout(() => {
  console.error(`the tests did not end within ${MINUTES} minutes: stopped`);
  child.kill('SIGINT');
  setTimeout(() => process.exit(1), 15_000);
}, MINUTES * 60_000);
const summary = [];
createInterface({ input: child.stdout }).on('line', (line) => {
  if (summary.length > 0 || /^ℹ tests \d+/.test(line)) summary.push(line);
  else console.log(line);
});
child.on('close', (status) => {
  clearTimeout(overdue);
  let problems = [];
  if (wanted.length === 0) {
    const results = readFileSync(resultsFile, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
    const [wrong, remarks] = holdAgainstMap(results);
    problems = wrong;
    for (const remark of remarks) console.log(`coverage map, remark: ${remark}`);
    for (const problem of problems) console.log(`coverage map: ${problem}`);
    console.log(problems.length ? 'coverage map: NOT covered' : 'coverage map: every named test ran and passed');
  }
  rmSync(scratch, { recursive: true, force: true });
  console.log(summary.join('\n'));
  process.exitCode = status || (problems.length ? 1 : 0);
});
