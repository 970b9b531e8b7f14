// QueueFilter as conditions of SQL.
import type { QueueFilter } from '../types.ts';
import { lowerCase } from './rows.ts';
import type { Value } from './sqlite.ts';

export interface Conditions {
  /** Joined by AND; `true` when there are none. */
  readonly sql: string;
  readonly values: readonly Value[];
}

const conditions = (parts: readonly (readonly [sql: string, value: Value | undefined])[]): Conditions => {
  const given = parts.filter((part): part is readonly [string, Value] => part[1] !== undefined);
  return { sql: given.map(([sql]) => sql).join(' AND ') || 'true', values: given.map(([, value]) => value) };
};

/** Of recipients of one message, whose row is called recipient. */
export const ofRecipient = (filter: QueueFilter): Conditions =>
  conditions([
    ['lower_case(recipient.address) = ?', filter.recipient === undefined ? undefined : lowerCase(filter.recipient)],
    ['recipient.domain = ?', filter.domain === undefined ? undefined : lowerCase(filter.domain)],
    ['recipient.destination = ?', filter.destination],
    ['recipient.state = ?', filter.state],
    [
      `instr(lower_case(json_extract(recipient.failure, '$.reason')), ?) > 0`,
      filter.reason === undefined ? undefined : lowerCase(filter.reason),
    ],
  ]);

/** Of messages, whose row is called message: that one of its recipients is meant among them. */
export function ofMessage(filter: QueueFilter): Conditions {
  const message = conditions([
    ['message.id IN (SELECT value FROM json_each(?))', filter.ids === undefined ? undefined : JSON.stringify(filter.ids)],
    ['message.sender = ?', filter.sender === undefined ? undefined : lowerCase(filter.sender)],
    ['message.arrived < ?', filter.arrivedBefore],
    ['message.arrived > ?', filter.arrivedAfter],
  ]);
  const recipient = ofRecipient(filter);
  if (recipient.sql === 'true') return message;
  return {
    sql: `${message.sql} AND EXISTS (SELECT 1 FROM recipient WHERE recipient.message = message.serial AND ${recipient.sql})`,
    values: [...message.values, ...recipient.values],
  };
}
