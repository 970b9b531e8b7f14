import assert from 'node:assert/strict';
import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { runCommand } from '../../src/cli/main.ts';
import { captureLog } from '../support/log-capture.ts';
import { captureIo } from '../support/command-io.ts';
import { readAll } from '../support/message-source.ts';
import { memorySource, prefixedSource } from '../../src/message/source.ts';
import { DkimKeys } from '../../src/policy/dkim-keys.ts';
import type { DkimKeyFile } from '../../src/policy/signing-sources.ts';
import { DkimSigner } from '../../src/policy/dkim-signer.ts';
import { findProgram, run } from '../support/programs.ts';
import { verdicts } from '../support/dkim.ts';
import { tempFolder } from '../support/temp-folder.ts';

async function dkim(cwd: string, ...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const io = captureIo({ cwd });
  const status = await runCommand(['dkim', ...args], io);
  return { status, out: io.stdout, err: io.stderr };
}
/** The text of a zone line's strings. */
const recordOf = (zone: string): string => [...zone.matchAll(/"([^"]*)"/g)].map(([, text = '']) => text).join('');

test('keygen: a private key, its record, and lines for the settings that sign with it', async (t) => {
  const folder = await tempFolder(t);
  for (const [type, args] of [
    ['rsa', ['--bits', '1024']],
    ['ed25519', ['--type', 'ed25519', '--selector=Ed']],
  ] as const) {
    const { status, out, err } = await dkim(folder, 'keygen', 'Example.test', ...args, '--out', 'keys');
    assert.deepEqual([status, err], [0, '']);
    const settings = parse(out.slice(out.indexOf('dkim_keys:'))) as { dkim_keys: DkimKeyFile[] };
    const [entry] = settings.dkim_keys;
    assert.ok(entry);
    assert.deepEqual([entry.domain, entry.selector], ['example.test', type === 'rsa' ? 'default' : 'ed']);
    assert.equal((await stat(entry.file)).mode & 0o777, 0o600);
    const zone = await readFile(entry.file.replace(/private$/, 'txt'), 'utf8');
    assert.ok(out.includes(zone));
    assert.match(
      zone,
      new RegExp(`^${entry.selector}\\._domainkey\\.example\\.test\\.\\tIN\\tTXT\\t\\( "v=DKIM1; k=${type}; p=`),
    );
    const { logger } = captureLog();
    const signer = new DkimSigner({ keys: await DkimKeys.load(settings, logger), now: () => Date.now(), logger });
    const source = memorySource(Buffer.from('From: a@example.test\r\n\r\nx\r\n'));
    const fields = await signer.sign(source, 'ID');
    const key = { ...(await DkimKeys.load({ dkim_keys: [entry] }, logger)).find('example.test')[0], record: recordOf(zone) };
    const message = await readAll(prefixedSource(fields ?? Buffer.alloc(0), source));
    assert.deepEqual(await verdicts(message, [key as Parameters<typeof verdicts>[1][number]]), { [entry.selector]: 'pass' });
  }
  assert.deepEqual((await readdir(join(folder, 'keys'))).sort(), ['default.private', 'default.txt', 'ed.private', 'ed.txt']);
});

test('the record of a key of 2048 bits is split into strings of at most 255 octets, and openssl reads the key', async (t) => {
  const folder = await tempFolder(t);
  assert.equal((await dkim(folder, 'keygen', 'example.test', '--out', '.')).status, 0);
  const zone = await readFile(join(folder, 'default.txt'), 'utf8');
  const strings = [...zone.matchAll(/"([^"]*)"/g)].map(([, text = '']) => text);
  assert.ok(strings.length >= 2 && strings.every((text) => text.length <= 255));
  const openssl = await findProgram('openssl');
  if (openssl === undefined) return;
  const { stdout } = await run(openssl, ['rsa', '-in', join(folder, 'default.private'), '-pubout', '-outform', 'PEM']);
  assert.equal(stdout.replace(/-----[^-]+-----|\s/g, ''), /p=(.+)$/.exec(strings.join(''))?.[1]);
});

test('keygen overwrites nothing, and leaves no half of a pair', async (t) => {
  const folder = await tempFolder(t);
  await writeFile(join(folder, 'one.private'), 'mine');
  await writeFile(join(folder, 'two.txt'), 'mine');
  for (const selector of ['one', 'two']) {
    const { status, err } = await dkim(folder, 'keygen', 'example.test', '--bits=1024', '--selector', selector, '--out', folder);
    assert.equal(status, 1);
    assert.match(err, /is there already: it is not overwritten/);
  }
  assert.deepEqual((await readdir(folder)).sort(), ['one.private', 'two.txt']);
  assert.equal(await readFile(join(folder, 'one.private'), 'utf8'), 'mine');
});

test('wrong arguments', async (t) => {
  const folder = await tempFolder(t);
  for (const args of [
    [],
    ['keygen'],
    ['keygen', 'a.test', 'b.test'],
    ['show', 'a.test', '--bits', '2048'],
    ['keygen', 'no domain'],
    ['keygen', 'a.test', '--bits', '512'],
    ['keygen', 'a.test', '--type', 'dsa'],
    ['keygen', 'a.test', '--type', 'ed25519', '--bits', '2048'],
    ['keygen', 'a.test', '--selector', '../x'],
    ['keygen', 'a.test', '--nothing'],
  ])
    assert.equal((await dkim(folder, ...args)).status, 2, args.join(' '));
  assert.deepEqual(await readdir(folder), []);
});

test('show: the record of each key of the settings; keys that cannot be used are said', async (t) => {
  const folder = await tempFolder(t);
  await dkim(folder, 'keygen', 'example.test', '--bits=1024', '--out', folder);
  await dkim(folder, 'keygen', 'otro.test', '--type=ed25519', '--selector=two', '--out', folder);
  const keys = [
    { domain: 'example.test', selector: 'default', file: 'default.private' },
    { domain: 'otro.test', selector: 'two', file: 'two.private' },
  ];
  await writeFile(join(folder, 'buzon.yaml'), JSON.stringify({ hostname: 'mail.example.test', dkim_keys: keys }));
  const all = await dkim(folder, 'show', '--config', 'buzon.yaml');
  assert.equal(all.status, 0);
  for (const name of ['default', 'two']) assert.ok(all.out.includes(await readFile(join(folder, `${name}.txt`), 'utf8')));
  const one = await dkim(folder, 'show', 'OTRO.test', '--config', 'buzon.yaml');
  assert.deepEqual([one.status, one.out.includes('example.test')], [0, false]);
  assert.equal((await dkim(folder, 'show', 'none.test', '--config', 'buzon.yaml')).status, 1);
  await chmod(join(folder, 'two.private'), 0o644);
  const exposed = await dkim(folder, 'show', '--config', 'buzon.yaml');
  assert.equal(exposed.status, 1);
  assert.match(exposed.err, /can be used by everybody/);
  assert.match(exposed.out, /default\._domainkey/);
});
