// The coverage map names everything it has to: each row of the list of faults that is promised, and each capability that is announced. That the tests
// it names run and pass is scripts/test.mjs' to say, behind a run of everything.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { createSecureContext } from 'node:tls';
import { parse } from 'yaml';
import { makeSelfSigned } from '../support/certificate.ts';
import { ImapClient } from '../support/imap-script.ts';
import { ImapTestServer } from '../support/imap-server.ts';
import { PROJECT } from '../support/mail-host.ts';
import { SmtpTestServer } from '../support/smtp-server.ts';
import { SmtpSender } from '../support/smtp-send.ts';

const PROMISED_ROWS = [
  ...[
    1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 24, 25, 26, 27, 28, 30, 31, 32, 33, 34, 35, 36,
    37, 38, 40,
  ],
  ...[41, 42, 44, 45, 46, 47, 48],
];
type CoverageMap = Record<string, Record<string, { file: string; test: string }[]>>;
const map = parse(await readFile(join(PROJECT, 'test', 'coverage-map.yaml'), 'utf8')) as CoverageMap;

test('each promised row has a test', () => {
  const missing = PROMISED_ROWS.filter((row) => (map['rows']?.[row]?.length ?? 0) === 0);
  assert.deepEqual(missing, []);
});

test('each SMTP capability that is announced has a test', async (t) => {
  const name = 'mail.example.test';
  const server = await SmtpTestServer.start(t, { certificates: { [name]: createSecureContext(await makeSelfSigned([name])) } });
  const sender = await SmtpSender.connect(server.submissionPort);
  const said = await sender.command('EHLO client.example.test', '250');
  await sender.quit();
  const announced = said
    .split('\r\n')
    .slice(1, -1)
    .map((line) => line.slice(4).split(' ')[0] ?? '');
  assert.ok(announced.length > 5, said);
  assert.deepEqual(
    announced.filter((word) => !map['SMTP']?.[word]),
    [],
  );
});

test('each IMAP capability that is announced has a test', async (t) => {
  const server = await ImapTestServer.start(t);
  const client = await ImapClient.connect(server.port);
  const ask = async (tag: string, command: string): Promise<string[]> => {
    client.socket.write(`${tag} ${command}\r\n`);
    return client.until(tag);
  };
  const before = await ask('a', 'CAPABILITY');
  await ask('b', 'LOGIN ana@example.test secret');
  const after = await ask('c', 'CAPABILITY');
  client.socket.destroy();
  const announced = [...before, ...after]
    .filter((line) => line.startsWith('* CAPABILITY '))
    .flatMap((line) => line.slice('* CAPABILITY '.length).split(' '))
    .map((word) => word.split('=')[0] ?? '');
  assert.ok(announced.length > 5);
  assert.deepEqual(
    announced.filter((word) => !map['IMAP']?.[word]),
    [],
  );
});
