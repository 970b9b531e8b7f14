// `buzon dkim rotate`: new keys for a domain, used once DNS shows them; the old ones are kept published for a while, then forgotten. Each run does what can be
// done now and says what is to be done by hand; the state is in the file `selectors` (policy/dkim-selectors.ts), written before anything relies on it.
//
//   made: waiting → DNS shows all that wait: active, and what was active retired → dkim_retire_time over: "remove its record" → gone from DNS: deleted
import type { KeyObject } from 'node:crypto';
import { mkdir, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { readHostname } from '../../config/readers.ts';
import { loadSettings, type Settings } from '../../config/settings.ts';
import { ValueError } from '../../config/values.ts';
import { aLabels } from '../../dns/a-labels.ts';
import { systemResolver, type Resolver } from '../../dns/resolver.ts';
import { MailError } from '../../lib/errors.ts';
import { loadDkimKey } from '../../policy/dkim-keys.ts';
import { examinePublished } from '../../policy/dkim-published.ts';
import { dkimRecord, zoneLine } from '../../policy/dkim-record.ts';
import { directoryKeyFile, formatSelectors, selectorsFile, type DirectoryKey } from '../../policy/dkim-selectors.ts';
import { readDirectory } from '../../policy/signing-sources.ts';
import { withDotlock } from '../../storage/dotlock.ts';
import { replaceFile, syncFolder } from '../../storage/files.ts';
import type { CommandIo } from '../command.ts';
import { signalReload } from '../reload.ts';
import { makeFolder, newKey, writeNew } from './key-output.ts';

export interface RotateArguments {
  readonly config: string;
  /** A rotation of this one is begun where none is under way. */
  readonly domain?: string;
  /** Asked in place of the settings' name servers. */
  readonly dnsServer?: string | undefined;
}

const KINDS = [
  ['rsa', 'r'],
  ['ed25519', 'e'],
] as const;
const RSA_BITS = 2048;
const FILE_MODE = 0o600;

/** @throws MailError config for settings, folders, keys that cannot be */
export async function rotate({ config, domain, dnsServer }: RotateArguments, io: CommandIo, now = Date.now()): Promise<number> {
  const settings = await loadSettings(resolve(io.cwd, config));
  const directory = settings.dkim_directory;
  if (directory === undefined)
    throw new MailError('config', 'NO_DIRECTORY', 'the settings have no folder for it; write dkim_directory: /etc/buzon/dkim');
  const servers = dnsServer === undefined ? settings.dns.servers : [dnsServer];
  await makeFolder(directory);
  const at = Math.floor(now / 1000) * 1000;
  const rotation = new Rotation(settings, directory, systemResolver({ servers, timeout: settings.dns.timeout }), io, at);
  return withDotlock(selectorsFile(directory), FILE_MODE, () => rotation.run(domain === undefined ? undefined : checked(domain)));
}

function checked(domain: string): string {
  try {
    return aLabels(readHostname(domain));
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new MailError('config', 'BAD_ARGUMENTS', `${error.message}; write a domain such as example.com`);
  }
}

class Rotation {
  readonly #settings: Settings;
  readonly #directory: string;
  readonly #resolver: Resolver;
  readonly #io: CommandIo;
  readonly #now: number;
  #keys: DirectoryKey[] = [];
  #status = 0;

  constructor(settings: Settings, directory: string, resolver: Resolver, io: CommandIo, now: number) {
    this.#settings = settings;
    this.#directory = directory;
    this.#resolver = resolver;
    this.#io = io;
    this.#now = now;
  }

  /** All domains under way, or `domain` alone, which is begun. 1 where DNS or the server could not be asked. */
  async run(domain: string | undefined): Promise<number> {
    this.#keys = await readDirectory(this.#directory);
    if (domain !== undefined && this.#of(domain, 'waiting').length === 0) await this.#begin(domain);
    for (const one of domain === undefined ? new Set(this.#keys.map((key) => key.domain)) : [domain]) {
      await this.#unlessDnsFails(one, () => this.#activate(one));
      await this.#unlessDnsFails(one, () => this.#forget(one));
    }
    return this.#status;
  }

  #of(domain: string, state: DirectoryKey['state']): DirectoryKey[] {
    return this.#keys.filter((key) => key.domain === domain && key.state === state);
  }
  async #save(keys: DirectoryKey[]): Promise<void> {
    await replaceFile(selectorsFile(this.#directory), formatSelectors(keys), FILE_MODE);
    this.#keys = keys;
  }
  async #unlessDnsFails(domain: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof MailError) || error.kind !== 'temporary') throw error;
      this.#io.err(`buzon dkim: ${domain}: DNS gave no answer (${error.detail || error.message}): nothing is changed\n`);
      this.#status = 1;
    }
  }

  /** The keys are on the disk before the file names them. */
  async #begin(domain: string): Promise<void> {
    const folder = join(this.#directory, domain);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const stem = await this.#freeStem(domain);
    const made: DirectoryKey[] = [];
    for (const [type, letter] of KINDS) {
      const key = await newKey(type, RSA_BITS);
      const entry = { domain, selector: `${stem}${letter}`, state: 'waiting', since: this.#now } as const;
      await writeNew(
        directoryKeyFile(this.#directory, entry),
        key.export({ type: 'pkcs8', format: 'pem' }).toString(),
        FILE_MODE,
      );
      made.push(entry);
    }
    await syncFolder(folder);
    await syncFolder(dirname(folder));
    await this.#save([...this.#keys, ...made]);
  }

  /** The day, and a letter where that has been used. */
  async #freeStem(domain: string): Promise<string> {
    const day = new Date(this.#now).toISOString().slice(0, 10).replaceAll('-', '');
    for (const more of ['', ...'abcdfghijklmnopqstuvwxyz']) {
      const stem = `${day}${more}`;
      const files = KINDS.map(([, letter]) => directoryKeyFile(this.#directory, { domain, selector: `${stem}${letter}` }));
      const there = await Promise.all(files.map((file) => stat(file).catch(() => undefined)));
      const named = this.#keys.some((key) => key.domain === domain && key.selector.slice(0, -1) === stem);
      if (!named && there.every((one) => one === undefined)) return stem;
    }
    throw new MailError('config', 'TOO_MANY_KEYS', `${domain} has got all the keys that a day has names for; try tomorrow`);
  }

  #keyOf(entry: DirectoryKey): Promise<KeyObject> {
    return loadDkimKey({ ...entry, file: directoryKeyFile(this.#directory, entry) }).then(({ key }) => key);
  }

  async #activate(domain: string): Promise<void> {
    const waiting = this.#of(domain, 'waiting');
    if (waiting.length === 0) return;
    const missing: string[] = [];
    for (const entry of waiting) {
      const key = await this.#keyOf(entry);
      const { problem } = examinePublished(await this.#resolver.txt(recordName(entry)), key);
      if (problem !== undefined)
        missing.push(`; ${recordName(entry)}: ${problem}\n${zoneLine(domain, entry.selector, dkimRecord(key))}`);
    }
    if (missing.length > 0) {
      this.#io.out(`${domain}: publish this, the new keys are used once DNS shows it (run "buzon dkim rotate --continue"):\n\n`);
      this.#io.out(`${missing.join('')}\n`);
      return;
    }
    const before = this.#of(domain, 'active');
    await this.#save(
      this.#keys.map((key) => {
        if (key.domain !== domain || key.state === 'retired') return key;
        return { ...key, state: key.state === 'waiting' ? 'active' : 'retired', since: this.#now };
      }),
    );
    this.#io.out(
      `${domain}: DNS shows the new keys: ${waiting.map(({ selector }) => selector).join(' and ')} sign from now on\n`,
    );
    this.#tellOld(domain, before);
    await this.#reload();
  }

  #tellOld(domain: string, before: readonly DirectoryKey[]): void {
    const until = new Date(this.#now + this.#settings.dkim_retire_time).toISOString().slice(0, 10);
    const old = before.map(recordName);
    if (old.length > 0) this.#io.out(`${domain}: keep ${old.join(' and ')} in DNS until ${until}\n`);
    const others = this.#settings.dkim_keys.filter((key) => key.domain === domain).map(recordName);
    if (old.length > 0 || (others.length === 0 && this.#settings.opendkim_config === undefined)) return;
    const names = others.length > 0 ? others.join(' and ') : "the records of OpenDKIM's keys";
    this.#io.out(`${domain}: dkim_keys and OpenDKIM's keys of it are no longer used: keep ${names} in DNS until ${until}\n`);
  }

  async #reload(): Promise<void> {
    if ((await signalReload(this.#settings)) !== 'not-permitted') return;
    this.#io.err('buzon dkim: only root and the server\'s own user may reload the server: run "buzon reload"\n');
    this.#status = 1;
  }

  /** Keys whose time is over. */
  async #forget(domain: string): Promise<void> {
    for (const entry of this.#of(domain, 'retired')) {
      if (this.#now < entry.since + this.#settings.dkim_retire_time) continue;
      const name = recordName(entry);
      if ((await this.#resolver.txt(name)).length > 0) {
        this.#io.out(`${domain}: remove the record ${name}: nothing is signed with it any more\n`);
        continue;
      }
      await this.#save(this.#keys.filter((key) => key !== entry));
      await rm(directoryKeyFile(this.#directory, entry), { force: true });
      this.#io.out(`${domain}: ${name} is gone from DNS: its key is deleted\n`);
    }
  }
}

const recordName = ({ selector, domain }: { readonly selector: string; readonly domain: string }): string =>
  `${selector}._domainkey.${aLabels(domain)}`;
