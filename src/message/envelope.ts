// The ENVELOPE of a header block (RFC 3501 section 7.4.2) and its Content-… fields.
import { parseAddressList } from './addresses.ts';
import { parseContentType, parseDisposition, type ContentType } from './content-type.ts';
import { fieldValue, parseFields, type HeaderField } from './headers.ts';
import type { Disposition, Envelope, EnvelopeAddress, MimeLimits } from './types.ts';

/**
 * The fields of one block. Where one comes several times: of Content-… the first counts; of an envelope's texts the last, and address lists are
 * joined (as Dovecot has it: nobody may hide a second From behind the first).
 */
export class Header {
  readonly #block: Buffer;
  readonly #fields = new Map<string, HeaderField[]>();
  readonly #limits: MimeLimits;

  constructor(block: Buffer, limits: MimeLimits) {
    this.#block = block;
    this.#limits = limits;
    for (const field of parseFields(block, limits)) {
      const same = this.#fields.get(field.name);
      if (same) same.push(field);
      else this.#fields.set(field.name, [field]);
    }
  }

  /** Unfolded, as latin1, at most 64 KB; null when absent. */
  value(name: string): string | null {
    return this.#text(this.#fields.get(name)?.[0]);
  }
  #last(name: string): string | null {
    return this.#text(this.#fields.get(name)?.at(-1));
  }
  #text(field: HeaderField | undefined): string | null {
    return field ? fieldValue(this.#block, field, this.#limits.addressBytes) : null;
  }
  #addresses(name: string): EnvelopeAddress[] {
    const found: EnvelopeAddress[] = [];
    let bytes = 0;
    for (const field of this.#fields.get(name) ?? []) {
      const { addresses, addressBytes } = this.#limits;
      if (found.length >= addresses || bytes >= addressBytes) break;
      const value = fieldValue(this.#block, field, addressBytes - bytes);
      bytes += value.length;
      found.push(...parseAddressList(value, { addresses: addresses - found.length, addressBytes }));
    }
    return found;
  }

  envelope(): Envelope {
    return {
      date: this.#last('date'),
      subject: this.#last('subject'),
      from: this.#addresses('from'),
      sender: this.#addresses('sender'),
      replyTo: this.#addresses('reply-to'),
      to: this.#addresses('to'),
      cc: this.#addresses('cc'),
      bcc: this.#addresses('bcc'),
      inReplyTo: this.#last('in-reply-to'),
      messageId: this.#last('message-id'),
    };
  }

  contentType(): ContentType | undefined {
    const value = this.value('content-type');
    return value === null ? undefined : parseContentType(value, this.#limits.parameters);
  }
  disposition(): Disposition | null {
    const value = this.value('content-disposition');
    return (value === null ? undefined : parseDisposition(value, this.#limits.parameters)) ?? null;
  }
  /** Content-Transfer-Encoding as a bare token, upper case; "7BIT" when absent or empty. */
  encoding(): string {
    const token = /^[^\s;(]{1,64}/.exec(this.value('content-transfer-encoding') ?? '')?.[0];
    return token === undefined ? '7BIT' : token.toUpperCase();
  }
  languages(): string[] | null {
    const value = this.value('content-language');
    const tags = value === null ? [] : value.split(',').flatMap((tag) => tag.trim() || []);
    return tags.length > 0 ? tags.slice(0, 50) : null;
  }
}
