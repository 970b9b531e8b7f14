// The shipped systemd unit, judged by systemd itself, and held against what the project builds.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PROJECT } from '../support/mail-host.ts';
import { findProgram, run } from '../support/programs.ts';

const read = (): Promise<string> => readFile(join(PROJECT, 'contrib/systemd/buzon.service'), 'utf8');

test('the unit starts the pinned Node on the built server, reloads by SIGHUP, and waits longer than a stop takes', async () => {
  const unit = await read();
  const value = (name: string): string => new RegExp(`^${name}=(.*)$`, 'm').exec(unit)?.[1] ?? assert.fail(`no ${name}`);
  const [node = '', entry = '', ...args] = value('ExecStart').split(' ');
  assert.deepEqual(
    [node, entry, ...args],
    ['/opt/buzon/node_modules/node/bin/node', '/opt/buzon/dist/server.js', '--config', '/etc/buzon/buzon.yaml'],
  );
  for (const path of [node, entry])
    assert.equal((await run('/usr/bin/test', ['-e', join(PROJECT, path.slice('/opt/buzon/'.length))])).status, 0, path);
  assert.equal(value('ExecReload'), '/bin/kill -HUP $MAINPID');
  assert.ok(Number(value('TimeoutStopSec')) > 30);
});

test('systemd-analyze finds nothing wrong with the unit', async (t) => {
  const analyze = await findProgram('systemd-analyze');
  if (analyze === undefined) return t.skip('no systemd on this machine');
  const folder = await mkdtemp(join(tmpdir(), 'buzon-unit-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'buzon.service');
  // It looks for the program, which is there only where Buzon is installed.
  await writeFile(file, (await read()).replace('/opt/buzon/node_modules/node/bin/node', process.execPath));
  const { status, stdout, stderr } = await run(analyze, ['verify', file]);
  assert.deepEqual([status, stdout + stderr], [0, '']);
});
