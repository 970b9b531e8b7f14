import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { DkimKeys, loadDkimKey } from '../../src/policy/dkim-keys.ts';
import { captureLog } from '../support/log-capture.ts';
import { tempFolder } from '../support/temp-folder.ts';

const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
const rsa = (bits: number): KeyObject => generateKeyPairSync('rsa', { modulusLength: bits }).privateKey;
const ed25519 = (): KeyObject => generateKeyPairSync('ed25519').privateKey;

test('row 38: a DKIM key that others can read is refused; so is what is no RSA or Ed25519 private key', async (t) => {
  const folder = await tempFolder(t);
  const load = async (name: string, text: string, mode = 0o600): Promise<string> => {
    const file = join(folder, name);
    await writeFile(file, text, { mode });
    return loadDkimKey({ domain: 'example.test', selector: 'default', file }).then(
      ({ key }) => key.asymmetricKeyType ?? '',
      (error: unknown) => (error as { code: string }).code,
    );
  };
  const good = pem(rsa(2048));
  assert.equal(await load('rsa', good), 'rsa');
  assert.equal(await load('group', good, 0o640), 'rsa');
  assert.equal(await load('pkcs1', rsa(1024).export({ type: 'pkcs1', format: 'pem' }).toString()), 'rsa');
  assert.equal(await load('ed', pem(ed25519())), 'ed25519');
  assert.equal(await load('exposed', good, 0o644), 'DKIM_KEY_EXPOSED');
  assert.equal(await load('short', pem(rsa(512))), 'DKIM_KEY_INVALID');
  assert.equal(await load('ec', pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)), 'DKIM_KEY_INVALID');
  assert.equal(await load('none', 'v=DKIM1; p=abc'), 'DKIM_KEY_INVALID');
  await assert.rejects(loadDkimKey({ domain: 'example.test', selector: 'x', file: join(folder, 'absent') }), {
    code: 'DKIM_KEY_UNREADABLE',
  });
});

test('a reload takes new DKIM keys; a broken one leaves the old of its domain and selector, and is an error in the log', async (t) => {
  const folder = await tempFolder(t);
  const [a, b] = [join(folder, 'a'), join(folder, 'b')];
  await writeFile(a, pem(rsa(1024)), { mode: 0o600 });
  await writeFile(b, pem(ed25519()), { mode: 0o600 });
  const entries = [
    { domain: 'example.test', selector: 'one', file: a },
    { domain: 'example.test', selector: 'two', file: b },
  ];
  const { logger, events } = captureLog();
  const keys = await DkimKeys.load({ dkim_keys: entries }, logger);
  const [one] = keys.find('EXAMPLE.test');
  assert.deepEqual(
    keys.find('example.test').map(({ selector }) => selector),
    ['one', 'two'],
  );
  assert.deepEqual(keys.find('other.test'), []);
  await writeFile(a, 'broken');
  await writeFile(b, pem(ed25519()), { mode: 0o600 });
  const [, two] = keys.find('example.test');
  await keys.reload({ dkim_keys: entries });
  assert.equal(keys.find('example.test')[0]?.key, one?.key);
  assert.notEqual(keys.find('example.test')[1]?.key, two?.key);
  assert.deepEqual(
    events.map(({ level, event, fields }) => [level, event, fields['code'], fields['kept']]),
    [['error', 'dkim.key-broken', 'DKIM_KEY_INVALID', true]],
  );
  await keys.reload({ dkim_keys: [] });
  assert.deepEqual(keys.find('example.test'), []);
});
