// Row 45: the disk is full before, during and at the end of a delivery: 452 4.3.1 and IMAP NO, nothing half-written stays, and all works again as
// soon as there is room. The account lies on a tmpfs of 2 MB; what needs no root is done with injected ENOSPC.
import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { copiesOf, numberedMessage, oneFileThread, OpenTransaction } from '../support/crash.ts';
import { ImapClient } from '../support/imap-script.ts';
import { MailHost, startMailHost, TREE_OWNER } from '../support/mail-host.ts';
import { MailboxCheck } from '../support/mailbox-check.ts';
import { requireProgram, requireRoot, run } from '../support/programs.ts';
import { Strace } from '../support/traced-host.ts';

oneFileThread();
const ANA = 'ana@example.test';
const USERS = { [ANA]: 'a', 'info@example.test': 'b' };

async function send(host: MailHost, to: readonly string[], message: string): Promise<string> {
  return (await OpenTransaction.begin(host.ports.smtp, to)).finish(message);
}

/** Puts the account on a small file system of its own. Unmounted when disposed of. */
async function onSmallDisk(host: MailHost, address: string): Promise<AsyncDisposable> {
  const home = host.maildir(address);
  const owner = TREE_OWNER ?? { uid: 0, gid: 0 };
  const options = `size=2m,nr_inodes=400,uid=${owner.uid},gid=${owner.gid},mode=0750`;
  const mounted = await run('/usr/bin/mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', home]);
  if (mounted.status !== 0) throw new Error(`mount: ${mounted.stderr}`);
  await host.writeAccount(address, 'a');
  return {
    [Symbol.asyncDispose]: async () => {
      await host.stop();
      await run('/usr/bin/umount', ['-l', home]);
    },
  };
}

/** Fills the disk up to `left` bytes. */
async function fill(host: MailHost, left: number): Promise<{ empty: () => Promise<void> }> {
  const file = join(host.maildir(ANA), 'filler');
  const result = await run('/usr/bin/df', ['--output=avail', '-B1', host.maildir(ANA)]);
  const free = Number(result.stdout.split('\n')[1]);
  await writeFile(file, Buffer.alloc(Math.max(0, free - left))).catch(() => undefined);
  return { empty: () => rm(file, { force: true }) };
}

async function logIn(host: MailHost): Promise<ImapClient> {
  const client = await ImapClient.connect(host.ports.imap);
  await client.response();
  assert.match((await client.command('a', `LOGIN ${ANA} a`)).join(), /a OK/);
  return client;
}

async function append(client: ImapClient, tag: string, message: string): Promise<string> {
  client.line(`${tag} APPEND INBOX (\\Seen) {${message.length}+}`);
  client.send(`${message}\r\n`);
  return (await client.until(tag)).at(-1) ?? '';
}

test('row 45: a full disk before and during a message: 452 4.3.1, IMAP NO, and it recovers by itself', async (t) => {
  if (!requireRoot(t) || (await requireProgram(t, 'mount')) === undefined) return;
  await using host = await MailHost.create({ users: USERS });
  await using _disk = await onSmallDisk(host, ANA);
  await host.start();
  const check = new MailboxCheck(host.maildir(ANA));
  assert.match(await send(host, [ANA], numberedMessage('first', 1_000)), /^250/);
  await check.check(host.ports.imap, ANA, 'a');
  const client = await logIn(host);
  await using _closed = { [Symbol.asyncDispose]: async () => void client.socket.destroy() };

  for (const [name, left, bytes] of [
    ['before', 0, 20_000],
    ['during', 300_000, 900_000],
  ] as const) {
    const message = numberedMessage(name, bytes);
    const filler = await fill(host, left);
    assert.match(await send(host, [ANA], message), /^452 4\.3\.1 /, name);
    assert.match(await append(client, `f${name}`, message), /^f\w+ NO /, name);
    // The other recipient has room: but it is one message, and he is to have it once.
    assert.match(await send(host, [ANA, 'info@example.test'], message), /^452 4\.3\.1 /, name);
    assert.equal(await copiesOf(host, 'info@example.test', message), 0);
    assert.deepEqual(await host.names(ANA, 'tmp'), [], name);
    assert.equal(await copiesOf(host, ANA, message), 0);
    await filler.empty();
    assert.match(await send(host, [ANA, 'info@example.test'], message), /^250/, name);
    assert.equal(await copiesOf(host, ANA, message), 1);
    assert.equal(await copiesOf(host, 'info@example.test', message), 1);
    assert.match(await append(client, `r${name}`, numberedMessage(`${name}-imap`, 1_000)), /^r\w+ OK/);
    await check.check(host.ports.imap, ANA, 'a');
  }
});

test('row 45: no room for the list of UIDs: nobody sees a UID that is not on the disk, and none is given twice', async (t) => {
  if (!requireRoot(t) || (await requireProgram(t, 'mount')) === undefined) return;
  await using host = await MailHost.create({ users: USERS });
  await using _disk = await onSmallDisk(host, ANA);
  await host.start();
  const check = new MailboxCheck(host.maildir(ANA));
  assert.match(await send(host, [ANA], numberedMessage('first', 1_000)), /^250/);
  await check.check(host.ports.imap, ANA, 'a');
  for (let n = 0; n < 150; n++) assert.match(await send(host, [ANA], numberedMessage(`many-${n}`, 200)), /^250/);
  // Room for the lock, and for the first lines.
  const filler = await fill(host, 4096);
  const client = await logIn(host);
  await using _closed = { [Symbol.asyncDispose]: async () => void client.socket.destroy() };
  const selected = (await client.command('s', 'SELECT INBOX')).join('\n');
  assert.match(selected, /^s NO /m);
  await filler.empty();
  assert.match((await client.command('t', 'SELECT INBOX')).join('\n'), /\* 151 EXISTS[^]*t OK/);
  const seen = await check.check(host.ports.imap, ANA, 'a');
  assert.equal(seen.messages.size, 151);
});

test('row 45: ENOSPC at the commit: 452 4.3.1, nothing delivered, nothing left', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  const to = Object.keys(USERS);
  assert.match(await send(host, to, numberedMessage('before', 100)), /^250/);
  for (const call of ['rename', 'fsync'])
    for (let nth = 1; nth <= 4; nth += 1) {
      const message = numberedMessage(`full-${call}-${nth}`, 1_000);
      const transaction = await OpenTransaction.begin(host.ports.smtp, to);
      const tracing = await Strace.attach(strace, host, ['-e', `trace=${call}`, '-e', `inject=${call}:error=ENOSPC:when=${nth}`]);
      const reply = await transaction.finish(message);
      await tracing.end();
      if (!reply.startsWith('250')) {
        assert.match(reply, /^452 4\.3\.1 /, `${call} ${nth}`);
        assert.match(await send(host, to, message), /^250/);
      }
      for (const address of to) assert.equal(await copiesOf(host, address, message), 1, `${call} ${nth} ${address}`);
    }
  for (const address of to) assert.deepEqual(await host.names(address, 'tmp'), []);
  assert.deepEqual(await host.dataNames('deliveries'), []);
});
