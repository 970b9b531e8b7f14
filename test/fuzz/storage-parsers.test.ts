// Byte rubbish into the small text files of a mailbox: nothing but MailError is ever thrown, and no UID that can still be read is lost or given
// to another message. FUZZ_SECONDS makes it long, FUZZ_SEED repeats a run.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { MailError } from '../../src/lib/errors.ts';
import { parseKeywords } from '../../src/storage/keywords.ts';
import { joinName, parseName, sizeInName } from '../../src/storage/maildir-name.ts';
import { checkPath, folderOf, pathOf } from '../../src/storage/mailbox-names.ts';
import { formatSubscriptions, parseSubscriptions } from '../../src/storage/subscriptions.ts';
import { parseUidlist, Uidlist } from '../../src/storage/uidlist.ts';
import { fuzzTime, seededRandom, type Random } from '../support/random.ts';
import { makeStore, sourceOf } from '../support/store.ts';
import { tempFolder } from '../support/temp-folder.ts';

const PIECES = [
  '\0',
  '\n',
  ' ',
  ':',
  '3',
  '4294967295',
  'V1',
  ' :',
  '\xff',
  '\t',
  '-1',
  'N9',
  '99999999999',
  'é',
  'x'.repeat(300),
  '2,S',
  '\r\n',
];

/** Cuts, doubles, swaps and overwrites pieces of a text. */
function spoil(text: string, random: Random): string {
  let spoilt = text;
  for (let n = random.below(4) + 1; n > 0; n--) {
    const at = random.below(spoilt.length + 1);
    const length = random.below(12);
    spoilt =
      spoilt.slice(0, at) + random.pick([...PIECES, spoilt.slice(at, at + length).repeat(2), '']) + spoilt.slice(at + length);
  }
  return spoilt;
}
const rubbish = (random: Random): string =>
  Array.from({ length: random.below(60) }, () =>
    random.below(2) ? random.pick(PIECES) : String.fromCharCode(random.below(256)),
  ).join('');

test('fuzz: a spoilt uidlist keeps the UIDs of its whole lines, or is known to be unusable', () => {
  const { until, seed } = fuzzTime(1_500);
  for (let n = seed; performance.now() < until; n++) {
    const random = seededRandom(n);
    const lines = Array.from({ length: random.below(20) }, (_, i) => `${(i + 1) * 3} W9 :m${i},S=5:2,S\n`);
    const text = random.below(5) === 0 ? rubbish(random) : spoil(`3 V77 N4 Gx\n${lines.join('')}`, random);
    const parsed = parseUidlist(text);
    if (!parsed || parsed.broken) continue;
    const uids = [...parsed.entries.values()].map((entry) => entry.uid as number);
    assert.equal(new Set(uids).size, uids.length, `seed ${n}`);
    for (const uid of uids) assert.ok(uid > 0 && uid < parsed.header.nextUid, `seed ${n}`);
    // Each line that is as it was still counts, unless a later one has its name.
    for (const [i, line] of lines.entries()) {
      if (!text.includes(`\n${line}`) || text.split(`:m${i},S=5`).length > 2) continue;
      assert.equal(parsed.entries.get(`m${i},S=5`)?.uid, (i + 1) * 3, `seed ${n}: ${line}`);
    }
  }
});

test('fuzz: UIDs given over a spoilt list are new, and those of whole lines stay', async (t) => {
  const folder = await tempFolder(t);
  const file = join(folder, 'dovecot-uidlist');
  const { until, seed } = fuzzTime(2_000);
  for (let n = seed; performance.now() < until; n++) {
    const random = seededRandom(n);
    const names = Array.from({ length: random.below(12) + 1 }, (_, i) => `m${i}`);
    const text = spoil(`3 V77 N4 Gx\n${names.map((name, i) => `${i + 1} :${name}\n`).join('')}`, random);
    await writeFile(file, Buffer.from(text, 'latin1'));
    const list = new Uidlist(folder, async (above) => above + 1);
    const before = await list.read();
    const after = await list.assign([...names, 'fresh'], new Set([...names, 'fresh']));
    for (const name of [...names, 'fresh']) assert.ok(after.entries.has(name), `seed ${n}`);
    const uids = [...after.entries.values()].map((entry) => entry.uid as number);
    assert.equal(new Set(uids).size, uids.length, `seed ${n}`);
    if (before && after.header.uidValidity === before.header.uidValidity)
      for (const [base, { uid }] of before.entries)
        if (after.entries.has(base)) assert.equal(after.entries.get(base)?.uid, uid, `seed ${n}`);
    // What was written is read the same by somebody else.
    const again = await new Uidlist(folder, async () => 1).read();
    assert.deepEqual([...(again?.entries ?? [])].sort(), [...after.entries].sort(), `seed ${n}`);
    await rm(file);
  }
});

