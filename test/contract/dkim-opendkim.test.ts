// Debian's opendkim and our signing on the same files: for each author the same keys, domains and identities; and opendkim verifies what we sign.
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { memorySource, prefixedSource } from '../../src/message/source.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { DkimKeys } from '../../src/policy/dkim-keys.ts';
import { dkimRecord } from '../../src/policy/dkim-record.ts';
import { DkimSigner } from '../../src/policy/dkim-signer.ts';
import { dkimpyVerdicts, requireDkimpy } from '../support/dkim.ts';
import { readAll } from '../support/message-source.ts';
import { identifiers, openDkimSigns, openDkimVerifies } from '../support/opendkim.ts';
import { requireProgram } from '../support/programs.ts';
import { tempFolder } from '../support/temp-folder.ts';

interface House {
  readonly folder: string;
  readonly conf: string;
  readonly keys: Readonly<Record<string, KeyObject>>;
}

/** `@` in the files stands for their folder. */
async function house(t: TestContext, files: Readonly<Record<string, string>>): Promise<House> {
  const folder = await tempFolder(t);
  await mkdir(join(folder, 'keys'), { mode: 0o700 });
  const keys: Record<string, KeyObject> = {};
  for (const name of ['one', 'two', 'three']) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
    await writeFile(join(folder, 'keys', name), privateKey.export({ type: 'pkcs1', format: 'pem' }), { mode: 0o600 });
    keys[name] = privateKey;
  }
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text.replaceAll('DIR/', `${folder}/`));
  return { folder, conf: join(folder, 'opendkim.conf'), keys };
}

const message = (from: string): string =>
  `From: ${from}\r\nTo: eva@far.test\r\nSubject: hello\r\nDate: Sat, 28 Nov 2026 11:00:00 +0000\r\nMessage-ID: <1@x.test>\r\n\r\nhello\r\n`;

async function signed(conf: string, text: string): Promise<Buffer | undefined> {
  const keys = await DkimKeys.load({ dkim_keys: [], opendkim_config: conf }, silentLogger);
  const source = memorySource(Buffer.from(text));
  const fields = await new DkimSigner({ keys, now: () => Date.now(), logger: silentLogger }).sign(source, 'ID');
  return fields && readAll(prefixedSource(fields, source));
}
async function ours(conf: string, text: string): Promise<string[]> {
  const made = (await signed(conf, text))?.toString() ?? '';
  return [...made.matchAll(/^DKIM-Signature: ((?:.*\r\n)(?:[ \t].*\r\n)*)/gm)].map(([, value = '']) => identifiers(value));
}

