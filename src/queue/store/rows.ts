// Rows of queue.db as the queue's types have them.
import type { Failure, QueuedEnvelope, QueuedMessage, QueuedRecipient, RecipientState } from '../types.ts';
import type { QueueDatabase } from './database.ts';

export interface MessageRow {
  readonly id: string;
  readonly arrived: number;
  readonly size: number;
  readonly envelope: string;
}

export interface RecipientRow {
  readonly message: string;
  readonly number: number;
  readonly address: string;
  readonly destination: string;
  readonly state: RecipientState;
  readonly attempts: number;
  readonly next_attempt: number;
  readonly failure: string | null;
  readonly orcpt: string | null;
  readonly notify: string | null;
  readonly delay_reported: number;
}
export const RECIPIENT_COLUMNS =
  'message, number, address, destination, state, attempts, next_attempt, failure, orcpt, notify, delay_reported';

export const lowerCase = (address: string): string => address.toLowerCase();
/** Lower case; empty for an address without one. */
export const domainOf = (address: string): string => {
  const at = address.lastIndexOf('@');
  return at < 0 ? '' : address.slice(at + 1).toLowerCase();
};

export function toRecipient(row: RecipientRow): QueuedRecipient {
  const lastFailure = row.failure === null ? undefined : (JSON.parse(row.failure) as Failure);
  return {
    number: row.number,
    address: row.address,
    destination: row.destination,
    state: row.state,
    attempts: row.attempts,
    nextAttempt: row.next_attempt,
    delayReported: row.delay_reported === 1,
    ...(row.notify === null ? {} : { notify: row.notify.split(',') as NonNullable<QueuedRecipient['notify']> }),
    ...(row.orcpt === null ? {} : { orcpt: row.orcpt }),
    ...(lastFailure ? { lastFailure } : {}),
    ...(lastFailure && row.state === 'held' ? { hold: lastFailure.reason } : {}),
  };
}

export const toEnvelope = (row: MessageRow): QueuedEnvelope => JSON.parse(row.envelope) as QueuedEnvelope;

/** With those of their recipients that wait, by number; in the order given. Asked for together: a question each takes twice the time. */
export function toMessages(db: QueueDatabase, rows: readonly MessageRow[]): QueuedMessage[] {
  const recipients = new Map<string, QueuedRecipient[]>(rows.map(({ id }) => [id, []]));
  for (const row of db.all<RecipientRow>(
    `SELECT ${RECIPIENT_COLUMNS} FROM recipient WHERE message IN (SELECT value FROM json_each(?))`,
    JSON.stringify([...recipients.keys()]),
  ))
    recipients.get(row.message)?.push(toRecipient(row));
  return rows.map((row) => ({
    envelope: toEnvelope(row),
    size: row.size,
    recipients: (recipients.get(row.id) ?? []).sort((a, b) => a.number - b.number),
  }));
}
