// The shipped fail2ban filter against the log that the server really writes, judged by fail2ban itself.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { postfixLines } from '../../src/worker/postfix-log.ts';
import { PROJECT } from '../support/mail-host.ts';
import { requireProgram, run } from '../support/programs.ts';

const FILTER = join(PROJECT, 'contrib/fail2ban/filter.d/buzon.conf');
const write = (event: string, fields: Record<string, string | boolean>): string =>
  postfixLines('info', event, fields, Date.now(), { hostname: 'mail', syslogName: 'buzon', pid: 1 }).join('');

for (const [mode, hosts] of [
  ['auth', ['192.0.2.1', '192.0.2.2']],
  ['normal', ['192.0.2.1', '192.0.2.2', '192.0.2.4']],
  ['aggressive', ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4']],
] as const)
  test(`fail2ban's filter in mode ${mode} finds the hosts to ban, and no others`, async (t) => {
    const fail2ban = await requireProgram(t, 'fail2ban-regex');
    if (fail2ban === undefined) return;
    const directory = await mkdtemp(join(tmpdir(), 'buzon-f2b-'));
    t.after(() => rm(directory, { recursive: true }));
    const log = join(directory, 'mail.log');
    await writeFile(
      log,
      write('smtp.auth.failed', { client: '192.0.2.1', mechanism: 'PLAIN', user: 'rip=192.0.2.9' }) +
        write('imap.auth.failed', {
          client: '192.0.2.2',
          user: 'x>, rip=192.0.2.9, ',
          mechanism: 'PLAIN',
          local: '127.0.0.1',
          session: 's',
        }) +
        write('smtp.reject', { client: '192.0.2.3', reply: '550 5.1.1 <x@y>: Recipient address rejected', from: '', to: 'x@y' }) +
        write('smtp.reject', { client: '192.0.2.4', reply: '554 5.7.1 <x@z>: Relay access denied', from: '', to: 'x@z' }) +
        write('imap.login', { client: '192.0.2.5', user: 'ana@y', mechanism: 'PLAIN', session: 's' }) +
        write('smtp.connect', { client: '192.0.2.6' }),
    );
    const result = await run(fail2ban, ['-o', 'ip', log, `${FILTER}[mode=${mode}]`]);
    assert.deepEqual(result.stdout.trim().split('\n').sort(), hosts, result.stdout + result.stderr);
  });
