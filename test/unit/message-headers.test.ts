import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MailError } from '../../src/lib/errors.ts';
import { editHeader, fieldValue, headerLength, parseFields } from '../../src/message/headers.ts';

const LIMITS = { headerBytes: 100_000, headerFields: 1_000 };

test('fields: names, unfolded values, places; broken lines belong to no field', () => {
  const block = Buffer.from(
    'Subject : a\r\n  b \r\nbroken line\r\n lost\r\n: no name\r\nTO:x\nto:\ty\n\tz\r\n\r\nNot: this\r\n',
    'latin1',
  );
  assert.deepEqual(
    parseFields(block, LIMITS).map((f) => [f.name, fieldValue(block, f), block.toString('latin1', f.start, f.end)]),
    [
      ['subject', 'a  b', 'Subject : a\r\n  b \r\n'],
      ['to', 'x', 'TO:x\n'],
      ['to', 'y z', 'to:\ty\n\tz\r\n'],
    ],
  );
  assert.deepEqual(parseFields(Buffer.from('A: 1\r\nB: 2'), LIMITS).length, 2);
  assert.deepEqual(parseFields(Buffer.alloc(0), LIMITS), []);
});

test('row 9: a block is looked at up to the limits', () => {
  const block = Buffer.from('X: y\r\n'.repeat(50));
  assert.equal(parseFields(block, { headerBytes: 1e6, headerFields: 7 }).length, 7);
  assert.equal(parseFields(block, { headerBytes: 60, headerFields: 1e6 }).length, 10);
  const long = Buffer.from(`X: ${'y'.repeat(500)}\r\n`);
  assert.equal(fieldValue(long, parseFields(long, LIMITS)[0] as never, 100).length <= 100, true);
});

test('headerLength: behind the empty line, LF and CRLF', () => {
  for (const [text, length] of [
    ['A: 1\r\n\r\nbody', 8],
    ['A: 1\n\nbody', 6],
    ['A: 1\n\r\nbody', 7],
    ['\r\nbody', 2],
    ['\n', 1],
    ['A: 1\r\n', undefined],
    ['A: 1\r\n\r', undefined],
    ['', undefined],
  ] as const)
    assert.equal(headerLength(Buffer.from(text)), length, JSON.stringify(text));
});

test('submission: editHeader takes whole fields out, adds at the head, leaves every other byte', () => {
  const block = Buffer.from('Bcc: a@x,\r\n b@x\r\nTo: c@x\r\nBCC : d\r\nbroken\r\nbcc-like: e\r\n\r\n');
  assert.equal(editHeader(block, ['bcc'], [], LIMITS).toString(), 'To: c@x\r\nbroken\r\nbcc-like: e\r\n\r\n');
  assert.equal(editHeader(block, ['to'], ['Date: d'], LIMITS).toString().slice(0, 15), 'Date: d\r\nBcc: a');
  assert.equal(editHeader(Buffer.from('Bcc: a\r\n'), ['bcc'], [], LIMITS).toString(), '');
});

test('row 24: an added header line is one line', () => {
  for (const line of ['X: a\r\nBcc: b', 'X: a\nb', 'X: \0', 'X: a\r'])
    assert.throws(
      () => editHeader(Buffer.from('A: 1\r\n\r\n'), [], [line], LIMITS),
      (error) => error instanceof MailError && error.code === 'HEADER_INJECTION',
    );
});

test('a value that ends in raw UTF-8 keeps its last byte, which latin1 calls a no-break space', () => {
  const block = Buffer.from('Subject: \t ma\u00f1ana ser\u00e0 \r\n\r\n', 'utf8');
  const [subject] = parseFields(block, LIMITS);
  assert.ok(subject);
  assert.equal(Buffer.from(fieldValue(block, subject), 'latin1').toString('utf8'), 'ma\u00f1ana ser\u00e0');
});
