// smtp_sasl_password_maps: with which user and password to log in at a next hop. The files are root's alone (0600): they are read by `read`,
// which in a worker asks the supervisor, and kept in memory. Neither names nor passwords are ever logged.
import type { LookupTable } from '../config/lookup.ts';
import { readMapSpec } from '../config/map-spec.ts';
import { parseTable } from '../config/maps/text.ts';
import { lookupKeys, splitAddress } from '../delivery/address-keys.ts';
import { lookUp } from '../delivery/look-up.ts';
import { MailError } from '../lib/errors.ts';
import { formatNextHop } from './next-hop.ts';
import type { InetHop, NextHop } from './types.ts';

export interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** Asked by the client before it opens a session. `host` is the name of the server that is spoken to: an MX where the next hop is a domain. */
export type FindCredentials = (hop: NextHop, sender: string, host: string) => Promise<Credentials | undefined>;

export interface CredentialsOptions {
  readonly maps: readonly LookupTable[];
  /** smtp_sender_dependent_authentication. */
  readonly senderDependent: boolean;
  readonly recipientDelimiter: string;
}

/**
 * The order of Postfix's smtp_sasl_passwd_lookup: the sender, the host, the next hop as it is written; then the next hop written otherwise, which
 * Postfix does not look for. A list's next hop is the one of it that is spoken to. LMTP has no log-ins by sender.
 * @throws (the function) MailError temporary when a table cannot be read: mail waits rather than goes without its log-in
 */
export function credentialsFinder({ maps, senderDependent, recipientDelimiter }: CredentialsOptions): FindCredentials {
  return async (hop, sender, host) => {
    if (maps.length === 0 || (hop.kind !== 'smtp' && hop.kind !== 'lmtp')) return undefined;
    const bySender = senderDependent && sender !== '' && hop.kind === 'smtp';
    const senderKeys = bySender ? lookupKeys(splitAddress(sender, recipientDelimiter), false).map(({ key }) => key) : [];
    for (const key of [...senderKeys, host.toLowerCase(), ...keysOf(hop)]) {
      const found = await lookUp(maps, [{ key, unmatched: '', catchAll: false }]);
      if (found) return parseCredentials(found.value);
    }
    return undefined;
  };
}

/** As it stands in relayhost, then as it may stand there: with brackets and port, with either, with neither. */
function keysOf(hop: InetHop): Set<string> {
  const { kind, host, port, mx } = hop;
  const written = formatNextHop(hop).slice(kind.length + 1);
  return new Set([written, ...(mx ? [] : [`[${host}]:${port}`, `[${host}]`]), `${host}:${port}`, host]);
}

/** `user:password`; the password may hold colons. An empty user means none, as in Postfix. */
function parseCredentials(value: string): Credentials | undefined {
  const colon = value.indexOf(':');
  const user = colon < 0 ? value : value.slice(0, colon);
  return user === '' ? undefined : { user, password: colon < 0 ? '' : value.slice(colon + 1) };
}

/** A file as `readPemFile` gives it. */
type ReadSecret = (path: string) => Promise<{ readonly bytes: Buffer; readonly mode: number; readonly state: string }>;

/** How long what was read counts. */
const KEPT_MS = 10_000;

/** The path of a table that is read as a secret file; undefined for `inline:`, `static:` and tables of patterns. */
export function secretTablePath(spec: string): string | undefined {
  const { type, name } = readMapSpec(spec, '/');
  return ['hash', 'btree', 'lmdb', 'texthash'].includes(type) ? name : undefined;
}

/** The text of a table with secrets (FILE.sqlite, which `buzon postmap` may have made of it, is not looked at). `now`: milliseconds. */
export function secretTable(path: string, read: ReadSecret, now: () => number): LookupTable {
  let kept: { at: number; state: string; entries: ReadonlyMap<string, string> } | undefined;
  const load = async (): Promise<ReadonlyMap<string, string>> => {
    const age = kept ? now() - kept.at : Infinity;
    if (kept && age >= 0 && age < KEPT_MS) return kept.entries;
    try {
      const { bytes, state } = await read(path);
      const same = kept?.state === state ? kept.entries : undefined;
      kept = { at: now(), state, entries: same ?? (await entriesOf(bytes)) };
      return kept.entries;
    } catch (error) {
      throw new MailError('temporary', 'MAP_UNREADABLE', 'Temporary lookup failure', {
        detail: `${path} cannot be read`,
        cause: error,
      });
    }
  };
  return {
    spec: `texthash:${path}`,
    whole: false,
    get: async (key) => (await load()).get(key.toLowerCase()),
    entries: async () => [...(await load())],
  };
}

async function entriesOf(bytes: Buffer): Promise<ReadonlyMap<string, string>> {
  const { entries } = await parseTable(bytes);
  return new Map([...entries.values()].map(({ key, value }) => [key, value]));
}
