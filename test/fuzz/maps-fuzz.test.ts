import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSettings } from '../../src/config/settings.ts';
import { parsePatterns } from '../../src/config/maps/pattern.ts';
import { logicalLines, parseAliases, parseTable, splitAliasValue } from '../../src/config/maps/text.ts';
import { MailError } from '../../src/lib/errors.ts';

const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? 0.7);

/** mulberry32: the same numbers for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) % below;
  };
}

function fuzz(name: string, pieces: readonly string[], check: (text: string) => Promise<void> | void): void {
  test(`row 25: ${name}`, async () => {
    const until = Date.now() + SECONDS * 1000;
    for (let seed = 1; Date.now() < until; seed++) {
      const next = random(seed);
      const text = Array.from({ length: next(24) }, () => pieces[next(pieces.length)] ?? '').join('');
      try {
        await check(text);
      } catch (error) {
        throw new Error(`seed ${seed}: ${JSON.stringify(text)}`, { cause: error });
      }
    }
  });
}

const TEXT = [
  'a',
  'B@x',
  ' ',
  '\t',
  '\n',
  '\r\n',
  '#',
  '"',
  '\\',
  ':',
  ',',
  '|',
  '/',
  '\ufffd',
  '\u0000',
  'ñ',
  'key value\n',
  ' cont\n',
  '"q v"',
  'a: b, c\n',
];
fuzz('tables and aliases in text form never throw, and every key is found once', TEXT, async (text) => {
  for (const parse of [parseTable, parseAliases]) {
    const { entries } = await parse(Buffer.from(text));
    for (const [key, entry] of entries) {
      assert.equal(key, entry.key);
      assert.ok(key !== '' && entry.value !== '' && entry.value === entry.value.trim() && !entry.value.includes('\n'));
      assert.ok(splitAliasValue(entry.value).every((part) => part !== '' || entry.value.includes('""')));
    }
  }
});

const RULES = [
  '/',
  '!',
  'if',
  'endif',
  '\n',
  ' ',
  'x',
  '^',
  '$',
  '(',
  ')',
  '[',
  ']',
  '[:alpha:]',
  '{',
  '}',
  '{2}',
  '\\',
  '*',
  '+',
  '?',
  '(?',
  '|',
  '$1',
  '${2}',
  '%',
  'i',
  '/a/ b\n',
  'if /a/\n',
  'endif\n',
];
fuzz('pattern tables never throw while they are read, nor when asked', RULES, async (text) => {
  for (const dialect of ['regexp', 'pcre'] as const) {
    const table = parsePatterns(await logicalLines(Buffer.from(text), () => undefined), dialect, 'x', () => undefined);
    for (const key of ['', 'a', 'aaaa@x']) assert.ok(['string', 'undefined'].includes(typeof table.get(key)));
  }
});

const YAML = [
  'hostname: a.b',
  '\n',
  'mynetworks: ',
  '[',
  ']',
  '{',
  '}',
  '10.0.0.0/8',
  '$mydomain',
  '${',
  '- ',
  'listeners:',
  '  ',
  'protocol: smtp',
  'port: 25',
  '&a ',
  '*a',
  '!!x ',
  '"',
  ': ',
  '#',
  '\t',
  '|',
  'quota: {storage: 1G}',
  '\u0000',
  '? ',
  '---\n',
];
fuzz('settings are read or refused with places, never anything else', YAML, (text) => {
  try {
    parseSettings(text, '/f.yaml');
  } catch (error) {
    assert.ok(error instanceof MailError && error.code === 'SETTINGS_INVALID', String(error));
    for (const line of error.clientText.split('\n')) assert.match(line, /^\/f\.yaml:\d+:\d+: .*; /);
  }
});
