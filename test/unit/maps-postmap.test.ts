import assert from 'node:assert/strict';
import { chmod, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { postmapCommand } from '../../src/cli/postmap.ts';
import { captureIo } from '../support/command-io.ts';
import { requireRoot } from '../support/programs.ts';
import { tempFolder } from '../support/temp-folder.ts';

async function prepare(t: TestContext, text: string) {
  const folder = await tempFolder(t);
  await writeFile(join(folder, 'map'), text);
  const run = async (args: readonly string[], input?: string) => {
    const io = captureIo({ cwd: folder, input });
    const status = await postmapCommand.run(args, io);
    return { status, out: io.stdout, err: io.stderr };
  };
  return { folder, run };
}

test('postmap FILE compiles, and leaves nothing else behind', async (t) => {
  const { folder, run } = await prepare(t, 'A@x 1\nb@x 2\nb@x 3\n');
  assert.deepEqual(await run(['map']), {
    status: 0,
    out: '',
    err: 'postmap: warning: ' + join(folder, 'map') + ', line 3: duplicate entry: "b@x" -- ignoring this line\n',
  });
  assert.deepEqual((await readdir(folder)).sort(), ['map', 'map.sqlite']);
  assert.deepEqual(await run(['-s', 'hash:map']), { status: 0, out: 'a@x\t1\nb@x\t2\n', err: '' });
});

test('-q prints the first value found, one line a key with -', async (t) => {
  const { run } = await prepare(t, 'A@x 1\nb@x 2\n');
  await run(['map']);
  assert.deepEqual(await run(['-q', 'a@X', 'inline:{ c=9 }', 'hash:map']), { status: 0, out: '1\n', err: '' });
  assert.deepEqual(await run(['-qnone', 'map']), { status: 1, out: '', err: '' });
  assert.deepEqual(await run(['-q', '-', 'map'], 'B@x\nnone\na@x\n'), { status: 0, out: 'B@x\t2\na@x\t1\n', err: '' });
  assert.deepEqual(await run(['-q', '-', 'map'], 'none\n'), { status: 1, out: '', err: '' });
  assert.deepEqual(await run(['-fq', 'A@x', 'texthash:map']), { status: 0, out: '1\n', err: '' });
  assert.deepEqual(await run(['-fq', 'a@x', 'texthash:map']), { status: 1, out: '', err: '' });
});

test('-i adds, -r replaces, -w keeps in silence, -d removes', async (t) => {
  const { folder, run } = await prepare(t, 'a 1\n');
  await run(['map']);
  assert.deepEqual(await run(['-i', 'map'], 'a 2\nb 3\n'), {
    status: 0,
    out: '',
    err: `postmap: warning: ${join(folder, 'map')}.sqlite: duplicate entry: "a"\n`,
  });
  assert.equal((await run(['-s', 'map'])).out, 'a\t1\nb\t3\n');
  assert.deepEqual(await run(['-iw', 'map'], 'a 2\n'), { status: 0, out: '', err: '' });
  assert.equal((await run(['-q', 'a', 'map'])).out, '1\n');
  assert.deepEqual(await run(['-i', '-r', 'map'], 'a 2\n'), { status: 0, out: '', err: '' });
  assert.equal((await run(['-s', 'map'])).out, 'a\t2\nb\t3\n');
  assert.deepEqual(await run(['-d', 'A', 'map']), { status: 0, out: '', err: '' });
  assert.deepEqual(await run(['-d', 'A', 'map']), { status: 1, out: '', err: '' });
  assert.deepEqual(await run(['-d', '-', 'map'], 'x\nb\n'), { status: 0, out: '', err: '' });
  assert.equal((await run(['-s', 'map'])).out, '');
});

test('-r and -w decide about duplicates in the text', async (t) => {
  const { run } = await prepare(t, 'a 1\na 2\n');
  assert.deepEqual(await run(['-r', 'map']), { status: 0, out: '', err: '' });
  assert.equal((await run(['-q', 'a', 'map'])).out, '2\n');
  assert.deepEqual(await run(['-w', 'map']), { status: 0, out: '', err: '' });
  assert.equal((await run(['-q', 'a', 'map'])).out, '1\n');
});

test('faults and wrong arguments', async (t) => {
  const { folder, run } = await prepare(t, 'a 1\n');
  const cases: readonly (readonly [args: string[], status: number, err: RegExp])[] = [
    [['none'], 1, /^postmap: fatal: open .*\/none: No such file or directory\n$/],
    [['-q', 'a', 'hash:none'], 1, /^postmap: fatal: hash:.*\/none: no such file\n$/],
    [['-d', 'a', 'map'], 1, /^postmap: fatal: open database .*\/map\.sqlite: No such file or directory\n$/],
    [['-d', 'a', 'texthash:map'], 1, /delete operation is not supported/],
    [['texthash:map'], 1, /^postmap: fatal: unsupported dictionary type: texthash does not support bulk-mode creation\.\n$/],
    [['hsh:map'], 1, /"hsh" is not a type of table, did you mean hash:\?/],
    [['-s', 'static:1'], 1, /sequence operation is not supported/],
    [['-x', 'map'], 2, /invalid option -- 'x'/],
    [['-bq', 'x', 'map'], 2, /option -b .* is not supported/],
    [['-q'], 2, /option requires an argument -- 'q'/],
    [[], 2, /no table is named\nusage: postmap/],
    [['-q', 'a', '-d', 'b', 'map'], 2, /only one of/],
  ];
  for (const [args, status, err] of cases) {
    const result = await run(args);
    assert.equal(result.status, status, args.join(' '));
    assert.match(result.err, err);
  }
  assert.deepEqual((await readdir(folder)).sort(), ['map']);
});

test('a lock that another program holds is waited for; one left by a dead program is not', async (t) => {
  const { folder, run } = await prepare(t, 'a 1\n');
  const lock = join(folder, 'map.sqlite.lock');
  await (await open(lock, 'wx')).close();
  const running = run(['map']);
  await new Promise((resolve) => setTimeout(resolve, 120));
  await assert.rejects(stat(join(folder, 'map.sqlite')));
  await rm(lock);
  assert.equal((await running).status, 0);
  const handle = await open(lock, 'wx');
  await handle.utimes(1, 1);
  await handle.close();
  assert.equal((await run(['map'])).status, 0);
});

test('as root the compiled form belongs to the text’s owner', async (t) => {
  if (!requireRoot(t)) return;
  const { folder, run } = await prepare(t, 'a 1\n');
  const text = await open(join(folder, 'map'));
  await text.chown(65534, 65534);
  await text.close();
  await chmod(join(folder, 'map'), 0o600);
  await run(['map']);
  const { uid, gid, mode } = await stat(join(folder, 'map.sqlite'));
  assert.deepEqual([uid, gid, mode & 0o777], [65534, 65534, 0o600]);
});
