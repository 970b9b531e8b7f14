import assert from 'node:assert/strict';
import { chmod, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDomainList } from '../../src/config/domain-list.ts';
import { compileTable } from '../../src/config/maps/compile.ts';
import { openAliases, openTable } from '../../src/config/maps/table.ts';
import { parseTable, splitAliasValue } from '../../src/config/maps/text.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { captureLog } from '../support/log-capture.ts';
import { tempFolder } from '../support/temp-folder.ts';

const deps = { logger: silentLogger };

test('text tables: comments, continuations, blanks, quotes, case and duplicates as postmap(1) reads them', async () => {
  const text = `# vmailbox
Info@Example.com   example.com/info/
ana@example.com one,
  # a comment inside
\ttwo,

  three   
"john doe"@example.com\tx/
b@x 1
B@X 2
novalue
key: value
"open v
`;
  const { entries, warnings } = await parseTable(Buffer.from(text));
  assert.deepEqual(
    [...entries.values()].map(({ key, value, line }) => [key, value, line]),
    [
      ['info@example.com', 'example.com/info/', 2],
      ['ana@example.com', 'one,\ttwo,  three', 3],
      ['"john doe"@example.com', 'x/', 8],
      ['b@x', '1', 9],
      ['key:', 'value', 12],
    ],
  );
  assert.deepEqual(warnings, [
    { line: 10, text: 'duplicate entry: "b@x"', ignored: true },
    { line: 11, text: 'expected format: key whitespace value', ignored: true },
    { line: 12, text: 'record is in "key: value" format; is this an alias file?', ignored: false },
    { line: 13, text: `unbalanced '"' in '"open v'`, ignored: true },
  ]);
});

test('text tables: a line that is not UTF-8 and a first line that continues nothing are left out', async () => {
  const { entries, warnings } = await parseTable(
    Buffer.concat([Buffer.from('  lead v\na 1\nx'), Buffer.from([0xff]), Buffer.from(' 2\nb 3')]),
  );
  assert.deepEqual([...entries.keys()], ['a', 'b']);
  assert.deepEqual(
    warnings.map(({ line, ignored }) => [line, ignored]),
    [
      [1, true],
      [3, true],
    ],
  );
});

test('a text table is seen anew at the next look-up after it changed', async (t) => {
  const file = join(await tempFolder(t), 'map');
  await writeFile(file, 'a 1\n');
  const table = openTable(`texthash:${file}`, deps);
  assert.equal(await table.get('A'), '1');
  await writeFile(file, 'a 2\nb 3\n');
  assert.equal(await table.get('a'), '2');
  await writeFile(`${file}.new`, 'a 4\n');
  await rename(`${file}.new`, file);
  assert.deepEqual(await table.entries(), [['a', '4']]);
  await rm(file);
  await assert.rejects(table.get('a'), { kind: 'temporary', code: 'MAP_UNREADABLE', clientText: 'Temporary lookup failure' });
  await writeFile(file, 'a 5\n');
  assert.equal(await table.get('a'), '5');
});

test('a text that an editor is writing is not believed before it is whole', async (t) => {
  const file = join(await tempFolder(t), 'map');
  await writeFile(file, 'a 1\nb 2\n');
  const table = openTable(`texthash:${file}`, deps);
  assert.equal(await table.get('b'), '2');
  // As editors do: emptied first, filled a moment later.
  await writeFile(file, '');
  const asked = table.get('b');
  await new Promise((resolve) => setTimeout(resolve, 5));
  await writeFile(file, 'a 1\nb 3\n');
  assert.equal(await asked, '3');
});

