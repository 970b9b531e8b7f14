// Debian's sending programs against the running server: swaks, curl, msmtp, mutt, and nodemailer.
import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { createTransport } from 'nodemailer';
import { eventually, startMailHost, type MailHost } from '../support/mail-host.ts';
import { requireProgram, run } from '../support/programs.ts';

let host: MailHost;
before(async () => {
  host = await startMailHost();
});
after(async () => host?.[Symbol.asyncDispose]());

async function arrived(address: string, marker: string): Promise<string> {
  return eventually(async () => (await host.inbox(address)).find((text) => text.includes(marker)), `${marker} for ${address}`);
}
async function succeeds(
  t: TestContext,
  program: string,
  args: string[],
  options: Parameters<typeof run>[2] = {},
): Promise<string | undefined> {
  const path = await requireProgram(t, program);
  if (path === undefined) return undefined;
  const result = await run(path, args, options);
  assert.equal(result.status, 0, `${program} ${args.join(' ')}\n${result.stdout}\n${result.stderr}`);
  return result.stdout + result.stderr;
}

test('swaks sends to the MX, in clear and with STARTTLS', async (t) => {
  for (const tls of [[], ['--tls']]) {
    const marker = `swaks-mx-${tls.length}`;
    const said = await succeeds(t, 'swaks', [
      ...['--server', `127.0.0.1:${host.ports.smtp}`, '--from', 'eva@remote.test', '--to', 'ana@example.test'],
      ...['--header', `Subject: ${marker}`, ...tls],
    ]);
    if (said === undefined) return;
    const message = await arrived('ana@example.test', marker);
    assert.match(
      message,
      /^Return-Path: <eva@remote\.test>\nX-Original-To: ana@example\.test\nDelivered-To: ana@example\.test\nReceived: /,
    );
    assert.doesNotMatch(message, /\r/);
    assert.match(message, tls.length > 0 ? /with ESMTPS/ : /with ESMTP\b/);
  }
});

test('swaks is refused for an unknown recipient and as an open relay', async (t) => {
  const path = await requireProgram(t, 'swaks');
  if (path === undefined) return;
  for (const [to, reply] of [
    ['nobody@example.test', /550 5\.1\.1/],
    ['someone@elsewhere.test', /55[04] 5\.7\.1/],
  ] as const) {
    const result = await run(path, ['--server', `127.0.0.1:${host.ports.smtp}`, '--from', 'eva@remote.test', '--to', to]);
    assert.notEqual(result.status, 0);
    assert.match(result.stdout, reply);
  }
});

for (const [mechanism, port, tls] of [
  ['PLAIN', 'submission', '--tls'],
  ['LOGIN', 'submission', '--tls'],
  ['PLAIN', 'submissions', '--tls-on-connect'],
] as const)
  test(`swaks submits with AUTH ${mechanism} on ${port}`, async (t) => {
    const marker = `swaks-${mechanism}-${port}`;
    const said = await succeeds(t, 'swaks', [
      ...['--server', `127.0.0.1:${host.ports[port]}`, '--from', 'ana@example.test', '--to', 'info@example.test', tls],
      ...[
        '--auth',
        mechanism,
        '--auth-user',
        'ana@example.test',
        '--auth-password',
        'ana-secret',
        '--header',
        `Subject: ${marker}`,
      ],
    ]);
    if (said === undefined) return;
    assert.match(await arrived('info@example.test', marker), /with ESMTPSA/);
  });

test('curl sends over smtp with STARTTLS and over smtps', async (t) => {
  for (const [scheme, port] of [
    ['smtp', 'submission'],
    ['smtps', 'submissions'],
  ] as const) {
    const marker = `curl-${scheme}`;
    const said = await succeeds(
      t,
      'curl',
      [
        ...[
          '--silent',
          '--show-error',
          '--max-time',
          '20',
          '--ssl-reqd',
          '--cacert',
          host.ca,
          '--user',
          'ana@example.test:ana-secret',
        ],
        ...[
          '--url',
          `${scheme}://localhost:${host.ports[port]}/client.example.test`,
          '--resolve',
          `localhost:${host.ports[port]}:127.0.0.1`,
        ],
        ...['--mail-from', 'ana@example.test', '--mail-rcpt', 'info@example.test', '--upload-file', '-'],
      ],
      { input: `From: ana@example.test\r\nTo: info@example.test\r\nSubject: ${marker}\r\n\r\n.leading dot\r\n` },
    );
    if (said === undefined) return;
    assert.match(await arrived('info@example.test', marker), /\n\n\.leading dot\n$/);
  }
});

test('msmtp submits with the certificate checked', async (t) => {
  const config = join(host.directory, 'msmtprc');
  await writeFile(
    config,
    `account default\nhost localhost\nport ${host.ports.submissions}\ntls on\ntls_starttls off\ntls_trust_file ${host.ca}\nauth plain\nuser ana@example.test\npassword ana-secret\nfrom ana@example.test\n`,
  );
  await chmod(config, 0o600);
  const said = await succeeds(t, 'msmtp', ['-C', config, 'info@example.test'], {
    input: 'From: ana@example.test\nTo: info@example.test\nBcc: secret@example.test\nSubject: msmtp-mail\n\nhello\n',
  });
  if (said === undefined) return;
  const message = await arrived('info@example.test', 'msmtp-mail');
  assert.doesNotMatch(message, /^Bcc:/im);
  assert.match(message, /^Message-ID: </im);
});

test('mutt sends through submission', async (t) => {
  const muttrc = join(host.directory, 'muttrc-send');
  await writeFile(
    muttrc,
    `set smtp_url="smtps://ana%40example.test@localhost:${host.ports.submissions}/"\nset smtp_pass="ana-secret"\nset certificate_file=${host.ca}\nset ssl_verify_host=yes\nset from=ana@example.test\nset use_from=yes\nset realname=Ana\nset copy=no\nset smtp_authenticators="plain"\n`,
  );
  const said = await succeeds(t, 'mutt', ['-n', '-F', muttrc, '-s', 'mutt-mail', '--', 'info@example.test'], {
    input: 'hello from mutt\n',
    env: { ...process.env, HOME: host.directory, TERM: 'dumb' },
  });
  if (said === undefined) return;
  assert.match(await arrived('info@example.test', 'mutt-mail'), /hello from mutt/);
});

test('nodemailer submits an attachment and UTF-8 text', async () => {
  const transport = createTransport({
    host: '127.0.0.1',
    port: host.ports.submission,
    requireTLS: true,
    tls: { rejectUnauthorized: false },
    auth: { user: 'ana@example.test', pass: 'ana-secret' },
  });
  await transport.sendMail({
    from: 'Ana <ana@example.test>',
    to: 'info@example.test',
    subject: 'nodemailer-mail ñandú',
    text: 'hola',
    attachments: [{ filename: 'a.bin', content: Buffer.alloc(300_000, 7) }],
  });
  transport.close();
  assert.match(await arrived('info@example.test', 'nodemailer-mail'), /a\.bin/);
});
