// What the real Dovecot makes of broken messages, against what we make of them.
import assert from 'node:assert/strict';
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execFile } from 'node:child_process';
import { formatBodyStructure, formatEnvelope } from '../../src/imap/syntax/body-structure.ts';
import { parseStructure } from '../../src/message/structure.ts';
import { parseImapValues, type ImapValue } from '../support/imap-value.ts';
import { MIME_CORPUS } from '../support/mime-corpus.ts';
import { requireProgram } from '../support/programs.ts';

const NOBODY = 65_534;

/** Where we differ on purpose, and why. */
const OWN_WAY: ReadonlyMap<string, string> = new Map([
  ['type without subtype', 'Dovecot gives an empty subtype; RFC 2045 5.2 says text/plain'],
  ['type empty', 'Dovecot gives an empty type; RFC 2045 5.2 says text/plain'],
  ['multipart in message in multipart', 'Dovecot counts the line end that belongs to the boundary (RFC 2046 5.1.1)'],
  ['base64 on a message', 'RFC 2046 5.2.1 forbids it: its parts have no place in the file, so that we call it opaque'],
  ['a boundary that is not a token, unquoted', 'Dovecot cuts the boundary at the slash and finds no part'],
  ['type rubbish', 'Dovecot gives an empty type; RFC 2045 5.2 says text/plain'],
]);

/** Where even the envelope differs on purpose. */
const OWN_ENVELOPE: ReadonlyMap<string, string> = new Map([
  ['message ids', 'Dovecot keeps blanks behind a Message-ID'],
  ['address: list', 'Dovecot makes MISSING_MAILBOX of an empty place in a list (RFC 5322 4.4 lets it stand for nothing)'],
  ['address: blanks around dots', 'Dovecot does not know blanks around the dots of a local part (RFC 5322 4.4)'],
]);

interface Seen {
  readonly envelope: ImapValue[];
  readonly structure: ImapValue[];
  readonly body: ImapValue[];
  readonly size: number;
}

/** Type, encoding and parameter names have no case. */
const fold = (value: ImapValue): ImapValue =>
  typeof value === 'string' ? value.toLowerCase() : Array.isArray(value) ? value.map(fold) : value;

async function dovecotSees(doveadm: string, directory: string): Promise<Seen[]> {
  const root = process.getuid?.() === 0;
  const uid = root ? NOBODY : (process.getuid?.() ?? 0);
  const gid = root ? NOBODY : (process.getgid?.() ?? 0);
  const mail = join(directory, 'mail');
  await mkdir(mail);
  for (const sub of ['cur', 'new', 'tmp']) await mkdir(join(mail, sub));
  for (const [i, message] of MIME_CORPUS.entries())
    await writeFile(join(mail, 'cur', `${1_700_000_000 + i}.M${i}.test:2,`), Buffer.from(message.text, 'latin1'));
  if (root) {
    await chmod(directory, 0o755);
    for (const path of [mail, ...['cur', 'new', 'tmp'].map((sub) => join(mail, sub))]) await chown(path, uid, gid);
  }
  const config = join(directory, 'dovecot.conf');
  await writeFile(
    config,
    `log_path = /dev/stderr
ssl = no
protocols = imap
base_dir = ${directory}/run
mail_location = maildir:${mail}
first_valid_uid = 1
first_valid_gid = 1
mail_uid = ${uid}
mail_gid = ${gid}
`,
  );
  const output = await new Promise<string>((resolve, reject) =>
    execFile(
      doveadm,
      ['-c', config, '-f', 'tab', 'fetch', 'uid imap.envelope imap.bodystructure imap.body size.virtual', 'mailbox', 'INBOX'],
      {
        env: { PATH: process.env['PATH'], USER: 'nobody', HOME: directory },
        encoding: 'latin1',
        timeout: 30_000,
        maxBuffer: 1e8,
      },
      (error, stdout, stderr) => (error ? reject(new Error(stderr, { cause: error })) : resolve(stdout)),
    ),
  );
  return output
    .split(/\n(?=\d+\t)/)
    .slice(1)
    .map((row) => {
      const [, envelope = '', structure = '', body = '', size = ''] = row.replace(/\n$/, '').split('\t');
      return {
        envelope: parseImapValues(envelope),
        structure: parseImapValues(structure),
        body: parseImapValues(body),
        size: Number(size),
      };
    });
}

async function weSee(text: string): Promise<Seen> {
  async function* chunks() {
    yield Buffer.from(text, 'latin1');
  }
  const message = await parseStructure(chunks());
  return {
    envelope: parseImapValues(formatEnvelope(message.envelope))[0] as ImapValue[],
    structure: parseImapValues(formatBodyStructure(message.root, true))[0] as ImapValue[],
    body: parseImapValues(formatBodyStructure(message.root, false))[0] as ImapValue[],
    size: message.wireSize,
  };
}

test('ENVELOPE, BODYSTRUCTURE, BODY and sizes of nasty messages are what Dovecot makes of them', async (t) => {
  const doveadm = await requireProgram(t, 'doveadm');
  if (doveadm === undefined) return;
  const directory = await mkdtemp(join(tmpdir(), 'buzon-mime-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const theirs = await dovecotSees(doveadm, directory);
  assert.equal(theirs.length, MIME_CORPUS.length);
  for (const [i, { name, text }] of MIME_CORPUS.entries()) {
    const our = await weSee(text);
    const their = theirs[i] as Seen;
    await t.test(name, () => {
      assert.equal(our.size, their.size);
      if (!OWN_ENVELOPE.has(name)) assert.deepEqual(fold(our.envelope), fold(their.envelope));
      if (OWN_WAY.has(name)) return;
      assert.deepEqual(fold(our.structure), fold(their.structure));
      assert.deepEqual(fold(our.body), fold(their.body));
    });
  }
});
