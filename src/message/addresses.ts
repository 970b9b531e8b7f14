// Address lists in header fields (RFC 5322 sections 3.4 and 4.4), read tolerantly: what senders really write always gives some result, in
// linear time.
import { trimBlanks } from './blanks.ts';
import { formatMailbox, parseMailbox, type MailboxAddress } from './address-spec.ts';
import { DEFAULT_MIME_LIMITS, type EnvelopeAddress } from './types.ts';

/** What stands in for a missing half of an address; a null host would mean a group (RFC 3501 section 7.4.2). Dovecot's words. */
const MISSING_DOMAIN = 'MISSING_DOMAIN';
const MISSING_MAILBOX = 'MISSING_MAILBOX';

export interface AddressLimits {
  readonly addressBytes: number;
  readonly addresses: number;
}

/** Reads a list. Names keep their RFC 2047 words undecoded; quoting and comments are removed. */
export function parseAddressList(text: string, limits: AddressLimits): EnvelopeAddress[] {
  return new ListReader(text.slice(0, limits.addressBytes), limits.addresses).read();
}

/** The plain `local@domain` addresses of a list, groups opened. */
export function plainAddresses(list: readonly EnvelopeAddress[]): string[] {
  return list.flatMap(({ mailbox, host }) => (mailbox !== null && host !== null ? [`${mailbox}@${host}`] : []));
}

/**
 * Every mailbox that a field (From, Sender: unfolded, latin1 or text) names, groups opened, for deciding whether somebody may send so. Undefined where
 * two readers might see different addresses in it: rubbish, a missing domain, an unfinished quote, comment or angle, more than the limits.
 */
export function extractAddresses(text: string, limits: AddressLimits = DEFAULT_MIME_LIMITS): MailboxAddress[] | undefined {
  if (text.length > limits.addressBytes) return undefined;
  const reader = new ListReader(text, limits.addresses + 1);
  const list = reader.read();
  if (reader.doubtful || list.length > limits.addresses) return undefined;
  const found: MailboxAddress[] = [];
  for (const { mailbox, host } of list) {
    if (mailbox === null || host === null) continue;
    const address = host === MISSING_DOMAIN ? undefined : parseMailbox(formatMailbox(mailbox, host));
    if (!address) return undefined;
    found.push(address);
  }
  return found;
}

const SPECIALS = new Set('()<>@,;:"[]\\ \t\r\n');

class ListReader {
  readonly #text: string;
  readonly #max: number;
  readonly #found: EnvelopeAddress[] = [];
  #at = 0;
  #words: string[] = [];
  #comment = '';
  /** Local part of a bare address, once its @ was seen, and its domain. */
  #bare: { local: string; host: string } | undefined;
  #angle: { route: string | null; local: string; host: string } | undefined;
  #inGroup = false;
  /** True when something was passed over that another reader might take for an address. */
  doubtful = false;

  constructor(text: string, max: number) {
    this.#text = text;
    this.#max = max;
  }

  read(): EnvelopeAddress[] {
    while (this.#at < this.#text.length && this.#found.length < this.#max) this.#token(this.#text.charAt(this.#at));
    this.#flush();
    if (this.#inGroup) this.#found.push(GROUP_END);
    return this.#found;
  }

  #token(c: string): void {
    switch (c) {
      case ',':
        this.#at++;
        return this.#flush();
      case ';':
        this.#at++;
        this.#flush();
        if (this.#inGroup) this.#found.push(GROUP_END);
        this.#inGroup = false;
        return;
      case ':':
        this.#at++;
        return this.#groupStart();
      case '(':
        this.#comment = this.#readComment();
        return;
      case '"':
        this.#words.push(this.#readQuoted());
        return;
      case '<':
        this.#at++;
        this.#readAngle();
        return;
      case '@':
        this.#at++;
        this.doubtful ||= this.#bare !== undefined || this.#angle !== undefined;
        this.#bare = { local: this.#words.join(''), host: this.#readDomain() };
        this.#words = [];
        return;
      default:
        return this.#word(c);
    }
  }

  #word(c: string): void {
    if (SPECIALS.has(c)) {
      this.doubtful ||= !' \t\r\n'.includes(c);
      this.#at++;
      return;
    }
    this.doubtful ||= this.#bare !== undefined || this.#angle !== undefined;
    const start = this.#at;
    while (this.#at < this.#text.length && !SPECIALS.has(this.#text.charAt(this.#at))) this.#at++;
    this.#words.push(this.#text.slice(start, this.#at));
  }

  #groupStart(): void {
    if (this.#inGroup || this.#words.length === 0) return;
    this.#found.push({ name: null, route: null, mailbox: this.#words.join(' '), host: null });
    this.#words = [];
    this.#comment = '';
    this.#inGroup = true;
  }

  #readComment(): string {
    const start = ++this.#at;
    for (let depth = 1; this.#at < this.#text.length; this.#at++) {
      const c = this.#text.charAt(this.#at);
      if (c === '\\') this.#at++;
      else if (c === '(') depth++;
      else if (c === ')' && --depth === 0) break;
    }
    this.doubtful ||= this.#at >= this.#text.length;
    const comment = this.#text.slice(start, this.#at++);
    return trimBlanks(comment.replace(/\\([^])/g, '$1'));
  }

  #readQuoted(): string {
    let out = '';
    for (this.#at++; this.#at < this.#text.length; this.#at++) {
      const c = this.#text.charAt(this.#at);
      if (c === '"') break;
      if (c === '\\') out += this.#text.charAt(++this.#at);
      else out += c;
    }
    this.doubtful ||= this.#at >= this.#text.length;
    this.#at++;
    return out;
  }

