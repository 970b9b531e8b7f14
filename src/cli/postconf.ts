// `postconf`: the settings as Postfix's command shows its own, `name = value`.
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parse } from 'yaml';
import { fieldInfo } from '../config/field.ts';
import { settingsSchema } from '../config/schema.ts';
import { loadSettings, type Settings } from '../config/settings.ts';
import { MailError } from '../lib/errors.ts';
import type { Command, CommandIo } from './command.ts';
import { getopt, UsageError } from './getopt.ts';
import { settingsFileFor } from './settings-file.ts';

const USAGE = `usage: postconf [-dhnx] [-c FILE] [NAME ...]
  postconf         all settings and their values; NAME ... only these
  -n               only those that the settings file has
  -d               defaults instead of what is set
  -h               values without names
  -x               what $name stands for, and defaults that are worked out
  -c FILE          settings file or its folder
Lists are joined with commas, groups are shown as JSON. Settings are changed in the file, not by -e.`;

export const postconfCommand: Command = {
  name: 'postconf',
  summary: 'show settings as Postfix’s command does',
  usage: USAGE,
  async run(args, io) {
    try {
      const { options, rest } = getopt(args, { short: 'c:C:dhnxpoveMFPlmt:a' });
      const has = (name: string): boolean => options.some((option) => option.name === name);
      if ([...'eMFPlma'].some(has)) throw new UsageError('only -d, -h, -n, -x and -c are supported');
      const file = await settingsFileFor(options.findLast(({ name }) => name === 'c' || name === 'C')?.value, io);
      return show(await values(file, { defaults: has('d'), onlySet: has('n'), expand: has('x') }), rest, has('h'), io);
    } catch (error) {
      if (!(error instanceof UsageError || error instanceof MailError)) throw error;
      io.err(`postconf: fatal: ${error.message}\n`);
      return 1;
    }
  },
};

interface View {
  readonly defaults: boolean;
  readonly onlySet: boolean;
  readonly expand: boolean;
}

async function values(file: string, { defaults, onlySet, expand }: View): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const settings = defaults ? undefined : await loadSettings(file);
  const written = defaults ? {} : ((parse(await readFile(file, 'utf8')) ?? {}) as Record<string, unknown>);
  for (const [name, schema] of Object.entries(settingsSchema(dirname(file)).shape)) {
    const given = name === 'hostname' ? (written['hostname'] ?? written['myhostname']) : written[name];
    if (onlySet && given === undefined) continue;
    const standard = fieldInfo(schema).default;
    const value = expand && settings ? settings[name as keyof Settings] : (given ?? (standard === 'none' ? '' : standard));
    found.set(name, text(value));
  }
  if (onlySet) return aliased(found);
  const derived = settings && { mydomain: settings.mydomain, myorigin: settings.hostname, mail_owner: settings.user };
  for (const [name, value] of Object.entries({ ...derived, config_directory: dirname(file), mail_name: 'Buzon' }))
    if ((found.get(name) ?? '') === '') found.set(name, value);
  return aliased(found);
}

/** Postfix's name besides ours. */
function aliased(found: Map<string, string>): Map<string, string> {
  const hostname = found.get('hostname');
  if (hostname !== undefined) found.set('myhostname', hostname);
  return found;
}

function text(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) return value.map(text).join(', ');
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function show(found: ReadonlyMap<string, string>, names: readonly string[], bare: boolean, io: CommandIo): number {
  let status = 0;
  for (const name of names.length > 0 ? names : [...found.keys()].sort()) {
    const value = found.get(name);
    // What a name is set to is one line, whatever it holds.
    if (value !== undefined) io.out(`${bare ? '' : `${name} = `}${value.replace(/\s*\n\s*/g, ' ')}\n`);
    else {
      io.err(`postconf: warning: ${name}: unknown parameter\n`);
      status = 1;
    }
  }
  return status;
}
