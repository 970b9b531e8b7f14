// Failures that a test has ordered: each refuses once, in the order they were ordered for their stage.
import { reply, type Reply } from '../smtp/reply.ts';
import type { Failure, FailureStage } from './types.ts';

const STAGES: readonly FailureStage[] = ['connect', 'auth', 'mail', 'rcpt', 'data'];

/** RFC 5248 and RFC 3463, as mail servers use them; `stage/code` before `code` before the class. */
const ENHANCED: Readonly<Record<string, string>> = {
  '421': '4.3.2',
  '450': '4.2.0',
  '451': '4.3.0',
  '452': '4.3.1',
  '454': '4.7.0',
  '500': '5.5.2',
  '501': '5.5.4',
  '502': '5.5.1',
  '503': '5.5.1',
  '504': '5.5.4',
  '521': '5.3.2',
  '530': '5.7.0',
  '534': '5.7.9',
  '535': '5.7.8',
  '538': '5.7.11',
  '550': '5.7.1',
  '552': '5.3.4',
  '553': '5.1.3',
  '554': '5.7.1',
  '555': '5.5.4',
  '556': '5.1.10',
  'connect/554': '5.3.2',
  'mail/553': '5.1.8',
  'rcpt/450': '4.2.1',
  'rcpt/452': '4.5.3',
  'rcpt/550': '5.1.1',
  'rcpt/551': '5.1.6',
  'rcpt/552': '5.2.2',
  'data/554': '5.6.0',
};

/** What the refused client is told. @throws TypeError, RangeError for what no server could answer */
export function failureReply({ stage, code, enhanced, text }: Failure): Reply {
  if (!STAGES.includes(stage)) throw new TypeError(`failNext: stage is one of ${STAGES.join(', ')}`);
  if (!Number.isInteger(code) || code < 400 || code > 599) throw new RangeError('failNext: code is from 400 to 599');
  const kind = Math.floor(code / 100);
  if (enhanced !== undefined && !new RegExp(`^${kind}\\.\\d{1,3}\\.\\d{1,3}$`).test(enhanced))
    throw new RangeError(`failNext: enhanced is of the form ${kind}.x.y with code ${code}`);
  return reply(
    code,
    enhanced ?? ENHANCED[`${stage}/${code}`] ?? ENHANCED[code] ?? `${kind}.0.0`,
    text ?? (kind === 4 ? 'Refused for a test, try again later' : 'Refused for a test'),
  );
}

export class Failures {
  #pending: { readonly stage: FailureStage; readonly reply: Reply }[] = [];

  /** @throws as failureReply */
  add(failure: Failure): void {
    this.#pending.push({ stage: failure.stage, reply: failureReply(failure) });
  }
  /** The reply for a client that has got to this stage; undefined when it may go on. */
  take(stage: FailureStage): Reply | undefined {
    const at = this.#pending.findIndex((one) => one.stage === stage);
    return at < 0 ? undefined : this.#pending.splice(at, 1)[0]?.reply;
  }
  clear(): void {
    this.#pending = [];
  }
}
