// docs/es/guia.md does what it says: its commands, in order, on a fresh host, up to mail that is delivered and read back over IMAP.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { runOnGuideHost } from '../support/guide-host.ts';
import { PROJECT } from '../support/mail-host.ts';
import { requireProgram, requireRoot } from '../support/programs.ts';

interface Block {
  readonly section: string;
  readonly code: string;
  readonly skipped: boolean;
}
/** The guide's shell blocks; those below a note «no se prueba» are not run. */
async function blocks(): Promise<Block[]> {
  const found: Block[] = [];
  let section = '';
  let code: string[] | undefined;
  let last = '';
  for (const line of (await readFile(join(PROJECT, 'docs/es/guia.md'), 'utf8')).split('\n')) {
    if (code && line === '```') {
      found.push({ section, code: code.join('\n'), skipped: last.startsWith('<!-- no se prueba') });
      code = undefined;
      last = '';
    } else if (code) code.push(line);
    else if (line === '```sh') code = [];
    else {
      section = /^## (\d+)/.exec(line)?.[1] ?? section;
      if (line !== '') last = line;
    }
  }
  assert.equal(code, undefined, 'a block without end');
  return found;
}

test('the guide’s commands set up a host that takes mail and gives it back over IMAP', async (t) => {
  if (!requireRoot(t)) return;
  for (const program of ['unshare', 'ip', 'curl', 'openssl', 'logrotate', 'fail2ban-regex'])
    if ((await requireProgram(t, program)) === undefined) return;
  const all = await blocks();
  assert.deepEqual(
    all.filter(({ skipped }) => skipped).map(({ section }) => section),
    ['2', '5', '13'],
    'only the network’s blocks and the take-over are left out',
  );
  const script = all
    .filter(({ skipped }) => !skipped)
    .map(({ section, code }) => `echo "=== ${section}"\n${code}`)
    .join('\n');
  const existed = existsSync('/etc/buzon');
  const { status, stdout, stderr } = await runOnGuideHost(
    `${script}\necho "=== end"\ncat /var/log/buzon.log.1 /var/log/buzon.log\nstat -c '%n %U %a' /var/log/buzon.log /var/mail/vhosts/*/*\nps -o user= --ppid "$(cat /var/lib/buzon/buzon.pid)"\n`,
    180_000,
  );
  const said = `${stdout}\n--- stderr\n${stderr}`;
  assert.equal(status, 0, said);
  const parts = stdout.split(/^=== (\w+)\n/m).slice(1);
  const part = (name: string): string => parts.filter((_, i) => i % 2 === 1 && parts[i - 1] === name).join('');

  assert.match(part('2'), /^buzon \d+\.\d+\.\d+$/m);
  // Delivered, and read over IMAP.
  assert.match(part('9'), /Delivered-To: info@example\.com\r?\n[^]*Hola desde la guia\./, said);
  assert.match(part('9'), /^X-Original-To: ventas@example\.com/m);
  assert.match(part('9'), /^\* STATUS INBOX \(MESSAGES 0\)/m);
  // check: nothing wrong but what only DNS could tell, which there is none of.
  assert.match(part('9'), /^0 errors, 0 warnings$/m, said);
  assert.match(part('9'), /^warning DNS_FAILED mail\.example\.com: /m);
  assert.match(part('12'), /^hola@example\.net has a mailbox now/m);
  assert.match(part('7'), /^example\.com\/info\/$/m);
  // The log goes on in a new file after logrotate, and fail2ban reads a failed log-in there.
  assert.match(part('11'), /Failregex: 1 total/, said);
  const end = part('end');
  assert.match(end, / buzon\/virtual\[\d+\]: .* to=<info@example\.com>, orig_to=<ventas@example\.com>, .* status=sent/);
  assert.match(end, /settings\.reloaded/);
  assert.doesNotMatch(end, /reopen-failed|reload-failed|certificate-broken/);
  assert.match(end, /^\/var\/log\/buzon\.log vmail 640$/m);
  assert.match(end, /^\/var\/mail\/vhosts\/example\.com\/info vmail 2?750$/m);
  // The workers; the supervisor above them stays root.
  assert.match(end, /\nvmail\n(vmail\n)*$/);
  assert.equal(existsSync('/etc/buzon'), existed, 'the machine is untouched');
});
