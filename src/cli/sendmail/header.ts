// The header of a message that a local program wrote: recipients read from it, what is missing added, what is nobody's business removed.
import { readRecipients, qualifiedList, phrase } from './addresses.ts';
import { formatRfc5322 } from '../../message/date.ts';
import { encodeWords } from '../../message/encode-words.ts';

/** Fields with their lines, in order. Latin1: a character is a byte. */
interface Field {
  /** Lower case. */
  readonly name: string;
  /** As written, line ends LF, without the last one. */
  readonly text: string;
}

export interface HeaderOptions {
  readonly myorigin: string;
  readonly hostname: string;
  /** For From, where it is missing; never `<>`. */
  readonly author: string;
  readonly fullName: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Makes a Message-ID with the time. */
  readonly unique: string;
}

const ADDRESSES = ['from', 'sender', 'reply-to', 'to', 'cc', 'bcc'];
const WITH_ADDRESSES: ReadonlySet<string> = new Set([...ADDRESSES, ...ADDRESSES.map((name) => `resent-${name}`)]);

/** The lines of a header (latin1, without line ends) that begin a message; `lines` holds nothing but fields and their continuations. */
export class MessageHeader {
  #fields: Field[] = [];

  constructor(lines: readonly string[]) {
    for (const line of lines) {
      const last = this.#fields.at(-1);
      if (last && /^[ \t]/.test(line)) this.#fields[this.#fields.length - 1] = { ...last, text: `${last.text}\n${line}` };
      else this.#fields.push({ name: line.slice(0, line.indexOf(':')).trim().toLowerCase(), text: line });
    }
  }

  /** Whether a line begins a field, or (behind one) continues it. */
  static isLine(line: string, first: boolean): boolean {
    return /^[\x21-\x39\x3b-\x7e]{1,200}[ \t]*:/.test(line) || (!first && /^[ \t]/.test(line));
  }

  /** RFC 5322 section 3.6.6: a message that is sent on has new fields, which are the ones that count. */
  get #resent(): string {
    return this.#fields.some(({ name }) => name.startsWith('resent-')) ? 'resent-' : '';
  }

  /** Everybody in To, Cc and Bcc (-t). @throws Fatal EX_DATAERR */
  recipients(myorigin: string): string[] {
    const names = ['to', 'cc', 'bcc'].map((name) => this.#resent + name);
    const texts = this.#fields.filter(({ name }) => names.includes(name)).map(valueOf);
    return texts.flatMap((text) => readRecipients(Buffer.from(text, 'latin1').toString('utf8'), myorigin));
  }

  /** The finished header with its empty line, CRLF. */
  finish(options: HeaderOptions): Buffer {
    const resent = this.#resent;
    const label = resent === '' ? '' : 'Resent-';
    const has = (name: string): boolean => this.#fields.some((field) => field.name === resent + name);
    const added: string[] = [];
    if (!has('date')) added.push(`${label}Date: ${formatRfc5322(options.now)}`);
    if (!has('message-id')) added.push(`${label}Message-ID: <${stamp(options.now)}.${options.unique}@${options.hostname}>`);
    if (!has('from')) added.push(`${label}From: ${author(options)}`);
    const kept = this.#fields.filter(({ name }) => name !== 'bcc' && name !== 'resent-bcc');
    const lines = [...kept.map((field) => qualified(field, options.myorigin)), ...added];
    return Buffer.from(lines.map((text) => `${text.replaceAll('\n', '\r\n')}\r\n`).join('') + '\r\n', 'latin1');
  }
}

const valueOf = ({ text }: Field): string =>
  text
    .slice(text.indexOf(':') + 1)
    .replaceAll('\n', '')
    .trim();

function qualified(field: Field, myorigin: string): string {
  if (!WITH_ADDRESSES.has(field.name)) return field.text;
  const list = qualifiedList(valueOf(field), myorigin);
  return list === undefined ? field.text : `${field.text.slice(0, field.text.indexOf(':'))}: ${list}`;
}

/** Latin1, as the rest of the header: a name that is not ASCII is encoded. */
function author({ author: address, fullName }: HeaderOptions): string {
  const name = fullName
    .replace(/[\x00-\x1f\x7f]/g, ' ')
    .trim()
    .slice(0, 200);
  const from = Buffer.from(address, 'utf8').toString('latin1');
  if (name === '') return from;
  return `${/^[\x20-\x7e]*$/.test(name) ? phrase(name) : encodeWords(name)} <${from}>`;
}

const stamp = (at: number): string => new Date(at).toISOString().replace(/[-:TZ]|\.\d+/g, '');
