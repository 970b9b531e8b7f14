import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MailError } from '../../src/lib/errors.ts';
import { matchesPattern, matchingParents } from '../../src/imap/list-pattern.ts';
import { fromPath, toPath } from '../../src/imap/mailbox-name.ts';
import { completionOf, formatCompletion, ok } from '../../src/imap/status.ts';
import { readFlagList } from '../../src/imap/syntax/flags.ts';
import { Scanner } from '../../src/imap/syntax/scanner.ts';
import { formatSet, inRanges, readSequenceSet, resolveSet } from '../../src/imap/syntax/sequence-set.ts';

const scan = (text: string): Scanner => new Scanner(Buffer.from(text, 'latin1'), { nesting: 5, items: 20 });
const isBad = (error: unknown): boolean => error instanceof MailError && error.kind === 'bad-syntax';

test('strings, atoms, numbers', () => {
  assert.equal(scan('"a \\"\\\\b"').astring().toString(), 'a "\\b');
  assert.equal(scan('{5}\r\na\r\nb"').string().toString(), 'a\r\nb"');
  assert.equal(scan('{2+}\r\nab').astring().toString(), 'ab');
  assert.equal(scan('a]b[c+d').astring().toString(), 'a]b[c+d');
  assert.equal(scan('NIL').nstring(), undefined);
  assert.equal(scan('a%*]').listMailbox().toString(), 'a%*]');
  assert.equal(scan('4294967295').number(), 4_294_967_295);
  for (const read of [
    () => scan('"a').string(),
    () => scan('"a\\n"').string(),
    () => scan('"a\nb"').string(),
    () => scan('{5}\r\nab').string(),
    () => scan('{1}\r\n\0').string(),
    () => scan('').astring(),
    () => scan('(').astring(),
    () => scan('\xe9').astring(),
    () => scan('nil2').string(),
    () => scan('4294967296').number(),
    () => scan('99999999999999999999').number(),
    () => scan('-1').number(),
    () => scan('0').nonZero(),
    () => scan('a+').tag(10) + scan('+').tag(10),
    () => scan('x'.repeat(11)).tag(10),
    () => scan('(a  b)').list(() => 1),
    () => readFlagList(scan('(\\Recent)')),
    () => readFlagList(scan('(a')),
    () => readFlagList(scan('(a ')),
  ])
    assert.throws(read, isBad, read.toString());
});

test('lists: nesting and counts have limits', () => {
  const nested = (scanner: Scanner): unknown => scanner.list(() => (scanner.next === '(' ? nested(scanner) : scanner.atom()));
  assert.deepEqual(nested(scan('(a (b (c (d (e)))))')), ['a', ['b', ['c', ['d', ['e']]]]]);
  assert.throws(() => nested(scan('((((((x))))))')), isBad);
  assert.throws(() => nested(scan(`(${'a '.repeat(21)}a)`)), isBad);
  assert.deepEqual(readFlagList(scan('(\\seen \\SEEN work Work)')), ['\\Seen', 'work']);
});

test('sequence sets: read, resolved, formatted', () => {
  const resolved = (text: string, last: number): string =>
    resolveSet(readSequenceSet(scan(text)), last)
      .map(({ from, to }) => `${from}-${to}`)
      .join(' ');
  assert.equal(resolved('1', 9), '1-1');
  assert.equal(resolved('5:2,3,9:*', 9), '2-5 9-9');
  assert.equal(resolved('*', 9), '9-9');
  assert.equal(resolved('12:*', 9), '9-12');
  assert.equal(resolved('*:4', 9), '4-9');
  assert.equal(resolved('1:4294967295', 9), '1-4294967295');
  assert.equal(resolved('1,2,3,5', 9), '1-3 5-5');
  const ranges = resolveSet(readSequenceSet(scan('2:4,7,9:*')), 12);
  assert.deepEqual(
    [1, 2, 4, 5, 7, 8, 9, 12, 13].map((n) => inRanges(ranges, n)),
    [false, true, true, false, true, false, true, true, false],
  );
  assert.equal(formatSet([1, 2, 3, 7, 9, 10]), '1:3,7,9:10');
  for (const text of ['', '0', 'a', '1:', ':1', ',1', '1,', '4294967296'])
    assert.throws(() => (readSequenceSet(scan(text)), undefined), isBad, text);
});

