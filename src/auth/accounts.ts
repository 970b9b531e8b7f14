// Accounts: the mailboxes of virtual_mailbox_maps, with what the passwd and shadow in their homes (or one level up, for a whole domain) say of them.
import { dirname, join, resolve } from 'node:path';
import type { LookupTable } from '../config/lookup.ts';
import { networkMatcher } from '../config/networks.ts';
import { MailError, toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { PasswdFiles, type PasswdEntry } from './passwd-file.ts';
import type { Account, AccountDirectory } from './types.ts';

export interface AccountsOptions {
  readonly maps: readonly LookupTable[];
  /** virtual_mailbox_base, absolute. */
  readonly base: string;
  /** For accounts without a rule of their own; undefined for no limit. */
  readonly quota: { readonly bytes?: number; readonly messages?: number };
  readonly logger: Logger;
}

/** An account and what proves that somebody is its user. */
export interface Credentials {
  readonly account: Account;
  /** With its scheme, as in the file; undefined when nobody can log in. */
  readonly stored: string | undefined;
  /** By `!` or `*` in the password field. */
  readonly locked: boolean;
  /** The `nopassword` field: any password will do. */
  readonly noPassword: boolean;
  /** `allow_nets`. */
  readonly mayComeFrom: (address: string) => boolean;
}

const FOUND_MS = 1_000;
const MAX_FOUND = 4_000;

const KNOWN_EXTRA = /^(userdb_mail|userdb_quota_rule\d*|allow_nets|nopassword)$/;

export class Accounts implements AccountDirectory {
  readonly #o: AccountsOptions;
  readonly #files = new PasswdFiles();
  readonly #warned = new Set<string>();
  readonly #found = new Map<string, { readonly at: number; readonly account: Account }>();

  constructor(options: AccountsOptions) {
    this.#o = options;
  }

  /** Where an account's mail lies; what was true a second ago is good enough for that. @throws as credentials */
  async find(address: string): Promise<Account | undefined> {
    const known = this.#found.get(address);
    if (known && performance.now() - known.at < FOUND_MS) return known.account;
    const account = (await this.credentials(address))?.account;
    this.#found.delete(address);
    if (account) this.#found.set(address, { at: performance.now(), account });
    for (const oldest of this.#found.keys()) {
      if (this.#found.size <= MAX_FOUND) break;
      this.#found.delete(oldest);
    }
    return account;
  }

  /** @throws MailError temporary when a map or file cannot be read */
  async credentials(address: string): Promise<Credentials | undefined> {
    const key = address.toLowerCase();
    let value: string | undefined;
    for (const map of this.#o.maps) if ((value = await map.get(key)) !== undefined) break;
    if (value === undefined) return undefined;
    const home = resolve(this.#o.base, value.trim());
    if (!value.trim().endsWith('/') || (home !== this.#o.base && !home.startsWith(`${this.#o.base}/`))) {
      this.#warnOnce(`map:${key}`, 'account.bad-home', { address: key, value });
      return undefined;
    }
    try {
      return this.#assemble(key, home, await this.#entry(home, 'passwd', key), await this.#entry(home, 'shadow', key));
    } catch (error) {
      throw error instanceof MailError ? error : toMailError(error, 'reading an account');
    }
  }

  /** The entry in the home itself, or in the domain's folder above it. */
  async #entry(home: string, file: 'passwd' | 'shadow', address: string): Promise<PasswdEntry | undefined> {
    const local = address.slice(0, address.lastIndexOf('@'));
    for (const folder of [home, dirname(home)]) {
      const entries = await this.#files.read(join(folder, file));
      const entry = entries?.get(address) ?? entries?.get(local);
      if (entry) return entry;
    }
    return undefined;
  }

  #assemble(address: string, mapHome: string, passwd: PasswdEntry | undefined, shadow: PasswdEntry | undefined): Credentials {
    const extra = new Map([...(shadow?.extra ?? []), ...(passwd?.extra ?? [])]);
    for (const name of extra.keys())
      if (!KNOWN_EXTRA.test(name)) this.#warnOnce(`extra:${address}:${name}`, 'account.unknown-field', { address, field: name });
    const home = passwd && passwd.home !== '' ? passwd.home : mapHome;
    const account = { address, home, maildir: maildirOf(extra.get('userdb_mail'), home, address), quota: this.#quota(extra) };
    const stored = [shadow?.password, passwd?.password].find(
      (password) => password !== undefined && password !== '' && password !== 'x',
    );
    // `!` and `*` lock an account, alone or before the hash (shadow(5)).
    const locked = stored !== undefined && /^[!*]/.test(stored);
    const nets = extra.get('allow_nets');
    return {
      account,
      stored: locked ? undefined : stored,
      locked,
      noPassword: extra.has('nopassword') && stored === undefined,
      mayComeFrom: nets === undefined ? () => true : this.#nets(address, nets),
    };
  }

  #nets(address: string, nets: string): (remote: string) => boolean {
    try {
      return networkMatcher(nets.split(',').map((net) => net.trim()));
    } catch (error) {
      this.#warnOnce(`nets:${address}`, 'account.bad-allow-nets', {
        address,
        error: error instanceof Error ? error.message : String(error),
      });
      return () => false;
    }
  }

  #quota(extra: ReadonlyMap<string, string>): Account['quota'] {
    const quota: { bytes?: number; messages?: number } = {};
    let found = false;
    for (const [name, rule] of extra) {
      if (!name.startsWith('userdb_quota_rule') || !rule.startsWith('*:')) continue;
      found = true;
      Object.assign(quota, parseQuotaRule(rule.slice(2)));
    }
    return found ? quota : this.#o.quota;
  }

  #warnOnce(key: string, event: string, fields: Record<string, string>): void {
    if (this.#warned.has(key) || this.#warned.size > 10_000) return;
    this.#warned.add(key);
    this.#o.logger.warn(event, fields);
  }
}

const UNITS: Readonly<Record<string, number>> = { '': 1024, B: 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };

/** `storage=1G`, `messages=1000`, `bytes=…`, joined by `:`; 0 is no limit (Dovecot: storage without unit is in kilobytes). */
export function parseQuotaRule(text: string): { bytes?: number; messages?: number } {
  const quota: { bytes?: number; messages?: number } = {};
  for (const part of text.split(':')) {
    const m = /^(storage|bytes|messages)=(\d{1,15})([BKMGT]?)$/i.exec(part);
    if (!m || Number(m[2]) === 0) continue;
    const value = Number(m[2]);
    const unit = (m[3] ?? '').toUpperCase();
    if (m[1]?.toLowerCase() === 'messages') quota.messages = value;
    else quota.bytes = m[1]?.toLowerCase() === 'bytes' && unit === '' ? value : value * (UNITS[unit] ?? 1);
  }
  return quota;
}

/** `maildir:~/Maildir` and the like; the home itself without one. Options behind the path (`:LAYOUT=…`) are Dovecot's own. */
function maildirOf(mail: string | undefined, home: string, address: string): string {
  const path = /^maildir:([^:]+)/i.exec(mail ?? '')?.[1];
  if (path === undefined) return home;
  const at = address.lastIndexOf('@');
  const expanded = path
    .replace(/^~(?=\/|$)/, home)
    .replaceAll('%h', home)
    .replaceAll('%n', address.slice(0, at))
    .replaceAll('%d', address.slice(at + 1))
    .replaceAll('%u', address);
  return resolve(home, expanded);
}
