// What submission makes of From, Sender, Bcc, Date and Message-ID.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Router } from '../../src/delivery/types.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { MailError } from '../../src/lib/errors.ts';
import { prepareSubmission, type SubmissionParts } from '../../src/smtp/submission.ts';

const unused = (): never => assert.fail('not asked');
const router = {
  route: unused,
  isLocalDomain: unused,
  maySendAs: async (account: string, sender: string) => sender === account || sender === 'alias@x.test',
} as unknown as Router;
const PARTS = {
  router,
  limits: { headerBytes: 100_000, headerFields: 1_000 },
  hostname: 'mx.x.test',
  clock: { ...systemClock, now: () => Date.UTC(2026, 10, 4, 13, 41, 9) },
} as unknown as SubmissionParts;

const prepare = async (header: string): Promise<string> =>
  (await prepareSubmission(Buffer.from(header), 'ana@x.test', PARTS, 'id1')).toString();

test('row 30: a From or Sender that is not the user’s, or can be read in two ways, is refused', async () => {
  for (const header of [
    'From: eve@y.test\r\n\r\n',
    'From: ana@x.test, eve@y.test\r\n\r\n',
    'From: team: ana@x.test, eve@y.test;\r\n\r\n',
    'From: ana@x.test\r\nFrom: ana@x.test\r\n\r\n',
    'From: ana@x.test\r\nSender: eve@y.test\r\n\r\n',
    'From: <ana@x.test> eve@y.test\r\n\r\n',
    'From: ana\r\n\r\n',
    'From:\r\n\r\n',
    'To: x@x.test\r\n\r\n',
    `From: ${'ana@x.test, '.repeat(3_000)}eve@y.test\r\n\r\n`,
    `From: ana@x.test (${' '.repeat(70_000)}), eve@y.test\r\n\r\n`,
  ])
    await assert.rejects(prepare(header), (e) => e instanceof MailError && e.code === 'FOREIGN_FROM', header.slice(0, 60));
  for (const from of ['ana@x.test', 'Ana <ana@x.test>', '"eve@y.test" <alias@x.test>'])
    assert.match(await prepare(`From: ${from}\r\nDate: d\r\nMessage-ID: <i>\r\n\r\n`), /^From: /);
});

test('submission: Bcc and Resent-Bcc go, Date and Message-ID come when missing (RFC 6409 section 8)', async () => {
  const made = await prepare('From: ana@x.test\r\nBcc: b@x\r\nResent-Bcc: c@x,\r\n d@x\r\nTo: e@x\r\n\r\n');
  assert.match(made, /^Date: Wed, 0?4 Nov 2026 /m);
  assert.match(made, /^Message-ID: <[^@\s]+@mx\.x\.test>\r$/m);
  assert.ok(made.endsWith('From: ana@x.test\r\nTo: e@x\r\n\r\n'));
  const whole = 'From: ana@x.test\r\ndate: d\r\nMESSAGE-ID: <i>\r\n\r\n';
  assert.equal(await prepare(whole), whole);
});
