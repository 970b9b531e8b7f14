// The same messages through Debian's Postfix (smtpd, cleanup, virtual(8)) and through Buzon: the files in the Maildirs are the same but for Received.
import assert from 'node:assert/strict';
import { appendFile, chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually, MailHost, startMailHost } from '../support/mail-host.ts';
import { Postfix } from '../support/postfix.ts';
import { requireProgram, requireRoot } from '../support/programs.ts';
import { SmtpClient } from '../support/smtp-script.ts';

const ANA = 'ana@example.test';
/** Complete, so that Postfix adds nothing for a client on its own host. */
const HEAD = `From: eva@remote.test\r\nTo: ana@example.test\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <x@remote.test>\r\n`;

interface Sample {
  readonly name: string;
  readonly from?: string;
  readonly to?: string;
  readonly parameters?: string;
  /** Bytes as they go over the wire, without the end. */
  readonly data: string;
}

const SAMPLES: readonly Sample[] = [
  { name: 'a plain message', data: `${HEAD}Subject: plain\r\n\r\nbody\r\n` },
  { name: 'the null sender', from: '', data: `${HEAD}\r\nbounce\r\n` },
  { name: 'an extension', to: 'ana+shop@example.test', data: `${HEAD}\r\nx\r\n` },
  { name: 'an address in capitals', from: 'Eva.S@Remote.TEST', to: 'ANA@Example.TEST', data: `${HEAD}\r\nx\r\n` },
  { name: 'a quoted sender', from: '"eva s"@remote.test', data: `${HEAD}\r\nx\r\n` },
  { name: 'a source route', to: '@example.test:ana@example.test', data: `${HEAD}\r\nx\r\n` },
  { name: 'needless quotes', to: '"ana"@example.test', data: `${HEAD}\r\nx\r\n` },
  { name: 'dots', data: `${HEAD}\r\n..\r\n...\r\n..a\r\na.\r\n` },
  { name: '8 bits', parameters: ' BODY=8BITMIME', data: `${HEAD}Subject: \xc3\xb1\r\n\r\n\xe9\xff\x80\r\n` },
  {
    name: 'fields that are dropped',
    data: `Return-Path: <evil@remote.test>\r\n${HEAD}Bcc: a@b.test,\r\n c@d.test\r\nContent-Length: 4\r\nX: y\r\n\r\nBcc: body\r\n`,
  },
  { name: 'trace fields of others', data: `Delivered-To: other@remote.test\r\nX-Original-To: z@remote.test\r\n${HEAD}\r\nx\r\n` },
  { name: 'no body', data: HEAD },
  { name: 'an empty body', data: `${HEAD}\r\n` },
  { name: 'a line that is no field', data: `${HEAD}no field here\r\nX: y\r\n\r\nbody\r\n` },
  { name: 'folded fields', data: `${HEAD}Subject: one\r\n two\r\n\tthree\r\nX-Long: ${'word '.repeat(150)}\r\n\r\nx\r\n` },
  { name: 'an mbox separator', data: `From eva@remote.test Mon Nov  2 10:00:00 2026\r\n>From x\r\n${HEAD}\r\nFrom the body\r\n` },
  { name: 'a long line', data: `${HEAD}\r\n${'x'.repeat(5_000)}\r\n` },
  { name: 'white space at line ends', data: `${HEAD}X:  y  \r\n\r\nx \t\r\n \r\n` },
];

async function send(port: number, sample: Sample): Promise<void> {
  const { from = 'eva@remote.test', to = ANA, parameters = '', data } = sample;
  await using client = await SmtpClient.hello(port);
  await client.commands([`MAIL FROM:<${from}>${parameters}`, '250'], [`RCPT TO:<${to}>`, '250'], ['DATA', '354']);
  client.send(`${data}.\r\n`);
  assert.match(await client.reply(), /^250 /, sample.name);
  await client.command('QUIT');
}

/** Sends all of them, one after another; the file of each, without Received. */
async function files(port: number, host: MailHost): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const seen = new Set<string>();
  for (const sample of SAMPLES) {
    await send(port, sample);
    const text = await eventually(
      async () => {
        const texts = await host.inbox(ANA);
        const fresh = texts.filter((candidate) => !seen.has(candidate));
        for (const candidate of texts) seen.add(candidate);
        return fresh[0];
      },
      `${sample.name} is delivered`,
      20_000,
    );
    const received = text.match(/^Received: .*\n(?:[ \t].*\n)*/m)?.[0] ?? '';
    assert.match(
      received,
      /^Received: from client\.test \(\S+ \[127\.0\.0\.1\]\)\n\tby mail\.example\.test \(\w+\) with ESMTP id \w+\n\tfor <.+>;\s/,
    );
    found[sample.name] = text.replace(received, '<Received>\n');
  }
  return found;
}

test('Return-Path, X-Original-To, Delivered-To and all the rest are written as Postfix writes them', async (t) => {
  if (!requireRoot(t) || (await requireProgram(t, 'postfix')) === undefined) return;
  const directory = await mkdtemp(join(tmpdir(), 'buzon-postfix-'));
  await using _removed = { [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
  await chmod(directory, 0o755);
  await using theirs = await MailHost.create();
  await using postfix = await Postfix.create({
    directory,
    base: theirs.base,
    domains: ['example.test'],
    vmailbox: join(theirs.directory, 'vmailbox'),
  });
  await appendFile(join(postfix.config, 'main.cf'), 'recipient_delimiter = +\n');
  await postfix.start();
  const expected = await files(postfix.port, theirs);
  await postfix.stop();
  await using host = await startMailHost();
  const actual = await files(host.ports.smtp, host);
  for (const { name } of SAMPLES) assert.equal(actual[name], expected[name], name);
});
