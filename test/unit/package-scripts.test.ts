// The two commands of the README, CI and package.json say the same: what CI runs is `npm ci` and `npm test`, and `npm test` is everything.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCommand } from '../../src/cli/main.ts';
import { captureIo } from '../support/command-io.ts';
import { PROJECT } from '../support/mail-host.ts';

const read = (path: string): Promise<string> => readFile(join(PROJECT, path), 'utf8');
const scripts = async (): Promise<Record<string, string>> =>
  (JSON.parse(await read('package.json')) as { scripts: Record<string, string> }).scripts;

/** A script with the scripts that it calls in their places. */
function expand(name: string, all: Readonly<Record<string, string>>): string {
  const text = all[name] ?? assert.fail(`package.json has no script ${name}`);
  return text.replace(/npm run (?:--silent )?([\w-]+)/g, (_, called: string) => expand(called, all));
}

test('CI runs what the README tells a person to run: npm ci and npm test, nothing beside them', async () => {
  const commands = (await read('.ci/run')).split('\n').filter((line) => /^\s*(npm|npx|node)\b/.test(line));
  assert.deepEqual(
    commands.map((line) => line.trim().replace(/ --no-(audit|fund)/g, '')),
    ['npm ci', 'npm test'],
  );
  assert.match(await read('README.md'), /^npm ci && npm start\b[^\n]*\nnpm ci && npm test\b/m);
});

test('npm test builds, checks format, types, lint and layers, and runs every test file', async () => {
  const all = expand('test', await scripts());
  for (const part of [/scripts\/build\.mjs/, /prettier --check \./, /tsc --noEmit/, /eslint --max-warnings 0/, /depcruise /])
    assert.match(all, part);
  assert.match(all, /&& node scripts\/test\.mjs$/);
});

test('npm start builds first, and is one process that a signal reaches', async () => {
  const { start, prestart } = await scripts();
  assert.match(prestart ?? '', /npm run (--silent )?build/);
  // Without exec, the signal ends the shell between npm and the server, and the server lives on without a parent.
  assert.equal(start, 'exec node dist/server.js');
});

test('the README has every command that buzon help lists', async () => {
  const io = captureIo();
  await runCommand(['help'], io);
  const names = [...io.stdout.matchAll(/^ {2}(\w+) /gm)].map(([, name]) => name);
  assert.ok(names.length >= 6, io.stdout);
  const readme = await read('README.md');
  for (const name of names) assert.match(readme, new RegExp(`^\\| \`buzon ${name}[ \`]`, 'm'), `buzon ${name}`);
});