test('LIST patterns: % stays in a level, * does not; INBOX in any case', () => {
  const table: [string, string, boolean][] = [
    ['*', 'a.b.c', true],
    ['%', 'a.b', false],
    ['%', 'a', true],
    ['a.%', 'a.b', true],
    ['a.%', 'a.b.c', false],
    ['%.c', 'a.b.c', false],
    ['*.c', 'a.b.c', true],
    ['a*c', 'a.b.c', true],
    ['%%', 'a', true],
    ['**', '', true],
    ['inbox', 'INBOX', true],
    ['inBOX.%', 'INBOX.a', true],
    ['InB%', 'INBOX', true],
    ['Work', 'work', false],
    ['', 'a', false],
    ['a', 'ab', false],
  ];
  for (const [pattern, name, expected] of table) assert.equal(matchesPattern(pattern, name, '.'), expected, `${pattern} ${name}`);
  assert.deepEqual(matchingParents('%', 'a.b.c', '.'), [1]);
  assert.deepEqual(matchingParents('%.%', 'a.b.c', '.'), [3]);
  assert.deepEqual(matchingParents('*', 'a.b.c', '.'), [1, 3]);
});

test('LIST patterns cost pattern × name, whatever the pattern', () => {
  const before = performance.now();
  assert.equal(matchesPattern('*a'.repeat(300) + 'b', 'a'.repeat(255), '.'), false);
  assert.equal(matchesPattern('%*'.repeat(300) + 'b', 'a'.repeat(255), '.'), false);
  // Milliseconds; a backtracking matcher would not end.
  assert.ok(performance.now() - before < 1_000);
});

test('mailbox names: prefix, separator, INBOX, modified UTF-7', () => {
  const plain = { separator: '.', prefix: '' };
  const prefixed = { separator: '/', prefix: 'INBOX/' };
  assert.deepEqual(toPath('inbox', plain), ['INBOX']);
  assert.deepEqual(toPath('inbox.a', plain), ['INBOX', 'a']);
  assert.deepEqual(toPath('Caf&AOk-.x', plain), ['Café', 'x']);
  assert.deepEqual(toPath('inbox/a/b', prefixed), ['a', 'b']);
  assert.deepEqual(toPath('Inbox', prefixed), ['INBOX']);
  for (const name of ['', '.a', 'a.', 'a..b', '&Jjo', '&AGE-', 'caf\xe9'])
    assert.throws(() => toPath(name, plain), { kind: 'cannot' }, name);
  assert.throws(() => toPath('a', prefixed), { kind: 'cannot' });
  assert.equal(fromPath(['Café', 'x'], plain), 'Caf&AOk-.x');
  assert.equal(fromPath(['INBOX'], prefixed), 'INBOX');
  assert.equal(fromPath(['a', 'b'], prefixed), 'INBOX/a/b');
  assert.equal(fromPath(['a.b'], plain), undefined);
});

test('errors as answers: TRYCREATE only for targets; text never breaks the line', () => {
  const missing = new MailError('no-such-mailbox', 'X', 'gone');
  assert.equal(formatCompletion('a', completionOf(missing, false)), 'a NO [NONEXISTENT] gone');
  assert.equal(formatCompletion('a', completionOf(missing, true)), 'a NO [TRYCREATE] gone');
  assert.equal(
    formatCompletion('a', completionOf(new MailError('cannot', 'X', 'x\r\n* BYE\0'), false)),
    'a NO [CANNOT] x??* BYE?',
  );
  assert.equal(
    formatCompletion('a', completionOf(new MailError('temporary', 'X', 'later', { detail: '/secret/path' }), false)),
    'a NO [SERVERBUG] later',
  );
  assert.equal(formatCompletion('a', ok('fine', 'READ-ONLY')), 'a OK [READ-ONLY] fine');
});
