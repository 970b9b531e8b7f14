// RFC 2047 words in header fields, RFC 2231 values in parameters.
import { decodeText } from './charset.ts';

const WORD = /=\?([^?\s*]{1,60})(?:\*[^?\s]{0,20})?\?([bBqQ])\?([^?\s]{0,10000})\?=/g;

/** Decodes a field's value (latin1 as it came; raw 8-bit is taken for UTF-8 when it is). White space between two encoded words is left out. */
export function decodeWords(value: string): string {
  let out = '';
  let last = 0;
  let afterWord = false;
  for (const match of value.matchAll(WORD)) {
    const between = value.slice(last, match.index);
    if (!(afterWord && /^[ \t\r\n]*$/.test(between))) out += decodeText(Buffer.from(between, 'latin1'), undefined);
    const [, charset = '', encoding = '', text = ''] = match;
    out += decodeText(encoding.toUpperCase() === 'B' ? Buffer.from(text, 'base64') : decodeQ(text), charset);
    last = match.index + match[0].length;
    afterWord = true;
  }
  return out + decodeText(Buffer.from(value.slice(last), 'latin1'), undefined);
}

const decodeQ = (text: string): Buffer =>
  Buffer.from(
    text.replaceAll('_', ' ').replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );

/** A parameter's value by its name: `name*` (RFC 2231: charset'language'percent-encoded) before `name`, whose RFC 2047 words are decoded too. */
export function parameterValue(params: readonly (readonly [string, string])[], name: string): string | undefined {
  const extended = params.find(([key]) => key.toLowerCase() === `${name}*`)?.[1];
  if (extended !== undefined) {
    const [charset = '', , ...rest] = extended.split("'");
    const text = rest.length > 0 ? rest.join("'") : extended;
    return decodeText(
      Buffer.from(
        text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
        'latin1',
      ),
      rest.length > 0 ? charset : undefined,
    );
  }
  const plain = params.find(([key]) => key.toLowerCase() === name)?.[1];
  return plain === undefined ? undefined : decodeWords(plain);
}
