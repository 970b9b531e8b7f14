// The pickup: each message once, whoever may write into the maildrop and whatever is in it.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, chown, link, mkdir, readFile, rename, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { MailError } from '../../src/lib/errors.ts';
import { makeMaildrop } from '../../src/maildrop/folder.ts';
import { formatHead } from '../../src/maildrop/format.ts';
import { eventually } from '../support/mail-host.ts';
import { MaildropHouse } from '../support/maildrop-house.ts';
import { requireRoot } from '../support/programs.ts';

const NAME = '0123456789abcdef0123456789abcdef';
const MESSAGE = 'Subject: x\n\nbody\n';

async function drop(house: MaildropHouse, recipients = ['ana@example.test'], message = MESSAGE, name = NAME): Promise<string> {
  const path = house.path(name);
  await writeFile(path, Buffer.concat([formatHead({ sender: 'me@example.test', recipients }), Buffer.from(message, 'latin1')]));
  await chmod(path, 0o640);
  return path;
}

test('a message is handed in once, with CRLF and a Received field that names its owner', async (t) => {
  const house = await MaildropHouse.make(t);
  await drop(
    house,
    ['ana@example.test', 'info@example.test', 'far@elsewhere.test'],
    'Subject: x\r\nBcc: y@z.test\n\nb\rc\n.\n\0d',
  );
  await house.round();
  await house.round();
  assert.equal(house.accepted.length, 1);
  const [one] = house.accepted;
  assert.deepEqual(one?.recipients, ['ana@example.test', 'info@example.test', 'far@elsewhere.test']);
  assert.equal(one.message.envelope.recipients[2]?.route.kind, 'relay');
  const uid = process.getuid?.();
  assert.match(one.text, new RegExp(`^Received: by mail\\.example\\.test \\(Buzon, from userid ${uid}\\)\r\n\tid ${one.id}; `));
  assert.ok(one.text.endsWith('\r\nSubject: x\r\n\r\nb\r\nc\r\n.\r\nd'), one.text);
  assert.equal(one.message.envelope.bodyType, '7BIT');
  assert.deepEqual([await house.names('maildrop'), await house.names('pickup')], [[], []]);
});

/** A file of `sendmail -bv`. */
async function ask(house: MaildropHouse, recipients: readonly string[], sender = 'me@example.test'): Promise<void> {
  const head = formatHead({ sender, recipients, trace: 'verify' });
  await writeFile(house.path(NAME), Buffer.concat([head, Buffer.from('Subject: probe\r\n\r\n')]));
  await chmod(house.path(NAME), 0o640);
}

test('a question is delivered to nobody: mailboxes are looked up, the queue asks for others, what is known is reported', async (t) => {
  const house = await MaildropHouse.make(t, {
    mailboxes: { 'ana@example.test': 'example.test/ana/', 'full@example.test': 'example.test/full/' },
    aliases: { root: 'ana@example.test' },
    virtual: { 'all@example.test': 'ana@example.test, x@far.test' },
  });
  house.onCheck = (address) => {
    if (address.startsWith('full@')) throw new MailError('over-quota', 'OVER_QUOTA', 'Quota exceeded');
  };
  await ask(house, ['root@mail.example.test', 'full@example.test', 'nobody@example.test', 'all@example.test', 'y@far.test']);
  await house.round();
  await house.round();
  assert.deepEqual([house.accepted, house.bounced], [[], []]);
  assert.deepEqual(house.probed.map(({ recipients }) => recipients).flat(), [
    { address: 'y@far.test' },
    { address: 'x@far.test', orcpt: 'rfc822;all@example.test' },
  ]);
  assert.equal(house.probed.length, 1);
  assert.equal(house.answered.length, 1);
  const found = house.answered[0]?.answers.map(({ address, deliverable, status }) => `${address} ${deliverable} ${status}`);
  assert.deepEqual(found?.sort(), [
    'ana@example.test true 2.0.0',
    'full@example.test false 4.2.2',
    'nobody@example.test false 5.1.1',
  ]);
  assert.equal(
    house.answered[0]?.answers.find(({ address }) => address.startsWith('ana@'))?.orcpt,
    'rfc822;root@mail.example.test',
  );
  assert.deepEqual(await house.names('pickup'), []);
});

