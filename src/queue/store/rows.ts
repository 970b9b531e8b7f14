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

export const MESSAGE_COLUMNS = 'serial, id, arrived, size, envelope';
export const RECIPIENT_COLUMNS =
  'message, number, address, destination, state, attempts, next_attempt, failure, orcpt, notify, delay_reported';

export const lowerCase = (address: string): string => address.toLowerCase();
/** Lower case; empty for an address without one. */
export const domainOf = (address: string): string => {
  const at = address.lastIndexOf('@');
  return at < 0 ? '' : address.slice(at + 1).toLowerCase();
};

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

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** `failures`: those read before; many recipients often wait for the same cause. Assigned key by key: a list of 100,000 is made of these. */
export function toRecipient(row: RecipientTuple, failures = new Map<string, Failure>()): QueuedRecipient {
  const [, number, address, destination, state, attempts, nextAttempt, failureText, orcpt, notify, delayReported] = row;
  const recipient: Writable<QueuedRecipient> = {
    number,
    address,
    destination,
    state,
    attempts,
    nextAttempt,
    delayReported: delayReported === 1,
  };
  if (notify !== null) recipient.notify = notify.split(',') as NonNullable<QueuedRecipient['notify']>;
  if (orcpt !== null) recipient.orcpt = orcpt;
  if (failureText === null) return recipient;
  let failure = failures.get(failureText);
  if (!failure) failures.set(failureText, (failure = JSON.parse(failureText) as Failure));
  recipient.lastFailure = failure;
  if (state === 'held') recipient.hold = failure.reason;
  return recipient;
}

/** Columns of MESSAGE_COLUMNS, in that order. */
export type MessageTuple = readonly [serial: number, id: string, arrived: number, size: number, envelope: string];

export const toEnvelope = (row: Pick<MessageRow, 'envelope'>): QueuedEnvelope => JSON.parse(row.envelope) as QueuedEnvelope;

/** Messages as they come from the database, to be put together where they are wanted. */
export interface RawMessages {
  readonly messages: readonly MessageTuple[];
  /** Of these messages, in no order. */
  readonly recipients: readonly RecipientTuple[];
}

/** Those of the messages' recipients that wait. Asked for together: a question each takes twice the time. */
export const recipientsOf = (db: QueueDatabase, serials: readonly number[]): RecipientTuple[] =>
  db.tuples<RecipientTuple>(
    `SELECT ${RECIPIENT_COLUMNS} FROM recipient WHERE message IN (SELECT value FROM json_each(?))`,
    JSON.stringify(serials),
  );

/** In the order of the messages, recipients by number. */
export function assemble({ messages, recipients }: RawMessages): QueuedMessage[] {
  const byMessage = new Map<number, QueuedRecipient[]>(messages.map(([serial]) => [serial, []]));
  const failures = new Map<string, Failure>();
  for (const row of recipients) byMessage.get(row[0])?.push(toRecipient(row, failures));
  return messages.map(([serial, , , size, envelope]) => ({
    envelope: toEnvelope({ envelope }),
    size,
    recipients: (byMessage.get(serial) ?? []).sort((a, b) => a.number - b.number),
  }));
}
