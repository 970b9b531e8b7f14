// A name server on loopback (UDP and TCP on one port) whose answers are scripted: to test how DNS fails, not only what it says.
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server } from 'node:net';
import type { AddressInfo } from 'node:net';

interface DnsRecords {
  readonly mx?: readonly (readonly [priority: number, exchange: string])[];
  readonly a?: readonly string[];
  readonly aaaa?: readonly string[];
  readonly txt?: readonly string[];
  readonly ptr?: readonly string[];
  /** `3 1 1 HEX`. */
  readonly tlsa?: readonly string[];
  /** Stands before whatever else there is. */
  readonly cname?: string;
}
/** `forged`: the right answer under a wrong id; `truncated`: UDP says to ask by TCP, which answers; `tcp-silent`: so, and TCP does not. */
interface DnsName {
  readonly records?: DnsRecords;
  readonly fault?: 'servfail' | 'refused' | 'silent' | 'garbage' | 'forged' | 'truncated' | 'tcp-silent';
  /** False: not validated, where the server otherwise does. */
  readonly secure?: boolean;
  /** Types that the fault is for (`MX`, `A`, …); all when absent. */
  readonly types?: readonly string[];
}

const TYPES = { A: 1, CNAME: 5, PTR: 12, MX: 15, TXT: 16, AAAA: 28, TLSA: 52 } as const;
/** AD. */
const AUTHENTIC = 0x20;

export class DnsServer {
  /** What was asked: `MX example.test`, with ` tcp` behind where it came so. */
  readonly questions: string[] = [];
  /** Answers as a validating resolver. */
  validating = false;
  readonly #names: Map<string, DnsName>;
  #udp: UdpSocket | undefined;
  #tcp: Server | undefined;
  #port = 0;

