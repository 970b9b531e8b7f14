// Steady load for a long time on a whole server with two workers: messages at a fixed rate (one in ten passes through the queue to another host), IDLE
// sessions that hear of them, readers that expunge what has come, and a look at memory and open descriptors all along (RELIABILITY row 15).
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { ImapClient } from './imap-script.ts';
import { startMailHost, type MailHost } from './mail-host.ts';
import { SmtpSender } from './smtp-send.ts';
import { SmtpSink } from './smtp-sink.ts';

export interface EnduranceLoad {
  readonly seconds: number;
  /** Messages a second. */
  readonly rate: number;
  readonly idleSessions: number;
  readonly progress?: (text: string) => void;
}

/** Of all processes of the server together. */
export interface Sample {
  readonly second: number;
  readonly residentMb: number;
  readonly descriptors: number;
}

export interface EnduranceResult {
  /** Acknowledged, for mailboxes here. */
  readonly sent: number;
  /** Acknowledged, for another host. */
  readonly queued: number;
  /** What the other host got of these. */
  readonly passedOn: number;
  /** Found in the mailboxes: expunged by the readers, or still there at the end. */
  readonly found: number;
  /** EXISTS responses that the IDLE sessions got. */
  readonly heard: number;
  /** Milliseconds of the readers' longest session (seven commands). */
  readonly slowestMs: number;
  readonly samples: readonly Sample[];
}

const MAILBOXES = 50;
const LANES = 5;
const PASSWORD = 'secret';
const SAMPLE_MS = 5_000;
/** RFC 2177 wants IDLE issued anew at least every 29 minutes. */
const IDLE_AGAIN_MS = 5 * 60_000;
/** Between two rounds of the readers over all mailboxes. */
const EXPUNGE_MS = 10_000;
/** Far beyond what anything takes: the machine may have other things to do. */
const STALLED_MS = 30_000;
/** Of so many messages one is for another host. */
const QUEUED_EACH = 10;
const ADDRESSES = Array.from({ length: MAILBOXES }, (_, i) => `user${i}@example.test`);

/** @throws AssertionError when a message is refused, a session is cut, or the server says an error */
export async function enduranceLoad(load: EnduranceLoad): Promise<EnduranceResult> {
  await using sink = await new SmtpSink().start();
  sink.keep = false;
  await using host = await startMailHost({
    users: Object.fromEntries(ADDRESSES.map((address) => [address, PASSWORD])),
    settings: {
      workers: 2,
      mynetworks: ['127.0.0.0/8'],
      transport_maps: `inline:{outside.test=smtp:[127.0.0.1]:${sink.port}}`,
      smtpd_client_connection_count_limit: 0,
      imap_client_connection_count_limit: 0,
      mail_max_userip_connections: 0,
    },
  });
  const until = performance.now() + load.seconds * 1000;
  const idlers = await Promise.all(
    Array.from({ length: load.idleSessions }, (_, i) => Idler.start(host.ports.imap, ADDRESSES[i % MAILBOXES] ?? '')),
  );
  const reader = new Reader(host);
  const samples: Sample[] = [];
  const [counts] = await Promise.all([
    send(host, load, until),
    idleAgain(idlers, until),
    reader.run(until),
    watch(host, load, until, samples),
  ]);
  await reader.round();
  await within(STALLED_MS, () => sink.messages.length >= counts.queued);
  assert.deepEqual(
    idlers.filter(({ closed }) => closed),
    [],
    'IDLE sessions that were cut off',
  );
  for (const idler of idlers) idler.close();
  assert.deepEqual(errorsIn(host), []);
  return {
    ...counts,
    passedOn: sink.messages.length,
    found: reader.expunged,
    slowestMs: Math.round(reader.slowestMs),
    heard: idlers.reduce((sum, { heard }) => sum + heard, 0),
    samples,
  };
}

/** Over a few kept connections, at the rate, each message acknowledged. */
async function send(host: MailHost, { rate }: EnduranceLoad, until: number): Promise<Pick<EnduranceResult, 'sent' | 'queued'>> {
  const began = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    let sender = await SmtpSender.connect(host.ports.smtp);
    let onThis = 0;
    for (;;) {
      const n = next++;
      const due = began + (n * 1000) / rate;
      // Behind its rate on a busy machine it ends in time, too.
      if (due >= until || performance.now() >= until) break;
      if (due > performance.now()) await pause(due - performance.now());
      const here = n % QUEUED_EACH !== 0;
      await sender.command('MAIL FROM:<eva@remote.test>', '250');
      await sender.command(`RCPT TO:<${here ? ADDRESSES[n % MAILBOXES] : `user${n}@outside.test`}>`, '250');
      await sender.command('DATA', '354');
      await sender.command(`Message-ID: <${n}@remote.test>\r\nSubject: ${n}\r\n\r\n${`line of ${n}\r\n`.repeat(100)}.`, '250');
      if (here) sent++;
      else queued++;
      // Connections come and go, too.
      if (++onThis < 50) continue;
      await sender.quit();
      sender = await SmtpSender.connect(host.ports.smtp);
      onThis = 0;
    }
    await sender.quit();
  };
  let sent = 0;
  let queued = 0;
  await Promise.all(Array.from({ length: LANES }, lane));
  return { sent, queued };
}

