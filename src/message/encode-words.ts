// Text that is not ASCII as RFC 2047 words: UTF-8 in base64.

/** Bytes of text in one word: at most 75 characters with everything around it (RFC 2047 section 2). */
const WORD_BYTES = 45;

/** The words, a space between each; ASCII stays as it is. Control characters become spaces. */
export function encodeWords(text: string): string {
  const clean = text.replace(/[\x00-\x1f\x7f]+/g, ' ');
  if (/^[\x20-\x7e]*$/.test(clean) && !clean.includes('=?')) return clean;
  const words: string[] = [];
  let word = '';
  for (const char of clean) {
    if (Buffer.byteLength(word + char) > WORD_BYTES) {
      words.push(word);
      word = '';
    }
    word += char;
  }
  words.push(word);
  return words.map((one) => `=?UTF-8?B?${Buffer.from(one).toString('base64')}?=`).join(' ');
}