test('a question that cannot be put, or whose report is not accepted, is tried again; nobody is asked twice', async (t) => {
  const house = await MaildropHouse.make(t);
  house.onProbe = () => {
    throw new MailError('temporary', 'QUEUE_BUSY', 'The queue is busy');
  };
  await ask(house, ['ana@example.test', 'y@far.test']);
  await house.round();
  assert.deepEqual([house.probed.length, house.answered.length, (await house.names('pickup')).length], [0, 0, 1]);
  house.onProbe = () => undefined;
  house.onAnswers = () => {
    throw new MailError('temporary', 'X', 'not now');
  };
  await house.round();
  assert.deepEqual([house.probed.length, house.answered.length], [1, 0]);
  assert.match((await house.names('pickup')).join(), /^[0-9A-F]{12}\.b$/);
  house.onAnswers = () => undefined;
  await house.round();
  assert.deepEqual([house.probed.length, house.answered.length, house.accepted.length], [1, 1, 0]);
  assert.deepEqual(await house.names('pickup'), []);
});

test('a question that could not be put for as long as anything is tried for is answered so', async (t) => {
  const house = await MaildropHouse.make(t);
  house.onProbe = () => {
    throw new MailError('temporary', 'NO_QUEUE', 'Mail to other hosts cannot be taken now');
  };
  await ask(house, ['y@far.test']);
  const old = new Date(Date.now() - 10 * 86_400_000);
  await utimes(house.path(NAME), old, old);
  await house.round();
  assert.deepEqual(house.answered[0]?.answers, [
    { address: 'y@far.test', deliverable: false, status: '4.3.0', reason: 'Mail to other hosts cannot be taken now' },
  ]);
  assert.deepEqual(await house.names('pickup'), []);
});

test('row 24: nothing of an envelope in the maildrop reaches a header or the log as more than a line', async (t) => {
  const house = await MaildropHouse.make(t);
  const path = house.path(NAME);
  const head = `buzon-maildrop-1 {"sender":"a@b.test\\r\\nX-Injected: 1","recipients":["ana@example.test"]}\n${MESSAGE}`;
  await writeFile(path, head);
  await chmod(path, 0o640);
  await house.round();
  assert.equal(house.accepted.length, 0);
  assert.equal((await house.names('corrupt')).length, 1);
  assert.doesNotMatch(JSON.stringify(house.events), /X-Injected/);
});

test('what is not made by sendmail in the maildrop is never a message', async (t) => {
  const house = await MaildropHouse.make(t);
  const secret = join(house.queue, 'secret');
  await writeFile(secret, await readFile(await drop(house)));
  await chmod(secret, 0o640);
  await rename(house.path(NAME), join(house.folder, 'aside'));
  const name = (n: number): string => n.toString(16).padStart(32, '0');
  await symlink(secret, house.path(name(1)));
  await link(secret, house.path(name(2)));
  await promisify(execFile)('mkfifo', ['-m', '640', house.path(name(3))]);
  await chmod(await drop(house, undefined, undefined, name(4)), 0o644);
  await mkdir(house.path(name(5)));
  await mkdir(house.path(name(6)));
  await writeFile(house.path(name(6), 'x'), '');
  await drop(house, undefined, undefined, 'message');
  await writeFile(house.path(name(7)), MESSAGE, { mode: 0o640 });
  await writeFile(house.path(name(8)), '', { mode: 0o640 });
  if (process.getuid?.() === 0) await chown(await drop(house, undefined, undefined, name(9)), 0, 12_345);
  if (process.getuid?.() === 0) await chmod(house.path(name(9)), 0o640);
  await house.round();
  assert.equal(house.accepted.length, 0);
  assert.deepEqual(await house.names('maildrop'), [name(6)], 'only a folder that is not empty stays');
  assert.equal(house.logged('pickup.stuck').length, 1);
  const reasons = house.logged('pickup.refused').map(({ fields }) => String(fields['reason']));
  for (const reason of [/not a regular file/, /other names/, /mode is 0644/, /name is none/, /does not begin as a file/])
    assert.ok(
      reasons.some((one) => reason.test(one)),
      `${reason} in ${reasons.join('; ')}`,
    );
  if (process.getuid?.() === 0) assert.ok(reasons.includes('it was not made in the maildrop'));
  assert.equal((await stat(secret)).nlink, 2, 'a linked file is set aside, not changed');
});

