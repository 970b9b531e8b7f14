// Names for sessions and messages.
import { randomUUID } from 'node:crypto';

/** 48 unpredictable bits as 12 hexadecimal digits. Made of a UUID, for which Node asks the system in bulk: randomBytes costs a call each. */
export function shortId(): string {
  const uuid = randomUUID();
  return uuid.slice(0, 8) + uuid.slice(9, 13);
}