const KEYS = `one    example.test:sel1:DIR/keys/one     # our first
two    %:sel2:DIR/keys/two

three  other.test:sel3:DIR/keys/three
example.test  example.test:own:DIR/keys/one
`;
const TABLES = 'Mode sv\nKeyTable file:DIR/kt\nRequireSafeKeys no\n';
const AUTHORS = [
  'ana@example.test',
  'ANA@Example.Test',
  'Ana <ana@example.test>',
  'ana@sub.example.test',
  'ana@a.sub.example.test',
  'eva@example.test',
  'eva@other.test',
  'eva@deep.other.test',
  'info@far.test',
  'info+x@far.test',
  'nobody@nowhere.test',
];
const SCENARIOS: readonly (readonly [name: string, files: Readonly<Record<string, string>>])[] = [
  [
    'refile: the first pattern that fits',
    {
      'opendkim.conf': `${TABLES}SigningTable refile:DIR/st\n`,
      st: 'ana@*.example.test two\n*@example.test one\n*@*.test three\n',
    },
  ],
  [
    'refile with MultipleSignatures: all that fit',
    {
      'opendkim.conf': `${TABLES}MultipleSignatures yes\nSigningTable refile:DIR/st\n`,
      st: 'ana@* one # c\n*a@example.test two\ne*a@*other* three\ninfo*@far.test two\n',
    },
  ],
  [
    'a file: address, domain, domains above, user everywhere, everything',
    {
      'opendkim.conf': `${TABLES}SigningTable DIR/st\n`,
      st: '* three\nana@* two\n.example.test one\nexample.test two\nana@.sub.example.test two\neva@other.test two\n',
    },
  ],
  [
    'a file with MultipleSignatures',
    {
      'opendkim.conf': `${TABLES}MultipleSignatures yes\nSigningTable file:DIR/st\n`,
      st: 'example.test one\nana@example.test two\n.example.test three\nana@.example.test two\ninfo@* three\nfar.test one\n',
    },
  ],
  [
    'domains above against the user in them',
    {
      'opendkim.conf': `${TABLES}SigningTable file:DIR/st\n`,
      st: '.sub.example.test one\nana@.example.test two\n.other.test three\neva@.test two\n',
    },
  ],
  [
    'a line that stands twice',
    { 'opendkim.conf': `${TABLES}SigningTable file:DIR/st\n`, st: 'example.test one\nexample.test three\n' },
  ],
  [
    'identities, where they lie in the domain',
    {
      'opendkim.conf': `${TABLES}SigningTable refile:DIR/st\n`,
      st: 'ana@example.test one:@example.test\neva@example.test one:list@example.test\n*@*other.test two:x@%\n*@far.test one:@far.test\n',
    },
  ],
  [
    'the key named after the author’s domain',
    { 'opendkim.conf': `${TABLES}SigningTable refile:DIR/st\n`, st: '*@example.test %\n' },
  ],
  ['tables as lists', { 'opendkim.conf': `${TABLES}SigningTable example.test=one,other.test=three\n` }],
  [
    'a single key',
    { 'opendkim.conf': 'Mode s\nDomain example.test, other.test\nSelector only\nKeyFile DIR/keys/one\nRequireSafeKeys no\n' },
  ],
  [
    'a single key, subdomains too',
    { 'opendkim.conf': 'mode s\nDOMAIN example.test\nSelector only\nKeyFile DIR/keys/one\nRequireSafeKeys no\nSubDomains yes\n' },
  ],
  [
    'domains in a file',
    {
      'opendkim.conf': 'Mode s\nDomain file:DIR/st\nSelector only\nKeyFile DIR/keys/one\nRequireSafeKeys no\n',
      st: '# d\nother.test\n',
    },
  ],
  [
    'a parameter twice',
    { 'opendkim.conf': 'Mode s\nDomain example.test\nSelector a\nSelector b\nKeyFile DIR/keys/one\nRequireSafeKeys no\n' },
  ],
  ['only verifying', { 'opendkim.conf': 'Mode v\nDomain example.test\nSelector a\nKeyFile DIR/keys/one\nRequireSafeKeys no\n' }],
  [
    'included files',
    {
      'opendkim.conf': 'Mode s\nInclude DIR/more\nKeyFile DIR/keys/one\nRequireSafeKeys no\n',
      more: 'Domain example.test\nSelector included\n',
    },
  ],
];

for (const [name, files] of SCENARIOS)
  test(`opendkim and we sign with the same keys: ${name}`, async (t) => {
    const opendkim = await requireProgram(t, 'opendkim');
    if (opendkim === undefined) return;
    const { folder, conf } = await house(t, { kt: KEYS, ...files });
    const [theirs, own]: [Record<string, string[]>, Record<string, string[]>] = [{}, {}];
    for (const from of AUTHORS) {
      theirs[from] = (await openDkimSigns(opendkim, conf, folder, message(from))).sort();
      own[from] = (await ours(conf, message(from))).sort();
    }
    assert.deepEqual(own, theirs);
    if (name !== 'only verifying') assert.ok(Object.values(own).some((found) => found.length > 0));
  });

test('opendkim and dkimpy verify what we sign with OpenDKIM’s tables, and opendkim tells a changed one', async (t) => {
  const opendkim = await requireProgram(t, 'opendkim');
  const python = await requireDkimpy(t);
  if (opendkim === undefined || python === undefined) return;
  const { folder, conf, keys } = await house(t, {
    kt: KEYS,
    st: '*@example.test one:ana@example.test\n*@example.test two\n',
    'opendkim.conf': `${TABLES}MultipleSignatures yes\nSigningTable refile:DIR/st\n`,
  });
  const made = await signed(conf, message('ana@example.test'));
  assert.ok(made && keys['one'] && keys['two']);
  const record = (selector: string, key: KeyObject) => ({ selector, key, record: dkimRecord(key) });
  const records = [record('sel1', keys['one']), record('sel2', keys['two'])];
  const published = Object.fromEntries(records.map((one) => [`${one.selector}._domainkey.example.test`, one.record]));
  const said = await openDkimVerifies(opendkim, folder, made, published);
  assert.equal(said.match(/dkim=pass/g)?.length, 2, said);
  const testKeys = records.map((one) => ({ ...one, domain: 'example.test', file: '/dev/null' }));
  assert.deepEqual(await dkimpyVerdicts(python, [made], testKeys), [[true, true]]);
  const changed = Buffer.from(made.toString().replace('Subject: hello', 'Subject: hallo'));
  assert.doesNotMatch(await openDkimVerifies(opendkim, folder, changed, published), /dkim=pass/);
});
