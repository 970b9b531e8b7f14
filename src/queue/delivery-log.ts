// What the log says of each recipient, under the names that Postfix's lines have (worker/postfix-log.ts writes them): relay, delay, delays, dsn, status.
import type { LogFields } from '../lib/logger.ts';
import type { Job, NextHop, Outcome, QueuedRecipient } from './types.ts';

/** A job on its way; times in milliseconds since the epoch. */
export interface Passage {
  readonly job: Job;
  readonly hop: NextHop;
  readonly began: number;
  readonly ended: number;
}

/** Seconds with two digits that count, as Postfix writes them. */
function seconds(ms: number): string {
  const value = Math.max(0, ms) / 1000;
  if (value >= 10) return String(Math.round(value));
  return String(Number(value.toPrecision(2)));
}

/** Who Postfix would have had it delivered by. */
function transportOf(hop: NextHop): string {
  if (hop.kind === 'list') return hop.hops[0]?.kind ?? 'smtp';
  return hop.kind === 'lmtp-unix' ? 'lmtp' : hop.kind === 'hold' ? 'qmgr' : hop.kind;
}

export function recipientFields({ job, hop, began, ended }: Passage, recipient: QueuedRecipient, outcome: Outcome): LogFields {
  const { envelope } = job;
  return {
    id: envelope.id,
    from: envelope.sender,
    to: recipient.address,
    relay: outcome.relay ?? (outcome.kind === 'delivered' ? undefined : outcome.remote) ?? 'none',
    delay: seconds(ended - envelope.arrived),
    // Before the runner had it, of which the way into the queue is a part; nothing apart for connecting; the try itself.
    delays: `${seconds(began - envelope.arrived)}/0/0/${seconds(ended - began)}`,
    dsn: outcome.status,
    status: outcome.kind === 'delivered' ? outcome.reply : outcome.reason,
    transport: transportOf(hop),
    attempts: recipient.attempts + 1,
    ...(outcome.kind === 'delivered' && outcome.tls ? { tls: outcome.tls } : {}),
  };
}
