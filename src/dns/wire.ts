// Questions and answers of DNS as bytes (RFC 1035 section 4), as far as TLS for SMTP needs them.

export const TYPES = { A: 1, MX: 15, AAAA: 28, TLSA: 52 } as const;
const CNAME = 5;
const OPT = 41;

export interface SecureAnswer {
  /** Validated (the AD bit). */
  readonly secure: boolean;
  readonly truncated: boolean;
  /** The data of records of the type that was asked for. */
  readonly records: readonly Buffer[];
  /** Names in the data (MX), in the order of the records, lower case. */
  readonly names: readonly string[];
  /** Where CNAME records lead to; undefined without any. */
  readonly canonical: string | undefined;
}

const HEADER = 12;
const FLAGS = { response: 0x8000, truncated: 0x0200, recursion: 0x0100, authentic: 0x0020 } as const;
/** Hops through pointers in one name, and records that are looked at. */
const MAX_POINTERS = 32;
const MAX_RECORDS = 200;

/** @throws Error for what is no name in A-labels */
export function query(id: number, name: string, type: number): Buffer {
  const labels = name.replace(/\.$/, '').split('.');
  if (name.length > 253 || labels.some((label) => !/^[\x21-\x7e]{1,63}$/.test(label))) throw new Error('no name that DNS has');
  const header = Buffer.alloc(HEADER);
  header.writeUInt16BE(id, 0);
  // AD in a question: the answer's is wanted (RFC 6840 section 5.7).
  header.writeUInt16BE(FLAGS.recursion | FLAGS.authentic, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(1, 10);
  const wireName = labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, 'latin1')]);
  // RFC 6891: answers of up to 1,232 bytes.
  const options = Buffer.from([0, OPT >> 8, OPT & 255, 1232 >> 8, 1232 & 255, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([header, ...wireName, Buffer.from([0, 0, type, 0, 1]), options]);
}

/** The same id and the same question. */
export function isAnswerTo(reply: Buffer, question: Buffer): boolean {
  const end = question.length - 11;
  if (reply.length < end || reply.readUInt16BE(0) !== question.readUInt16BE(0)) return false;
  if ((reply.readUInt16BE(2) & FLAGS.response) === 0 || reply.readUInt16BE(4) !== 1) return false;
  return reply.toString('latin1', HEADER, end).toLowerCase() === question.toString('latin1', HEADER, end).toLowerCase();
}

/** @throws Error for refusals, failures (SERVFAIL: also an answer that is forged) and what is no answer */
export function parseAnswer(reply: Buffer, type: number): SecureAnswer {
  const flags = reply.readUInt16BE(2);
  const code = flags & 15;
  if (code !== 0 && code !== 3) throw new Error(code === 2 ? 'SERVFAIL' : `answered with code ${code}`);
  const count = Math.min(reply.readUInt16BE(6), MAX_RECORDS);
  let at = nameAt(reply, HEADER).end + 4;
  const records: Buffer[] = [];
  const names: string[] = [];
  let canonical: string | undefined;
  const truncated = (flags & FLAGS.truncated) !== 0;
  for (let i = 0; i < count && !truncated; i++) {
    const { end } = nameAt(reply, at);
    const [found, size] = [reply.readUInt16BE(end), reply.readUInt16BE(end + 8)];
    const start = end + 10;
    at = start + size;
    if (at > reply.length) throw new Error('half an answer');
    if (found === CNAME) canonical = nameAt(reply, start).name;
    if (found !== type) continue;
    records.push(reply.subarray(start, at));
    if (type === TYPES.MX) names.push(nameAt(reply, start + 2).name);
  }
  return { secure: (flags & FLAGS.authentic) !== 0, truncated, records, names, canonical };
}

/** @throws RangeError beyond the end, Error for pointers in a circle */
function nameAt(bytes: Buffer, start: number): { name: string; end: number } {
  const labels: string[] = [];
  let end: number | undefined;
  let at = start;
  for (let pointers = 0; ;) {
    const length = bytes.readUInt8(at);
    if (length >= 0xc0) {
      if (++pointers > MAX_POINTERS) throw new Error('a name without an end');
      end ??= at + 2;
      at = bytes.readUInt16BE(at) & 0x3fff;
    } else if (length === 0) return { name: labels.join('.').toLowerCase(), end: end ?? at + 1 };
    else {
      if (labels.length > 127) throw new Error('a name without an end');
      labels.push(bytes.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
  }
}
