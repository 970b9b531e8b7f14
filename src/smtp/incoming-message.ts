// A message while it comes in: spooled, its size and header watched. What is over a limit is thrown away as it comes, and the client learns of it
// when it has sent everything (or is cut off when that is twice the limit).
import { parseFields, fieldValue } from '../message/headers.ts';
import { parseAddressList, plainAddresses } from '../message/addresses.ts';
import { Spool } from '../message/spool.ts';
import type { MessageSource } from '../message/source.ts';
import { MailError, toMailError } from '../lib/errors.ts';
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
  #error: MailError | undefined;
  /** Bytes that came, those thrown away included. */
  received = 0;

  constructor(spoolFolder: string, limits: SmtpLimits) {
    this.#spool = new Spool(spoolFolder);
    this.#limits = limits;
  }

  /** True when so much came that the connection is to be cut. */
  get excessive(): boolean {
    return this.received > 2 * this.#limits.messageSize + 1024;
  }

  /** Takes content (CRLF line ends). Never throws: what goes wrong is said by `finish`. */
  async write(content: Buffer): Promise<void> {
    this.received += content.length;
    if (this.#error) return;
    if (this.received > this.#limits.messageSize)
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

  /** The header block, its empty line included. */
  get header(): Buffer {
    return Buffer.concat(this.#header);
  }

  /** The whole message and its header. @throws MailError what went wrong on the way, or is wrong with the header */
  async finish(): Promise<{ source: MessageSource; header: Buffer; deliveredTo: string[] }> {
    if (this.#error) throw this.#error;
    const header = this.header;
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
      .flatMap((field) =>
        plainAddresses(parseAddressList(fieldValue(header, field, 1_000), { addressBytes: 1_000, addresses: 2 })),
      );
    return { source: this.#spool.finish(), header, deliveredTo: deliveredTo.map((address) => address.toLowerCase()) };
  }

  async discard(): Promise<void> {
    await this.#spool.discard().catch(() => undefined);
  }
}

/** RFC 5321 6.3: 554 5.4.0. */
export class TooManyHops extends MailError {
  constructor() {
    super('not-permitted', 'TOO_MANY_HOPS', 'Too many hops');
  }
}
