// What systemd does with a service, done by its own programs without it: sockets passed on, readiness told.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually, freePorts, MailHost, PROJECT } from '../support/mail-host.ts';
import { requireProgram, run } from '../support/programs.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';

const ENTRY = join(PROJECT, 'dist', 'server.js');
const message = 'From: eva@remote.test\r\nSubject: one\r\n\r\nbody\r\n';

for (const workers of [0, 2])
  test(`sockets bound by systemd-socket-activate are served with workers: ${workers}, without any right to bind`, async (t) => {
    const activate = await requireProgram(t, 'systemd-socket-activate');
    if (activate === undefined) return;
    await using host = await MailHost.create({ settings: { workers } });
    const [smtp = 0] = await freePorts(1);
    const child = spawn(
      activate,
      ['--listen', `127.0.0.1:${smtp}`, '--fdname=smtp', process.execPath, ENTRY, '--config', host.settingsFile],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    t.after(() => child.kill('SIGKILL'));
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    // The first connection starts the server; it waits in the socket until there is somebody to take it.
    await eventually(
      () =>
        deliverBySmtp(smtp, { from: 'eva@remote.test', to: ['ana@example.test'], data: message }).then(
          () => true,
          () => false,
        ),
      'the socket is served',
      20_000,
    );
    await eventually(() => Promise.resolve(output.includes('server.ready')), 'ready');
    assert.equal((await host.inbox('ana@example.test')).length, 1);
    // The settings' own smtp address is not bound: the socket stands for it. The others are.
    await assert.rejects(deliverBySmtp(host.ports.smtp, { from: 'eva@remote.test', to: ['ana@example.test'], data: message }));
    child.kill('SIGTERM');
    assert.equal(await ended, 0);
  });

test('Type=notify: ready, reloading and stopping are told through systemd-notify', async (t) => {
  const python = await requireProgram(t, 'python3');
  if (python === undefined || (await requireProgram(t, 'systemd-notify')) === undefined) return;
  await using host = await MailHost.create({ settings: { workers: 2 } });
  const socket = join(host.directory, 'notify');
  const heard = join(host.directory, 'heard');
  await writeFile(heard, '');
  const listener = spawn(
    python,
    [
      '-c',
      `import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o777)
s.settimeout(60)
while True:
    data = s.recv(4096)
    with open(sys.argv[2], 'ab') as f: f.write(data + b'\\n')`,
      socket,
      heard,
    ],
    { stdio: 'inherit' },
  );
  t.after(() => listener.kill('SIGKILL'));
  await eventually(async () => (await run('/bin/ls', [socket])).status === 0, 'somebody listens');
  const child = spawn(process.execPath, [ENTRY, '--config', host.settingsFile], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, NOTIFY_SOCKET: socket },
  });
  t.after(() => child.kill('SIGKILL'));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const told = (what: RegExp): Promise<boolean> =>
    eventually(async () => what.test(await readFile(heard, 'utf8')), String(what), 20_000);
  await told(/^READY=1$/m);
  child.kill('SIGHUP');
  await told(/^RELOADING=1$/m);
  await told(/RELOADING=1[^]*READY=1/);
  child.kill('SIGTERM');
  await told(/^STOPPING=1$/m);
  assert.equal(await ended, 0);
});