test('fuzz: names, keywords and subscriptions', () => {
  const { until, seed } = fuzzTime(1_500);
  for (let n = seed; performance.now() < until; n++) {
    const random = seededRandom(n);
    const name = random.below(2) ? rubbish(random) : spoil('1700000000.M5P6Q7.mx,S=10,W=12:2,FSab', random);
    const parsed = parseName(name);
    if (parsed) {
      assert.ok(parsed.base !== '' && !/[\n\0:]/.test(parsed.base), `seed ${n}`);
      assert.deepEqual(parseName(joinName(parsed.base, parsed.letters.replaceAll(',', '')))?.base, parsed.base, `seed ${n}`);
      for (const key of ['S', 'W'] as const) assert.ok((sizeInName(parsed.base, key) ?? 0) >= 0, `seed ${n}`);
    }
    for (const [index, keyword] of parseKeywords(spoil('0 a\n1 b\n25 z\n', random)))
      assert.ok(index < 26 && !/\s/.test(keyword), `seed ${n}`);
    const { version, paths } = parseSubscriptions(
      random.below(2) ? rubbish(random) : spoil('V\t2\n\nINBOX\na\tb\n', random),
      '.',
    );
    // What was read is written so that it reads the same.
    assert.equal(
      formatSubscriptions(parseSubscriptions(formatSubscriptions({ version, paths }, '.'), '.'), '.'),
      formatSubscriptions({ version, paths }, '.'),
      `seed ${n}`,
    );
    const path = rubbish(random).split('/');
    try {
      checkPath(path);
      const folder = folderOf(path);
      assert.ok(!/[/\0]/.test(folder) && folder !== '.' && folder !== '..', `seed ${n}`);
      if (folder !== '') assert.deepEqual(pathOf(folder), path, `seed ${n}`);
    } catch (error) {
      assert.ok(error instanceof MailError, `seed ${n}: ${String(error)}`);
    }
  }
});

test('fuzz: a whole mailbox with spoilt files opens, or says why not; a spoilt maildirsize only costs a count', async (t) => {
  const { until, seed } = fuzzTime(3_000);
  const store = await makeStore(t, {}, { bytes: 10_000, messages: 50 });
  const files = ['dovecot-uidlist', 'dovecot-keywords', 'subscriptions', 'maildirsize', 'dovecot-uidvalidity', 'buzon.index.db'];
  for (let n = seed; performance.now() < until; n++) {
    const random = seededRandom(n);
    await rm(store.maildir, { recursive: true, force: true });
    await mkdir(join(store.maildir, 'cur'), { recursive: true });
    const account = store.again();
    for (let i = 0; i < 3; i++)
      await account
        .append(['INBOX'], [{ source: sourceOf(`Subject: ${i}\r\n\r\n`), flags: ['kw'] }])
        .catch((error: unknown) => assert.ok(error instanceof MailError));
    const file = join(store.maildir, random.pick(files));
    const text = await readFile(file, 'latin1').catch(() => '');
    await writeFile(file, Buffer.from(random.below(3) === 0 ? rubbish(random) : spoil(text, random), 'latin1'));
    try {
      const other = store.again();
      const box = await other.open(['INBOX']);
      assert.equal(box.messages.length, new Set(box.messages.map((row) => row.uid)).size, `seed ${n}`);
      assert.equal(box.messages.length, (await store.names('cur')).length + (await store.names('new')).length, `seed ${n}`);
      await other.list();
      await other.subscribe(['Obra']);
      const { bytes, messages } = await other.quota();
      assert.ok(bytes >= 0 && messages >= 0, `seed ${n}`);
      await box.close();
    } catch (error) {
      assert.ok(error instanceof MailError, `seed ${n}: ${String(error)}`);
    }
  }
});
