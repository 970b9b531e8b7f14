// Row 3: the order of system calls is the proof of what a power cut would leave. Before each 250 (and each IMAP OK to APPEND) every byte of the
// message was synced after its last write, and every folder after a name appeared in it. SYNC_ORDER_MESSAGES sets how many (10,000 is the long run).
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ORDER_CALLS, parseTrace, Unsynced, type TracedCall } from '../support/call-order.ts';
import { numberedMessage } from '../support/crash.ts';
import { ImapClient } from '../support/imap-script.ts';
import { startMailHost, type MailHost } from '../support/mail-host.ts';
import { requireProgram } from '../support/programs.ts';
import { SmtpSender } from '../support/smtp-send.ts';
import { Strace } from '../support/traced-host.ts';

const MESSAGES = Number(process.env['SYNC_ORDER_MESSAGES'] ?? 300);
const USERS = { 'ana@example.test': 'a', 'info@example.test': 'b', 'eva@example.test': 'c' };

/** Runs `work` traced; `answer` tells the calls that promise something. Gives for each promise what was not on the disk, and what was published before. */
async function promises(
  strace: string,
  host: MailHost,
  answer: RegExp,
  work: () => Promise<void>,
): Promise<{ unsynced: string[]; published: string[] }[]> {
  const tracing = await Strace.attach(strace, host, ['-y', '-e', `trace=${ORDER_CALLS}`]);
  try {
    await work();
  } finally {
    await tracing.end();
  }
  const state = new Unsynced([host.base, join(host.directory, 'data', 'deliveries')]);
  const found: { unsynced: string[]; published: string[] }[] = [];
  const isAnswer = ({ name, args }: TracedCall): boolean => /^(write|writev|sendto)$/.test(name) && answer.test(args);
  for (const call of parseTrace(await tracing.output())) {
    state.take(call);
    if (!isAnswer(call)) continue;
    found.push({ unsynced: state.all, published: state.published });
    state.published = [];
  }
  return found;
}

test('row 3: before each 250 the file was synced after its last write and the folder after its name appeared', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  const addresses = Object.keys(USERS);
  // One of them has no Maildir yet, nor a home: all of it is made on the way.
  await rm(host.maildir('eva@example.test'), { recursive: true, force: true });
  const recipients = (n: number): string[] => (n % 10 === 0 ? addresses : [addresses[n % addresses.length] ?? '']);
  const found = await promises(strace, host, /"250 2\.0\.0 Ok: queued/, async () => {
    const sender = await SmtpSender.connect(host.ports.smtp);
    for (let n = 0; n < MESSAGES; n++) {
      const data = numberedMessage(`order-${n}`, n % 50 === 7 ? 700_000 : 500);
      await sender.send({ from: 'eva@remote.test', to: recipients(n), data });
    }
    await sender.quit();
  });
  assert.equal(found.length, MESSAGES);
  for (const [n, { unsynced, published }] of found.entries()) {
    assert.equal(published.length, recipients(n).length, `message ${n} was seen to be delivered`);
    assert.deepEqual(unsynced, [], `message ${n}`);
  }
});

test('row 3: before OK to an APPEND its file, its folder and its UID were synced', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  const client = await ImapClient.connect(host.ports.imap);
  await using _closed = { [Symbol.asyncDispose]: async () => void client.socket.destroy() };
  await client.response();
  assert.match((await client.command('a', 'LOGIN ana@example.test a')).join(), /a OK/);
  const found = await promises(strace, host, /"p\d+ OK /, async () => {
    assert.match((await client.command('p0', 'CREATE Obra')).join(), /p0 OK/);
    for (let n = 1; n <= 20; n++) {
      const message = numberedMessage(`append-${n}`, 300);
      client.line(`p${n} APPEND ${n % 2 === 0 ? 'Obra' : 'INBOX'} ${n % 3 === 0 ? '(\\Seen work)' : '()'} {${message.length}+}`);
      client.send(`${message}\r\n`);
      assert.match((await client.until(`p${n}`)).join(), new RegExp(`p${n} OK \\[APPENDUID`));
    }
  });
  assert.equal(found.length, 21);
  for (const [n, { unsynced, published }] of found.entries()) {
    assert.deepEqual(unsynced, [], `answer ${n}`);
    if (n > 0) assert.equal(published.length, 1);
  }
});
