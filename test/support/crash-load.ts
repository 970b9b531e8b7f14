// Load on a whole server whose workers and supervisor are killed meanwhile: an outside client that keeps its own synced ledger of what was
// acknowledged and sends again what was cut off, seeded kills, somebody who looks into the mailboxes all the time, and the reckoning.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { open, readFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { ImapClient } from './imap-script.ts';
import { eventually, startMailHost, type MailHost } from './mail-host.ts';
import { MailboxCheck, readUidlist } from './mailbox-check.ts';
import { seededRandom, type Random } from './random.ts';
import { SmtpSender } from './smtp-send.ts';
import { spawnBuzon } from './spawn-buzon.ts';

export interface CrashLoad {
  readonly messages: number;
  readonly kills: number;
  readonly seed: number;
  /** Told now and then how far it is. */
  readonly progress?: (text: string) => void;
}

/** What happened. */
export interface Reckoning {
  readonly acknowledged: number;
  readonly workersKilled: number;
  readonly supervisorsKilled: number;
  /** Replies to a final dot that never came. */
  readonly cut: number;
  /** Final dots that were answered with a temporary refusal. */
  readonly refused: number;
  /** Messages that are there more often than once; each had its reply cut. */
  readonly twice: number;
  readonly seconds: number;
}

const MAILBOXES = 20;
const LANES = 8;
const PASSWORD = 'secret';
const WORKERS = 2;
/** One kill in so many. */
const SUPERVISOR_EVERY = 5;
/** No message takes longer, whatever is killed meanwhile. */
const STUCK_MS = 120_000;
const USERS = Object.fromEntries(Array.from({ length: MAILBOXES }, (_, i) => [`user${i}@example.test`, PASSWORD]));
const ADDRESSES = Object.keys(USERS);

interface Sent {
  readonly id: number;
  readonly to: readonly string[];
  readonly text: string;
  acknowledged: boolean;
  cut: number;
}

/** Runs the load to its end. @throws AssertionError when anything acknowledged is lost, partial, or there too often */
export async function crashLoad(load: CrashLoad): Promise<Reckoning> {
  await using host = await startMailHost({
    users: USERS,
    settings: { workers: WORKERS, smtpd_client_connection_count_limit: 0 },
  });
  const began = performance.now();
  await using client = await Client.open(host, load);
  const killer = new Killer(host, seededRandom(load.seed + 1));
  const watch = new UidWatch(host, seededRandom(load.seed + 2));
  const sending = client.run();
  const ended = sending.then(
    () => true,
    () => true,
  );
  const watching = watch.run(ended).catch((error: unknown) => {
    client.failed = true;
    throw error;
  });
  void watching.catch(() => undefined);
  for (let n = 1; n <= load.kills; n++) {
    const due = Math.floor((load.messages * n) / (load.kills + 1));
    while (client.acknowledged < due && !client.failed) await new Promise((resolve) => setTimeout(resolve, 5));
    if (client.failed) break;
    await killer.kill();
    if (n % 20 === 0) load.progress?.(`${n} kills, ${client.acknowledged} acknowledged`);
  }
  await Promise.all([watching, sending]);
  const twice = await reckon(host, client.sent);
  return {
    acknowledged: client.acknowledged,
    workersKilled: killer.workers,
    supervisorsKilled: killer.supervisors,
    cut: client.sent.reduce((sum, { cut }) => sum + cut, 0),
    refused: client.refused,
    twice,
    seconds: Math.round((performance.now() - began) / 1000),
  };
}

/** Sends over several kept connections; what got no 250 is sent again until it does. */
class Client implements AsyncDisposable {
  readonly sent: Sent[];
  acknowledged = 0;
  refused = 0;
  failed = false;
  readonly #host: MailHost;
  readonly #ledger: FileHandle;
  #next = 0;

  private constructor(host: MailHost, ledger: FileHandle, sent: Sent[]) {
    this.#host = host;
    this.#ledger = ledger;
    this.sent = sent;
  }
  static async open(host: MailHost, { messages, seed }: CrashLoad): Promise<Client> {
    const random = seededRandom(seed);
    const sent = Array.from({ length: messages }, (_, id) => makeMessage(id, random));
    return new Client(host, await open(join(host.directory, 'ledger'), 'a'), sent);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ledger.close();
  }

