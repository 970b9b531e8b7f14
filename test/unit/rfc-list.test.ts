// docs/rfc.md against the code: nothing is cited that the list does not have, and nothing is listed as there that the code does not cite.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { PROJECT } from '../support/mail-host.ts';

interface Entry {
  readonly number: string;
  readonly state: string;
  readonly note: string;
}

async function listed(): Promise<Entry[]> {
  const rows = (await readFile(join(PROJECT, 'docs/rfc.md'), 'utf8')).split('\n').filter((line) => /^\| RFC \d/.test(line));
  return rows.map((row) => {
    const [, number, state = '', note = ''] =
      /^\| RFC (\d{3,5}) [^|]+ \| ([^|]+) \|(.*)\|$/.exec(row) ?? assert.fail(`not a row: ${row}`);
    return { number: number ?? '', state, note: note.trim() };
  });
}
/** Where each RFC is cited in src/. */
async function cited(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const name of await readdir(join(PROJECT, 'src'), { recursive: true })) {
    if (!name.endsWith('.ts')) continue;
    const text = await readFile(join(PROJECT, 'src', name), 'utf8');
    // `RFC 3463/5248` cites both; `RFC822.SIZE` is a word of IMAP's.
    for (const [, numbers = ''] of text.matchAll(/\bRFC[ -]?((?!822\b)\d{3,5}(?:\/\d{3,5})*)\b/g))
      for (const number of numbers.split('/')) found.set(number, `src/${name}`);
  }
  return found;
}

test('every RFC that the code cites is in docs/rfc.md', async () => {
  const list = new Set((await listed()).map(({ number }) => number));
  const missing = [...(await cited())].filter(([number]) => !list.has(number));
  assert.deepEqual(missing, [], 'add them to docs/rfc.md with their state');
});

test('every RFC that docs/rfc.md lists as there is cited in the code, and listed once with a state', async () => {
  const [list, code] = [await listed(), await cited()];
  assert.ok(list.length > 40);
  assert.equal(new Set(list.map(({ number }) => number)).size, list.length, 'one row each');
  for (const { number, state, note } of list) {
    assert.ok(['full', 'partly', 'not yet'].includes(state), `RFC ${number}: ${state}`);
    if (state === 'partly') assert.notEqual(note, '', `RFC ${number}: say what is missing`);
    if (state !== 'not yet') assert.ok(code.has(number), `RFC ${number} is listed as ${state}, and src/ does not cite it`);
  }
});