test('hash: is FILE.sqlite, seen at once by who has it open; without it the text', async (t) => {
  const file = join(await tempFolder(t), 'vmailbox');
  await writeFile(file, 'a 1\n');
  const table = openTable(`hash:${file}`, deps);
  assert.equal(await table.get('a'), '1');
  await compileTable(file);
  await writeFile(file, 'a 2\n');
  assert.equal(await table.get('a'), '1', 'the compiled form counts until postmap runs');
  await compileTable(file);
  assert.equal(await table.get('A'), '2');
  await rm(`${file}.sqlite`);
  assert.equal(await table.get('a'), '2');
  table.close();
});

test('many look-ups at once while the table is replaced all get an answer', async (t) => {
  const file = join(await tempFolder(t), 'map');
  await writeFile(file, 'a 0\n');
  await compileTable(file);
  const table = openTable(`hash:${file}`, deps);
  t.after(() => table.close());
  for (let round = 1; round <= 10; round++) {
    const asked = Array.from({ length: 50 }, () => table.get('a'));
    await writeFile(file, `a ${round}\n`);
    await compileTable(file);
    for (const value of await Promise.all(asked)) assert.ok(value === String(round) || value === String(round - 1), value);
    assert.equal(await table.get('a'), String(round));
  }
});

test('where only Postfix’s FILE.db is, the text is read and a warning says so once; FILE.db is left alone', async (t) => {
  const file = join(await tempFolder(t), 'map');
  await writeFile(file, 'a 1\n');
  await writeFile(`${file}.db`, 'berkeley');
  const before = await stat(`${file}.db`);
  const { logger, events } = captureLog();
  const table = openTable(`hash:${file}`, { logger });
  assert.equal(await table.get('a'), '1');
  await writeFile(file, 'a 2\n');
  assert.equal(await table.get('a'), '2');
  assert.deepEqual(
    events.map(({ event }) => event),
    ['map.berkeley'],
  );
  await compileTable(file);
  const after = await stat(`${file}.db`);
  assert.deepEqual([after.mtimeMs, after.size, after.ino], [before.mtimeMs, before.size, before.ino]);
});

test('a compiled table older than its text is said in Postfix’s words, once for each change, with Postfix’s slack', async (t) => {
  const file = join(await tempFolder(t), 'map');
  await writeFile(file, 'a 1\n');
  await compileTable(file);
  const now = Date.now();
  await utimes(`${file}.sqlite`, new Date(now - 400_000), new Date(now - 400_000));
  await utimes(file, new Date(now - 50_000), new Date(now - 50_000));
  const { logger, events } = captureLog();
  let time = now;
  const clock = { now: () => time, after: () => () => undefined };
  const table = openTable(`hash:${file}`, { logger, clock });
  await table.get('a');
  assert.equal(events.length, 0, 'not within 100 s: postmap may be about to run');
  time += 100_000;
  await table.get('a');
  await table.get('a');
  assert.deepEqual(
    events.map(({ fields }) => fields['warning']),
    [`database ${file}.sqlite is older than source file ${file}`],
  );
  table.close();
});

test('a compiled table that is no such table is a temporary fault, and heals', async (t) => {
  const file = join(await tempFolder(t), 'map');
  await writeFile(file, 'a 1\n');
  await writeFile(`${file}.sqlite`, 'not a database at all, but long enough to be looked at as one');
  const table = openTable(`hash:${file}`, deps);
  await assert.rejects(table.get('a'), { code: 'MAP_UNREADABLE' });
  await compileTable(file);
  assert.equal(await table.get('a'), '1');
  table.close();
});

test('a compiled table has its text’s mode', async (t) => {
  const file = join(await tempFolder(t), 'map');
  await writeFile(file, 'a 1\n');
  await chmod(file, 0o640);
  await compileTable(file);
  assert.equal((await stat(`${file}.sqlite`)).mode & 0o777, 0o640);
  await compileTable(file, { inherit: false });
  assert.equal((await stat(`${file}.sqlite`)).mode & 0o777, 0o644);
});

