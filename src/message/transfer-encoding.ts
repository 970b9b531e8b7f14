// Content-Transfer-Encoding undone (RFC 2045 section 6), tolerantly and chunk by chunk.

export interface Decoder {
  push(chunk: Buffer): Buffer;
  end(): Buffer;
}

const EMPTY = Buffer.alloc(0);
const identity: Decoder = { push: (chunk) => chunk, end: () => EMPTY };

/** A decoder for the encoding named (any case); the identity for unknown ones. */
export function transferDecoder(encoding: string): Decoder {
  switch (encoding.toUpperCase()) {
    case 'BASE64':
      return new Base64Decoder();
    case 'QUOTED-PRINTABLE':
      return new QuotedPrintableDecoder();
    default:
      return identity;
  }
}

class Base64Decoder implements Decoder {
  #held = '';

  push(chunk: Buffer): Buffer {
    const text = this.#held + chunk.toString('latin1').replace(/[^A-Za-z0-9+/]/g, '');
    const whole = text.length - (text.length % 4);
    this.#held = text.slice(whole);
    return Buffer.from(text.slice(0, whole), 'base64');
  }
  end(): Buffer {
    const rest = Buffer.from(this.#held, 'base64');
    this.#held = '';
    return rest;
  }
}

class QuotedPrintableDecoder implements Decoder {
  #held = '';

  push(chunk: Buffer): Buffer {
    const text = this.#held + chunk.toString('latin1');
    // An escape, or white space at a line's end, may go on in the next chunk.
    const cut = /(?:=[0-9A-Fa-f]?\r?|[ \t]{1,100})$/.exec(text)?.index ?? text.length;
    this.#held = text.slice(cut);
    return decode(text.slice(0, cut));
  }
  end(): Buffer {
    const rest = decode(this.#held);
    this.#held = '';
    return rest;
  }
}
const decode = (text: string): Buffer =>
  Buffer.from(
    text.replace(/=\r?\n/g, '').replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );
