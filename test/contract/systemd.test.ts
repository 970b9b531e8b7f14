// The shipped systemd units, judged by systemd itself, and held against what the project builds.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PROTOCOLS } from '../../src/config/schema-network.ts';
import { PROJECT } from '../support/mail-host.ts';
import { requireProgram, run } from '../support/programs.ts';

const FOLDER = join(PROJECT, 'contrib/systemd');
const UNITS = ['buzon.service', 'buzon-unprivileged.service'] as const;
const read = (name: string): Promise<string> => readFile(join(FOLDER, name), 'utf8');
const valueIn =
  (unit: string) =>
  (name: string): string =>
    new RegExp(`^${name}=(.*)$`, 'm').exec(unit)?.[1] ?? assert.fail(`no ${name}`);

test('the units start the pinned Node on the built server, tell systemd of it, reload by SIGHUP, and wait longer than a stop takes', async () => {
  for (const name of UNITS) {
    const unit = await read(name);
    const value = valueIn(unit);
    const [node = '', entry = '', ...args] = value('ExecStart').split(' ');
    assert.deepEqual(
      [node, entry, ...args],
      ['/opt/buzon/node_modules/node/bin/node', '/opt/buzon/dist/server.js', '--config', '/etc/buzon/buzon.yaml'],
    );
    for (const path of [node, entry])
      assert.equal((await run('/usr/bin/test', ['-e', join(PROJECT, path.slice('/opt/buzon/'.length))])).status, 0, path);
    assert.equal(value('ExecReload'), '/bin/kill -HUP $MAINPID');
    assert.deepEqual(['Type', 'NotifyAccess', 'KillMode'].map(value), ['notify', 'all', 'mixed']);
    assert.ok(Number(value('TimeoutStopSec')) > 35, 'shutdown_timeout, and the five seconds before a worker is killed');
    // V8 makes code while it runs.
    assert.doesNotMatch(unit, /^MemoryDenyWriteExecute=/m);
  }
});

test('the supervisor of the unit that is root’s may read keys, give root up in its workers, and kill them, who are another user', async () => {
  const value = valueIn(await read('buzon.service'));
  const rights = value('CapabilityBoundingSet').split(' ');
  for (const right of ['CAP_NET_BIND_SERVICE', 'CAP_DAC_OVERRIDE', 'CAP_CHOWN', 'CAP_SETUID', 'CAP_SETGID', 'CAP_KILL'])
    assert.ok(rights.includes(right), right);
});

test('one unit never has root: the tree’s owner with the right to bind, and no other', async () => {
  const value = valueIn(await read('buzon-unprivileged.service'));
  assert.deepEqual(['User', 'Group', 'AmbientCapabilities', 'CapabilityBoundingSet'].map(value), [
    'vmail',
    'vmail',
    'CAP_NET_BIND_SERVICE',
    'CAP_NET_BIND_SERVICE',
  ]);
});

test('each protocol has a socket file whose name for systemd is one that the server knows', async () => {
  const ports = { smtp: '25', submission: '587', submissions: '465', imap: '143', imaps: '993', http: '80', https: '443' };
  assert.deepEqual(Object.keys(ports), [...PROTOCOLS]);
  for (const [protocol, port] of Object.entries(ports)) {
    const value = valueIn(await read(`buzon-${protocol}.socket`));
    assert.deepEqual([value('FileDescriptorName'), value('ListenStream'), value('Service')], [protocol, port, 'buzon.service']);
  }
});

test('systemd-analyze finds nothing wrong with the units and sockets', async (t) => {
  const analyze = await requireProgram(t, 'systemd-analyze');
  if (analyze === undefined) return;
  for (const name of UNITS) {
    const folder = await mkdtemp(join(tmpdir(), 'buzon-unit-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const files = [join(folder, 'buzon.service')];
    // It looks for the program and the user, which are there only where Buzon is installed.
    const unit = (await read(name)).replace('/opt/buzon/node_modules/node/bin/node', process.execPath);
    await writeFile(files[0] ?? '', unit.replaceAll('=vmail', '=mail'));
    for (const protocol of PROTOCOLS) {
      files.push(join(folder, `buzon-${protocol}.socket`));
      await writeFile(files.at(-1) ?? '', await read(`buzon-${protocol}.socket`));
    }
    const { status, stdout, stderr } = await run(analyze, ['verify', ...files]);
    assert.deepEqual([status, stdout + stderr], [0, ''], name);
  }
});