test('inline: and static:', async () => {
  const inline = openTable('inline:{ a=b, {C = d e} {f = g = h} }', deps);
  assert.deepEqual(await inline.entries(), [
    ['a', 'b'],
    ['c', 'd e'],
    ['f', 'g = h'],
  ]);
  assert.equal(await inline.get('C'), 'd e');
  assert.equal(await inline.get('x'), undefined);
  assert.equal(await openTable('static:5000', deps).get('anything'), '5000');
  assert.equal(await openTable('static:{ 1 2 }', deps).get('anything'), '1 2');
  for (const spec of ['inline:a=b', 'inline:{ }', 'inline:{ a }', 'inline:{ {a=b }'])
    assert.throws(() => openTable(spec, deps), { code: 'MAP_INVALID' }, spec);
});

test('specs that are none', () => {
  for (const spec of ['hsah:/x', 'ldap:/x', 'hash:', ''])
    assert.throws(() => openTable(spec, deps), { kind: 'config', code: 'MAP_INVALID' }, spec);
});

test('aliases(5): names with and without quotes, lists, continuation', async (t) => {
  const file = join(await tempFolder(t), 'aliases');
  await writeFile(
    file,
    '# system\nMAILER-DAEMON: postmaster\npostmaster:\troot\nroot: info@example.com,\n  ana@example.com\n"a b": "|/usr/bin/x \\"y\\" z", /var/x\nbad line\n:include:/x\n',
  );
  const { logger, events } = captureLog();
  const table = openAliases(`hash:${file}`, { logger });
  assert.equal(await table.get('mailer-daemon'), 'postmaster');
  assert.equal(await table.get('Root'), 'info@example.com,  ana@example.com');
  assert.deepEqual(splitAliasValue((await table.get('a b')) ?? ''), ['|/usr/bin/x "y" z', '/var/x']);
  assert.deepEqual(
    events.map(({ fields }) => fields['line']),
    [7, 8],
  );
});

test('values of aliases are split at commas and white space outside quotes', () => {
  assert.deepEqual(splitAliasValue('a@x, b@x\tc@x,,"d e"@x "|cmd a, b" :include:/f'), [
    'a@x',
    'b@x',
    'c@x',
    '"d e"@x',
    '|cmd a, b',
    ':include:/f',
  ]);
  assert.deepEqual(splitAliasValue(' , '), []);
  assert.deepEqual(splitAliasValue('"open, a'), ['"open, a']);
});

test('lists of domains: names, keys of tables, files of names', async (t) => {
  const folder = await tempFolder(t);
  await writeFile(join(folder, 'names'), '# ours\nfile.test, Other.test\n');
  await writeFile(join(folder, 'map'), 'map.test anything\na@map.test x\n@catch.test y\n');
  const list = openDomainList(
    ['example.com', join(folder, 'names'), `hash:${join(folder, 'map')}`, 'regexp:' + join(folder, 're')],
    deps,
  );
  await writeFile(join(folder, 're'), '/\\.dyn\\.test$/ x\n');
  for (const name of ['Example.com', 'file.test', 'OTHER.test', 'map.test', 'a.dyn.test'])
    assert.equal(await list.has(name), true, name);
  for (const name of ['example.org', 'catch.test', 'dyn.test']) assert.equal(await list.has(name), false, name);
  assert.deepEqual(await list.names(), ['example.com', 'file.test', 'other.test', 'map.test']);
  await writeFile(join(folder, 'names'), 'new.test\n');
  assert.equal(await list.has('new.test'), true);
  list.close();
});

test('100,000 entries are read without stalling other sessions', async (t) => {
  const file = join(await tempFolder(t), 'map');
  await writeFile(file, Array.from({ length: 100_000 }, (_, i) => `user${i}@example.com example.com/user${i}/`).join('\n'));
  const table = openTable(`texthash:${file}`, deps);
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  assert.equal(await table.get('user99999@example.com'), 'example.com/user99999/');
  clearInterval(timer);
  assert.ok(longest < 500, `stalled for ${longest} ms`);
});
