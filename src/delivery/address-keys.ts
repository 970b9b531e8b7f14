// The keys under which an address is looked up, in the order of virtual(5) and virtual(8).

export interface SplitAddress {
  /** Local part as written (quoted where it must be), lower case. */
  readonly local: string;
  readonly domain: string;
  /** Without its extension. */
  readonly user: string;
  /** With the delimiter: `+shop`; empty when there is none. */
  readonly extension: string;
}

/** Splits at the last @ and at the first delimiter (never at the beginning: `+x@d` has no extension). */
export function splitAddress(address: string, delimiters: string): SplitAddress {
  const lower = address.toLowerCase();
  const at = lower.lastIndexOf('@');
  const local = at < 0 ? lower : lower.slice(0, at);
  const domain = at < 0 ? '' : lower.slice(at + 1);
  // Postfix: mailer-daemon and double-bounce, owner-x and x-request are not split at a dash.
  const dashed =
    delimiters.includes('-') &&
    (local.startsWith('owner-') || local.endsWith('-request') || local === 'mailer-daemon' || local === 'double-bounce');
  const usable = dashed ? delimiters.replaceAll('-', '') : delimiters;
  const quoted = local.startsWith('"') && local.endsWith('"');
  for (let i = quoted ? 2 : 1; i < local.length - (quoted ? 1 : 0); i++)
    if (usable.includes(local.charAt(i)))
      return quoted
        ? { local, domain, user: quoteAgain(local.slice(1, i)), extension: local.slice(i, -1) }
        : { local, domain, user: local.slice(0, i), extension: local.slice(i) };
  return { local, domain, user: local, extension: '' };
}

/** Inside quotes already: they stay where what is left needs them. */
const quoteAgain = (text: string): string => (/^[\w.!#$%&'*+/=?^`{|}~\x80-\uffff-]+$/.test(text) ? text : `"${text}"`);

export interface LookupKey {
  readonly key: string;
  /** What of the address the key leaves out and a result inherits (propagate_unmatched_extensions). */
  readonly unmatched: string;
  /** `@domain`: stands for every address there. */
  readonly catchAll: boolean;
}

/** Keys for a table of addresses. `bare`: also without the domain (addresses of the host itself). */
export function lookupKeys(a: SplitAddress, bare: boolean): LookupKey[] {
  const key = (text: string, unmatched = '', catchAll = false): LookupKey => ({ key: text, unmatched, catchAll });
  const keys = [key(`${a.local}@${a.domain}`)];
  if (a.extension !== '') keys.push(key(`${a.user}@${a.domain}`, a.extension));
  if (bare) {
    keys.push(key(a.local));
    if (a.extension !== '') keys.push(key(a.user, a.extension));
  }
  keys.push(key(`@${a.domain}`, '', true));
  return keys;
}
