// Postfix's smtp(8) and our client with the same next hops and the same passwords, before the same servers: which of a list takes the mail, and who is
// logged in there.
import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { openTable } from '../../src/config/maps/table.ts';
import { staticResolver } from '../../src/dns/resolver.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { credentialsFinder } from '../../src/queue/credentials.ts';
import { testAgent } from '../support/delivery.ts';
import { freePorts } from '../support/mail-host.ts';
import { Postfix } from '../support/postfix.ts';
import { requireProgram, requireRoot } from '../support/programs.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';
import { SmtpSink } from '../support/smtp-sink.ts';
import { tempFolder } from '../support/temp-folder.ts';

const SENDERS = ['ana@s.test', 'ana+x@s.test', 'bob@dom.test', 'x@other.test', ''];
const HOSTS = ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.4'];

/** What each server took: `sender recipient` → `host user`. */
class Servers {
  readonly sinks: SmtpSink[] = [];
  readonly #users = new Map<string, string>();
  port = 0;

  async start(t: TestContext): Promise<void> {
    for (const host of HOSTS) {
      const sink = new SmtpSink({
        host,
        port: this.port,
        extensions: ['AUTH PLAIN', 'PIPELINING'],
        auth: (line, { connection }) => {
          const [, user = ''] = Buffer.from(line.split(' ').at(-1) ?? '', 'base64')
            .toString()
            .split('\0');
          this.#users.set(`${host} ${connection}`, user);
          return undefined;
        },
        // 127.0.0.4 takes nobody called late.
        rcpt: (line) => (host === '127.0.0.4' && line.includes('<late@') ? '450 4.2.0 later' : undefined),
      });
      this.port = (await sink.start()).port;
      t.after(() => sink.stop());
      this.sinks.push(sink);
    }
  }

  taken(): string[] {
    return this.sinks
      .flatMap(({ messages }, i) =>
        messages.flatMap(({ connection, sender, recipients }) =>
          recipients.map(
            (to) => `<${sender}> <${to}>: ${HOSTS[i]} as ${this.#users.get(`${HOSTS[i]} ${connection}`) ?? 'nobody'}`,
          ),
        ),
      )
      .sort();
  }
}

test('lists of next hops and smtp_sasl_password_maps: the same server, the same log-in as with Postfix', async (t) => {
  if (!requireRoot(t) || !(await requireProgram(t, 'postfix'))) return;
  const [theirs, ours] = [new Servers(), new Servers()];
  await theirs.start(t);
  await ours.start(t);
  const [nobody = 0] = await freePorts(1);
  const hopsOf = (port: number): Record<string, string> => ({
    'name.test': `smtp:[localhost]:${port}`,
    'dest.test': `smtp:[127.0.0.2]:${port}`,
    'address.test': `smtp:[127.0.0.3]:${port}`,
    'none.test': `smtp:[127.0.0.4]:${port}`,
    'list.test': `smtp:[127.0.0.1]:${nobody}, [127.0.0.2]:${port}, [127.0.0.3]:${port}`,
    'late.test': `smtp:[127.0.0.4]:${port} [127.0.0.3]:${port}`,
  });
  const passwordsOf = (port: number): string =>
    [
      'localhost host:x',
      `[localhost]:${port} hop:x`,
      `[127.0.0.2]:${port} hop2:x`,
      '127.0.0.3 host3:x',
      `[127.0.0.3]:${port} hop3:x`,
      'ana@s.test ana:x',
      '@dom.test dom:x',
      '',
    ].join('\n');
  const recipients = Object.keys(hopsOf(0)).flatMap((domain) => [`u@${domain}`, `late@${domain}`]);

  const folder = await tempFolder(t);
  await chmod(folder, 0o755);
  const file = (name: string): string => join(folder, name);
  await writeFile(file('vmailbox'), 'box@example.test x/\n');
  await writeFile(
    file('transport'),
    Object.entries(hopsOf(theirs.port))
      .map(([domain, hop]) => `${domain} ${hop}\n`)
      .join(''),
  );
  await writeFile(file('passwords'), passwordsOf(theirs.port));
  const postfix = await Postfix.create({
    directory: folder,
    base: folder,
    domains: ['example.test'],
    vmailbox: file('vmailbox'),
    main: [
      `transport_maps = texthash:${file('transport')}`,
      'recipient_delimiter = +',
      'smtp_host_lookup = native',
      'smtp_tls_security_level = none',
      'smtp_sasl_auth_enable = yes',
      'smtp_sasl_security_options =',
      'smtp_sasl_mechanism_filter = plain',
      'smtp_sender_dependent_authentication = yes',
      `smtp_sasl_password_maps = texthash:${file('passwords')}`,
      // The sinks that put off are asked once.
      'maximal_queue_lifetime = 0',
    ],
    services: ['smtp unix - - n - - smtp'],
  });
  await postfix.start();
  t.after(() => postfix.stop());
  for (const from of SENDERS) await deliverBySmtp(postfix.port, { from, to: recipients, data: 'Subject: x\r\n\r\nx\r\n' });
  await postfix.drained();

  await writeFile(file('ours'), passwordsOf(ours.port));
  const maps = [openTable(`texthash:${file('ours')}`, { logger: silentLogger })];
  const agent = testAgent(t, {
    resolver: staticResolver({ localhost: { a: ['127.0.0.1'] } }),
    protocols: [4],
    authInClear: true,
    credentials: credentialsFinder({ maps, senderDependent: true, recipientDelimiter: '+' }),
  });
  for (const sender of SENDERS)
    for (const [domain, hop] of Object.entries(hopsOf(ours.port)))
      await agent.deliver({ hop, to: recipients.filter((to) => to.endsWith(`@${domain}`)), envelope: { sender } });
  // Their reports to the senders are no part of it.
  const asked = (line: string): boolean => recipients.some((to) => line.includes(`<${to}>`));
  assert.deepEqual(ours.taken(), theirs.taken().filter(asked), await postfix.log());
  assert.ok(ours.taken().length > 50);
});
