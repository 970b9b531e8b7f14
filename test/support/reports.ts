// A reporter whose reports a test looks at, and jobs to report on.
import { memorySource } from '../../src/message/source.ts';
import { DsnReporter, type OutgoingReport, type ReporterOptions } from '../../src/queue/dsn/reporter.ts';
import { reportTexts, timeValues } from '../../src/queue/dsn/templates.ts';
import type { Outcome, QueuedEnvelope, QueuedMessage, ReportedRecipient } from '../../src/queue/types.ts';
import { captureLog, type LogEvent } from './log-capture.ts';
import { readAll } from './message-source.ts';

export const ARRIVED = Date.UTC(2026, 10, 24, 12);
export const NOW = Date.UTC(2026, 10, 24, 13, 41, 13);
const DAY = 86_400_000;

export interface SentReport extends Omit<OutgoingReport, 'source'> {
  readonly bytes: Buffer;
}

export function makeReporter(options: Partial<ReporterOptions> = {}): {
  reporter: DsnReporter;
  sent: SentReport[];
  events: LogEvent[];
} {
  const { logger, events } = captureLog();
  const sent: SentReport[] = [];
  let count = 0;
  const reporter = new DsnReporter({
    hostname: 'mail.example.test',
    sizeLimit: 50_000,
    lifetime: () => 5 * DAY,
    texts: reportTexts({
      values: { myhostname: 'mail.example.test', ...timeValues({ maximal_queue_lifetime: 5 * DAY }) },
      language: async (recipient) => (recipient.endsWith('.es.test') ? 'es' : 'en'),
    }),
    send: async ({ source, ...report }) => {
      const bytes = await readAll(source);
      if (bytes.length !== source.size) throw new Error(`${bytes.length} bytes instead of ${source.size}`);
      sent.push({ ...report, bytes });
    },
    newId: () => `REPORT${++count}`,
    newBoundary: () => `boundary${count}`,
    now: () => NOW,
    logger,
    ...options,
  });
  return { reporter, sent, events };
}

export function queued(envelope: Partial<QueuedEnvelope> = {}): QueuedMessage {
  return {
    envelope: { id: 'ABC123', sender: 'ana@example.test', arrived: ARRIVED, smtpUtf8: false, bodyType: '7BIT', ...envelope },
    size: 100,
    recipients: [],
  };
}

export const FAILED: Outcome = {
  kind: 'failed',
  status: '5.1.1',
  reason: 'host mx.otro.test[192.0.2.1] said: 550 5.1.1 <bob@otro.test>: unknown (in reply to RCPT TO command)',
  remote: 'mx.otro.test',
  reply: '550 5.1.1 <bob@otro.test>: unknown',
};
export const DEFERRED: Outcome = {
  kind: 'deferred',
  status: '4.4.1',
  reason: 'connect to mx.otro.test[192.0.2.1]:25: Connection timed out',
};
export const DELIVERED: Outcome = {
  kind: 'delivered',
  relay: 'mx.otro.test[192.0.2.1]:25',
  status: '2.0.0',
  reply: '250 2.0.0 Ok: queued as XYZ',
  dsnPassedOn: false,
};

export function about(outcome: Outcome, recipient: Partial<ReportedRecipient['recipient']> = {}): ReportedRecipient {
  return {
    recipient: {
      address: 'bob@otro.test',
      destination: 'smtp:otro.test',
      number: 0,
      state: 'ready',
      attempts: 1,
      nextAttempt: NOW,
      delayReported: false,
      ...recipient,
    },
    outcome,
  };
}

export const MESSAGE = memorySource(
  Buffer.from('From: ana@example.test\r\nSubject: hello\r\nMessage-ID: <1@example.test>\r\n\r\nBody of it\r\n'),
);
