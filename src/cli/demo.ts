// The demo: what `npm start` shows without any settings. Its own folder, two accounts, a self-signed certificate, loopback ports; it
// asks DNS for nothing. All of it lies in demo/ and is kept from one run to the next; demo/buzon.yaml may be edited.
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { createHashing } from '../auth/hashing.ts';
import { createSelfSigned } from '../config/self-signed.ts';
import { loadSettings } from '../config/settings.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import { dropPrivileges, ownerOf } from '../worker/privileges.ts';
import type { BoundAddress } from '../worker/listeners.ts';
import type { CommandIo } from './command.ts';
import { runServer } from './foreground.ts';

const DOMAIN = 'example.test';
const ADDRESSES = [`info@${DOMAIN}`, `ana@${DOMAIN}`] as const;
const PORTS = { smtp: 2525, submission: 2587, submissions: 2465, imap: 2143, imaps: 2993, https: 2443 } as const;

type Passwords = Readonly<Record<string, string>>;

/** Makes what is missing of the demo and serves it until a signal ends it. @throws MailError config that says what to do */
export async function startDemo(io: CommandIo): Promise<number> {
  const project = fileURLToPath(new URL('../..', import.meta.url));
  const owner = await ownerOf(project);
  // Nothing of the demo needs root: it is given up before anything is made.
  if (process.getuid?.() === 0) {
    dropPrivileges(owner);
    io.out(
      owner.uid === 0
        ? `The folder ${project} belongs to root, so the demo runs as root, on loopback ports only.\n`
        : `Started as root: the demo runs as the folder's owner, uid ${owner.uid}.\n`,
    );
  }
  const folder = join(project, 'demo');
  const file = join(folder, 'buzon.yaml');
  try {
    const passwords = await prepare(folder);
    await runServer(file, await loadSettings(file), (server) => io.out(welcome(server, folder, passwords)));
  } catch (error) {
    throw plainly(error, folder);
  }
  return 0;
}

/** The file to edit where a port is taken, the owner to look at where the folder is somebody else's. */
function plainly(error: unknown, folder: string): unknown {
  if (error instanceof MailError && error.code === 'PORT_TAKEN')
    return new MailError('config', error.code, `${error.clientText} in ${join(folder, 'buzon.yaml')} (0 takes a free one)`);
  const errno = errnoOf(error);
  if (errno !== 'EACCES' && errno !== 'EPERM') return error;
  const { path = folder } = error as { path?: string };
  return new MailError(
    'config',
    'DEMO_FORBIDDEN',
    `uid ${process.getuid?.()} may not use ${path}: start as the owner of ${folder}, or remove that folder to begin anew`,
  );
}

async function prepare(folder: string): Promise<Passwords> {
  await mkdir(folder, { recursive: true, mode: 0o750 });
  const accounts = join(folder, 'accounts.json');
  let passwords = await readOrNothing(accounts);
  if (passwords === undefined) {
    passwords = JSON.stringify(
      Object.fromEntries(ADDRESSES.map((address) => [address, randomBytes(9).toString('base64url')])),
      null,
      2,
    );
    await makeHomes(folder, JSON.parse(passwords) as Passwords);
  }
  await unlessThere(join(folder, 'vmailbox'), 0o644, async () =>
    ADDRESSES.map((address) => `${address}  ${DOMAIN}/${address.split('@')[0]}/\n`).join(''),
  );
  await makeCertificate(folder);
  await unlessThere(join(folder, 'buzon.yaml'), 0o644, async () => settingsText());
  // Last of all: where it is, a start before this one got through.
  await unlessThere(accounts, 0o600, async () => `${passwords}\n`);
  return JSON.parse(passwords) as Passwords;
}

