// crypt(3)'s `$1$salt$hash` (Poul-Henning Kamp's MD5 crypt).
import { createHash } from 'node:crypto';

const ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const md5 = (...parts: readonly Buffer[]): Buffer => {
  const hash = createHash('md5');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** The whole string for a password and the salt in `setting` (`$1$salt…`). */
export function md5Crypt(password: string, setting: string): string {
  const pw = Buffer.from(password, 'utf8');
  const salt = Buffer.from((setting.split('$')[2] ?? '').slice(0, 8), 'latin1');
  const final = md5(pw, salt, pw);
  const parts: Buffer[] = [pw, Buffer.from('$1$'), salt];
  for (let left = pw.length; left > 0; left -= 16) parts.push(final.subarray(0, Math.min(16, left)));
  for (let n = pw.length; n > 0; n >>= 1) parts.push(n & 1 ? Buffer.from([0]) : pw.subarray(0, 1));
  let digest = md5(...parts);
  for (let i = 0; i < 1000; i++) {
    const round: Buffer[] = [i & 1 ? pw : digest];
    if (i % 3) round.push(salt);
    if (i % 7) round.push(pw);
    round.push(i & 1 ? digest : pw);
    digest = md5(...round);
  }
  return `$1$${salt.toString('latin1')}$${encode(digest)}`;
}

function encode(digest: Buffer): string {
  const at = (i: number): number => digest[i] ?? 0;
  const groups = [
    [0, 6, 12],
    [1, 7, 13],
    [2, 8, 14],
    [3, 9, 15],
    [4, 10, 5],
  ] as const;
  return groups.map(([a, b, c]) => to64((at(a) << 16) | (at(b) << 8) | at(c), 4)).join('') + to64(at(11), 2);
}
function to64(value: number, length: number): string {
  let out = '';
  for (let i = 0, v = value; i < length; i++, v >>= 6) out += ALPHABET.charAt(v & 63);
  return out;
}