test('a message over the limits is set aside, not read into memory', async (t) => {
  const house = await MaildropHouse.make(t);
  await drop(house, undefined, `Subject: x\n\n${'x'.repeat(1_100_000)}\n`);
  await drop(house, undefined, `${'Received: x\n'.repeat(51)}\nbody\n`, NAME.replace('0', '1'));
  await house.round();
  assert.equal(house.accepted.length, 0);
  assert.equal((await house.names('corrupt')).length, 2);
});

test('what cannot be accepted now waits under the same id and is tried again', async (t) => {
  const house = await MaildropHouse.make(t);
  const seen: string[] = [];
  house.onAccept = ({ id, original }) => {
    seen.push(`${id} ${original}`);
    if (seen.length < 3) throw new MailError('temporary', 'BUSY', 'not now');
  };
  await drop(house);
  await house.round();
  assert.equal((await house.names('pickup')).length, 1);
  const clock = { now: () => Date.now() + 1000, after: () => () => undefined };
  const pickup = house.pickup({}, clock);
  pickup.start();
  await pickup.settled();
  assert.equal(seen.length, 2);
  await pickup.flush();
  await pickup.stop();
  assert.equal(house.accepted.length, 1);
  assert.equal(new Set(seen).size, 1, 'the same bytes under the same id each time');
  assert.deepEqual(await house.names('pickup'), []);
});

test('after five days a message that could not be accepted is reported to its sender', async (t) => {
  const house = await MaildropHouse.make(t);
  house.onAccept = () => {
    throw new MailError('temporary', 'BUSY', 'not now');
  };
  await drop(house);
  const at = (days: number) => ({ now: () => Date.now() + days * 86_400_000, after: () => () => undefined });
  await house.round(at(4.9));
  assert.equal(house.bounced.length, 0);
  // Row 48's other direction: a clock that was set back is no reason either.
  await house.round(at(-30));
  assert.equal(house.bounced.length, 0);
  await house.round(at(5.1));
  assert.deepEqual(
    house.bounced[0]?.failures.map(({ status, reason }) => [status, reason]),
    [['5.3.0', '<ana@example.test>: not now']],
  );
  assert.deepEqual(await house.names('pickup'), []);
});

test('row 27: unknown recipients are reported, once, to a sender that is not <>, and hold up nobody', async (t) => {
  const house = await MaildropHouse.make(t);
  await drop(house, ['nobody@example.test', 'ana@example.test']);
  let tries = 0;
  house.onBounce = () => {
    if (tries++ === 0) throw new MailError('temporary', 'BUSY', 'not now');
  };
  await house.round();
  assert.equal((await house.names('pickup'))[0]?.endsWith('.b'), true);
  await house.round();
  assert.deepEqual(
    house.accepted.map(({ recipients }) => recipients),
    [['ana@example.test']],
  );
  assert.equal(house.bounced.length, 1);
  assert.deepEqual(
    house.bounced[0]?.failures.map(({ status, reason }) => [status, reason]),
    [['5.1.1', '<nobody@example.test>: User unknown']],
  );
  await writeFile(
    house.path(NAME),
    Buffer.concat([formatHead({ sender: '', recipients: ['nobody@example.test'] }), Buffer.from(MESSAGE)]),
  );
  await chmod(house.path(NAME), 0o640);
  await house.round();
  assert.equal(house.bounced.length, 1);
  assert.deepEqual(await house.names('pickup'), []);
});