  async run(): Promise<void> {
    try {
      await Promise.all(Array.from({ length: LANES }, () => this.#lane()));
    } catch (error) {
      this.failed = true;
      throw error;
    }
  }
  async #lane(): Promise<void> {
    let sender: SmtpSender | undefined;
    for (let message = this.sent[this.#next++]; message; message = this.sent[this.#next++]) {
      const end = performance.now() + STUCK_MS;
      await this.#note(`${Date.now()} sent ${message.id}`);
      while (!message.acknowledged) {
        assert.ok(performance.now() < end && !this.failed, `message ${message.id} is not taken`);
        sender = await this.#attempt(message, sender);
        if (!sender) await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
    await sender?.quit();
  }

  /** Gives the connection when it can go on. */
  async #attempt(message: Sent, kept: SmtpSender | undefined): Promise<SmtpSender | undefined> {
    let sender = kept;
    let reply: string;
    try {
      sender ??= await SmtpSender.connect(this.#host.ports.smtp);
      await sender.command('MAIL FROM:<eva@remote.test>', '250');
      for (const to of message.to) await sender.command(`RCPT TO:<${to}>`, '250');
      await sender.command('DATA', '354');
      reply = await sender.command(`${message.text}.`, '');
    } catch {
      // Nothing of it was sent yet.
      await sender?.quit();
      return undefined;
    }
    if (reply.startsWith('250')) {
      await this.#note(`${Date.now()} acknowledged ${message.id}`, true);
      message.acknowledged = true;
      this.acknowledged++;
      return sender;
    }
    if (reply.startsWith('000')) message.cut++;
    else {
      assert.match(reply, /^4/, 'only for now');
      this.refused++;
    }
    await sender.quit();
    return undefined;
  }
  /** A line in the ledger; on the disk before it resolves when `sync`. */
  async #note(line: string, sync = false): Promise<void> {
    await this.#ledger.write(`${line}\n`);
    if (sync) await this.#ledger.datasync();
  }
}

function makeMessage(id: number, random: Random): Sent {
  const count = random.below(4) > 0 ? 1 : 2 + random.below(2);
  const to = new Set<string>();
  while (to.size < count) to.add(random.pick(ADDRESSES));
  const lines = random.below(20) === 0 ? 2_000 : 5 + random.below(60);
  const body = `line of message ${id}, ${random.below(1_000_000)}\r\n`.repeat(lines);
  const text = `Message-ID: <${id}@remote.test>\r\nSubject: ${id}\r\n\r\n${body}`;
  return { id, to: [...to], text, acknowledged: false, cut: 0 };
}

/** Ends workers, and now and then the supervisor, without a warning. */
class Killer {
  workers = 0;
  supervisors = 0;
  #count = 0;
  readonly #host: MailHost;
  readonly #random: Random;

  constructor(host: MailHost, random: Random) {
    this.#host = host;
    this.#random = random;
  }
  async kill(): Promise<void> {
    // A moment that the load does not choose.
    await new Promise((resolve) => setTimeout(resolve, this.#random.below(40)));
    if (++this.#count % SUPERVISOR_EVERY === 3) {
      await this.#host.stop('SIGKILL');
      // Sometimes at once, sometimes when its workers are gone.
      await new Promise((resolve) => setTimeout(resolve, this.#random.below(2) * 300));
      await this.#host.start();
      this.supervisors++;
      return;
    }
    const pid = await eventually(async () => {
      const pids = await this.#host.workers();
      return pids.length > 0 && this.#random.pick(pids);
    }, 'a worker to kill');
    process.kill(pid, 'SIGKILL');
    this.workers++;
  }
}

/** Looks into mailboxes through IMAP all the time, so that both workers give out UIDs: a message's UID never changes. */
class UidWatch {
  readonly #host: MailHost;
  readonly #random: Random;
  /** Folder → base name → UID, and UIDVALIDITY. */
  readonly #seen = new Map<string, { validity: number; next: number; uids: ReadonlyMap<string, number> }>();

  constructor(host: MailHost, random: Random) {
    this.#host = host;
    this.#random = random;
  }
  async run(ended: Promise<boolean>): Promise<void> {
    let over = false;
    void ended.then(() => (over = true));
    const one = async (): Promise<void> => {
      while (!over) {
        const address = this.#random.pick(ADDRESSES);
        if (await select(this.#host, address)) await this.#compare(this.#host.maildir(address));
        else await new Promise((resolve) => setTimeout(resolve, 50));
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    await Promise.all([one(), one()]);
  }
  async #compare(folder: string): Promise<void> {
    // A line that is being appended is no whole one yet.
    const listed = await readUidlist(folder).catch(() => undefined);
    if (!listed) return;
    const before = this.#seen.get(folder);
    if (before) {
      assert.equal(listed.uidValidity, before.validity, `UIDVALIDITY of ${folder}`);
      // Two of us look at once: the older look does not count.
      if (listed.next < before.next) return;
      for (const [base, uid] of before.uids) assert.equal(listed.uids.get(base), uid, `the UID of ${base} in ${folder}`);
    }
    this.#seen.set(folder, { validity: listed.uidValidity, next: listed.next, uids: listed.uids });
  }
}

/** Opens INBOX; says whether it got as far. */
async function select(host: MailHost, address: string): Promise<boolean> {
  let client: ImapClient | undefined;
  try {
    client = await ImapClient.connect(host.ports.imap);
    await client.response();
    await client.command('a', `LOGIN "${address}" "${PASSWORD}"`);
    const selected = await client.command('b', 'SELECT INBOX');
    await client.command('c', 'UID FETCH 1:* (UID RFC822.SIZE)');
    return selected.at(-1)?.startsWith('b OK') === true;
  } catch {
    return false;
  } finally {
    client?.socket.destroy();
  }
}

/** Holds what lies in the mailboxes against what was sent; gives how many messages are there more often than once. */
async function reckon(host: MailHost, sent: readonly Sent[]): Promise<number> {
  const hashes = sent.map(({ text }) => sha256(text.replaceAll('\r\n', '\n')));
  const copies = new Map<string, number>();
  for (const address of ADDRESSES)
    for (const text of await host.inbox(address)) {
      const at = text.indexOf('Message-ID: <');
      const id = Number(/^Message-ID: <(\d+)@/.exec(text.slice(at))?.[1] ?? -1);
      assert.equal(sha256(text.slice(at)), hashes[id], `a copy of ${id} for ${address} that is not whole`);
      copies.set(`${id} ${address}`, (copies.get(`${id} ${address}`) ?? 0) + 1);
    }
  let twice = 0;
  for (const { id, to, cut, acknowledged } of sent) {
    assert.ok(acknowledged);
    const counts = to.map((address) => copies.get(`${id} ${address}`) ?? 0);
    const what = `message ${id} (reply cut ${cut} times) is there ${counts.join(', ')} times`;
    assert.ok(
      counts.every((count) => count >= 1),
      `lost: ${what}`,
    );
    // A whole transaction may have been done when its reply was cut, and then for all recipients.
    assert.ok(
      counts.every((count) => count === counts[0] && count <= 1 + cut),
      `too often: ${what}`,
    );
    if ((counts[0] ?? 0) > 1) twice++;
    for (const address of to) copies.delete(`${id} ${address}`);
  }
  assert.deepEqual([...copies.keys()], [], 'somebody got what was not sent to him');
  const ledger = await readFile(join(host.directory, 'ledger'), 'utf8');
  assert.equal(ledger.match(/ acknowledged \d+$/gm)?.length, sent.length);
  assert.deepEqual(await host.dataNames('deliveries'), [], 'no delivery is left open');
  for (const address of ADDRESSES) await new MailboxCheck(host.maildir(address)).check(host.ports.imap, address, PASSWORD);
  const verified = await spawnBuzon(host, ['verify']);
  assert.equal(verified.status, 0, verified.stdout + verified.stderr);
  return twice;
}

const sha256 = (text: string): string => createHash('sha256').update(text, 'latin1').digest('hex');
