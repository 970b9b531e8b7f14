// Names of message files and of mailbox folders; keywords; subscriptions: the small formats.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Keywords, parseKeywords } from '../../src/storage/keywords.ts';
import { compareNames, joinName, NameMaker, parseName, sizeInName } from '../../src/storage/maildir-name.ts';
import { checkPath, folderOf, pathKey, pathOf, specialUseOf } from '../../src/storage/mailbox-names.ts';
import { formatSubscriptions, parseSubscriptions, SubscriptionFile } from '../../src/storage/subscriptions.ts';
import { tempFolder } from '../support/temp-folder.ts';

test('message names: with and without sizes and flags, foreign ones, and those that are no message', () => {
  assert.deepEqual(parseName('1.M2P3.h,S=4,W=5:2,FSab'), { base: '1.M2P3.h,S=4,W=5', letters: 'FSab' });
  assert.deepEqual(parseName('1.V801I5M6.h'), { base: '1.V801I5M6.h', letters: '' });
  assert.deepEqual(parseName('odd name (1) ñ:2,S'), { base: 'odd name (1) ñ', letters: 'S' });
  assert.deepEqual(parseName('x:1,exp'), { base: 'x', letters: '' });
  assert.deepEqual(parseName('x:2,S,extra'), { base: 'x', letters: 'S' });
  for (const name of ['', '.', '..', '.hidden', ':2,S', 'a\nb', 'a\0b', 'a\x7f', 'a\ufffd'])
    assert.equal(parseName(name), undefined, name);
  assert.equal(joinName('x', 'aSFbS'), 'x:2,FSab');
  assert.equal(joinName('x', ''), 'x:2,');
  assert.equal(sizeInName('1.h,S=12,W=13', 'S'), 12);
  assert.equal(sizeInName('1.h,S=12,W=13', 'W'), 13);
  for (const name of ['1.h', '1.hS=12', '1.h,S=', '1.h,S=x', '1.h,S=-1', '1.h,S=12x'])
    assert.equal(sizeInName(name, 'S'), undefined);
});

test('names are unique, and say their host as maildir(5) wants', () => {
  const maker = new NameMaker('a/b:c', () => 1_700_000_000_123.5);
  const names = Array.from({ length: 100 }, () => maker.unique());
  assert.equal(new Set(names).size, 100);
  assert.match(names[0] ?? '', new RegExp(`^1700000000\\.M123500P${process.pid}R[0-9a-f]{8}Q0\\.a\\\\057b\\\\072c$`));
});

test('names sort by the time of their delivery: seconds, microseconds, counter', () => {
  const names = ['9.M1P1Q0.h', '10.M9P1Q10.h', '10.M9P1Q9.h', '10.V801I5M000008.h', 'zzz', '10.M10P1Q0.h'];
  assert.deepEqual(names.sort(compareNames), [
    'zzz',
    '9.M1P1Q0.h',
    '10.V801I5M000008.h',
    '10.M9P1Q9.h',
    '10.M9P1Q10.h',
    '10.M10P1Q0.h',
  ]);
});

test('mailbox names become folders and back; INBOX in any case is the Maildir itself', () => {
  assert.equal(folderOf(['Inbox']), '');
  assert.equal(folderOf(['Archivo', '2026']), '.Archivo.2026');
  assert.equal(folderOf(['Papelería']), '.Papeler&AO0-a');
  assert.deepEqual(pathOf('.Papeler&AO0-a.x'), ['Papelería', 'x']);
  for (const name of ['.', '..', 'cur', '.a..b', '..a', '.a.']) assert.equal(pathOf(name), undefined, name);
  assert.equal(pathKey(['inbox']), 'INBOX');
  assert.equal(pathKey(['Caf\u0065\u0301']), pathKey(['Caf\u00e9']));
  assert.deepEqual(specialUseOf(['sent']), ['\\Sent']);
  assert.deepEqual(specialUseOf(['x', 'sent']), []);
});

test('row 31: names that leave the account, or that no Maildir can hold, are refused', () => {
  const bad = [
    ['..'],
    ['a', '..', 'b'],
    ['../../x'],
    ['a/b'],
    ['a\\b'],
    ['a\0'],
    ['a\r'],
    [''],
    [],
    ['a', ''],
    ['a.b'],
    [' a'],
    ['a '],
    ['a*'],
    ['%'],
    ['\ud800'],
    ['x'.repeat(256)],
    Array<string>(21).fill('a'),
  ];
  for (const path of bad) assert.throws(() => checkPath(path), { name: 'MailError', kind: 'cannot' }, JSON.stringify(path));
  for (const path of [['INBOX'], ['a b'], ['ñ', '日本'], ['~x'], ['$HOME'], ['-rf']]) checkPath(path);
});