test('a recipient whose mailbox is full does not hold up the others', async (t) => {
  const house = await MaildropHouse.make(t);
  house.onAccept = ({ recipients }) => {
    if (recipients.includes('info@example.test')) throw new MailError('over-quota', 'OVER_QUOTA', 'full');
  };
  await drop(house, ['ana@example.test', 'info@example.test', 'far@elsewhere.test']);
  await house.round();
  await house.round();
  assert.deepEqual(house.accepted.map(({ recipients }) => recipients.join()).sort(), ['ana@example.test', 'far@elsewhere.test']);
  const [left, more] = await house.names('pickup');
  assert.ok(left?.endsWith('.r1') && more === undefined, left);
  house.onAccept = () => undefined;
  await house.round();
  assert.equal(house.accepted.length, 3);
  assert.deepEqual(await house.names('pickup'), []);
});

test('a crash while a message is made into parts repeats none of them', async (t) => {
  const house = await MaildropHouse.make(t);
  const path = await drop(house, ['ana@example.test', 'info@example.test']);
  const work = join(house.queue, 'pickup', 'ABCDEF012345');
  await rename(path, `${work}.s`);
  await link(`${work}.s`, `${work}.r0`);
  await house.round();
  await house.round();
  assert.deepEqual(house.accepted.map(({ recipients }) => recipients.join()).sort(), ['ana@example.test', 'info@example.test']);
  assert.deepEqual(await house.names('pickup'), []);
});

test('row 1: a pickup killed between taking and accepting loses nothing: the next one hands it in', async (t) => {
  const house = await MaildropHouse.make(t);
  const path = await drop(house);
  await rename(path, join(house.queue, 'pickup', 'ABCDEF012345'));
  await house.round();
  assert.deepEqual(
    house.accepted.map(({ id }) => id),
    ['ABCDEF012345'],
  );
});

test('one process at a time: without the lease nothing is taken, and it is given back', async (t) => {
  const house = await MaildropHouse.make(t);
  await drop(house);
  await house.round(undefined, { lease: () => undefined });
  assert.equal((await house.names('maildrop')).length, 1);
  let held = 0;
  await house.round(undefined, { lease: () => ({ release: () => held--, held: held++ }) });
  assert.equal(house.accepted.length, 1);
  assert.equal(held, 0);
});

test('a new message is noticed while the pickup runs', async (t) => {
  const house = await MaildropHouse.make(t);
  const pickup = house.pickup();
  pickup.start();
  t.after(() => pickup.stop());
  await pickup.flush();
  const result = await house.sendmail(['ana@example.test'], 'Subject: x\n\nbody\n');
  assert.equal(result.status, 0, result.stderr);
  await eventually(async () => house.accepted.length === 1, 'the message is handed in');
});

test('what a killed sendmail left is no message, and goes after a day', async (t) => {
  const house = await MaildropHouse.make(t);
  await drop(house, undefined, undefined, `new.${NAME}`);
  await house.round();
  assert.deepEqual(await house.names('maildrop'), [`new.${NAME}`]);
  const old = new Date(Date.now() - 2 * 86_400_000);
  await utimes(house.path(`new.${NAME}`), old, old);
  await house.round();
  assert.deepEqual([house.accepted.length, await house.names('maildrop')], [0, []]);
});

test('the folders have their modes, also where they were there before', async (t) => {
  const house = await MaildropHouse.make(t);
  const modes = async (): Promise<string[]> =>
    Promise.all(
      ['.', 'maildrop', 'pickup', 'corrupt'].map(async (name) =>
        ((await stat(join(house.queue, name))).mode & 0o7777).toString(8),
      ),
    );
  assert.deepEqual(await modes(), ['711', '3733', '700', '700']);
  await chmod(house.path(), 0o777);
  await chmod(house.queue, 0o700);
  await makeMaildrop(house.queue);
  assert.deepEqual(await modes(), ['711', '3733', '700', '700']);
});

test('as root the folders are the mail owner’s, and another user’s file is of the owner’s group', async (t) => {
  if (!requireRoot(t)) return;
  const house = await MaildropHouse.make(t);
  await makeMaildrop(house.queue, { uid: 65_534, gid: 65_534 });
  const { uid, gid, mode } = await stat(house.path());
  assert.deepEqual([uid, gid, (mode & 0o7777).toString(8)], [65_534, 65_534, '3733']);
});