  /** A domain or a literal; blanks and comments may stand around its dots (RFC 5322 section 4.4). */
  #readDomain(): string {
    let domain = '';
    for (;;) {
      this.#skipBlanks();
      const label = domain === '' || domain.endsWith('.') || this.#text.charAt(this.#at) === '.' ? this.#readLabel() : '';
      if (label === '') return domain;
      domain += label;
    }
  }
  #readLabel(): string {
    if (this.#text.charAt(this.#at) === '[') {
      const end = this.#text.indexOf(']', this.#at);
      const start = this.#at;
      this.#at = end < 0 ? this.#text.length : end + 1;
      return this.#text.slice(start, this.#at);
    }
    const start = this.#at;
    while (this.#at < this.#text.length && !SPECIALS.has(this.#text.charAt(this.#at))) this.#at++;
    return this.#text.slice(start, this.#at);
  }

  /** What stands between < and >: an optional route (RFC 5322 4.4) and an address. */
  #readAngle(): void {
    this.doubtful ||= this.#angle !== undefined;
    let route: string | null = null;
    let local = '';
    let host = '';
    let seenAt = false;
    for (;;) {
      this.#skipSpace();
      const c = this.#text.charAt(this.#at);
      if (c === '' || c === '>') break;
      if (c === '(') this.#readComment();
      else if (c === '"') local += this.#readQuoted();
      else if (c === '@') {
        this.#at++;
        host = this.#readDomain();
        seenAt = true;
      } else if (c === ':' && local === '') {
        // `@a,@b:` was a route.
        route = `${route ?? ''}@${host}`;
        host = '';
        seenAt = false;
        this.#at++;
      } else if (c === ',' && seenAt && local === '') {
        route = `${route ?? ''}@${host},`;
        this.#at++;
      } else if (SPECIALS.has(c)) {
        this.doubtful = true;
        if (c === '<') break;
        this.#at++;
      } else {
        const start = this.#at;
        while (this.#at < this.#text.length && !SPECIALS.has(this.#text.charAt(this.#at))) this.#at++;
        local += this.#text.slice(start, this.#at);
      }
    }
    this.doubtful ||= this.#text.charAt(this.#at) !== '>' || local === '' || host === '';
    this.#at++;
    this.#angle = { route, local, host };
  }

  #skipBlanks(): void {
    for (this.#skipSpace(); this.#text.charAt(this.#at) === '('; this.#skipSpace()) this.#comment = this.#readComment();
  }
  #skipSpace(): void {
    while (' \t\r\n'.includes(this.#text.charAt(this.#at)) && this.#at < this.#text.length) this.#at++;
  }

  #flush(): void {
    const { name, address } = this.#current();
    if (address) {
      this.#found.push({
        name: name === '' ? null : name,
        route: address.route,
        mailbox: address.local === '' ? MISSING_MAILBOX : address.local,
        host: address.host === '' ? MISSING_DOMAIN : address.host,
      });
    }
    this.#words = [];
    this.#comment = '';
    this.#bare = undefined;
    this.#angle = undefined;
  }
  #current(): { name: string; address?: { route: string | null; local: string; host: string } } {
    // `a@b <c@d>`: what stands before the angle is a name.
    const before = this.#bare ? [`${this.#bare.local}@${this.#bare.host}`, ...this.#words] : this.#words;
    if (this.#angle) {
      const name = trimBlanks(before.join(' ')) || this.#comment;
      return this.#angle.local === '' && this.#angle.host === '' && name === '' ? { name } : { name, address: this.#angle };
    }
    if (this.#bare) return { name: this.#comment, address: { route: null, ...this.#bare } };
    const words = trimBlanks(this.#words.join(' '));
    return words === '' ? { name: '' } : { name: this.#comment, address: { route: null, local: words, host: '' } };
  }
}

const GROUP_END: EnvelopeAddress = { name: null, route: null, mailbox: null, host: null };
