// Where a command with one of Postfix's names finds the settings.
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { DEFAULT_SETTINGS, installedSettingsFile } from '../maildrop/tool-settings.ts';
import type { CommandIo } from './command.ts';

/** `given` (-c, -C) is a settings file or its folder; MAIL_CONFIG a folder that may also be meant for Postfix; else install-tools' (of commands that it installed), or the usual file. */
export async function settingsFileFor(given: string | undefined, io: Pick<CommandIo, 'env' | 'cwd'>): Promise<string> {
  if (given !== undefined) {
    const path = resolve(io.cwd, given);
    return (await kindOf(path)) === 'folder' ? join(path, 'buzon.yaml') : path;
  }
  const { MAIL_CONFIG: folder } = io.env;
  const file = folder === undefined ? undefined : resolve(io.cwd, folder, 'buzon.yaml');
  if (file !== undefined && (await kindOf(file)) === 'file') return file;
  return (await installedSettingsFile(io.env)) ?? DEFAULT_SETTINGS;
}

async function kindOf(path: string): Promise<'file' | 'folder' | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isDirectory() ? 'folder' : found?.isFile() ? 'file' : undefined;
}
