// Postfix's own trivial-rewrite(8) and our transports on the same settings and table: each address must go to the same next hop.
import assert from 'node:assert/strict';
import { appendFile, chmod, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { openTable } from '../../src/config/maps/table.ts';
import { domainClasses, type Domains } from '../../src/delivery/domain-class.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { formatNextHop, parseNextHop } from '../../src/queue/next-hop.ts';
import { TransportTable } from '../../src/queue/transports.ts';
import { Postfix } from '../support/postfix.ts';
import { requireProgram, requireRoot } from '../support/programs.ts';
import { tempFolder } from '../support/temp-folder.ts';

const TRANSPORT = `user@far.test        smtp:[one.test]
user+ext@far.test    smtp:[two.test]:26
far.test             :[three.test]
.far.test            smtp:
.deep.far.test       lmtp:inet:[l.test]:24
noop.test            :
away.example.test    relay:[inner.test]
box@example.test     lmtp:unix:/run/other
gone.test            error:5.1.1 gone
bare.test            error:
drop.test            discard:
.org.test            smtp:[org.test]
two.test             smtp:[one.test], [two.test]:26
also.test            :one.test two.test
store.test           lmtp:inet:[one.test]:24, two.test
`;
const RELAYHOSTS = `ana@example.test     [ana.test]:587
@eva.test            eva-relay.test, [eva2.test]:587
no@eva.test          DUNNO
<>                   [bounces.test]
`;
const DEFAULTS = `ana@example.test     lmtp:[store.test]
@eva.test            smtp:
no@eva.test          dunno
@remote.test         relay:[r1.test], [r2.test]:26
<>                   error:5.7.0 no reports
`;
const RECIPIENTS = [
  ...[
    'user@far.test',
    'User+ext@far.test',
    'user+other@far.test',
    'x@far.test',
    'x@a.far.test',
    'x@b.a.far.test',
    'x@z.deep.far.test',
  ],
  ...['x@deep.far.test', 'x@noop.test', 'x@away.example.test', 'box@example.test', 'box+a@example.test', 'ana@example.test'],
  ...[
    'x@gone.test',
    'x@bare.test',
    'x@drop.test',
    'x@org.test',
    'x@a.org.test',
    'x@elsewhere.test',
    'x@backup.test',
    'x@sub.backup.test',
  ],
  ...['x@two.test', 'x@also.test', 'x@store.test', 'x@[192.0.2.1]'],
];
const SENDERS = ['', 'ana@example.test', 'ana+x@example.test', 'x@eva.test', 'no@eva.test', 'x@remote.test'];

/** One question to trivial-rewrite, in Postfix's attribute protocol: names and values that end in NUL, an empty name in the end. */
function ask(socketPath: string, sender: string, address: string): Promise<Map<string, string>> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    let text = '';
    const said: string[] = [];
    const question = ['request', 'resolve', 'sender', sender, 'address', address, ''].join('\0') + '\0';
    socket.setTimeout(10_000, () => socket.destroy(new Error('no answer')));
    socket.on('error', reject).on('data', (bytes: Buffer) => {
      text += bytes.toString();
      const end = text.indexOf('\0\0');
      if (end < 0) return;
      said.push(text.slice(0, end));
      text = text.slice(end + 2);
      // A newer one says its protocol first.
      if (said.length === 1 && said[0]?.startsWith('protocol\0')) return void socket.write(question);
      socket.destroy();
      const words = (said.at(-1) ?? '').split('\0');
      resolve(new Map(words.flatMap((word, i) => (i % 2 === 0 ? [[word, words[i + 1] ?? ''] as const] : []))));
    });
  });
}

test('every recipient of every sender goes where Postfix sends it', async (t) => {
  if (!requireRoot(t) || !(await requireProgram(t, 'postfix'))) return;
  const folder = await tempFolder(t);
  await chmod(folder, 0o755);
  const files = {
    transport: join(folder, 'transport'),
    relayhosts: join(folder, 'relayhosts'),
    defaults: join(folder, 'defaults'),
    vmailbox: join(folder, 'vmailbox'),
  };
  await writeFile(files.transport, TRANSPORT);
  await writeFile(files.relayhosts, RELAYHOSTS);
  await writeFile(files.defaults, DEFAULTS);
  await writeFile(files.vmailbox, 'box@example.test x/\n');
  const postfix = await Postfix.create({ directory: folder, base: folder, domains: ['example.test'], vmailbox: files.vmailbox });
  await appendFile(
    join(postfix.config, 'main.cf'),
    `transport_maps = texthash:${files.transport}
sender_dependent_relayhost_maps = texthash:${files.relayhosts}
sender_dependent_default_transport_maps = texthash:${files.defaults}
relayhost = [hub.test]:2525, [hub2.test]
relay_domains = backup.test
recipient_delimiter = +
`,
  );
  await postfix.start();
  t.after(() => postfix.stop());
  const domains = (...names: string[]): Domains => ({ has: async (name) => names.includes(name) });
  const table = (file: string) => [openTable(`texthash:${file}`, { logger: silentLogger })];
  const ours = new TransportTable({
    classOf: domainClasses({
      myDestination: domains(),
      virtualMailboxDomains: domains('example.test'),
      virtualAliasDomains: domains(),
      relayDomains: domains('backup.test'),
    }),
    transportMaps: table(files.transport),
    senderDependentRelayhostMaps: table(files.relayhosts),
    senderDependentDefaultTransportMaps: table(files.defaults),
    relayhost: '[hub.test]:2525, [hub2.test]',
    defaultTransport: 'smtp',
    relayTransport: 'relay',
    virtualTransport: 'virtual',
    recipientDelimiter: '+',
    logger: silentLogger,
  });
  for (const sender of SENDERS)
    for (const recipient of RECIPIENTS) {
      const theirs = await ask(join(folder, 'postfix/queue/private/rewrite'), sender, recipient);
      const [transport = '', nexthop = ''] = [theirs.get('transport'), theirs.get('nexthop')];
      const mine = await ours.resolve(recipient, sender);
      const what = `${recipient} from <${sender}>: ${transport}:${nexthop}`;
      if (transport === 'virtual') assert.equal(await ours.handling(recipient), 'here', what);
      else if (transport === 'discard') assert.equal(mine.kind, 'discard', what);
      else assert.equal(formatNextHop(mine), formatNextHop(parseNextHop(`${transport}:${nexthop}`)), what);
    }
});