async function readOrNothing(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
async function unlessThere(path: string, mode: number, make: () => Promise<string>): Promise<void> {
  if ((await readOrNothing(path)) === undefined) await writeWhole(path, mode, await make());
}
/** Never half a file, also when the demo is ended while it writes. */
async function writeWhole(path: string, mode: number, text: string): Promise<void> {
  const beside = `${path}.new`;
  await rm(beside, { force: true });
  await writeFile(beside, text, { mode, flag: 'wx' });
  await rename(beside, path);
}

async function makeHomes(folder: string, passwords: Passwords): Promise<void> {
  const hashing = createHashing({ threads: 1 });
  try {
    for (const [address, password] of Object.entries(passwords)) {
      const user = address.split('@')[0] ?? '';
      const home = join(folder, 'vhosts', DOMAIN, user);
      await mkdir(home, { recursive: true, mode: 0o750 });
      await chmod(home, 0o750);
      await writeWhole(join(home, 'passwd'), 0o640, `${user}:x:::${user}::/usr/sbin/nologin\n`);
      await writeWhole(join(home, 'shadow'), 0o600, `${user}:${await hashing.hash(password, 'ARGON2ID')}::::::\n`);
    }
  } finally {
    await hashing.close();
  }
}

async function makeCertificate(folder: string): Promise<void> {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  if ((await readOrNothing(key)) !== undefined && (await readOrNothing(cert)) !== undefined) return;
  const made = await createSelfSigned({ names: [DOMAIN, `mail.${DOMAIN}`, `mta-sts.${DOMAIN}`, 'localhost', '127.0.0.1'] });
  await writeWhole(key, 0o600, made.key);
  await writeWhole(cert, 0o644, made.cert);
}

/** Paths are relative to the folder, so that the project may be moved. */
function settingsText(): string {
  const head =
    '# The demo. Made by its first start; edit it as you like, or remove the folder to begin anew.\n' +
    '# docs/settings.md tells what can be set; ports are under "listeners".\n';
  return (
    head +
    stringify({
      hostname: `mail.${DOMAIN}`,
      virtual_mailbox_domains: [DOMAIN],
      virtual_mailbox_base: 'vhosts',
      virtual_mailbox_maps: 'texthash:vmailbox',
      postmaster: ADDRESSES[0],
      mynetworks: [],
      // Who tries the demo sends as anybody.
      message_authentication: 'off',
      user: String(process.getuid?.() ?? 0),
      group: String(process.getgid?.() ?? 0),
      workers: 0,
      data_directory: 'data',
      queue_directory: 'queue',
      // What is tried out here reaches nobody outside: it waits in the queue.
      default_transport: 'hold:this is the demo',
      certificates: [{ domains: [DOMAIN, `mail.${DOMAIN}`, `mta-sts.${DOMAIN}`], cert: 'cert.pem', key: 'key.pem' }],
      log: { file: 'buzon.log' },
      listeners: Object.entries(PORTS).map(([protocol, port]) => ({ protocol, address: '127.0.0.1', port })),
    })
  );
}

function welcome(server: { readonly addresses: readonly BoundAddress[] }, folder: string, passwords: Passwords): string {
  const port = (protocol: string): number => server.addresses.find((a) => a.protocol === protocol)?.port ?? 0;
  const [address, password] = Object.entries(passwords)[0] ?? ['', ''];
  const imap = `imap://127.0.0.1:${port('imap')}/INBOX`;
  const lines = [
    `Buzon's demo is ready: it serves ${DOMAIN} on 127.0.0.1, on the ports`,
    ...server.addresses.map((a) => `  ${a.protocol.padEnd(12)} ${a.port}`),
    '',
    'Accounts (also in demo/accounts.json):',
    ...Object.entries(passwords).map(([user, secret]) => `  ${user.padEnd(20)} ${secret}`),
    '',
    'Send a mail, look for it, and read it:',
    `  printf 'From: you@remote.test\\r\\nTo: ${address}\\r\\nSubject: hello\\r\\n\\r\\nIt works.\\r\\n' | curl -sS smtp://127.0.0.1:${port('smtp')} --mail-from you@remote.test --mail-rcpt ${address} -T -`,
    `  curl -sS ${imap} -u '${address}:${password}' -X 'SEARCH ALL'`,
    `  curl -sS '${imap};MAILINDEX=*' -u '${address}:${password}'`,
    '',
    ...(port('https') > 0 ? policyLines(port('https'), folder) : []),
    `Settings: ${join(folder, 'buzon.yaml')}; log: ${join(folder, 'buzon.log')}. Ctrl-C ends it.`,
    '',
  ];
  return lines.join('\n');
}

const policyLines = (port: number, folder: string): readonly string[] => [
  'The MTA-STS policy that others fetch:',
  `  curl -sS --cacert ${join(folder, 'cert.pem')} --resolve mta-sts.${DOMAIN}:${port}:127.0.0.1 https://mta-sts.${DOMAIN}:${port}/.well-known/mta-sts.txt`,
  '',
];
