// Which messages a `buzon queue …` command means: its options and ids as a QueueFilter.
import { readTime, ValueError } from '../../config/values.ts';
import { MailError } from '../../lib/errors.ts';
import type { QueueFilter, RecipientState } from '../../queue/types.ts';
import type { Options } from '../options.ts';

export const FILTER_OPTIONS = [
  '--sender',
  '--recipient',
  '--domain',
  '--destination',
  '--older-than',
  '--newer-than',
  '--reason',
  '--state',
] as const;

const STATES: readonly RecipientState[] = ['ready', 'deferred', 'held'];

/** Ids as other commands print them: any case, mailq's marks behind them. @throws MailError config `BAD_ARGUMENTS` */
export function readQueueId(text: string): string {
  const [, id] = /^([0-9A-Za-z]{1,64})[*!#]{0,2}$/.exec(text) ?? [];
  if (id === undefined) throw new MailError('config', 'BAD_ARGUMENTS', `"${text}" is no queue id`);
  return id.toUpperCase();
}

/** @throws MailError config `BAD_ARGUMENTS` */
export function readFilter({ options }: Pick<Options, 'options'>, ids: readonly string[], now: number): QueueFilter {
  const text = (name: string): string | undefined => options.get(name);
  const address = (name: string): string | undefined => text(name)?.replace(/^<(.*)>$/, '$1');
  return {
    ids: ids.length > 0 ? ids.map(readQueueId) : undefined,
    sender: address('--sender'),
    recipient: address('--recipient'),
    domain: text('--domain')?.replace(/^@/, ''),
    destination: text('--destination'),
    state: stateOf(text('--state')),
    arrivedBefore: timeBefore('--older-than', text('--older-than'), now),
    arrivedAfter: timeBefore('--newer-than', text('--newer-than'), now),
    reason: text('--reason'),
  };
}

/** Whether a filter says nothing at all. */
export const isEverything = (filter: QueueFilter): boolean => Object.values(filter).every((value) => value === undefined);

function timeBefore(name: string, text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined;
  try {
    return now - readTime(text);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new MailError('config', 'BAD_ARGUMENTS', `${name}: ${error.message}; ${error.right}`);
  }
}

function stateOf(text: string | undefined): RecipientState | undefined {
  const state = STATES.find((one) => one === text);
  if (text !== undefined && state === undefined)
    throw new MailError('config', 'BAD_ARGUMENTS', `--state: "${text}" is none of ${STATES.join(', ')}`);
  return state;
}
