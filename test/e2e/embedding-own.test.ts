// The real server as a part of another program, and what both kinds of server leave behind in the process that they ran in.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, readlink, rename, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createMailServer, MailError, type BuzonServer, type SettingsInput } from '../../src/index.ts';
import { runCommand } from '../../src/cli/main.ts';
import { captureIo } from '../support/command-io.ts';
import { captureLog } from '../support/log-capture.ts';
import { eventually } from '../support/mail-host.ts';
import { run } from '../support/programs.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';
import { tempFolder } from '../support/temp-folder.ts';

const ANA = 'ana@example.test';
const MAIL = { from: 'shop@shop.test', to: [ANA], data: 'Subject: hello\r\n\r\nIt works.\r\n' };

/** The smallest server that takes mail: relative paths start at its folder. */
const settingsOf = (more: SettingsInput = {}): SettingsInput => ({
  hostname: 'mail.example.test',
  virtual_mailbox_domains: ['example.test'],
  virtual_mailbox_base: 'vhosts',
  virtual_mailbox_maps: `inline:{ ${ANA}=example.test/ana/ }`,
  data_directory: 'data',
  queue_directory: 'queue',
  listeners: [{ protocol: 'smtp', address: '127.0.0.1', port: 0 }],
  ...more,
});

const portOf = (server: BuzonServer): number => server.addresses[0]?.port ?? 0;

test('createMailServer runs the real server from an object: it takes mail into a Maildir and stops', async (t) => {
  const directory = await tempFolder(t);
  const { events, logger } = captureLog();
  await using server = await createMailServer({
    // Nothing of a test goes outside.
    settings: settingsOf({ default_transport: 'hold:for a look' }),
    directory,
    log: (level, event, fields) => logger.log(level, event, fields),
  });
  assert.deepEqual(server.addresses, []);
  await server.start();
  assert.deepEqual(
    server.addresses.map(({ protocol, address }) => [protocol, address]),
    [['smtp', '127.0.0.1']],
  );
  assert.equal(server.settings.data_directory, join(directory, 'data'));
  await deliverBySmtp(portOf(server), MAIL);
  const stored = events.find(({ event }) => event === 'delivery.stored')?.fields;
  const file = await readFile(join(directory, 'vhosts/example.test/ana/new', String(stored?.['file'])), 'latin1');
  assert.match(file, /^Return-Path: <shop@shop\.test>\n[^]*\nIt works\.\n$/);
  await deliverBySmtp(portOf(server), { ...MAIL, to: ['x@elsewhere.test'] });
  assert.ok(events.some(({ event }) => event === 'queue.queued'));
  const port = portOf(server);
  await server.stop();
  await server.stop();
  assert.equal(events.at(-1)?.event, 'server.stopped');
  await assert.rejects(deliverBySmtp(port, MAIL));
});

test('createMailServer reads a file, and logs where it says', async (t) => {
  const directory = await tempFolder(t);
  const file = join(directory, 'buzon.yaml');
  await writeFile(file, JSON.stringify(settingsOf({ log: { file: 'mail.log' } })));
  await using server = await createMailServer({ file });
  await server.start();
  await deliverBySmtp(portOf(server), MAIL);
  await server.stop();
  const log = await readFile(join(directory, 'mail.log'), 'utf8');
  assert.match(log, /"event":"server\.ready"[^]*"event":"delivery\.stored"[^]*"event":"server\.stopped"/);
});

test('reload takes new settings without a restart, says what changed, and keeps what only a start takes over', async (t) => {
  const directory = await tempFolder(t);
  const file = join(directory, 'buzon.yaml');
  await writeFile(file, JSON.stringify(settingsOf({ log: { file: 'mail.log' } })));
  await using server = await createMailServer({ file });
  await server.start();
  await rename(join(directory, 'mail.log'), join(directory, 'mail.log.1'));
  const changed = settingsOf({
    log: { file: 'mail.log' },
    virtual_mailbox_domains: ['example.test', 'new.test'],
    data_directory: 'other',
  });
  await writeFile(file, JSON.stringify({ ...changed, virtual_alias_maps: `inline:{ leo@new.test=${ANA} }` }));
  const result = await server.reload();
  assert.deepEqual([...result.changed].sort(), [
    'data_directory',
    'virtual_alias_domains',
    'virtual_alias_maps',
    'virtual_mailbox_domains',
  ]);
  assert.deepEqual(result.needRestart, ['data_directory']);
  assert.equal(server.settings.data_directory, join(directory, 'data'));
  await deliverBySmtp(portOf(server), { ...MAIL, to: ['leo@new.test'] });
  // logrotate's new file is written to.
  await eventually(async () => (await readFile(join(directory, 'mail.log'), 'utf8')).includes('delivery.stored'), 'the new log');
});

test('reload from an object; one that is wrong changes nothing', async (t) => {
  const directory = await tempFolder(t);
  await using server = await createMailServer({ settings: settingsOf(), directory, log: false });
  await server.start();
  await assert.rejects(server.reload(settingsOf({ message_size_limit: 'huge' })), {
    name: 'MailError',
    code: 'SETTINGS_INVALID',
  });
  await deliverBySmtp(portOf(server), MAIL);
  const { changed } = await server.reload(settingsOf({ message_size_limit: '1k' }));
  assert.deepEqual(changed, ['message_size_limit']);
  await assert.rejects(deliverBySmtp(portOf(server), { ...MAIL, data: `${'x'.repeat(70)}\r\n`.repeat(30) }), /552 5\.3\.4/);
});