/** A session that waits. */
class Idler {
  heard = 0;
  closed = false;
  readonly #client: ImapClient;
  #tag = 0;

  private constructor(client: ImapClient) {
    this.#client = client;
  }
  static async start(port: number, address: string): Promise<Idler> {
    const client = await ImapClient.connect(port);
    client.patience = STALLED_MS;
    await client.response();
    await client.command('l', `LOGIN "${address}" "${PASSWORD}"`);
    await client.command('s', 'SELECT INBOX');
    const idler = new Idler(client);
    const { socket } = client;
    // From here on nothing is kept: only counted.
    socket.removeAllListeners('data');
    socket.on('data', (chunk: Buffer) => (idler.heard += chunk.toString('latin1').match(/ EXISTS\r\n/g)?.length ?? 0));
    socket.on('close', () => (idler.closed = true));
    idler.idle();
    return idler;
  }
  idle(): void {
    this.#client.line(`i${++this.#tag} IDLE`);
  }
  again(): void {
    this.#client.line('DONE');
    this.idle();
  }
  close(): void {
    this.#client.socket.destroy();
  }
}

async function idleAgain(idlers: readonly Idler[], until: number): Promise<void> {
  for (;;) {
    const left = until - performance.now();
    if (left <= IDLE_AGAIN_MS) return void (await pause(Math.max(0, left)));
    await pause(IDLE_AGAIN_MS);
    for (const idler of idlers) idler.again();
  }
}

/** Empties each mailbox again and again, as people do: without it the sessions' views would grow with the mail. */
class Reader {
  expunged = 0;
  /** The longest session, from its greeting to its end. */
  slowestMs = 0;
  readonly #host: MailHost;

  constructor(host: MailHost) {
    this.#host = host;
  }
  async run(until: number): Promise<void> {
    while (performance.now() < until) {
      await this.round();
      await pause(Math.min(EXPUNGE_MS, Math.max(0, until - performance.now())));
    }
  }
  async round(): Promise<void> {
    let next = 0;
    const lane = async (): Promise<void> => {
      for (let address = ADDRESSES[next++]; address !== undefined; address = ADDRESSES[next++]) await this.#empty(address);
    };
    // Several at a time: on a busy machine mailboxes would fill faster than one reader empties them.
    await Promise.all(Array.from({ length: LANES }, lane));
  }
  async #empty(address: string): Promise<void> {
    const client = await ImapClient.connect(this.#host.ports.imap);
    client.patience = STALLED_MS;
    const began = performance.now();
    await client.response();
    await client.command('l', `LOGIN "${address}" "${PASSWORD}"`);
    await client.command('s', 'SELECT INBOX');
    await client.command('f', 'UID FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE)');
    await client.command('d', 'UID STORE 1:* +FLAGS.SILENT (\\Deleted)');
    const gone = await client.command('e', 'EXPUNGE');
    this.expunged += gone.filter((line) => / EXPUNGE$/.test(line)).length;
    await client.command('q', 'LOGOUT');
    client.socket.destroy();
    this.slowestMs = Math.max(this.slowestMs, performance.now() - began);
  }
}

async function watch(host: MailHost, { progress }: EnduranceLoad, until: number, samples: Sample[]): Promise<void> {
  const began = performance.now();
  while (performance.now() + SAMPLE_MS < until) {
    await pause(SAMPLE_MS);
    const sample = { second: Math.round((performance.now() - began) / 1000), ...(await measure(host)) };
    samples.push(sample);
    assert.deepEqual(errorsIn(host), []);
    if (samples.length % 12 === 0)
      progress?.(`${sample.second} s: ${sample.residentMb.toFixed(0)} MB, ${sample.descriptors} descriptors`);
  }
  await pause(Math.max(0, until - performance.now()));
}

/** What the server logged as an error since it was asked last. */
const errorsIn = (host: MailHost): string[] =>
  host
    .takeOutput()
    .split('\n')
    .filter((line) => line.includes('"level":"error"'));

async function measure(host: MailHost): Promise<Omit<Sample, 'second'>> {
  const pids = [host.pid ?? 0, ...(await host.workers())];
  let residentMb = 0;
  let descriptors = 0;
  for (const pid of pids) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    residentMb += Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024;
    descriptors += (await readdir(`/proc/${pid}/fd`)).length;
  }
  return { residentMb, descriptors };
}

async function within(ms: number, done: () => boolean): Promise<void> {
  const end = performance.now() + ms;
  while (!done() && performance.now() < end) await pause(100);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Memory and descriptors behind the first third (code is compiled, caches fill): least of the time after it against the least of the end. */
export function growth(samples: readonly Sample[]): { readonly residentMb: number; readonly descriptors: number } {
  const settled = samples.slice(Math.floor(samples.length / 3));
  const part = Math.max(1, Math.floor(settled.length / 4));
  const grown = (of: (sample: Sample) => number): number =>
    Math.min(...settled.slice(-part).map(of)) - Math.min(...settled.slice(0, part).map(of));
  return { residentMb: grown(({ residentMb }) => residentMb), descriptors: grown(({ descriptors }) => descriptors) };
}