const LETTERS = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i));

test('keywords: each of the 26 letters of Dovecot’s file is right, in whatever order its lines stand', async (t) => {
  const folder = await tempFolder(t);
  const lines = LETTERS.map((_, i) => `${i} kw${i}`);
  await writeFile(join(folder, 'dovecot-keywords'), [...lines.slice(13), ...lines.slice(0, 13)].join('\n') + '\n');
  const keywords = new Keywords(folder);
  assert.equal(await keywords.read(), true);
  assert.equal(await keywords.read(), false);
  for (const [i, letter] of LETTERS.entries()) {
    assert.equal(keywords.nameOf(letter), `kw${i}`);
    assert.equal(keywords.letterOf(`KW${i}`), letter);
  }
  assert.equal(keywords.full, true);
  assert.deepEqual(
    [...(await keywords.letters(['kw3', 'KW25', 'late']))],
    [
      ['kw3', 'd'],
      ['kw25', 'z'],
    ],
  );
});

test('keywords: a new one gets the first free letter; lines past 25 and rubbish stay as they are', async (t) => {
  const folder = await tempFolder(t);
  const file = join(folder, 'dovecot-keywords');
  await writeFile(file, '0 $Forwarded\n2 work\n26 late26\n27 late27\nrubbish line here\n');
  const keywords = new Keywords(folder);
  assert.deepEqual(
    [...(await keywords.letters(['new', 'newer', 'late26']))],
    [
      ['new', 'b'],
      ['newer', 'd'],
      ['late26', 'e'],
    ],
  );
  assert.equal(
    await readFile(file, 'utf8'),
    '0 $Forwarded\n1 new\n2 work\n3 newer\n4 late26\n26 late26\n27 late27\nrubbish line here\n',
  );
});

test('keywords: a letter that files carry without a name is not given to another keyword', async (t) => {
  const keywords = new Keywords(await tempFolder(t));
  assert.deepEqual(
    [...(await keywords.letters(['x', 'y'], new Set(['a', 'c', 'S'])))],
    [
      ['x', 'b'],
      ['y', 'd'],
    ],
  );
  assert.deepEqual([...(await keywords.letters(['z'], new Set(LETTERS)))], []);
});

test('keywords: another process’s additions are seen before a letter is given', async (t) => {
  const folder = await tempFolder(t);
  const [one, two] = [new Keywords(folder), new Keywords(folder)];
  await one.letters(['first']);
  await two.letters(['second']);
  assert.deepEqual(
    [...(await one.letters(['third', 'second']))],
    [
      ['third', 'c'],
      ['second', 'b'],
    ],
  );
  assert.deepEqual([...parseKeywords('a b\n300 x\n1 ok\n-1 y\n2\n')], [[1, 'ok']]);
});

test('subscriptions: version 1 and 2 are read and written in the version they have; a new file is version 2', async (t) => {
  const v1 = 'INBOX\nArchivo.2026\nPapeler&AO0-a\n';
  const v2 = 'V\t2\n\nINBOX\nArchivo\t2026\nPapeler&AO0-a\n';
  const paths = [['INBOX'], ['Archivo', '2026'], ['Papelería']];
  assert.deepEqual(parseSubscriptions(v1, '.'), { version: 1, paths });
  assert.deepEqual(parseSubscriptions(v2, '.'), { version: 2, paths });
  assert.equal(formatSubscriptions({ version: 1, paths }, '.'), v1);
  assert.equal(formatSubscriptions({ version: 2, paths }, '/'), v2);
  for (const [text, expected] of [
    [v1, 'INBOX\nPapeler&AO0-a\nObra\n'],
    [v2, 'V\t2\n\nINBOX\nPapeler&AO0-a\nObra\n'],
    [undefined, 'V\t2\n\nObra\n'],
  ] as const) {
    const folder = await tempFolder(t);
    if (text !== undefined) await writeFile(join(folder, 'subscriptions'), text);
    const file = new SubscriptionFile(folder, '.');
    await file.set(['Obra'], true);
    await file.set(['Archivo', '2026'], false);
    await file.set(['Obra'], true);
    assert.equal(await readFile(join(folder, 'subscriptions'), 'utf8'), expected);
  }
});
