// What commands on accounts share: settings, the tables opened, the owner of the mail tree.
import { resolve } from 'node:path';
import { Accounts } from '../../auth/accounts.ts';
import { openDomainList, type DomainList } from '../../config/domain-list.ts';
import { openTable, type OpenTable } from '../../config/maps/table.ts';
import { loadSettings, type Settings } from '../../config/settings.ts';
import { MailError } from '../../lib/errors.ts';
import { createLogger, silentLogger } from '../../lib/logger.ts';
import { actAs, mailIdentity, type Identity } from '../../worker/privileges.ts';
import type { CommandIo } from '../command.ts';

export const DEFAULT_SETTINGS = '/etc/buzon/buzon.yaml';

export class AccountContext {
  readonly file: string;
  readonly settings: Settings;
  readonly io: CommandIo;
  /** Who owns the mail tree: undefined when this process is not root and works with the rights it has. */
  readonly owner: Identity | undefined;
  readonly mailboxes: readonly OpenTable[];
  readonly aliases: readonly OpenTable[];
  readonly domains: DomainList;

  private constructor(file: string, settings: Settings, io: CommandIo, owner: Identity | undefined) {
    const deps = { logger: silentLogger };
    this.file = file;
    this.settings = settings;
    this.io = io;
    this.owner = owner;
    this.mailboxes = settings.virtual_mailbox_maps.map((spec) => openTable(spec, deps));
    this.aliases = settings.virtual_alias_maps.map((spec) => openTable(spec, deps));
    this.domains = openDomainList(settings.virtual_mailbox_domains, deps);
  }

  /** @throws MailError config */
  static async open(file: string, io: CommandIo): Promise<AccountContext> {
    const path = resolve(io.cwd, file);
    const settings = await loadSettings(path);
    const owner = process.geteuid?.() === 0 ? await mailIdentity(settings, silentLogger) : undefined;
    return new AccountContext(path, settings, io, owner);
  }

  close(): void {
    for (const table of [...this.mailboxes, ...this.aliases, this.domains]) table.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }

  /** Runs `fn` with the rights of the tree's owner. */
  inTree<T>(fn: () => Promise<T>): Promise<T> {
    return actAs(this.owner, fn);
  }

  /** What the mailbox maps have for exactly this address. */
  async mapValue(address: string): Promise<string | undefined> {
    for (const table of this.mailboxes) {
      const value = await table.get(address);
      if (value !== undefined) return value;
    }
    return undefined;
  }

  /** The home of an address, absolute. @throws MailError config `NO_SUCH_USER`, `BAD_HOME` */
  async homeOf(address: string): Promise<string> {
    const value = await this.mapValue(address);
    if (value === undefined) throw new MailError('config', 'NO_SUCH_USER', `there is no mailbox ${address}`);
    return this.homeFor(address, value);
  }
  homeFor(address: string, value: string): string {
    const base = this.settings.virtual_mailbox_base;
    const home = resolve(base, value.trim());
    if (value.trim().endsWith('/') && home.startsWith(`${base}/`)) return home;
    throw new MailError(
      'config',
      'BAD_HOME',
      `${address} has the mailbox "${value}" in the map, which is no Maildir below ${base}; write it as example.com/name/`,
    );
  }

  /** Addresses of accounts with their map values, by domain and name; the first table's entry counts. */
  async accounts(): Promise<(readonly [address: string, value: string])[]> {
    const all = new Map<string, string>();
    for (const table of this.mailboxes)
      for (const [key, value] of await table.entries()) if (key.indexOf('@') > 0 && !all.has(key)) all.set(key, value);
    return [...all].sort(([a], [b]) => compare(domainOf(a), domainOf(b)) || compare(a, b));
  }

  /** Addresses that the alias maps lead to `address`. */
  async aliasesOf(address: string): Promise<string[]> {
    const found = new Set<string>();
    for (const table of this.aliases)
      for (const [key, value] of await table.entries())
        if (
          value
            .toLowerCase()
            .split(/[\s,]+/)
            .includes(address)
        )
          found.add(key);
    return [...found].sort();
  }

  /** Accounts as the server sees them; what it would log goes to `warn`. */
  openAccounts(warn: (event: string, fields: Readonly<Record<string, unknown>>) => void = () => undefined): Accounts {
    const { storage, messages } = this.settings.quota;
    return new Accounts({
      maps: this.mailboxes,
      base: this.settings.virtual_mailbox_base,
      quota: { ...(storage > 0 ? { bytes: storage } : {}), ...(messages > 0 ? { messages } : {}) },
      logger: createLogger((_level, event, fields) => warn(event, fields)),
    });
  }

  /** Says what is left to be done, each thing once. */
  say(notes: readonly string[]): void {
    for (const note of new Set(notes)) this.io.err(`buzon: ${note}\n`);
  }
}

export const domainOf = (address: string): string => address.slice(address.lastIndexOf('@') + 1);
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
