// Everything that the server accepted, in order, and those who wait for more of it.
import { parseMail } from '../message/decode.ts';
import type { ReceivedMessage } from '../delivery/types.ts';
import type { MessageSource } from '../message/source.ts';
import { checkFilter, describeFilter, describeMessage, matches } from './filter.ts';
import type { MessageFilter, TestMessage, TestRecipient } from './types.ts';

/** Lines of a list in an error. */
const LISTED = 20;
/** The longest that a timer can be set to. */
const MAX_TIMEOUT = 2 ** 31 - 1;

/** No message came that fits; `message` lists what came instead, and what was refused. */
export class WaitTimeoutError extends Error {
  override readonly name = 'WaitTimeoutError';
  readonly code = 'WAIT_TIMEOUT';
  /** What had arrived. */
  readonly messages: readonly TestMessage[];

  constructor(text: string, messages: readonly TestMessage[]) {
    super(text);
    this.messages = messages;
  }
}

interface Waiter {
  readonly filter: MessageFilter;
  readonly settle: (outcome: Outcome) => void;
}
type Outcome = { readonly message: TestMessage } | { readonly error: unknown } | 'timeout';

export class Inbox {
  #messages: TestMessage[] = [];
  #refusals: string[] = [];
  readonly #waiters = new Set<Waiter>();
  #closed = false;

  get messages(): readonly TestMessage[] {
    return [...this.#messages];
  }

  add(message: TestMessage): void {
    this.#messages.push(message);
    for (const waiter of this.#waiters) this.#offer(message, waiter);
  }
  #offer(message: TestMessage, { filter, settle }: Waiter): void {
    try {
      if (matches(message, filter)) settle({ message });
    } catch (error) {
      settle({ error });
    }
  }

  /** A client was refused: told to those who waited in vain. */
  refused(text: string): void {
    this.#refusals.push(text);
  }

  /** The first message that fits, of those that are there or that come within `timeout` milliseconds. @throws WaitTimeoutError */
  async wait(filter: MessageFilter, timeout: number): Promise<TestMessage> {
    checkFilter(filter);
    if (!(timeout >= 0 && timeout <= MAX_TIMEOUT))
      throw new RangeError(`waitForMessage: timeout is in milliseconds, from 0 to ${MAX_TIMEOUT}`);
    const found = this.#messages.find((message) => matches(message, filter));
    if (found) return found;
    if (this.#closed) throw new Error('the test server was stopped');
    const outcome = await this.#wait(filter, timeout);
    // Made here and not in the timer, so that its stack leads to whoever waits.
    if (outcome === 'timeout') throw new WaitTimeoutError(this.#inVain(filter, timeout), this.messages);
    if ('error' in outcome) throw outcome.error;
    return outcome.message;
  }

  #wait(filter: MessageFilter, timeout: number): Promise<Outcome> {
    return new Promise((resolve) => {
      const settle = (outcome: Outcome): void => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        resolve(outcome);
      };
      const waiter: Waiter = { filter, settle };
      const timer = setTimeout(() => settle('timeout'), timeout);
      this.#waiters.add(waiter);
    });
  }

  #inVain(filter: MessageFilter, timeout: number): string {
    const count = this.#messages.length;
    const came = count === 0 ? 'no message arrived' : `${count} ${count === 1 ? 'message' : 'messages'} arrived`;
    const lines = [`waited ${timeout} ms in vain for a message: ${describeFilter(filter)}`];
    lines.push(`${came}${count === 0 ? '' : ':'}`, ...listed(this.#messages.map(describeMessage)));
    if (this.#refusals.length > 0) lines.push('the server refused:', ...listed(this.#refusals));
    return lines.join('\n');
  }

  /** Forgets everything; who waits goes on waiting. */
  clear(): void {
    this.#messages = [];
    this.#refusals = [];
  }

  /** Nothing more will come. */
  close(): void {
    this.#closed = true;
    for (const { settle } of this.#waiters)
      settle({ error: new Error('the test server was stopped while a test waited for a message') });
  }
}

/** The last ones, numbered. */
function listed(lines: readonly string[]): string[] {
  const first = Math.max(0, lines.length - LISTED);
  const shown = lines.slice(first).map((line, i) => `  ${first + i + 1}. ${line}`);
  return first === 0 ? shown : [`  (${first} before these)`, ...shown];
}

/** A message as tests want to see it. `source` is read to its end; `at` is in milliseconds since the epoch. */
export async function capture({ id, envelope, account, source, original }: ReceivedMessage, at: number): Promise<TestMessage> {
  const raw = await bytesOf(source);
  return {
    id,
    receivedAt: new Date(at),
    envelope: {
      from: envelope.sender,
      to: envelope.recipients.map(({ address }) => address),
      recipients: envelope.recipients.map(recipientOf),
      user: account,
      smtpUtf8: envelope.smtpUtf8,
      bodyType: envelope.bodyType,
      ...(envelope.ret === undefined ? {} : { ret: envelope.ret }),
      ...(envelope.envid === undefined ? {} : { envid: envelope.envid }),
    },
    raw,
    original: await bytesOf(original),
    parsed: await parseMail(raw),
  };
}

function recipientOf({ address, route, notify, orcpt }: ReceivedMessage['envelope']['recipients'][number]): TestRecipient {
  const targets = route.kind === 'deliver' ? route.targets : [];
  const outside = route.kind === 'relay' ? [address] : [];
  return {
    address,
    mailboxes: targets.flatMap((target) => (target.kind === 'mailbox' ? [target.address] : [])),
    outside: [...outside, ...targets.flatMap((target) => (target.kind === 'remote' ? [target.address] : []))],
    ...(notify === undefined ? {} : { notify }),
    ...(orcpt === undefined ? {} : { orcpt }),
  };
}

async function bytesOf(source: MessageSource): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source.chunks()) chunks.push(chunk);
  return Buffer.concat(chunks);
}