  /** Names that are not there do not exist. Change the map at any time with `set`. */
  constructor(names: Readonly<Record<string, DnsName>> = {}) {
    this.#names = new Map(Object.entries(names).map(([name, value]) => [name.toLowerCase(), value]));
  }
  set(name: string, value: DnsName): void {
    this.#names.set(name.toLowerCase(), value);
  }
  /** `127.0.0.1:PORT`. */
  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  async start(): Promise<this> {
    const tcp = createServer((socket) => {
      socket.on('error', () => undefined);
      let input = Buffer.alloc(0);
      socket.on('data', (chunk) => {
        input = Buffer.concat([input, chunk]);
        if (input.length < 2 || input.length < 2 + input.readUInt16BE(0)) return;
        const reply = this.#answer(input.subarray(2, 2 + input.readUInt16BE(0)), true);
        if (!reply) return;
        const length = Buffer.alloc(2);
        length.writeUInt16BE(reply.length);
        socket.end(Buffer.concat([length, reply]));
      });
    });
    await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
    this.#tcp = tcp;
    this.#port = (tcp.address() as AddressInfo).port;
    const udp = createSocket('udp4');
    udp.on('message', (query, from) => {
      const reply = this.#answer(query, false);
      if (reply) udp.send(reply, from.port, from.address);
    });
    await new Promise<void>((resolve, reject) => {
      udp.once('error', reject);
      udp.bind(this.#port, '127.0.0.1', resolve);
    });
    this.#udp = udp;
    return this;
  }
  async stop(): Promise<void> {
    this.#udp?.close();
    await new Promise((resolve) => (this.#tcp ? this.#tcp.close(resolve) : resolve(undefined)));
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #answer(query: Buffer, tcp: boolean): Buffer | undefined {
    const { name, type } = question(query);
    this.questions.push(`${type} ${name}${tcp ? ' tcp' : ''}`);
    const entry = this.#names.get(name);
    const fault = entry?.types && !entry.types.includes(type) ? undefined : entry?.fault;
    const records = entry?.records;
    switch (fault) {
      case 'silent':
        return undefined;
      case 'servfail':
        return answerTo(query, 2, []);
      case 'refused':
        return answerTo(query, 5, []);
      case 'garbage':
        return Buffer.concat([query.subarray(0, 2), Buffer.from('\x81\x80\xff\xff\xff\xff\xff', 'latin1')]);
      case 'truncated':
      case 'tcp-silent':
        if (tcp && fault === 'truncated') {
          const whole = answerTo(query, 0, answers(records, type));
          if (this.validating) whole.writeUInt16BE(whole.readUInt16BE(2) | AUTHENTIC, 2);
          return whole;
        }
        if (tcp) return undefined;
        return answerTo(query, 0, [], true);
      default: {
        const reply = entry ? answerTo(query, 0, answers(records, type)) : answerTo(query, 3, []);
        if (this.validating && entry?.secure !== false) reply.writeUInt16BE(reply.readUInt16BE(2) | AUTHENTIC, 2);
        if (fault === 'forged') reply.writeUInt16BE(query.readUInt16BE(0) ^ 0xffff, 0);
        return reply;
      }
    }
  }
}

function question(query: Buffer): { name: string; type: string } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += length + 1;
  }
  const number = query.readUInt16BE(at + 1);
  const [type = String(number)] = Object.entries(TYPES).find(([, value]) => value === number) ?? [];
  return { name: labels.join('.').toLowerCase(), type };
}

interface Answer {
  readonly type: number;
  readonly data: Buffer;
}
function answers(records: DnsRecords | undefined, type: string): readonly Answer[] {
  const alias = records?.cname === undefined ? [] : [{ type: TYPES.CNAME, data: wireName(records.cname) }];
  return [...alias, ...answersOf(records, type)];
}
function answersOf(records: DnsRecords | undefined, type: string): readonly Answer[] {
  switch (type) {
    case 'TLSA':
      return (records?.tlsa ?? []).map((text) => {
        const [usage = 0, selector = 0, matching = 0] = text.split(' ').map(Number);
        return {
          type: TYPES.TLSA,
          data: Buffer.concat([Buffer.from([usage, selector, matching]), Buffer.from(text.split(' ')[3] ?? '', 'hex')]),
        };
      });
    case 'MX':
      return (records?.mx ?? []).map(([priority, exchange]) => ({
        type: TYPES.MX,
        data: Buffer.concat([Buffer.from([priority >> 8, priority & 255]), wireName(exchange)]),
      }));
    case 'A':
      return (records?.a ?? []).map((address) => ({ type: TYPES.A, data: Buffer.from(address.split('.').map(Number)) }));
    case 'AAAA':
      return (records?.aaaa ?? []).map((address) => ({ type: TYPES.AAAA, data: ipv6(address) }));
    case 'TXT':
      return (records?.txt ?? []).map((text) => ({ type: TYPES.TXT, data: strings(text) }));
    case 'PTR':
      return (records?.ptr ?? []).map((name) => ({ type: TYPES.PTR, data: wireName(name) }));
    default:
      return [];
  }
}

/** Strings of at most 255 bytes each. */
function strings(text: string): Buffer {
  const parts = text.match(/[^]{1,255}/g) ?? [''];
  return Buffer.concat(parts.map((part) => Buffer.concat([Buffer.from([part.length]), Buffer.from(part, 'latin1')])));
}
function ipv6(address: string): Buffer {
  const [head = '', tail] = address.split('::');
  const words = (text: string): number[] => (text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16)));
  const front = words(head);
  const back = words(tail ?? '');
  const all = [...front, ...Array.from({ length: 8 - front.length - back.length }, () => 0), ...back];
  return Buffer.from(all.flatMap((word) => [word >> 8, word & 255]));
}
/** Labels, each behind its length. */
export const wireName = (name: string): Buffer =>
  Buffer.concat([
    ...name
      .replace(/\.$/, '')
      .split('.')
      .filter((label) => label !== '')
      .map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, 'latin1')])),
    Buffer.from([0]),
  ]);

/** The query as its answer: class IN, TTL 60, names as pointers to the question. */
export function answerTo(query: Buffer, rcode: number, records: readonly Answer[] = [], truncated = false): Buffer {
  const end = query.indexOf(0, 12) + 5;
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(0x8180 | rcode | (truncated ? 0x0200 : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  header.writeUInt16BE(0, 8);
  header.writeUInt16BE(0, 10);
  const body = records.map(({ type, data }) => {
    const head = Buffer.alloc(12);
    head.writeUInt16BE(0xc00c, 0);
    head.writeUInt16BE(type, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt32BE(60, 6);
    head.writeUInt16BE(data.length, 10);
    return Buffer.concat([head, data]);
  });
  return Buffer.concat([header, query.subarray(12, end), ...body]);
}
