// Tables, lists of names, and passwd files changed as text: only what is meant changes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { userFor, userIn, withLine, withoutUsers, withPassword } from '../../src/auth/passwd-edit.ts';
import { parseTable } from '../../src/config/maps/text.ts';
import { hasKey, withKey, withName, withoutKey, withoutName } from '../../src/cli/user/table-text.ts';

const TABLE = `# head
a@x.test  x.test/a/
  # inside
  tail-of-a

B@X.test x.test/b/
c@y.test
# comment
   y.test/c/
"q q"@z.test z.test/q/`;

async function pairs(text: string): Promise<Record<string, string>> {
  const { entries } = await parseTable(Buffer.from(text));
  return Object.fromEntries([...entries.values()].map(({ key, value }) => [key, value]));
}

test('an entry is taken out with its continuation lines, and nothing else', async () => {
  for (const key of ['a@x.test', 'b@x.test', 'c@y.test']) {
    const all = await pairs(TABLE);
    assert.equal(hasKey(TABLE, key), true);
    const { [key]: gone, ...rest } = all;
    assert.ok(gone);
    const next = withoutKey(TABLE, key);
    assert.deepEqual(await pairs(next), rest);
    for (const comment of ['# head', '  # inside', '# comment']) assert.ok(next.split('\n').includes(comment), comment);
    assert.equal(hasKey(next, key), false);
  }
  assert.equal(withoutKey(TABLE, 'tail-of-a'), TABLE);
  assert.equal(withoutKey(TABLE, '#'), TABLE);
});

test('an entry is added behind those of its domain, or at the end', async () => {
  const all = await pairs(TABLE);
  for (const [key, after] of [
    ['n@x.test', 'B@X.test x.test/b/'],
    ['n@y.test', '   y.test/c/'],
    ['n@z.test', '"q q"@z.test z.test/q/'],
    ['z.test', '"q q"@z.test z.test/q/'],
  ] as const) {
    const next = withKey(TABLE, key, 'value');
    assert.deepEqual(await pairs(next), { ...all, [key]: 'value' });
    const lines = next.split('\n');
    assert.equal(lines[lines.indexOf(`${key}  value`) - 1], after);
    for (const line of TABLE.split('\n')) assert.ok(lines.includes(line), line);
  }
  assert.equal(withKey('', 'a@b.test', 'v'), 'a@b.test  v\n');
  assert.equal(withKey('x@y.test v\n', 'a@b.test', 'v'), 'x@y.test v\na@b.test  v\n');
  assert.equal(withKey('x@b.test v\n', 'a@b.test', 'v'), 'x@b.test v\na@b.test  v\n');
});

test('a name goes into a file of names, and out again', () => {
  assert.equal(withName('# ours\na.test', 'b.test'), '# ours\na.test\nb.test\n');
  assert.equal(withoutName('# ours\na.test, B.test c.test\nd.test\n', 'b.test'), '# ours\na.test, c.test\nd.test\n');
  assert.equal(withoutName('a.test\n  b.test\n', 'a.test'), 'b.test\n');
  assert.equal(withoutName('a.test\n  b.test\n', 'b.test'), 'a.test\n');
  assert.equal(withoutName('# b.test\na.test\n', 'b.test'), '# b.test\na.test\n');
});

test('passwd lines: the entry that counts for an address, new ones in the file’s own style', () => {
  const text = '# c\nana:x:1:1::/h::\nana@x.test:y::::::\nbob:z:19000:0:99999:7:::';
  assert.equal(userIn(text, 'ana@x.test'), 'ana@x.test');
  assert.equal(userIn(text, 'bob@x.test'), 'bob');
  assert.equal(userIn(text, 'c@x.test'), undefined);
  assert.equal(userFor(text, 'n@x.test'), 'n@x.test');
  assert.equal(userFor('bob:x:::::\n', 'n@x.test'), 'n');
  assert.equal(withLine('bob:x:::::', 'n', 'n:x'), 'bob:x:::::\nn:x\n');
  assert.equal(withLine(text, 'ana', 'ana:new'), text.replace('ana:x:1:1::/h::', 'ana:new'));
  assert.equal(withPassword(text, 'bob', 'new', 20_000), text.replace('bob:z:19000', 'bob:new:20000'));
  assert.equal(withPassword(text, 'ana', 'new', 20_000), text.replace('ana:x:1:1', 'ana:new:20000:1'));
  assert.equal(withPassword(text, 'ana', 'new'), text.replace('ana:x', 'ana:new'));
  assert.equal(withoutUsers(text, ['ana', 'ana@x.test']), '# c\nbob:z:19000:0:99999:7:::');
});
