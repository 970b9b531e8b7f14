// A maildrop with a pickup over it that hands in to a test, and sendmail with settings that lead there.
import assert from 'node:assert/strict';
import { chmod, chown, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { ReceivedMessage } from '../../src/delivery/types.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { corruptFolder, makeMaildrop, maildropFolder, pickupFolder } from '../../src/maildrop/folder.ts';
import type { DropFailure } from '../../src/maildrop/hand-in.ts';
import type { Answer } from '../../src/maildrop/probe.ts';
import { MaildropPickup, type PickupOptions } from '../../src/maildrop/pickup.ts';
import { DEFAULT_SMTP_LIMITS } from '../../src/smtp/limits.ts';
import { runCommand } from '../../src/cli/main.ts';
import type { BuzonResult } from './buzon.ts';
import { captureIo } from './command-io.ts';
import { captureLog, type LogEvent } from './log-capture.ts';
import { makeRouter, type Routes } from './routing.ts';
import { tempFolder } from './temp-folder.ts';

/** A message as `accept` or `bounce` got it. */
export interface HandedIn {
  readonly id: string;
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly message: ReceivedMessage;
  /** Latin1. */
  readonly text: string;
  readonly original: string;
}

const ROUTES: Routes = {
  mailboxes: { 'ana@example.test': 'example.test/ana/', 'info@example.test': 'example.test/info/' },
  aliases: { root: 'ana@example.test' },
};

export class MaildropHouse {
  readonly folder: string;
  readonly queue: string;
  readonly settingsFile: string;
  readonly accepted: HandedIn[] = [];
  readonly bounced: (HandedIn & { readonly failures: readonly DropFailure[] })[] = [];
  /** Who was asked for by way of the queue, and what was reported of the others. */
  readonly probed: { readonly id: string; readonly recipients: readonly { address: string; orcpt?: string }[] }[] = [];
  readonly answered: { readonly id: string; readonly answers: readonly Answer[] }[] = [];
  onProbe: () => void | Promise<void> = () => undefined;
  onAnswers: () => void = () => undefined;
  /** What is wrong with a mailbox. */
  onCheck: (address: string) => void = () => undefined;
  readonly events: LogEvent[];
  /** Asked before a message is accepted: what it throws is what accept throws. */
  onAccept: (message: HandedIn) => void | Promise<void> = () => undefined;
  onBounce: (message: HandedIn) => void = () => undefined;
  readonly #logger;
  readonly #router;

  private constructor(folder: string, routes: Routes) {
    this.folder = folder;
    this.queue = join(folder, 'queue');
    this.settingsFile = join(folder, 'buzon.yaml');
    const { logger, events } = captureLog();
    this.#logger = logger;
    this.events = events;
    this.#router = makeRouter(routes).router;
  }

  static async make(t: TestContext, routes: Routes = ROUTES, settings = ''): Promise<MaildropHouse> {
    const house = new MaildropHouse(await tempFolder(t), routes);
    await chmod(house.folder, 0o755);
    await writeFile(house.settingsFile, `hostname: mail.example.test\nqueue_directory: ${house.queue}\n${settings}`);
    await makeMaildrop(house.queue);
    return house;
  }

  pickup(options: Partial<PickupOptions> = {}, clock: Clock = systemClock): MaildropPickup {
    return new MaildropPickup({
      queueDirectory: this.queue,
      spoolFolder: join(this.folder, 'spool'),
      lease: () => ({ release: () => undefined }),
      clock,
      logger: this.#logger,
      interval: 60_000,
      parts: () => ({
        hostname: 'mail.example.test',
        limits: { ...DEFAULT_SMTP_LIMITS, messageSize: 1_000_000 },
        router: this.#router,
        accept: async (message) => {
          const one = await look(message);
          await this.onAccept(one);
          this.accepted.push(one);
        },
        probe: {
          checkMailbox: async (address) => this.onCheck(address),
          queue: {
            enqueue: async ({ id, envelope }, recipients) => {
              assert.equal(envelope.trace, 'verify');
              await this.onProbe();
              this.probed.push({ id, recipients: recipients.map(({ notify: _, ...one }) => one) });
            },
          },
          report: async ({ id }, answers) => {
            this.onAnswers();
            this.answered.push({ id, answers });
          },
        },
        bounce: async (message, failures) => {
          const one = await look(message);
          this.onBounce(one);
          this.bounced.push({ ...one, failures });
        },
      }),
      ...options,
    });
  }
  /** One look at the folders by a pickup that is new, as after a start. */
  async round(clock?: Clock, options: Partial<PickupOptions> = {}): Promise<void> {
    const pickup = this.pickup(options, clock);
    pickup.start();
    await pickup.settled();
    await pickup.stop();
  }

  async sendmail(args: readonly string[], input = '', env: Record<string, string> = {}): Promise<BuzonResult> {
    const io = captureIo({ input, env, cwd: this.folder });
    const status = await runCommand(['sendmail', '-C', this.settingsFile, ...args], io);
    return { status, stdout: io.stdout, stderr: io.stderr };
  }

  names(folder: 'maildrop' | 'pickup' | 'corrupt'): Promise<string[]> {
    return readdir({ maildrop: maildropFolder, pickup: pickupFolder, corrupt: corruptFolder }[folder](this.queue)).then((names) =>
      names.sort(),
    );
  }
  path(...names: string[]): string {
    return join(maildropFolder(this.queue), ...names);
  }
  logged(event: string): LogEvent[] {
    return this.events.filter((one) => one.event === event);
  }
  /** The files in the maildrop, envelope and message apart. */
  async dropped(): Promise<{ envelope: Record<string, unknown>; message: string }[]> {
    const names = (await this.names('maildrop')).filter((name) => /^[0-9a-f]{32}$/.test(name));
    return Promise.all(
      names.map(async (name) => {
        const text = await readFile(this.path(name), 'latin1');
        const [head = '', message = ''] = text.split(/\n(.*)/s, 2);
        const json = Buffer.from(head.slice(head.indexOf('{')), 'latin1').toString('utf8');
        return { envelope: JSON.parse(json) as Record<string, unknown>, message };
      }),
    );
  }
}

async function look(message: ReceivedMessage): Promise<HandedIn> {
  const textOf = async (source: ReceivedMessage['source']): Promise<string> => {
    const chunks: Buffer[] = [];
    for await (const chunk of source.chunks()) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks).toString('latin1');
  };
  const { id, envelope } = message;
  return {
    id,
    sender: envelope.sender,
    recipients: envelope.recipients.map(({ address }) => address),
    message,
    text: await textOf(message.source),
    original: await textOf(message.original),
  };
}

/** A folder that somebody else may use. */
export async function folderFor(path: string, uid: number): Promise<string> {
  await mkdir(path, { recursive: true });
  await chown(path, uid, uid);
  return path;
}
