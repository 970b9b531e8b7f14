import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parsePatterns, type PatternDialect } from '../../src/config/maps/pattern.ts';
import { openTable } from '../../src/config/maps/table.ts';
import { logicalLines, type TableWarning } from '../../src/config/maps/text.ts';
import { captureLog } from '../support/log-capture.ts';
import { tempFolder } from '../support/temp-folder.ts';

async function compile(text: string, dialect: PatternDialect = 'regexp') {
  const warnings: TableWarning[] = [];
  const warn = (warning: TableWarning): void => void warnings.push(warning);
  const table = parsePatterns(await logicalLines(Buffer.from(text), warn), dialect, `${dialect}:test`, warn);
  return { get: (key: string) => table.get(key), warnings };
}

type Case = readonly [dialect: PatternDialect, rules: string, expected: Readonly<Record<string, string | undefined>>];
const CASES: readonly Case[] = [
  [
    'regexp',
    '/^(.*)@old\\.test$/ $1@new.test',
    { 'a@old.test': 'a@new.test', 'A@OLD.TEST': 'A@new.test', 'a@oldxtest': undefined },
  ],
  ['regexp', '/^(a)(b)?$/ ${1}-$(2)-$$', { ab: 'a-b-$', a: 'a--$' }],
  ['regexp', '/^c/i C', { c: 'C', C: undefined }],
  ['regexp', '!/@example\\.com$/ outside\n/./ inside', { 'a@example.com': 'inside', 'a@example.org': 'outside' }],
  [
    'regexp',
    'if /@example\\.com$/\n/^info@/ info\nif !/^a/\n/./ other\nendif\nendif\n/./ rest',
    { 'info@example.com': 'info', 'a@example.com': 'rest', 'b@example.com': 'other', 'info@x': 'rest' },
  ],
  ['regexp', '/^[[:alpha:]][[:digit:]]{2,3}$/ yes', { a12: 'yes', a1: undefined, a1234: undefined, '112': undefined }],
  ['regexp', '/^a{x}$/ yes', { 'a{x}': 'yes' }],
  ['regexp', '/^[]\\]+$/ yes', { ']\\': 'yes' }],
  ['regexp', '/\\<one\\>/ yes', { 'a one b': 'yes', gone: undefined }],
  ['regexp', '%^/a/b%  slash', { '/a/b': 'slash' }],
  ['regexp', '/^a/\n   continued  value', { abc: 'continued  value' }],
  ['regexp', '/^a\\/b$/ x', { 'a/b': 'x' }],
  ['pcre', '/^(?P<user>[^@]+)@x$/ $1', { 'bob@x': 'bob' }],
  ['pcre', '/\\Aab\\z/ x', { ab: 'x', abc: undefined }],
  ['pcre', '/b+ # end\n   /x yes', {}],
  ['pcre', '/^ a [ ] b $/x yes', { 'a b': 'yes' }],
  ['pcre', '/b/A yes', { bc: 'yes', abc: undefined }],
  ['pcre', '/^ñ.$/ yes', { ÑÉ: 'yes' }],
  ['pcre', '/^(?:a|b)\\d{3}$/ yes', { b123: 'yes' }],
];
for (const [dialect, rules, expected] of CASES)
  test(`${dialect}: ${rules.replaceAll('\n', ' ⏎ ')}`, async () => {
    const table = await compile(rules, dialect);
    for (const [key, value] of Object.entries(expected)) assert.equal(table.get(key), value, key);
  });

const WRONG: readonly (readonly [PatternDialect, string, RegExp])[] = [
  ['regexp', 'word value', /no regular expression/],
  ['regexp', '/open value', /no closing/],
  ['regexp', '/(a/ x', /error in regular expression/],
  ['regexp', '/[a/ x', /not balanced/],
  ['regexp', '/a/q x', /unknown option "q"/],
  ['regexp', '!/(a)/ $1', /negative match/],
  ['regexp', '/a/', /no replacement/],
  ['regexp', 'endif', /endif without if/],
  ['regexp', 'if /a/\n/b/ x', /no endif/],
  ['pcre', '/(?>a)b/ x', /not supported/],
  ['pcre', '/a/U x', /not supported/],
];
for (const [dialect, rules, expected] of WRONG)
  test(`${dialect}, a rule that cannot be compiled is skipped and said: ${rules.replaceAll('\n', ' ⏎ ')}`, async () => {
    const { warnings, get } = await compile(`${rules}\n`, dialect);
    assert.match(warnings.map(({ text }) => text).join('\n'), expected);
    assert.equal((await compile(`/^z$/ fine\n${rules}\n`, dialect)).get('z'), 'fine');
    assert.equal(get('zzz'), undefined);
  });

test('rules under an if that cannot be compiled match nothing', async () => {
  const { get } = await compile('if /(a/\n/./ swallowed\nendif\n/./ rest');
  assert.equal(get('x'), 'rest');
});

test('row 25: a pattern that backtracks without end is cut off, and is a temporary fault', async () => {
  const { get } = await compile('/^(a+)+$/ x', 'pcre');
  const started = performance.now();
  assert.throws(() => get(`${'a'.repeat(60)}!`), { kind: 'temporary', code: 'MAP_PATTERN_SLOW' });
  assert.ok(performance.now() - started < 1000);
  assert.equal(get('aaa'), 'x', 'the table goes on working');
});

test('keys over 512 characters match nothing', async () => {
  const { get } = await compile('/a/ x');
  assert.equal(get('a'.repeat(512)), 'x');
  assert.equal(get('a'.repeat(513)), undefined);
});

test('pattern tables in files: asked whole, not folded, no entries, warnings with their lines', async (t) => {
  const file = join(await tempFolder(t), 're');
  await writeFile(file, '# comment\n/^(.*)@x$/ $1@y\nbad\n');
  const { logger, events } = captureLog();
  const table = openTable(`pcre:${file}`, { logger });
  assert.equal(table.whole, true);
  assert.equal(await table.get('Bob@x'), 'Bob@y');
  assert.deepEqual(await table.entries(), []);
  assert.deepEqual(
    events.map(({ event, fields }) => [event, fields['line']]),
    [['map.line', 3]],
  );
});
