// `buzon queue stats`: how much waits, and for whom.
import type { QueueStats } from '../../queue/types.ts';
import { count, printable, shortSize, shortTime } from './text.ts';
import type { Listing } from './list.ts';

export async function showStats({ queue, io, json, now }: Listing): Promise<number> {
  const stats = await queue.stats();
  io.out(json ? statsJson(stats) : [...totals(stats, now), '', ...destinations(stats)].join('\n') + '\n');
  return 0;
}

/** The keys are documented in the command's usage: they stay. */
function statsJson({ messages, recipients, bytes, oldest, destinations: sites }: QueueStats): string {
  return `${JSON.stringify({
    messages,
    recipients,
    bytes,
    oldest: oldest === undefined ? undefined : new Date(oldest).toISOString(),
    destinations: sites.map(({ destination, recipients: waiting, failure }) => ({
      destination,
      recipients: waiting,
      status: failure?.status,
      reason: failure?.reason,
    })),
  })}\n`;
}

export function totals({ messages, recipients, bytes, oldest }: QueueStats, now: number): string[] {
  const { ready, deferred, held } = recipients;
  const age = oldest === undefined ? '' : `, the oldest ${shortTime(now - oldest)} old`;
  return [
    `${count(messages, 'message')}, ${shortSize(bytes)}${age}`,
    `${count(ready + deferred + held, 'recipient')}: ${ready} ready, ${deferred} deferred, ${held} held`,
  ];
}

/** The destinations with most recipients; `change` is one more column. */
export function destinations({ destinations: sites }: QueueStats, change?: (destination: string) => string): string[] {
  if (sites.length === 0) return [];
  const row = (name: string, waiting: string, changed: string, failure: string): string =>
    [name.padEnd(36), waiting.padStart(10), ...(change ? [changed.padStart(9)] : []), ` ${failure}`].join(' ').trimEnd();
  return [
    row('destination', 'recipients', 'a minute', 'last failure'),
    ...sites.map(({ destination, recipients, failure }) =>
      row(printable(destination), String(recipients), change?.(destination) ?? '', printable(failure?.reason ?? '')),
    ),
  ];
}
