// buzon.yaml: read with positions, so that every problem is said as `file:line:col: what is wrong; what would be right`, all at once.
import { open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { isAlias, isMap, isNode, isScalar, LineCounter, parseDocument, type Document, type Node } from 'yaml';
import { z } from 'zod';
import { errnoOf, MailError } from '../lib/errors.ts';
import { fieldInfo, innermost } from './field.ts';
import { interpolate } from './interpolate.ts';
import { expandListeners, type Listener } from './listeners.ts';
import { settingsSchema } from './schema.ts';
import { nearest, ValueError } from './values.ts';

type Schema = ReturnType<typeof settingsSchema>;
type Parsed = z.output<Schema>;

/** Everything that buzon.yaml says, with defaults filled in: sizes in bytes, times in milliseconds, paths absolute, `$name` replaced. */
export interface Settings extends Readonly<Omit<Parsed, 'listeners' | 'mydomain'>> {
  readonly mydomain: string;
  readonly listeners: readonly Listener[];
}
export type SettingName = keyof Settings;

/** The largest settings file that is read, in bytes. */
const MAX_FILE = 1024 * 1024;

interface Problem {
  readonly offset: number;
  readonly text: string;
}
type Path = readonly (string | number)[];

/** Reads and checks a settings file. @throws MailError config `SETTINGS_INVALID` that lists every problem, `SETTINGS_UNREADABLE` */
export async function loadSettings(file: string): Promise<Settings> {
  return parseSettings(await readSettingsFile(file), file);
}

async function readSettingsFile(file: string): Promise<string> {
  try {
    await using handle = await open(file, 'r');
    if ((await handle.stat()).size > MAX_FILE)
      throw new MailError('config', 'SETTINGS_UNREADABLE', `${file} is over ${MAX_FILE} bytes`);
    return await handle.readFile('utf8');
  } catch (error) {
    if (error instanceof MailError) throw error;
    const reason =
      errnoOf(error) === 'ENOENT' ? 'there is no such file' : `it cannot be read (${errnoOf(error) ?? String(error)})`;
    throw new MailError('config', 'SETTINGS_UNREADABLE', `${file}: ${reason}`, { cause: error });
  }
}

/** The same from text; `fileName` is for messages, and relative paths start at its folder. @throws MailError config `SETTINGS_INVALID` */
export function parseSettings(text: string, fileName: string): Settings {
  return new SettingsReader(text, fileName).read();
}

/** The defaults of everything, for a host of this name. */
export function defaultSettings(hostname: string): Settings {
  return parseSettings(JSON.stringify({ hostname }), '/etc/buzon/buzon.yaml');
}

export interface SettingsChange {
  readonly settings: Settings;
  readonly changed: readonly SettingName[];
  /** Those of `changed` that only a start takes over; the running server keeps their old values. */
  readonly needRestart: readonly SettingName[];
}

/** For a reload: reads the file again and says what is different. @throws as loadSettings; then nothing is to change */
export async function reloadSettings(file: string, current: Settings): Promise<SettingsChange> {
  return compareSettings(await loadSettings(file), current);
}

/** What is different in new settings. */
export function compareSettings(settings: Settings, current: Settings): SettingsChange {
  const shape = settingsSchema('/').shape;
  const names = Object.keys({ ...settings, ...current }) as SettingName[];
  const changed = names.filter((name) => !isDeepStrictEqual(settings[name], current[name]));
  return { settings, changed, needRestart: changed.filter((name) => fieldInfo(shape[name]).restart === true) };
}

class SettingsReader {
  readonly #fileName: string;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;
  readonly #schema: Schema;
  readonly #problems: Problem[] = [];

  constructor(text: string, fileName: string) {
    this.#fileName = fileName;
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false, logLevel: 'error' });
    this.#schema = settingsSchema(dirname(resolve(fileName)));
  }

  read(): Settings {
    // Only the first: what follows a syntax error is mostly its consequence.
    const [error] = [...this.#document.errors, ...this.#document.warnings];
    if (error) this.#problem(error.pos[0], `${error.message}; write valid YAML, or quotes around the value`);
    this.#stop();
    const raw = this.#raw();
    this.#stop();
    const filled = this.#interpolateAll(this.#withDefaults(raw), raw);
    const parsed = this.#schema.safeParse(filled);
    // A default that a bad value broke (`$virtual_mailbox_maps`) is not worth a line beside that value's own.
    const issues = parsed.error?.issues ?? [];
    const derived = (issue: z.core.$ZodIssue): boolean => issue.path.length === 1 && !(String(issue.path[0]) in raw);
    for (const issue of issues.filter((one) => !derived(one) || one.path[0] === 'hostname')) this.#issue(issue);
    this.#stop();
    for (const issue of issues) this.#issue(issue);
    this.#stop();
    return this.#finish(parsed.data as Parsed);
  }

  /** The document as plain data, `myhostname` under its other name. */
  #raw(): Record<string, unknown> {
    const { contents } = this.#document;
    if (contents !== null && !isMap(contents))
      this.#problem(0, 'the file is not a list of settings; write lines of the form name: value');
    let data: unknown = {};
    try {
      data = (this.#document.toJS({ maxAliasCount: 50 }) as unknown) ?? {};
    } catch (error) {
      this.#problem(0, `${(error as Error).message}; write the values themselves`);
    }
    const raw = Object.assign(Object.create(null) as Record<string, unknown>, data);
    if ('myhostname' in raw) {
      if ('hostname' in raw) this.#problemAt(['myhostname'], 'myhostname: hostname says the same; write one of the two');
      raw['hostname'] = raw['myhostname'];
      delete raw['myhostname'];
    }
    return raw;
  }

  #withDefaults(raw: Record<string, unknown>): Record<string, unknown> {
    const filled = { ...raw };
    for (const [name, schema] of Object.entries(this.#schema.shape)) {
      const { default: standard, type } = fieldInfo(schema);
      // Groups fill in their own; a name without a default must be there as undefined, so that its reader is asked.
      if (filled[name] === undefined && !type.endsWith('group') && !type.endsWith('groups')) filled[name] = standard;
    }
    return filled;
  }

  #interpolateAll(filled: Record<string, unknown>, raw: Record<string, unknown>): unknown {
    const lookup = (name: string): string | undefined => {
      if (name === 'myhostname' || name === 'myorigin') return asText(filled['hostname'] ?? '');
      if (name === 'mydomain' && !('mydomain' in raw)) return domainOf(asText(filled['hostname'] ?? '') ?? '');
      return Object.hasOwn(filled, name) ? asText(filled[name]) : undefined;
    };
    const walk = (value: unknown, path: Path): unknown => {
      if (Array.isArray(value)) return value.map((item, i) => walk(item, [...path, i]));
      if (value !== null && typeof value === 'object')
        return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, walk(item, [...path, name])]));
      if (typeof value !== 'string') return value;
      try {
        return interpolate(value, lookup);
      } catch (error) {
        if (!(error instanceof ValueError)) throw error;
        this.#problemAt(path, `${nameOf(path)}: ${error.message}; write ${error.right}`);
        return undefined;
      }
    };
    return walk(filled, []);
  }

  #issue(issue: z.core.$ZodIssue): void {
    const path = issue.path.filter((part) => typeof part !== 'symbol');
    if (issue.code === 'unrecognized_keys') {
      const known = keysAt(this.#schema, path);
      for (const key of issue.keys) {
        const guess = nearest(key, known);
        const right = guess
          ? `did you mean ${guess}?`
          : path.length === 0
            ? 'docs/settings.md lists all settings'
            : `known are ${known.join(', ')}`;
        this.#problemAt([...path, key], `${nameOf([...path, key])}: there is no such setting; ${right}`);
      }
      return;
    }
    // The path was left out of what interpolation gave up on, and has been reported there.
    if (this.#problems.length > 0 && this.#problems.some((problem) => problem.text.startsWith(`${nameOf(path)}: `))) return;
    if (issue.code === 'invalid_type') {
      const list = issue.expected === 'array';
      const right = list ? 'a list: lines that start with -' : 'a group: lines of the form name: value below it';
      const missing = issue.expected === 'nonoptional';
      this.#problemAt(
        path,
        `${nameOf(path)}: ${missing ? 'it is missing; write it' : `the value is of the wrong kind; write ${right}`}`,
      );
      return;
    }
    const missing = path.length > 0 && this.#nodeAt(path) === undefined;
    const text = missing ? `it is missing; write ${issue.message.split('; write ')[1] ?? 'a value'}` : issue.message;
    this.#problemAt(path, `${nameOf(path)}: ${text}`);
  }

  /** What no single setting can tell. */
  #finish(parsed: Parsed): Settings {
    if ((parsed.smtpd_tls_cert_file === undefined) !== (parsed.smtpd_tls_key_file === undefined)) {
      const [has, lacks] = parsed.smtpd_tls_cert_file
        ? ['smtpd_tls_cert_file', 'smtpd_tls_key_file']
        : ['smtpd_tls_key_file', 'smtpd_tls_cert_file'];
      this.#problemAt([has], `${has}: ${lacks} is missing; write both or neither`);
    }
    const { listeners, problems } = expandListeners(parsed.listeners, parsed.inet_interfaces, parsed.inet_protocols);
    for (const { index, text } of problems) this.#problemAt(['listeners', index], `listeners[${index}]: ${text}`);
    this.#stop();
    return { ...parsed, mydomain: parsed.mydomain ?? domainOf(parsed.hostname), listeners };
  }

  #nodeAt(path: Path): Node | undefined {
    let node: unknown = this.#document.contents;
    for (const part of path) {
      if (isAlias(node)) node = node.resolve(this.#document);
      if (isMap(node)) {
        const pair = node.items.find(
          (item) =>
            isScalar(item.key) &&
            (item.key.value === part || (path.length === 1 && part === 'hostname' && item.key.value === 'myhostname')),
        );
        node = pair && (isNode(pair.value) ? pair.value : pair.key);
      } else node = isNode(node) && 'get' in node ? node.get(part, true) : undefined;
    }
    return isNode(node) ? node : undefined;
  }

  #problemAt(path: Path, text: string): void {
    // An unknown name is shown where the name stands, a bad value where the value stands, a missing one where its group begins.
    const parent = this.#nodeAt(path.slice(0, -1));
    const pair = isMap(parent) ? parent.items.find((item) => isScalar(item.key) && item.key.value === path.at(-1)) : undefined;
    const unknown = text.includes(': there is no such setting') && isNode(pair?.key) ? pair.key : undefined;
    let node = unknown ?? this.#nodeAt(path);
    for (let length = path.length - 1; node === undefined && length >= 0; length--) node = this.#nodeAt(path.slice(0, length));
    this.#problem(node?.range?.[0] ?? 0, text);
  }

  #problem(offset: number, text: string): void {
    this.#problems.push({ offset, text });
  }

  #stop(): void {
    if (this.#problems.length === 0) return;
    const lines = [...this.#problems]
      .sort((a, b) => a.offset - b.offset)
      .map(({ offset, text }) => {
        const { line, col } = this.#lines.linePos(offset);
        return `${this.#fileName}:${Math.max(1, line)}:${Math.max(1, col)}: ${text}`;
      });
    throw new MailError('config', 'SETTINGS_INVALID', lines.join('\n'));
  }
}

/** The names that stand at this place of the schema. */
function keysAt(schema: z.core.$ZodType, path: Path): string[] {
  let at: z.core.$ZodType | undefined = innermost(schema);
  for (const part of path) {
    if (at instanceof z.ZodObject) at = innermost((at.shape as Record<string, z.core.$ZodType>)[String(part)]);
    else if (at instanceof z.ZodArray) at = innermost(at.element);
  }
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}

/** `listeners[2].port` */
function nameOf(path: Path): string {
  return path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('');
}

/** A setting's value as Postfix would have it in `$name`. */
function asText(value: unknown): string | undefined {
  if (value === null) return '';
  if (Array.isArray(value)) return value.map((item) => asText(item) ?? '').join(', ');
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;
}

function domainOf(hostname: string): string {
  const dot = hostname.indexOf('.');
  return dot > 0 && hostname.includes('.', dot + 1) ? hostname.slice(dot + 1) : hostname;
}
