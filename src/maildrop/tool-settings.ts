// What commands of users who may not read buzon.yaml need of it: a file for everybody, `tools.json`, in queue_directory. The server writes it at each start
// and reload, install-tools beside the commands (that one also says where queue_directory is).
import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { loadSettings, type Settings } from '../config/settings.ts';
import { MailError } from '../lib/errors.ts';
import { replaceFile } from '../storage/files.ts';

export const DEFAULT_SETTINGS = '/etc/buzon/buzon.yaml';
const DEFAULT_QUEUE = '/var/spool/buzon';
/** The environment's name for install-tools' file. */
export const TOOLS_FILE = 'BUZON_TOOLS';

export interface ToolSettings {
  readonly settingsFile: string;
  readonly queueDirectory: string;
  readonly hostname: string;
  /** The domain of addresses without one. */
  readonly myorigin: string;
  /** Bytes; 0 for no limit. */
  readonly messageSizeLimit: number;
}

export function toolSettings(settings: Settings, settingsFile: string): ToolSettings {
  const { hostname, queue_directory: queueDirectory, message_size_limit: messageSizeLimit } = settings;
  return { settingsFile, queueDirectory, hostname, myorigin: hostname, messageSizeLimit };
}

export const toolsFileIn = (queueDirectory: string): string => join(queueDirectory, 'tools.json');

/** @throws system errors */
export function writeToolSettings(path: string, settings: ToolSettings): Promise<void> {
  return replaceFile(path, `${JSON.stringify(settings, undefined, 2)}\n`, 0o644);
}

/** undefined for a file that is not there, or none of ours. */
async function readToolSettings(path: string): Promise<(ToolSettings & { readonly writtenAt: number }) | undefined> {
  try {
    const given = JSON.parse(await readFile(path, 'utf8')) as Partial<ToolSettings>;
    const { settingsFile, queueDirectory, hostname, myorigin, messageSizeLimit } = given;
    const texts = [settingsFile, queueDirectory, hostname, myorigin];
    if (!texts.every((text) => typeof text === 'string') || !Number.isSafeInteger(messageSizeLimit)) return undefined;
    return { ...(given as ToolSettings), writtenAt: (await stat(path)).mtimeMs };
  } catch {
    return undefined;
  }
}

/** The settings file that install-tools was told of; undefined for commands that it has not installed. */
export async function installedSettingsFile(env: WhereSettings['env']): Promise<string | undefined> {
  const installed = env[TOOLS_FILE];
  return installed === undefined ? undefined : (await readToolSettings(installed))?.settingsFile;
}

export interface WhereSettings {
  /** A settings file or its folder, named by the caller: only that counts. */
  readonly given?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/**
 * The settings file where it can be read and is right, else what the server or install-tools has written down.
 * @throws MailError config when nothing tells
 */
export async function findToolSettings({ given, env, cwd }: WhereSettings): Promise<ToolSettings> {
  if (given !== undefined) return fromFile(await fileOf(resolve(cwd, given)));
  const { MAIL_CONFIG: folder, [TOOLS_FILE]: installed } = env;
  // MAIL_CONFIG may be meant for Postfix.
  const file = folder === undefined ? undefined : resolve(cwd, folder, 'buzon.yaml');
  if (file !== undefined && (await isFile(file))) return fromFile(file);
  const beside = installed === undefined ? undefined : await readToolSettings(installed);
  const settingsFile = beside?.settingsFile ?? DEFAULT_SETTINGS;
  const last = await readToolSettings(toolsFileIn(beside?.queueDirectory ?? DEFAULT_QUEUE));
  const known = last?.settingsFile === settingsFile ? last : beside;
  // Reading all settings takes longer than the rest of a command.
  const changed = (await stat(settingsFile).catch(() => undefined))?.mtimeMs;
  if (known && changed !== undefined && changed < known.writtenAt) return known;
  try {
    return await fromFile(settingsFile);
  } catch (error) {
    if (known) return known;
    throw error;
  }
}

const fromFile = async (file: string): Promise<ToolSettings> => toolSettings(await loadSettings(file), file);

async function fileOf(path: string): Promise<string> {
  try {
    return (await stat(path)).isDirectory() ? join(path, 'buzon.yaml') : path;
  } catch {
    throw new MailError('config', 'SETTINGS_UNREADABLE', `${path}: there is no such file`);
  }
}

const isFile = async (path: string): Promise<boolean> => (await stat(path).catch(() => undefined))?.isFile() ?? false;
