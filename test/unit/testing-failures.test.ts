// What a client is told that a test wants refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatReply } from '../../src/smtp/reply.ts';
import { failureReply, Failures } from '../../src/testing/failures.ts';
import type { Failure, FailureStage } from '../../src/testing/types.ts';

test('failures: the enhanced code fits the code and the stage (RFC 5248)', () => {
  const told = (stage: FailureStage, code: number): string => failureReply({ stage, code }).enhanced;
  const expected: [FailureStage, number, string][] = [
    ['connect', 421, '4.3.2'],
    ['connect', 554, '5.3.2'],
    ['auth', 454, '4.7.0'],
    ['auth', 535, '5.7.8'],
    ['mail', 451, '4.3.0'],
    ['mail', 550, '5.7.1'],
    ['mail', 553, '5.1.8'],
    ['rcpt', 450, '4.2.1'],
    ['rcpt', 452, '4.5.3'],
    ['rcpt', 550, '5.1.1'],
    ['rcpt', 552, '5.2.2'],
    ['data', 452, '4.3.1'],
    ['data', 550, '5.7.1'],
    ['data', 552, '5.3.4'],
    ['data', 554, '5.6.0'],
    ['data', 499, '4.0.0'],
    ['rcpt', 599, '5.0.0'],
  ];
  for (const [stage, code, enhanced] of expected) assert.equal(told(stage, code), enhanced, `${stage} ${code}`);
});

test('failures: every code that there is has an enhanced code of its class', () => {
  for (const stage of ['connect', 'auth', 'mail', 'rcpt', 'data'] as const)
    for (let code = 400; code < 600; code++)
      assert.match(failureReply({ stage, code }).enhanced, code < 500 ? /^4\.\d\.\d+$/ : /^5\.\d\.\d+$/);
});

test('failures: text and enhanced code can be given; a line end in them breaks nothing', () => {
  assert.equal(
    formatReply(failureReply({ stage: 'rcpt', code: 550, enhanced: '5.2.1', text: 'Mailbox\r\n250 disabled' })),
    '550 5.2.1 Mailbox  250 disabled\r\n',
  );
});

test('failures: what no server could answer is refused', () => {
  const wrong = (failure: unknown, name: string): void => assert.throws(() => failureReply(failure as Failure), { name });
  wrong({ stage: 'helo', code: 451 }, 'TypeError');
  wrong({ stage: 'data', code: 250 }, 'RangeError');
  wrong({ stage: 'data', code: 600 }, 'RangeError');
  wrong({ stage: 'data', code: 451.5 }, 'RangeError');
  wrong({ stage: 'data', code: 451, enhanced: '5.3.0' }, 'RangeError');
  wrong({ stage: 'data', code: 451, enhanced: '4.3.0 x' }, 'RangeError');
});

test('failures: each happens once, in the order of its stage', () => {
  const failures = new Failures();
  failures.add({ stage: 'rcpt', code: 450 });
  failures.add({ stage: 'data', code: 451 });
  failures.add({ stage: 'rcpt', code: 550 });
  const taken = (stage: FailureStage): number | undefined => failures.take(stage)?.code;
  assert.deepEqual(
    [taken('mail'), taken('rcpt'), taken('data'), taken('rcpt'), taken('rcpt')],
    [undefined, 450, 451, 550, undefined],
  );
  failures.add({ stage: 'mail', code: 451 });
  failures.clear();
  assert.equal(taken('mail'), undefined);
});
