// Rows of queue.db as the queue's types have them.
import type { Failure, QueuedEnvelope, QueuedMessage, QueuedRecipient, RecipientState } from '../types.ts';
import type { QueueDatabase } from './database.ts';

export interface MessageRow {
  readonly serial: number;
  readonly id: string;
  readonly arrived: number;
  readonly size: number;
  readonly envelope: string;
}

export interface RecipientRow {
  /** Its serial. */
  readonly message: number;
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
export const MESSAGE_COLUMNS = 'serial, id, arrived, size, envelope';
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

/** Columns of RECIPIENT_COLUMNS, in that order: a list of names for each row is most of what it takes to hand it to another thread. */
export type RecipientTuple = readonly [
  message: number,
  number: number,
  address: string,
  destination: string,
  state: RecipientState,
  attempts: number,
  nextAttempt: number,
  failure: string | null,
  orcpt: string | null,
  notify: string | null,
  delayReported: number,
];

/** Messages as they come from the database, to be put together where they are wanted. */
export interface RawMessages {
  readonly messages: readonly MessageRow[];
  /** Of these messages, in no order. */
  readonly recipients: readonly RecipientTuple[];
}

/** Those of the messages' recipients that wait. Asked for together: a question each takes twice the time. */
export const recipientsOf = (db: QueueDatabase, messages: readonly MessageRow[]): RecipientTuple[] =>
  db.tuples<RecipientTuple>(
    `SELECT ${RECIPIENT_COLUMNS} FROM recipient WHERE message IN (SELECT value FROM json_each(?))`,
    JSON.stringify(messages.map(({ serial }) => serial)),
  );

/** In the order of the messages, recipients by number. */
export function assemble({ messages, recipients }: RawMessages): QueuedMessage[] {
  const byMessage = new Map<number, QueuedRecipient[]>(messages.map(({ serial }) => [serial, []]));
  for (const [
    message,
    number,
    address,
    destination,
    state,
    attempts,
    next_attempt,
    failure,
    orcpt,
    notify,
    reported,
  ] of recipients)
    byMessage.get(message)?.push(
      toRecipient({
        message,
        number,
        address,
        destination,
        state,
        attempts,
        next_attempt,
        failure,
        orcpt,
        notify,
        delay_reported: reported,
      }),
    );
  return messages.map((row) => ({
    envelope: toEnvelope(row),
    size: row.size,
    recipients: (byMessage.get(row.serial) ?? []).sort((a, b) => a.number - b.number),
  }));
}
