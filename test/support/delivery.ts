// The outbound client as tests call it: jobs from a few words, options with short time-outs, outcomes by address.
import type { TestContext } from 'node:test';
import { staticResolver } from '../../src/dns/resolver.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { memorySource, type MessageSource } from '../../src/message/source.ts';
import { createDeliveryAgent } from '../../src/queue/client/agent.ts';
import { DEFAULT_CLIENT_LIMITS, type ClientLimits, type ClientOptions } from '../../src/queue/client/options.ts';
import { formatNextHop, parseNextHop } from '../../src/queue/next-hop.ts';
import type { DeliveryAgent, Job, JobResult, Outcome, QueuedEnvelope, QueuedRecipient } from '../../src/queue/types.ts';
import { captureLog, type LogEvent } from './log-capture.ts';

export const MESSAGE = 'From: <ana@example.com>\r\nTo: <ben@example.net>\r\nSubject: hello\r\n\r\nThe text.\r\n';

export interface JobWords {
  /** As transport_maps would write it: `smtp:[127.0.0.1]:2525`. */
  readonly hop: string;
  readonly to?: readonly (string | Partial<QueuedRecipient>)[];
  readonly envelope?: Partial<QueuedEnvelope>;
  readonly message?: string | Buffer | MessageSource;
  readonly signal?: AbortSignal;
}

export interface Delivered {
  readonly result: JobResult;
  readonly site: JobResult['site'];
  /** By address. */
  readonly outcomes: Readonly<Record<string, Outcome>>;
  /** Of the only, or first, recipient. */
  readonly outcome: Outcome;
}

export interface TestAgent {
  readonly agent: DeliveryAgent;
  readonly events: readonly LogEvent[];
  deliver(words: JobWords): Promise<Delivered>;
}

export const DEFAULT_CLIENT_OPTIONS: ClientOptions = {
  limits: () => DEFAULT_CLIENT_LIMITS,
  hostname: 'client.test',
  resolver: staticResolver(),
  clock: systemClock,
  logger: silentLogger,
  random: Math.random,
  protocols: [4, 6],
  smtp_address_preference: 'any',
  smtp_balance_inet_protocols: true,
  isOwnAddress: () => false,
  smtp_skip_5xx_greeting: true,
  tlsPolicy: () => ({ level: 'may' }),
};

/** An agent that is closed with the test. Limits are the usual ones where `limits` says nothing. */
export function testAgent(
  t: TestContext,
  options: Partial<Omit<ClientOptions, 'limits'>> & {
    readonly limits?: Partial<ClientLimits> | (() => Partial<ClientLimits>);
  } = {},
): TestAgent {
  const { logger, events } = captureLog();
  const agent = createDeliveryAgent({
    ...DEFAULT_CLIENT_OPTIONS,
    logger,
    ...options,
    limits: () => ({ ...DEFAULT_CLIENT_LIMITS, ...(typeof options.limits === 'function' ? options.limits() : options.limits) }),
  });
  t.after(() => agent.close());
  let id = 0;
  return {
    agent,
    events,
    async deliver(words) {
      const source = sourceOf(words.message ?? MESSAGE);
      const job = jobOf(words, source, `TEST${++id}`);
      const result = await agent.deliver(job, parseNextHop(words.hop), source, words.signal ?? new AbortController().signal);
      const outcomes = Object.fromEntries(
        job.recipients.map(({ address, number }) => [address, result.outcomes.get(number) as Outcome]),
      );
      return { result, site: result.site, outcomes, outcome: Object.values(outcomes)[0] as Outcome };
    },
  };
}

function sourceOf(message: string | Buffer | MessageSource): MessageSource {
  if (typeof message === 'string') return memorySource(Buffer.from(message));
  return Buffer.isBuffer(message) ? memorySource(message) : message;
}

function jobOf(words: JobWords, source: MessageSource, id: string): Job {
  const destination = formatNextHop(parseNextHop(words.hop));
  const recipients = (words.to ?? ['ben@example.net']).map((recipient, number) => ({
    address: 'ben@example.net',
    destination,
    number,
    state: 'ready' as const,
    attempts: 0,
    nextAttempt: 0,
    delayReported: false,
    ...(typeof recipient === 'string' ? { address: recipient } : recipient),
  }));
  const envelope: QueuedEnvelope = {
    id,
    sender: 'ana@example.com',
    arrived: 0,
    smtpUtf8: false,
    bodyType: '7BIT',
    ...words.envelope,
  };
  return { envelope, size: source.size, destination, recipients };
}
