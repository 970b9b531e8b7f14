// `buzon install-tools`: the commands that programs and scripts on a mail host call, as small shell scripts below a prefix. They carry the paths of the Node and
// of the program that installed them, and of a file with the settings that users need who may not read buzon.yaml.
import { existsSync } from 'node:fs';
import { chmod, lstat, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadSettings } from '../config/settings.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import { makeMaildrop } from '../maildrop/folder.ts';
import { DEFAULT_SETTINGS, toolSettings, TOOLS_FILE, writeToolSettings } from '../maildrop/tool-settings.ts';
import { mailIdentity } from '../worker/privileges.ts';
import type { Command, CommandIo } from './command.ts';
import { readOptions } from './options.ts';

const TOOLS: Readonly<Record<string, string>> = {
  sendmail: 'sbin',
  mailq: 'bin',
  newaliases: 'bin',
  postmap: 'sbin',
  postqueue: 'sbin',
  postsuper: 'sbin',
  postcat: 'sbin',
  postconf: 'sbin',
  mail: 'bin',
  frm: 'bin',
  messages: 'bin',
  movemail: 'bin',
};
/** In every script of ours: what has it may be replaced and removed. */
const MARK = '# Installed by "buzon install-tools".';
const SET_ASIDE = '.before-buzon';

const USAGE = `usage: buzon install-tools [--prefix DIR] [--config FILE] [--force]
       buzon install-tools [--prefix DIR] --uninstall

Installs ${Object.keys(TOOLS).join(', ')} in DIR/bin and DIR/sbin; DIR is /usr/local unless given.
With --prefix /usr they take the places of Postfix's and mailutils' own. A file that is not ours is not replaced; with --force it is kept as
NAME${SET_ASIDE}, and --uninstall puts it back. Makes the maildrop, so that sendmail works before the server's first start. FILE is
${DEFAULT_SETTINGS} unless given. Run it again when the program or Node has moved.`;

export const installToolsCommand: Command = {
  name: 'install-tools',
  summary: 'install sendmail, mailq, postmap, mail and others',
  usage: USAGE,
  async run(args, io) {
    const { options, flags, rest } = readOptions(args, ['--prefix', '--config'], ['--force', '--uninstall']);
    if (rest.length > 0) throw new MailError('config', 'BAD_ARGUMENTS', `there is no argument "${rest[0] ?? ''}"`);
    const prefix = resolve(io.cwd, options.get('--prefix') ?? '/usr/local');
    try {
      if (flags.has('--uninstall')) return await uninstall(prefix, io);
      return await install(prefix, resolve(io.cwd, options.get('--config') ?? DEFAULT_SETTINGS), flags.has('--force'), io);
    } catch (error) {
      if (error instanceof MailError || errnoOf(error) === undefined) throw error;
      io.err(`buzon install-tools: ${(error as Error).message}\n`);
      return 1;
    }
  },
};

const toolsFile = (prefix: string): string => join(prefix, 'lib', 'buzon', 'tools.json');
const placeOf = (prefix: string, name: string): string => join(prefix, TOOLS[name] ?? 'bin', name);

/** The bin that a script runs: beside this file's folder, built or not. */
function entryOf(name: string): string | undefined {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const path = fileURLToPath(new URL(`../bin/${name}.${extension}`, import.meta.url));
  return existsSync(path) ? path : undefined;
}

async function install(prefix: string, settingsFile: string, force: boolean, io: CommandIo): Promise<number> {
  const settings = await loadSettings(settingsFile);
  const foreign: string[] = [];
  for (const name of Object.keys(TOOLS))
    if ((await stateOf(placeOf(prefix, name))) === 'foreign') foreign.push(placeOf(prefix, name));
  if (foreign.length > 0 && !force) {
    io.err(`buzon install-tools: not ours: ${foreign.join(', ')}; --force keeps each as NAME${SET_ASIDE}\n`);
    return 1;
  }
  await makeMaildrop(settings.queue_directory, process.geteuid?.() === 0 ? await mailIdentity(settings) : undefined);
  await mkdir(dirname(toolsFile(prefix)), { recursive: true, mode: 0o755 });
  await writeToolSettings(toolsFile(prefix), toolSettings(settings, settingsFile));
  for (const path of foreign) await rename(path, path + SET_ASIDE);
  for (const name of Object.keys(TOOLS)) {
    const entry = entryOf(name);
    if (entry !== undefined) await writeScript(placeOf(prefix, name), prefix, entry);
  }
  io.out(`installed in ${prefix}/bin and ${prefix}/sbin\n`);
  return 0;
}

async function writeScript(path: string, prefix: string, entry: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  const text = `#!/bin/sh\n${MARK}\n${TOOLS_FILE}=${quoted(toolsFile(prefix))} exec ${quoted(process.execPath)} ${quoted(entry)} "$@"\n`;
  const draft = `${path}.${process.pid}.tmp`;
  await writeFile(draft, text, { mode: 0o755 });
  await chmod(draft, 0o755);
  await rename(draft, path);
}
const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

async function stateOf(path: string): Promise<'absent' | 'ours' | 'foreign'> {
  try {
    if (!(await lstat(path)).isFile()) return 'foreign';
    return (await readFile(path, 'latin1')).slice(0, 200).includes(MARK) ? 'ours' : 'foreign';
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'absent';
    throw error;
  }
}

async function uninstall(prefix: string, io: CommandIo): Promise<number> {
  for (const name of Object.keys(TOOLS)) {
    const path = placeOf(prefix, name);
    if ((await stateOf(path)) === 'foreign') continue;
    await rm(path, { force: true });
    await rename(path + SET_ASIDE, path).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
  }
  await rm(dirname(toolsFile(prefix)), { recursive: true, force: true });
  io.out(`removed from ${prefix}/bin and ${prefix}/sbin; queue_directory stays as it is\n`);
  return 0;
}
