// Where and with what the figures were made.
import { readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { PROJECT } from '../test/support/mail-host.ts';
import { run } from '../test/support/programs.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryMiB: number;
  readonly kernel: string;
  readonly fileSystem: string;
}

/** @param folder where the mailboxes are */
export function machine(folder: string): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryMiB: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    fileSystem: fileSystemOf(folder),
  };
}

/** In memory a sync costs nothing and proves nothing. */
export const isInMemory = (fileSystem: string): boolean => /^(tmpfs|ramfs) /.test(fileSystem);

/** Kind and options of the mount that holds `folder`. */
function fileSystemOf(folder: string): string {
  const size = `${Math.round((statfsSync(folder).blocks * statfsSync(folder).bsize) / 2 ** 30)} GiB`;
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, at = '']) => at !== '' && (folder === at || folder.startsWith(at === '/' ? at : `${at}/`)))
    .sort(([, a = ''], [, b = '']) => a.length - b.length);
  const [, , kind = 'unknown', options = ''] = mounts.at(-1) ?? [];
  return `${kind} ${options}, ${size}`;
}

export interface Versions {
  readonly buzon: string;
  readonly node: string;
  readonly postfix: string;
  readonly dovecot?: string;
}

const firstLine = async (program: string, args: string[], cwd?: string): Promise<string> =>
  run(program, args, cwd === undefined ? {} : { cwd }).then(
    ({ stdout }) => stdout.split('\n')[0]?.trim() ?? '',
    // Not installed.
    () => '',
  );

/** Buzon's is its commit, with `+` when files differ from it. */
export async function versions({ withDovecot = false } = {}): Promise<Versions> {
  const commit = await firstLine('git', ['rev-parse', 'HEAD'], PROJECT);
  const changed = await firstLine('git', ['status', '--porcelain', '--', 'src', 'package.json'], PROJECT);
  const { version } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as { version: string };
  return {
    buzon: `${version} ${commit || '(no commit known)'}${changed === '' ? '' : '+'}`,
    node: process.version,
    postfix: await firstLine('/usr/sbin/postconf', ['-h', 'mail_version']),
    ...(withDovecot ? { dovecot: await firstLine('/usr/sbin/dovecot', ['--version']) } : {}),
  };
}
