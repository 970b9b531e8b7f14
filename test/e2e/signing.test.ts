// A host that takes over OpenDKIM's files as they lie there: its keys are opendkim's alone, and whatever is ours goes out signed with them.
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { chown, chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { loadSettings } from '../../src/config/settings.ts';
import { dkimRecord } from '../../src/policy/dkim-record.ts';
import { prepareMaildrop } from '../../src/worker/maildrop.ts';
import { verdicts, type TestKey } from '../support/dkim.ts';
import { eventually, MailHost, TREE_OWNER } from '../support/mail-host.ts';
import { requireRoot, run } from '../support/programs.ts';
import { SmtpSender } from '../support/smtp-send.ts';
import { SmtpSink } from '../support/smtp-sink.ts';

const ANA = 'ana@example.test';
/** Clients are told apart by where they are. */
const CLIENTS = { ours: '127.0.0.21', internal: '127.0.0.22', stranger: '127.0.0.23' } as const;
/** opendkim's user. */
const OWNER = 64_322;

interface House {
  readonly host: MailHost;
  readonly sink: SmtpSink;
  /** Of the tables, by selector. */
  readonly keys: readonly TestKey[];
  readonly folder: string;
}

async function openDkimHouse(t: TestContext): Promise<House> {
  const sink = await new SmtpSink().start();
  t.after(() => sink.stop());
  const keys: TestKey[] = [];
  const host = await MailHost.create({
    settings: {
      workers: 2,
      mynetworks: [CLIENTS.ours],
      relayhost: `[127.0.0.1]:${sink.port}`,
      opendkim_config: 'opendkim/opendkim.conf',
      virtual_alias_maps: 'inline:{ {away@example.test = eva@far.test} }',
      minimal_backoff_time: '1s',
    },
    prepare: async ({ directory }) => {
      const folder = join(directory, 'opendkim');
      await mkdir(folder, { mode: 0o700 });
      for (const selector of ['one', 'two']) {
        const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
        const file = join(folder, `${selector}.private`);
        await writeFile(file, privateKey.export({ type: 'pkcs1', format: 'pem' }), { mode: 0o600 });
        keys.push({ domain: 'example.test', selector, file, key: privateKey, record: dkimRecord(createPublicKey(privateKey)) });
      }
      const files = {
        'opendkim.conf': `KeyTable ${folder}/KeyTable\nSigningTable refile:${folder}/SigningTable\nInternalHosts file:${folder}/TrustedHosts\n`,
        KeyTable: `one %:one:${folder}/one.private\n`,
        SigningTable: '*@example.test one\n',
        TrustedHosts: `127.0.0.1\n${CLIENTS.internal}\n`,
      };
      for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o600 });
      for (const name of ['', 'one.private', 'two.private', ...Object.keys(files)]) await chown(join(folder, name), OWNER, OWNER);
    },
  });
  t.after(() => host[Symbol.asyncDispose]());
  await prepareMaildrop(await loadSettings(host.settingsFile), host.settingsFile, TREE_OWNER);
  await host.start();
  return { host, sink, keys, folder: join(host.directory, 'opendkim') };
}

const text = (subject: string): string => `From: <${ANA}>\r\nTo: <eva@far.test>\r\nSubject: ${subject}\r\n\r\nHello.\r\n`;

/** The result of each signature by selector. */
async function verdict({ sink, keys, host }: House, subject: string): Promise<Record<string, string>> {
  const sent = await eventually(
    () => Promise.resolve(sink.messages.find(({ data }) => data.includes(`Subject: ${subject}`))),
    `${subject} goes out: ${host.output.slice(-2000)}`,
    20_000,
  );
  return /^DKIM-Signature:/m.test(sent.data) ? verdicts(Buffer.from(sent.data, 'latin1'), keys) : {};
}

async function sendFrom(house: House, client: string, subject: string, to = 'eva@far.test'): Promise<void> {
  const sender = await SmtpSender.connect(house.host.ports.smtp, client);
  await sender.send({ from: ANA, to: [to], data: text(subject) });
  await sender.quit();
}

test('row 38: with OpenDKIM’s own files, which only root and opendkim may read, all that is ours is signed, and nothing else', async (t) => {
  if (!requireRoot(t)) return;
  const house = await openDkimHouse(t);
  const { host, keys, folder } = house;
  const owner = Number(/^Uid:\s+(\d+)/m.exec(await readFile(`/proc/${(await host.workers())[0]}/status`, 'utf8'))?.[1]);
  assert.match((await run('/bin/cat', [keys[0]?.file ?? ''], { uid: owner, gid: owner })).stderr, /Permission denied/);

  const submission = await SmtpSender.connect(host.ports.submission);
  await submission.command(`AUTH PLAIN ${Buffer.from(`\0${ANA}\0ana-secret`).toString('base64')}`, '235');
  await submission.send({ from: ANA, to: ['eva@far.test'], data: text('logged-in') });
  await submission.quit();
  assert.deepEqual(await verdict(house, 'logged-in'), { one: 'pass' });

  await sendFrom(house, CLIENTS.ours, 'mynetworks');
  assert.deepEqual(await verdict(house, 'mynetworks'), { one: 'pass' });

  const entry = join(import.meta.dirname, '../../src/bin/sendmail.ts');
  const sent = await run(process.execPath, [entry, '-C', host.settingsFile, '-t', '-i', '-f', ANA], { input: text('sendmail') });
  assert.equal(sent.status, 0, sent.stderr);
  assert.deepEqual(await verdict(house, 'sendmail'), { one: 'pass' });

  // May not relay, and yet its mail is ours: an alias takes it outside.
  await assert.rejects(sendFrom(house, CLIENTS.internal, 'relay'), /Relay access denied/);
  await sendFrom(house, CLIENTS.internal, 'InternalHosts', 'away@example.test');
  assert.deepEqual(await verdict(house, 'InternalHosts'), { one: 'pass' });
  await sendFrom(house, CLIENTS.stranger, 'stranger', 'away@example.test');
  assert.deepEqual(await verdict(house, 'stranger'), {});

  // New tables: both workers have them after a reload.
  await writeFile(join(folder, 'KeyTable'), `one %:one:${folder}/one.private\ntwo example.test:two:${folder}/two.private\n`);
  await writeFile(join(folder, 'SigningTable'), '*@example.test two\n');
  host.signal('SIGHUP');
  let n = 0;
  await eventually(async () => {
    const subjects = [1, 2, 3, 4].map(() => `after-${++n}-reload`);
    for (const subject of subjects) await sendFrom(house, CLIENTS.ours, subject);
    const found = [];
    for (const subject of subjects) found.push(await verdict(house, subject));
    return found.every((one) => one['two'] === 'pass' && one['one'] === undefined) || undefined;
  }, 'signed with the other key');

  await chmod(join(folder, 'two.private'), 0o644);
  assert.equal(await host.stop(), 0);
  await assert.rejects(host.start(), /two\.private can be used by everybody \(mode 644\); run chmod 600/);
  await writeFile(join(folder, 'SigningTable'), '*@example.test two\n*@other.test three\n');
  await assert.rejects(host.start(), /SigningTable:2: "\*@other\.test": KeyTable has no key "three"; write one of one, two/);
});
