// The demo: what `npm start` shows without any settings. Its own folder, two accounts, a self-signed certificate, loopback ports, no DNS.
// All of it lies in demo/ and is kept from one run to the next; demo/buzon.yaml may be edited.
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { createHashing } from '../auth/hashing.ts';
import { createSelfSigned } from '../config/self-signed.ts';
import { loadSettings } from '../config/settings.ts';
import { errnoOf } from '../lib/errors.ts';
import { dropPrivileges, ownerOf } from '../worker/privileges.ts';
import type { MailServer } from '../worker/mail-server.ts';
import type { CommandIo } from './command.ts';
import { runServer } from './foreground.ts';

const DOMAIN = 'example.test';
const ADDRESSES = [`info@${DOMAIN}`, `ana@${DOMAIN}`] as const;
const PORTS = { smtp: 2525, submission: 2587, submissions: 2465, imap: 2143, imaps: 2993 } as const;

type Passwords = Readonly<Record<string, string>>;

/** Makes what is missing of the demo and serves it until a signal ends it. */
export async function startDemo(io: CommandIo): Promise<number> {
  const project = fileURLToPath(new URL('../..', import.meta.url));
  // Nothing of the demo needs root: it is given up before anything is made.
  if (process.getuid?.() === 0) dropPrivileges(await ownerOf(project));
  const folder = join(project, 'demo');
  const passwords = await prepare(folder);
  const file = join(folder, 'buzon.yaml');
  await runServer(file, await loadSettings(file), (server) => io.out(welcome(server, folder, passwords)));
  return 0;
}

async function prepare(folder: string): Promise<Passwords> {
  await mkdir(folder, { recursive: true, mode: 0o750 });
  const passwords = await once(join(folder, 'accounts.json'), 0o600, async () =>
    JSON.stringify(Object.fromEntries(ADDRESSES.map((address) => [address, randomBytes(9).toString('base64url')])), null, 2),
  );
  const accounts = JSON.parse(passwords) as Passwords;
  await makeHomes(folder, accounts);
  await once(join(folder, 'vmailbox'), 0o644, async () =>
    ADDRESSES.map((address) => `${address}  ${DOMAIN}/${address.split('@')[0]}/\n`).join(''),
  );
  await makeCertificate(folder);
  await once(join(folder, 'buzon.yaml'), 0o644, async () => settingsText(folder));
  return accounts;
}

/** The file's text; written first when it is not there. */
async function once(path: string, mode: number, make: () => Promise<string>): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const text = await make();
  await writeFile(path, text, { mode, flag: 'wx' });
  return text;
}

async function makeHomes(folder: string, passwords: Passwords): Promise<void> {
  const hashing = createHashing(1);
  try {
    for (const [address, password] of Object.entries(passwords)) {
      const user = address.split('@')[0] ?? '';
      const home = join(folder, 'vhosts', DOMAIN, user);
      await mkdir(home, { recursive: true, mode: 0o750 });
      await chmod(home, 0o750);
      await once(join(home, 'passwd'), 0o640, async () => `${user}:x:::${user}:${home}:/usr/sbin/nologin\n`);
      await once(join(home, 'shadow'), 0o600, async () => `${user}:${await hashing.hash(password, 'ARGON2ID')}::::::\n`);
    }
  } finally {
    await hashing.close();
  }
}

async function makeCertificate(folder: string): Promise<void> {
  const key = join(folder, 'key.pem');
  let made: { cert: string; key: string } | undefined;
  await once(key, 0o600, async () => {
    made = await createSelfSigned({ names: [DOMAIN, `mail.${DOMAIN}`, 'localhost', '127.0.0.1'] });
    return made.key;
  });
  if (made) await writeFile(join(folder, 'cert.pem'), made.cert, { mode: 0o644 });
}

function settingsText(folder: string): string {
  const head = '# The demo. Made by its first start; edit it as you like, or remove the folder to begin anew.\n';
  return (
    head +
    stringify({
      hostname: `mail.${DOMAIN}`,
      virtual_mailbox_domains: [DOMAIN],
      virtual_mailbox_base: join(folder, 'vhosts'),
      virtual_mailbox_maps: `texthash:${join(folder, 'vmailbox')}`,
      postmaster: ADDRESSES[0],
      mynetworks: [],
      user: String(process.getuid?.() ?? 0),
      group: String(process.getgid?.() ?? 0),
      data_directory: join(folder, 'data'),
      queue_directory: join(folder, 'queue'),
      smtpd_tls_cert_file: join(folder, 'cert.pem'),
      smtpd_tls_key_file: join(folder, 'key.pem'),
      log: { file: join(folder, 'buzon.log') },
      listeners: Object.entries(PORTS).map(([protocol, port]) => ({ protocol, address: '127.0.0.1', port })),
    })
  );
}

function welcome(server: MailServer, folder: string, passwords: Passwords): string {
  const port = (protocol: string): number => server.addresses.find((a) => a.protocol === protocol)?.port ?? 0;
  const [address, password] = Object.entries(passwords)[0] ?? ['', ''];
  const lines = [
    `Buzon's demo serves ${DOMAIN} on 127.0.0.1:`,
    ...server.addresses.map((a) => `  ${a.protocol.padEnd(12)} ${a.port}`),
    '',
    'Accounts (also in demo/accounts.json):',
    ...Object.entries(passwords).map(([user, secret]) => `  ${user.padEnd(20)} ${secret}`),
    '',
    'Send a mail, look for it, and read it:',
    `  printf 'Subject: hello\\r\\n\\r\\nIt works.\\r\\n' | curl -sS smtp://127.0.0.1:${port('smtp')} --mail-from you@remote.test --mail-rcpt ${address} -T -`,
    `  curl -sS imap://127.0.0.1:${port('imap')}/INBOX -u '${address}:${password}' -X 'SEARCH ALL'`,
    `  curl -sS 'imap://127.0.0.1:${port('imap')}/INBOX;MAILINDEX=1' -u '${address}:${password}'`,
    '',
    `Settings: ${join(folder, 'buzon.yaml')}; log: ${join(folder, 'buzon.log')}. Ctrl-C ends it.`,
    '',
  ];
  return lines.join('\n');
}
