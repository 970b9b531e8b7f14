// Stands where the outbound queue will: mail to outside is refused for now, before its message comes.
import type { OutboundQueue } from '../delivery/types.ts';
import { MailError } from '../lib/errors.ts';

export const noQueue: OutboundQueue = {
  available: false,
  enqueue: () => Promise.reject(new MailError('temporary', 'NO_QUEUE', 'Mail to other hosts cannot be taken now')),
};
