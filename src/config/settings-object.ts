// Settings given as an object, under buzon.yaml's names, where the server is part of another program.
import { join } from 'node:path';
import { MailError } from '../lib/errors.ts';
import { parseSettings, type SettingName, type Settings } from './settings.ts';

/** What YAML can hold. */
export type SettingValue =
  string | number | boolean | null | undefined | readonly SettingValue[] | { readonly [name: string]: SettingValue };

/** Settings under buzon.yaml's names, written as they would be there: `{ message_size_limit: '50M' }`. Undefined is left out. */
export type SettingsInput = { readonly [name in SettingName | 'myhostname']?: SettingValue };

/** The file that positions would be of; it is never looked for. */
const NAME = 'buzon.yaml';

/**
 * Reads and checks settings; `folder` (absolute) is where relative paths start.
 * @throws MailError config `SETTINGS_INVALID` that lists every problem, one a line: `name: what is wrong; what would be right`
 */
export function settingsFromObject(input: SettingsInput, folder: string): Settings {
  const file = join(folder, NAME);
  try {
    return parseSettings(JSON.stringify(input), file);
  } catch (error) {
    if (!(error instanceof MailError) || error.code !== 'SETTINGS_INVALID') throw error;
    throw new MailError('config', error.code, withoutPositions(error.clientText, file));
  }
}

/** Lines and columns of a text that nobody wrote help nobody. */
function withoutPositions(text: string, file: string): string {
  return text
    .split('\n')
    .map((line) => (line.startsWith(`${file}:`) ? line.slice(file.length).replace(/^:\d+:\d+: /, '') : line))
    .join('\n');
}
