// mbsync with a configuration of its own: mirrors one account into a Maildir tree on the client's side.
import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MailHost } from './mail-host.ts';
import { run } from './programs.ts';

export interface Mirror {
  readonly config: string;
  /** The client's tree: INBOX and the other mailboxes lie in it. */
  readonly maildir: string;
}

/** Writes a configuration in the host's folder. `port` other than the host's own imaps: another server of the same tree. */
export async function mbsyncConfig(
  host: Pick<MailHost, 'directory' | 'ca'> & { ports: { imaps: number } },
  user: string,
  password: string,
  name = 'mirror',
): Promise<Mirror> {
  const maildir = join(host.directory, name);
  await mkdir(maildir, { recursive: true });
  const config = join(host.directory, `${name}.mbsyncrc`);
  await writeFile(
    config,
    [
      'IMAPAccount server',
      'Host localhost',
      `Port ${host.ports.imaps}`,
      `User ${user}`,
      `Pass ${password}`,
      'SSLType IMAPS',
      `CertificateFile ${host.ca}`,
      'AuthMechs PLAIN',
      '',
      'IMAPStore remote',
      'Account server',
      '',
      'MaildirStore local',
      'SubFolders Verbatim',
      `Path ${maildir}/`,
      `Inbox ${maildir}/INBOX`,
      '',
      'Channel all',
      'Far :remote:',
      'Near :local:',
      'Patterns *',
      'Create Both',
      'Remove Both',
      'Expunge Both',
      'SyncState *',
      'CopyArrivalDate yes',
      '',
    ].join('\n'),
    { mode: 0o600 },
  );
  return { config, maildir };
}

/** One run over all mailboxes; gives what it said. */
export async function mbsync(program: string, mirror: Mirror, ...flags: string[]): Promise<string> {
  const result = await run(program, ['-c', mirror.config, ...flags, 'all'], {
    timeoutMs: 180_000,
    env: { ...process.env, HOME: mirror.maildir },
  });
  assert.equal(result.status, 0, result.stdout + result.stderr);
  return result.stdout + result.stderr;
}

/** Names of the client's copies in one mailbox, sorted. */
export async function mirrorNames(mirror: Mirror, mailbox: string): Promise<string[]> {
  const names = await Promise.all(['cur', 'new'].map((sub) => readdir(join(mirror.maildir, mailbox, sub))));
  return names.flat().sort();
}
