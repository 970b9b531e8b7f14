// smtp_sasl_password_maps as an administrator has it: root's alone, 0600. The workers cannot read it and log in at the next hop with what stands in it: the
// supervisor reads it for them, and anew after a reload.
import assert from 'node:assert/strict';
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeSelfSigned } from '../support/certificate.ts';
import { eventually, startMailHost, TREE_OWNER, type MailHost } from '../support/mail-host.ts';
import { requireRoot, run } from '../support/programs.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';
import { SmtpSink } from '../support/smtp-sink.ts';

const secrets = (host: MailHost): string => join(host.directory, 'root', 'sasl_passwd');

/** As an editor does it: a new file in the old one's place. */
async function writeSecrets(host: MailHost, port: number, login: string): Promise<void> {
  await writeFile(`${secrets(host)}.new`, `[127.0.0.1]:${port}  ${login}\n`, { mode: 0o600 });
  await rename(`${secrets(host)}.new`, secrets(host));
}

/** Log-ins that the next hop saw, in order. */
const logins = (sink: SmtpSink): string[] =>
  sink.commands.flatMap((line) => {
    const [, text] = /^\d+: AUTH PLAIN (\S+)$/.exec(line) ?? [];
    return text === undefined ? [] : [Buffer.from(text, 'base64').toString('utf8').split('\0').slice(1).join(':')];
  });

async function send(host: MailHost, sink: SmtpSink, subject: string): Promise<void> {
  const message = { from: 'ana@example.test', to: ['x@outside.test'], data: `Subject: ${subject}\r\n\r\nhola\r\n` };
  await deliverBySmtp(host.ports.smtp, message);
  const arrived = async (): Promise<boolean> => sink.messages.some(({ data }) => data.includes(`Subject: ${subject}\r\n`));
  await eventually(arrived, `${subject} at the next hop: ${host.output}`, 20_000);
}

test('passwords for next hops are root’s alone: workers log in with what the supervisor read, after a reload with the new ones', async (t) => {
  if (!requireRoot(t)) return;
  const tls = await makeSelfSigned(['sink.test', '127.0.0.1']);
  await using sink = await new SmtpSink({ tls, extensions: ['PIPELINING', 'ENHANCEDSTATUSCODES', 'AUTH PLAIN LOGIN'] }).start();
  await using host = await startMailHost({
    settings: {
      workers: 2,
      mynetworks: ['127.0.0.0/8'],
      transport_maps: `inline:{outside.test=smtp:[127.0.0.1]:${sink.port}}`,
      smtp_sasl_password_maps: 'hash:root/sasl_passwd',
    },
    prepare: async (made) => {
      await mkdir(join(made.directory, 'root'), { mode: 0o700 });
      await writeSecrets(made, sink.port, 'first:one:secret');
    },
  });
  const { uid, gid, mode } = await stat(secrets(host));
  assert.deepEqual([uid, gid, mode & 0o7777], [0, 0, 0o600]);
  for (const pid of await host.workers())
    assert.match(await readFile(`/proc/${pid}/status`, 'utf8'), new RegExp(`^Uid:(\\t${TREE_OWNER?.uid}){4}$`, 'm'));
  assert.notEqual((await run('/bin/cat', [secrets(host)], { ...TREE_OWNER, cwd: '/' })).status, 0, 'workers could read it');

  await send(host, sink, 'before');
  assert.deepEqual(logins(sink), ['first:one:secret']);

  await writeSecrets(host, sink.port, 'second:two');
  host.signal('SIGHUP');
  await eventually(async () => host.output.includes('"event":"settings.reloaded"'), 'reloaded');
  // Each worker takes the new settings in its own time; without a reload the file is looked at every 10 s only.
  let sent = 0;
  const asked = async (): Promise<boolean> => {
    await send(host, sink, `after ${++sent}`);
    return logins(sink).at(-1) === 'second:two';
  };
  await eventually(asked, `the new log-in: ${logins(sink).join()}`, 8_000);
  assert.ok(sink.messages.every(({ secure }) => secure));
  assert.doesNotMatch(host.output, /one:secret|second:two/);
});
