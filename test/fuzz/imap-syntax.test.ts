// Row 25: every parser of the IMAP syntax on seeded nonsense: it either reads it or says BAD, and never takes long.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MailError } from '../../src/lib/errors.ts';
import { nameText, toPath } from '../../src/imap/mailbox-name.ts';
import { matchesPattern, matchingParents } from '../../src/imap/list-pattern.ts';
import { readAppend } from '../../src/imap/syntax/append.ts';
import { readFetchItems } from '../../src/imap/syntax/fetch.ts';
import { readFlagList } from '../../src/imap/syntax/flags.ts';
import { literalAtEnd } from '../../src/imap/syntax/literal.ts';
import { Scanner } from '../../src/imap/syntax/scanner.ts';
import { readSearch } from '../../src/imap/syntax/search.ts';
import { readSequenceSet, resolveSet } from '../../src/imap/syntax/sequence-set.ts';
import { astring, quoted } from '../../src/imap/syntax/quote.ts';

const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? 1);
const SEED = Number(process.env['FUZZ_SEED'] ?? 7);
const WORDS = [
  '(',
  ')',
  ' ',
  '"',
  '\\',
  '{3}\r\nabc',
  '{9}\r\n',
  '[',
  ']',
  '<',
  '>',
  '.',
  ',',
  ':',
  '*',
  '%',
  '1',
  '0',
  '4294967295',
  '-',
  '&',
  '&AOk-',
  'NIL',
  'BODY[',
  'BODY.PEEK[',
  'HEADER.FIELDS',
  'TEXT',
  'MIME',
  'FLAGS',
  'UID',
  'ALL',
  'OR',
  'NOT',
  'SUBJECT',
  'SINCE',
  '1-Jan-2026',
  'CHARSET UTF-8',
  '\\Seen',
  'INBOX',
  '\0',
  '\r',
  '\n',
  '\xff',
  'x'.repeat(50),
];
const NAMESPACE = { separator: '.', prefix: '' };

const PARSERS: Record<string, (text: string) => void> = {
  fetch: (text) => void readFetchItems(scan(text)),
  search: (text) => void readSearch(scan(text)),
  append: (text) => void readAppend(scan(text)),
  set: (text) => void resolveSet(readSequenceSet(scan(text)), 10),
  flags: (text) => void readFlagList(scan(text)),
  id: (text) => void scan(text).list(() => [scan(text).nstring(), scan(text).astring()]),
  name: (text) => void toPath(nameText(Buffer.from(text, 'latin1')), NAMESPACE),
  literal: (text) => void literalAtEnd(Buffer.from(text, 'latin1')),
  pattern: (text) => void (matchesPattern(text, 'INBOX.a.b', '.'), matchingParents(text, 'a.b.c', '.')),
  // What goes out can be read back: nothing in it ends a line.
  quote: (text) => {
    for (const out of [astring(text), quoted(text)])
      assert.equal(scan(out).astring().toString('latin1').replaceAll('\x80', ''), text.replaceAll(/[\0\x80]/g, ''));
  },
};
const scan = (text: string): Scanner => new Scanner(Buffer.from(text, 'latin1'), { nesting: 50, items: 1_000 });

for (const [name, parse] of Object.entries(PARSERS))
  test(`row 25: seeded nonsense for ${name}`, () => {
    let state = SEED;
    const below = (n: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * n);
    };
    for (const end = Date.now() + SECONDS * 150; Date.now() < end;) {
      const text = Array.from({ length: below(30) }, () => WORDS[below(WORDS.length)]).join(below(2) ? ' ' : '');
      const before = performance.now();
      try {
        parse(text);
      } catch (error) {
        assert.ok(
          error instanceof MailError && ['bad-syntax', 'cannot'].includes(error.kind),
          `${JSON.stringify(text)}: ${String(error)}`,
        );
      }
      assert.ok(performance.now() - before < 1_000, JSON.stringify(text));
    }
  });