test('settings that are wrong are all named, without lines of a file that nobody wrote', async (t) => {
  const directory = await tempFolder(t);
  await assert.rejects(
    createMailServer({ settings: settingsOf({ inet_protocols: 'ipv5', postmaster: 'nobody' }), directory }),
    (error) => {
      assert.ok(error instanceof MailError);
      const lines = error.message.split('\n');
      assert.equal(lines.length, 2);
      assert.match(lines[0] ?? '', /^inet_protocols: /);
      assert.match(lines[1] ?? '', /^postmaster: .*; write /);
      return true;
    },
  );
  await assert.rejects(createMailServer({}), { name: 'TypeError', message: /either settings or file/ });
  await assert.rejects(createMailServer({ file: join(directory, 'none.yaml'), settings: settingsOf() }), { name: 'TypeError' });
  await assert.rejects(createMailServer({ file: join(directory, 'none.yaml') }), { code: 'SETTINGS_UNREADABLE' });
});

test('a start that fails says why, and leaves no port taken', async (t) => {
  const directory = await tempFolder(t);
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.after(() => other.close());
  const { port } = other.address() as AddressInfo;
  const listeners = [
    { protocol: 'smtp', address: '127.0.0.1', port: 0 },
    { protocol: 'imap', address: '127.0.0.1', port },
  ];
  await using server = await createMailServer({ settings: settingsOf({ listeners }), directory, log: false });
  await assert.rejects(server.start(), { name: 'MailError', code: 'PORT_TAKEN' });
  assert.deepEqual(server.addresses, []);
});

// ---- what is left in the process

test('after stop no file is open, also none of the tables of before a reload', async (t) => {
  const directory = await tempFolder(t);
  const map = join(directory, 'vmailbox');
  await writeFile(map, `${ANA}  example.test/ana/\n`);
  assert.equal(await runCommand(['postmap', map], captureIo()), 0);
  const settings = settingsOf({ virtual_mailbox_maps: `hash:${map}` });
  await using server = await createMailServer({ settings, directory, log: false });
  await server.start();
  await deliverBySmtp(portOf(server), MAIL);
  await server.reload();
  await deliverBySmtp(portOf(server), MAIL);
  const openFiles = async (): Promise<string[]> => {
    const links = await Promise.all(
      (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
    );
    return links.filter((path) => path.startsWith(directory));
  };
  // Of before and after the reload: a session that asked the old ones may still be about.
  const tables = (await openFiles()).filter((path) => path.startsWith(map));
  assert.deepEqual(tables, [`${map}.sqlite`, `${map}.sqlite`]);
  await server.stop();
  await eventually(async () => (await openFiles()).length === 0, 'all files closed', 2_000);
});

const source = (path: string): string => JSON.stringify(fileURLToPath(new URL(`../../src/${path}`, import.meta.url)));

/** Runs a script in a process of its own; it must end by itself. */
async function runScript(folder: string, script: string): Promise<string> {
  const file = join(folder, 'script.ts');
  await writeFile(file, script);
  const { status, stdout, stderr } = await run(process.execPath, [file], {
    env: { ...process.env, TMPDIR: folder },
    timeoutMs: 60_000,
  });
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  return stdout;
}

test('after stop the process ends by itself, though clients hang in every state', async (t) => {
  const folder = await tempFolder(t);
  const script = `
    import { connect } from 'node:net';
    import { readdirSync } from 'node:fs';
    import { startTestServer } from ${source('testing.ts')};
    const server = await startTestServer({ users: { '${ANA}': 'secret' } });
    const talk = async (port, lines) => {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      socket.resume();
      await new Promise((resolve) => socket.once('data', resolve));
      for (const line of lines) {
        socket.write(line + '\\r\\n');
        await new Promise((resolve) => socket.once('data', resolve));
      }
      return socket;
    };
    const hello = ['EHLO x', 'MAIL FROM:<a@shop.test>', 'RCPT TO:<${ANA}>'];
    const sockets = [
      await talk(server.smtp.port, []),
      await talk(server.smtp.port, hello),
      await talk(server.smtp.port, [...hello, 'DATA']),
      await talk(server.smtp.port, ['EHLO x', 'STARTTLS']),
      await talk(server.imap.port, []),
      await talk(server.imap.port, ['a LOGIN ${ANA} secret', 'b SELECT INBOX', 'c IDLE']),
      connect(server.imaps.port, '127.0.0.1').on('error', () => undefined).resume(),
      connect(server.submissions.port, '127.0.0.1').on('error', () => undefined).resume(),
    ];
    sockets[2].write('Subject: half a message');
    await server.stop();
    console.log(readdirSync(process.env.TMPDIR).join());
  `;
  assert.equal(await runScript(folder, script), 'script.ts\n');
});

test('after stop the real server leaves nothing that keeps the process, also after log-ins and reloads', async (t) => {
  const folder = await tempFolder(t);
  const home = join(folder, 'vhosts/example.test/ana');
  await mkdir(home, { recursive: true });
  await writeFile(join(home, 'shadow'), 'ana:{SSHA512}AAAA::::::\n');
  const script = `
    import { connect } from 'node:net';
    import { createMailServer } from ${source('index.ts')};
    const settings = {
      ...${JSON.stringify(settingsOf())},
      auth_failure_delay: 0,
      listeners: [{ protocol: 'imap', address: '127.0.0.1', port: 0 }],
    };
    const server = await createMailServer({ settings, directory: ${JSON.stringify(folder)}, log: false });
    await server.start();
    const socket = connect(server.addresses[0].port, '127.0.0.1');
    socket.write('a LOGIN ${ANA} wrong\\r\\n');
    let said = '';
    for await (const chunk of socket) if ((said += chunk).includes('\\na NO')) break;
    await server.reload();
    await server.stop();
    console.log(/AUTHENTICATIONFAILED/.test(said));
  `;
  assert.equal(await runScript(folder, script), 'true\n');
});
