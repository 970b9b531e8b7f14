// Row 1 and row 6: the server is killed before its Nth fsync, rename, mkdir … of a delivery, for every N until one goes through; started again; and
// the client, which had no 250, sends the message again. CI stops at the calls that change something; CRASH_ALL=1 at all of them (long).
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  ALL_STEPS,
  CHANGING_CALLS,
  copiesOf,
  numberedMessage,
  oneFileThread,
  OpenTransaction,
  OTHER_CALLS,
} from '../support/crash.ts';
import { type MailHost, startMailHost } from '../support/mail-host.ts';
import { MailboxCheck } from '../support/mailbox-check.ts';
import { requireProgram } from '../support/programs.ts';
import { Strace } from '../support/traced-host.ts';

oneFileThread();
const ANA = 'ana@example.test';
const CALLS = ALL_STEPS ? [...CHANGING_CALLS, ...OTHER_CALLS] : CHANGING_CALLS;
/** More steps than any delivery has: a walk that gets here does not end by itself. */
const MOST_STEPS = 400;

interface Walk {
  readonly strace: string;
  readonly host: MailHost;
  readonly to: readonly string[];
  readonly calls: readonly string[];
  readonly name: string;
  /** From one N to the next. */
  readonly stride?: (call: string) => number;
  /** Before each step. */
  readonly reset?: () => Promise<void>;
  /** After each step and its repeat: the first reply (empty when it was cut) and how often each recipient has the message. */
  readonly verify: (step: { reply: string; at: string; copies: number[] }) => Promise<void>;
}

/** Gives where the server was killed: `rename 2`. */
async function walk({ calls, stride = () => 1, ...rest }: Walk): Promise<string[]> {
  const killed: string[] = [];
  for (const call of calls)
    for (let n = 1; ; n += stride(call)) {
      assert.ok(n < MOST_STEPS, 'the walk does not end');
      if (!(await step(rest, call, n))) break;
      killed.push(`${call} ${n}`);
    }
  return killed;
}

/** Says whether the server was killed (and started again). */
async function step({ strace, host, to, name, reset, verify }: Omit<Walk, 'calls'>, call: string, n: number): Promise<boolean> {
  await reset?.();
  const at = `${call} ${n}`;
  const message = numberedMessage(`${name}-${call}-${n}`);
  const transaction = await OpenTransaction.begin(host.ports.smtp, to);
  const tracing = await Strace.attach(strace, host, ['-e', `trace=${call}`, '-e', `inject=${call}:signal=KILL:when=${n}`]);
  const reply = await transaction.finish(message);
  await tracing.end();
  const dead = !(await host.isRunning());
  const first = await Promise.all(to.map((address) => copiesOf(host, address, message)));
  if (reply.startsWith('250'))
    assert.ok(
      first.every((count) => count === 1),
      `acknowledged, ${at}: ${first.join()}`,
    );
  else assert.equal(reply, '', at);
  assert.ok(
    first.every((count) => count <= 1),
    `delivered twice by one transaction, ${at}: ${first.join()}`,
  );
  if (dead) await host.start();
  if (reply === '') {
    const again = await OpenTransaction.begin(host.ports.smtp, to);
    assert.match(await again.finish(message), /^250 /, `the repeat, ${at}`);
  }
  const copies = await Promise.all(to.map((address) => copiesOf(host, address, message)));
  await verify({ reply, at, copies });
  return dead;
}

const USERS = { 'ana@example.test': 'a', 'info@example.test': 'b', 'eva@example.test': 'c' };

test('row 1: killed before every file system call of a first delivery, what got 250 is there, whole, and nothing is lost', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  const check = new MailboxCheck(host.maildir(ANA));
  const killed = await walk({
    strace,
    host,
    to: [ANA],
    calls: CALLS,
    name: 'first',
    // Home is there, the Maildir is not: its folders are made on the way.
    reset: async () => {
      for (const sub of ['cur', 'new', 'tmp']) await rm(join(host.maildir(ANA), sub), { recursive: true, force: true });
    },
    verify: async ({ copies: [copies = 0], reply, at }) => {
      // Twice only where the reply was cut.
      assert.ok(copies === 1 || (reply === '' && copies === 2), `${at}: ${copies} copies`);
      await check.check(host.ports.imap, ANA, USERS[ANA]);
    },
  });
  for (const at of ['mkdir 1', 'mkdir 2', 'mkdir 3', 'fsync 1', 'fsync 2', 'fsync 3', 'rename 1'])
    assert.ok(killed.includes(at), `${at} of ${killed.join(', ')}`);
});

test('row 1: killed before a write of a delivery, nothing partial is ever visible', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  const check = new MailboxCheck(host.maildir(ANA));
  const killed = await walk({
    strace,
    host,
    to: [ANA],
    calls: ['write'],
    stride: () => (ALL_STEPS ? 1 : 7),
    name: 'write',
    verify: async ({ copies: [copies = 0], reply, at }) => {
      assert.ok(copies === 1 || (reply === '' && copies === 2), `${at}: ${copies} copies`);
      await check.check(host.ports.imap, ANA, USERS[ANA]);
    },
  });
  assert.ok(killed.length >= 2, killed.join(', '));
});

test('row 6: killed anywhere between three recipients, after the repeat each has the message exactly once', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  const to = Object.keys(USERS);
  const killed = await walk({
    strace,
    host,
    to,
    calls: CALLS,
    name: 'three',
    // Most of its syncs come before anything is to be seen.
    stride: (call) => (ALL_STEPS || call !== 'fsync' ? 1 : 3),
    verify: async ({ copies, reply, at }) => {
      // The transaction as a whole may have been done when its reply was cut: that alone may bring the message twice, and then to all.
      const cut = reply === '' && copies.every((count) => count === 2);
      assert.ok(cut || copies.every((count) => count === 1), `${at}: ${copies.join(', ')} copies`);
    },
  });
  for (const at of ['fsync 1', 'fsync 7', 'rename 1', 'rename 2', 'rename 3', 'rename 4', 'unlink 1'])
    assert.ok(killed.includes(at), `${at} of ${killed.join(', ')}`);
});

test('row 6: killed during the repeat as well, each recipient still has the message exactly once', async (t) => {
  const strace = await requireProgram(t, 'strace');
  if (strace === undefined) return;
  await using host = await startMailHost({ users: USERS });
  const to = Object.keys(USERS);
  const message = numberedMessage('again', 1_000);
  const kill = async (call: string, n: number): Promise<void> => {
    const transaction = await OpenTransaction.begin(host.ports.smtp, to);
    const tracing = await Strace.attach(strace, host, ['-e', `trace=${call}`, '-e', `inject=${call}:signal=KILL:when=${n}`]);
    assert.equal(await transaction.finish(message), '', `${call} ${n}`);
    await tracing.end();
    await host.stop('SIGKILL');
    await host.start();
  };
  // The intent's own rename is the first, then one a mailbox: the first has its copy, two wait.
  await kill('rename', 3);
  assert.deepEqual(await Promise.all(to.map((address) => copiesOf(host, address, message))), [1, 0, 0]);
  // Recovered at the start. The repeat is killed when its two copies wait, and again when one is delivered.
  await kill('rename', 2);
  await kill('rename', 3);
  await kill('fsync', 2);
  const last = await OpenTransaction.begin(host.ports.smtp, to);
  assert.match(await last.finish(message), /^250 /);
  assert.deepEqual(await Promise.all(to.map((address) => copiesOf(host, address, message))), [1, 1, 1]);
});
