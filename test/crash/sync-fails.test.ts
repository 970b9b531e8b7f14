// Row 4: fsync fails with EIO. The client hears 451 4.3.0, what failed is never synced a second time (a kernel that has lost a page says so
// once), nothing is delivered; and when the disk works again everything does.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrace } from '../support/call-order.ts';
import { copiesOf, numberedMessage, oneFileThread, OpenTransaction } from '../support/crash.ts';
import { ImapClient } from '../support/imap-script.ts';
import { startMailHost, type MailHost } from '../support/mail-host.ts';
import { requireProgram } from '../support/programs.ts';
import { spawnBuzon } from '../support/spawn-buzon.ts';
import { Strace } from '../support/traced-host.ts';

oneFileThread();
const USERS = { 'ana@example.test': 'a', 'info@example.test': 'b', 'eva@example.test': 'c' };
const ANA = 'ana@example.test';

async function send(host: MailHost, to: readonly string[], message: string): Promise<string> {
  return (await OpenTransaction.begin(host.ports.smtp, to)).finish(message);
}

/** Sends while the `nth` fsync of the server's file thread fails. Gives the reply and the paths that were synced, failures included. */
async function sendWithFault(
  strace: string,
  host: MailHost,
  to: readonly string[],
  message: string,
  nth: number,
): Promise<{ reply: string; synced: string[]; failed: string[] }> {
  const transaction = await OpenTransaction.begin(host.ports.smtp, to);
  const tracing = await Strace.attach(
    strace,
    host,
    ['-y', '-e', 'trace=fsync', '-e', `inject=fsync:error=EIO:when=${nth}`],
    `fault-${to.length}-${nth}.out`,
  );
  const reply = await transaction.finish(message);
  await tracing.end();
  const calls = parseTrace(await tracing.output()).filter(({ name }) => name === 'fsync');
  const pathOf = (args: string): string => /<([^>]*)>/.exec(args)?.[1] ?? '';
  return {
    reply,
    synced: calls.map(({ args }) => pathOf(args)),
    failed: calls.filter(({ result }) => result.includes('EIO')).map(({ args }) => pathOf(args)),
  };
}

test('row 4: EIO from the sync of the mail file: 451 4.3.0, never synced again, nothing delivered', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  assert.match(await send(host, [ANA], numberedMessage('before', 100)), /^250/);
  const message = numberedMessage('eio-file', 1_000);
  const { reply, synced, failed } = await sendWithFault(strace, host, [ANA], message, 1);
  assert.match(reply, /^451 4\.3\.0 /);
  assert.match(failed[0] ?? '', /\/ana\/tmp\//);
  assert.equal(synced.filter((path) => path === failed[0]).length, 1, 'one try');
  assert.equal(await copiesOf(host, ANA, message), 0);
  assert.deepEqual(await host.names(ANA, 'tmp'), []);
  assert.match(await send(host, [ANA], message), /^250/);
  assert.equal(await copiesOf(host, ANA, message), 1);
});

test('row 4: EIO from the sync of the folder: 451 4.3.0 and nothing delivered', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  assert.match(await send(host, [ANA], numberedMessage('before', 100)), /^250/);
  const message = numberedMessage('eio-folder', 1_000);
  const { reply, failed } = await sendWithFault(strace, host, [ANA], message, 2);
  assert.match(reply, /^451 4\.3\.0 /);
  assert.match(failed[0] ?? '', /\/ana\/new$/);
  assert.equal(await copiesOf(host, ANA, message), 0);
  assert.deepEqual(await host.names(ANA, 'tmp'), []);
  assert.match(await send(host, [ANA], message), /^250/);
  assert.equal(await copiesOf(host, ANA, message), 1);
});

test('row 4: EIO at any sync of a delivery to three: 451 4.3.0, and after the repeat each has it exactly once', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  const to = Object.keys(USERS);
  assert.match(await send(host, to, numberedMessage('before', 100)), /^250/);
  let faults = 0;
  for (let nth = 1; nth < 50; nth++) {
    const message = numberedMessage(`eio-${nth}`, 1_000);
    const { reply, failed } = await sendWithFault(strace, host, to, message, nth);
    if (failed.length === 0) {
      assert.match(reply, /^250/);
      break;
    }
    faults++;
    assert.match(reply, /^451 4\.3\.0 /, `sync ${nth}`);
    assert.match(await send(host, to, message), /^250/);
    const copies = await Promise.all(to.map((address) => copiesOf(host, address, message)));
    assert.deepEqual(copies, [1, 1, 1], `sync ${nth}, ${failed.join()}`);
  }
  assert.ok(faults >= 8, `${faults} syncs`);
  for (const address of to) assert.deepEqual(await host.names(address, 'tmp'), [], 'nothing is left waiting');
  assert.deepEqual(await host.dataNames('deliveries'), [], 'no intent is left');
});

test('row 4: EIO turns health bad, in the log and for `buzon health`; the next delivery that works turns it good', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  assert.match(await send(host, [ANA], numberedMessage('before', 100)), /^250/);
  const well = await spawnBuzon(host, ['health']);
  assert.deepEqual([well.status, well.stdout], [0, 'good\n']);
  const message = numberedMessage('eio-health', 1_000);
  await sendWithFault(strace, host, [ANA], message, 1);
  assert.match(host.output, /"level":"error","event":"health\.bad","cause":"EIO: /);
  const ill = await spawnBuzon(host, ['health']);
  assert.equal(ill.status, 1);
  assert.match(ill.stdout, /^bad since \d{4}-\S+ \(process \d+\): EIO: /);
  assert.match(await send(host, [ANA], message), /^250/);
  assert.equal((await spawnBuzon(host, ['health'])).stdout, 'good\n');
  assert.match(host.output, /"event":"health\.good"/);
  await host.stop();
  const down = await spawnBuzon(host, ['health']);
  assert.deepEqual([down.status, down.stdout], [1, 'bad: the server is not running\n']);
});

test('row 4: EIO while an APPEND is synced: NO, and nothing is in the mailbox', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  assert.match(await send(host, [ANA], numberedMessage('before', 100)), /^250/);
  const client = await ImapClient.connect(host.ports.imap);
  await using _closed = { [Symbol.asyncDispose]: async () => void client.socket.destroy() };
  await client.response();
  assert.match((await client.command('a', `LOGIN ${ANA} a`)).join(), /a OK/);
  assert.match((await client.command('b', 'SELECT INBOX')).join(), /b OK/);
  const append = async (tag: string, message: string): Promise<string> => {
    client.line(`${tag} APPEND INBOX (\\Seen) {${message.length}+}`);
    client.send(`${message}\r\n`);
    return (await client.until(tag)).at(-1) ?? '';
  };
  for (const nth of [1, 2, 3]) {
    const message = numberedMessage(`append-eio-${nth}`, 500);
    const tracing = await Strace.attach(strace, host, ['-e', 'trace=fsync', '-e', `inject=fsync:error=EIO:when=${nth}`]);
    assert.match(await append(`x${nth}`, message), new RegExp(`^x${nth} NO \\[SERVERBUG\\]`));
    await tracing.end();
    assert.equal(await copiesOf(host, ANA, message), 0);
    assert.deepEqual(await host.names(ANA, 'tmp'), []);
    assert.match(await append(`y${nth}`, message), new RegExp(`^y${nth} OK`));
    assert.equal(await copiesOf(host, ANA, message), 1);
  }
  assert.ok(
    (await host.names(ANA)).every((name) => !name.endsWith('.tmp') && !name.endsWith('.lock')),
    'no leavings',
  );
});
