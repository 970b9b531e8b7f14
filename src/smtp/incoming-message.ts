// A message while it comes in: spooled, its size and header watched. What is over a limit is thrown away as it comes, and the client learns of it
// when it has sent everything (or is cut off when that is twice the limit).
import { formatMailbox } from '../message/address-spec.ts';
import { parseFields, fieldValue } from '../message/headers.ts';
import { parseAddressList, plainAddresses } from '../message/addresses.ts';
import { Spool } from '../message/spool.ts';
import type { MessageSource } from '../message/source.ts';
import { MailError, toMailError } from '../lib/errors.ts';
import { repairHeader } from './header-repair.ts';
import type { SmtpLimits } from './limits.ts';

const LF = 0x0a;
const CR = 0x0d;

export class IncomingMessage {
  readonly #spool: Spool;
  readonly #limits: SmtpLimits;
  #header: Buffer[] = [];
  #headerBytes = 0;
  #headerLines = 0;
  #inHeader = true;
  #lineLength = 0;
  #size = 0;
  #error: MailError | undefined;
  #ignored = false;
  /** Bytes that came from the wire, those thrown away included. */
  received = 0;

  constructor(spoolFolder: string, limits: SmtpLimits) {
    this.#spool = new Spool(spoolFolder);
    this.#limits = limits;
  }

  /** True when so much came that the connection is to be cut. */
  get excessive(): boolean {
    return this.received > 2 * this.#limits.messageSize + 1024;
  }

  /** What has gone wrong so far. */
  get failure(): MailError | undefined {
    return this.#error;
  }
  /** Nothing of what comes from now on is kept. */
  ignore(): void {
    this.#ignored = true;
  }

  /** Takes content (CRLF line ends) that `raw` bytes on the wire were. Never throws: what goes wrong is said by `failure` and `finish`. */
  async write(content: Buffer, raw: number): Promise<void> {
    this.received += raw;
    this.#size += content.length;
    if (this.#error || this.#ignored) return;
    if (this.#size > this.#limits.messageSize)
      return this.#fail(new MailError('too-large', 'MESSAGE_TOO_LARGE', 'Message size exceeds fixed limit'));
    if (this.#inHeader) this.#watchHeader(content);
    if (this.#error) return;
    try {
      await this.#spool.write(content);
    } catch (error) {
      await this.#fail(toMailError(error, 'spooling a message'));
    }
  }
  async #fail(error: MailError): Promise<void> {
    this.#error = error;
    this.#header = [];
    await this.#spool.discard().catch(() => undefined);
  }

  #watchHeader(content: Buffer): void {
    let end = content.length;
    for (let at = 0; at < content.length;) {
      const lf = content.indexOf(LF, at);
      if (lf < 0) {
        this.#lineLength += content.length - at;
        break;
      }
      this.#lineLength += lf + 1 - at;
      this.#headerLines++;
      const empty = this.#lineLength === 2 && (lf === 0 || content[lf - 1] === CR);
      this.#lineLength = 0;
      at = lf + 1;
      if (empty) {
        this.#inHeader = false;
        end = at;
        break;
      }
    }
    this.#header.push(Buffer.from(content.subarray(0, end)));
    this.#headerBytes += end;
    if (this.#headerBytes > this.#limits.headerBytes || this.#headerLines > 4 * this.#limits.headerFields)
      void this.#fail(new MailError('too-large', 'HEADER_TOO_LARGE', 'Message header exceeds fixed limit'));
  }

  /**
   * The whole message, its header with the empty line, and how many bytes of `source` the header stands for.
   * @throws MailError what went wrong on the way, or is wrong with the header
   */
  async finish(): Promise<{ source: MessageSource; header: Buffer; headLength: number; deliveredTo: string[] }> {
    if (this.#error) throw this.#error;
    const { header, length: headLength } = repairHeader(Buffer.concat(this.#header));
    const fields = parseFields(header, { headerBytes: this.#limits.headerBytes, headerFields: this.#limits.headerFields + 1 });
    if (fields.length > this.#limits.headerFields) {
      await this.#spool.discard();
      throw new MailError('too-large', 'HEADER_TOO_LARGE', 'Message header exceeds fixed limit');
    }
    const hops = fields.reduce((n, field) => n + (field.name === 'received' ? 1 : 0), 0);
    if (hops > this.#limits.hops) {
      await this.#spool.discard();
      throw new TooManyHops();
    }
    const deliveredTo = fields
      .filter((field) => field.name === 'delivered-to')
      .slice(0, 2 * this.#limits.hops)
      .flatMap((field) =>
        plainAddresses(parseAddressList(utf8(fieldValue(header, field, 1_000)), { addressBytes: 1_000, addresses: 2 })),
      )
      .map(canonical);
    return { source: this.#spool.finish(), header, headLength, deliveredTo };
  }

  async discard(): Promise<void> {
    await this.#spool.discard().catch(() => undefined);
  }
}

/** Field values are read as latin1. */
const utf8 = (text: string): string => Buffer.from(text, 'latin1').toString('utf8');
/** As the router writes addresses: quoted where they must be. */
const canonical = (address: string): string => {
  const at = address.lastIndexOf('@');
  return formatMailbox(address.slice(0, at), address.slice(at + 1)).toLowerCase();
};

/** RFC 5321 6.3: 554 5.4.0. */
export class TooManyHops extends MailError {
  constructor() {
    super('not-permitted', 'TOO_MANY_HOPS', 'Too many hops');
  }
}
