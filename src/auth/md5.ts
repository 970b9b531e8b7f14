// MD5 with its inner state in sight (RFC 1321): Dovecot's CRAM-MD5 scheme stores the two states of HMAC (RFC 2104) after the key, so that the secret
// itself need not be kept. node:crypto does not give its state away.

export type Md5State = readonly [number, number, number, number];

const INITIAL: Md5State = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
const SHIFTS = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21];
const SINES = Array.from({ length: 64 }, (_, i) => Math.floor(Math.abs(Math.sin(i + 1)) * 2 ** 32) >>> 0);
const rotate = (x: number, n: number): number => (x << n) | (x >>> (32 - n));

/** One step over a block of 64 bytes. */
function compress(state: Md5State, block: Buffer): Md5State {
  let [a, b, c, d] = state;
  for (let i = 0; i < 64; i++) {
    const round = i >> 4;
    const f = round === 0 ? (b & c) | (~b & d) : round === 1 ? (d & b) | (~d & c) : round === 2 ? b ^ c ^ d : c ^ (b | ~d);
    const g = round === 0 ? i : round === 1 ? (5 * i + 1) % 16 : round === 2 ? (3 * i + 5) % 16 : (7 * i) % 16;
    const sum = (a + f + (SINES[i] ?? 0) + block.readUInt32LE(g * 4)) | 0;
    const next = (b + rotate(sum, SHIFTS[round * 4 + (i % 4)] ?? 0)) | 0;
    [a, d, c, b] = [d, c, b, next];
  }
  return [(state[0] + a) >>> 0, (state[1] + b) >>> 0, (state[2] + c) >>> 0, (state[3] + d) >>> 0];
}

function bytesOf(state: Md5State): Buffer {
  const out = Buffer.alloc(16);
  state.forEach((word, i) => out.writeUInt32LE(word, i * 4));
  return out;
}
const stateOf = (bytes: Buffer): Md5State => [
  bytes.readUInt32LE(0),
  bytes.readUInt32LE(4),
  bytes.readUInt32LE(8),
  bytes.readUInt32LE(12),
];

/** Finishes a digest that has already taken one block. */
function finish(state: Md5State, message: Buffer): Buffer {
  const bits = (message.length + 64) * 8;
  const padded = Buffer.alloc(Math.ceil((message.length + 9) / 64) * 64);
  message.copy(padded);
  padded[message.length] = 0x80;
  padded.writeUInt32LE(bits >>> 0, padded.length - 8);
  padded.writeUInt32LE(Math.floor(bits / 2 ** 32), padded.length - 4);
  let current = state;
  for (let at = 0; at < padded.length; at += 64) current = compress(current, padded.subarray(at, at + 64));
  return bytesOf(current);
}

/** The 32 bytes that Dovecot stores: the outer state, then the inner one. `md5` is the digest for keys over 64 bytes. */
export function cramMd5Context(secret: Buffer, md5: (bytes: Buffer) => Buffer): Buffer {
  const key = Buffer.alloc(64);
  (secret.length > 64 ? md5(secret) : secret).copy(key);
  const outer = compress(INITIAL, Buffer.from(key.map((byte) => byte ^ 0x5c)));
  const inner = compress(INITIAL, Buffer.from(key.map((byte) => byte ^ 0x36)));
  return Buffer.concat([bytesOf(outer), bytesOf(inner)]);
}

/** HMAC-MD5 of a message from the stored states. */
export function hmacMd5From(context: Buffer, message: Buffer): Buffer {
  return finish(stateOf(context), finish(stateOf(context.subarray(16)), message));
}
