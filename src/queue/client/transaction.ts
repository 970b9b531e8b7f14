// One mail transaction in an open session (RFC 5321 section 3.3, RFC 2033 section 4.2): MAIL, RCPT and DATA, the message, and what became of each recipient.
import { MailError } from '../../lib/errors.ts';
import type { MessageSource } from '../../message/source.ts';
import type { Job, Outcome, QueuedRecipient } from '../types.ts';
import type { Peer } from './connect.ts';
import { fit, isParameter, type Envelope } from './needs.ts';
import type { ClientOptions } from './options.ts';
import type { SmtpReply } from './reply.ts';
import { SessionError, type SmtpSession, type Stage, type Step } from './session.ts';
import { broken, said, statusOf, trouble, type Trouble } from './wording.ts';

export interface Transaction {
  /** Final for this host, by recipient number. */
  readonly outcomes: Map<number, Outcome>;
  /** Not taken by this host: another one may. */
  readonly elsewhere: Map<number, Trouble>;
  /** Too many for one transaction: the next one may have them. */
  readonly again: Map<number, Trouble>;
  /** The server was gone before MAIL, or with it (421): nothing has happened. */
  untouched: boolean;
  /** 421: the host will not have us now. */
  sentAway: boolean;
  /** A transaction may stand half done: RSET before the next. */
  open: boolean;
}

type Settled = PromiseSettledResult<SmtpReply>;

/** Never throws for what the peer does; `source` that cannot be read defers. */
export async function transact(
  session: SmtpSession,
  peer: Peer,
  job: Job,
  recipients: readonly QueuedRecipient[],
  source: MessageSource,
  options: ClientOptions,
): Promise<Transaction> {
  const result: Transaction = {
    outcomes: new Map(),
    elsewhere: new Map(),
    again: new Map(),
    untouched: false,
    sentAway: false,
    open: false,
  };
  const all = (outcome: Trouble, where: Map<number, Outcome> | Map<number, Trouble> = result.outcomes): void => {
    for (const { number } of recipients) where.set(number, outcome);
  };
  let fitted;
  try {
    fitted = await fit(job, recipients, source, session, peer, options.downgrade);
  } catch (error) {
    const detail = error instanceof MailError ? error.clientText : 'the message cannot be read';
    all(trouble('deferred', '4.3.0', `local data error while talking to ${peer.label}: ${detail}`));
    return result;
  }
  if (fitted.kind === 'unfit') {
    all(fitted.trouble, fitted.next ? result.elsewhere : result.outcomes);
    return result;
  }
  const { envelope } = fitted;
  try {
    for (const [number, refusal] of envelope.refused) result.outcomes.set(number, refusal);
    const sendable = recipients.filter(({ number, address }) => {
      const fine = envelope.addresses.has(number) && isSendable(address);
      if (!fine && !result.outcomes.has(number))
        result.outcomes.set(number, trouble('failed', '5.1.3', `bad address syntax: ${address}`));
      return fine;
    });
    if (!isSendable(envelope.sender)) all(trouble('failed', '5.1.7', 'bad address syntax of the sender'));
    else if (sendable.length > 0) await run(session, peer, sendable, envelope, result, job.envelope.trace === 'verify');
  } finally {
    if (envelope.owned) await envelope.source.dispose();
  }
  return result;
}

/** Neither ends a line nor the brackets around it; quoted local parts may have `>` in them. */
const isSendable = (address: string): boolean =>
  !/[\0-\x1f\x7f]/.test(address) && !/[<> ]/.test(address.replaceAll(/"(?:[^"\\]|\\.)*"/g, ''));

async function run(
  session: SmtpSession,
  peer: Peer,
  recipients: readonly QueuedRecipient[],
  envelope: Envelope,
  result: Transaction,
  verify: boolean,
): Promise<void> {
  const { mail, each, data } = await converse(session, {
    mail: { stage: 'mail', line: [`MAIL FROM:<${envelope.sender}>`, ...envelope.mailParameters].join(' ') },
    rcpt: recipients.map((recipient) => ({ stage: 'rcpt' as const, line: rcpt(recipient, envelope, session) })),
    ...(verify ? {} : { data: { stage: 'data', line: 'DATA' } }),
  });
  result.open = true;
  const accepted = accepts(peer, recipients, mail, each, result);
  result.sentAway = [mail, ...each, data].some((reply) => reply?.status === 'fulfilled' && reply.value.code === 421);
  result.untouched =
    mail.status === 'rejected' ? (mail.reason as SessionError | undefined)?.kind === 'lost' : mail.value.code === 421;
  if (verify) return answered(session, peer, recipients, each, result);
  const goAhead = data?.status === 'fulfilled' && data.value.code >= 300 && data.value.code < 400;
  if (accepted.length > 0 && goAhead) return send(session, peer, accepted, envelope, result);
  if (accepted.length > 0) {
    for (const { number } of accepted) put(result, number, judge(peer, data, 'data'));
  } else if (goAhead) {
    // RFC 2920 section 3.1: DATA was taken for nobody. Not from who refused MAIL: what would it make of a dot?
    if (isTaken(mail)) await session.data(nothing(), 1);
    else session.quit();
  }
}

/** Who was taken could be delivered to: that is all that was to be found out. The transaction is left open, and ends with RSET. */
function answered(
  session: SmtpSession,
  peer: Peer,
  recipients: readonly QueuedRecipient[],
  each: readonly Settled[],
  result: Transaction,
): void {
  recipients.forEach(({ number }, i) => {
    const reply = each[i];
    if (reply?.status !== 'fulfilled' || !isTaken(reply)) return;
    const { status, text } = reply.value;
    result.outcomes.set(number, taken(session, peer, status, text, false));
  });
}

const taken = (session: SmtpSession, peer: Peer, status: string, reply: string, dsnPassedOn: boolean): Outcome => ({
  kind: 'delivered',
  relay: peer.relay,
  status,
  reply,
  dsnPassedOn,
  ...(session.tls ? { tls: session.tls.verified ? 'verified' : 'encrypted' } : {}),
});

async function* nothing(): AsyncGenerator<Buffer> {
  // No bytes: the dot alone.
}

interface Steps {
  readonly mail: Step;
  readonly rcpt: readonly Step[];
  /** Not of a message that only asks. */
  readonly data?: Step;
}
interface Replies {
  readonly mail: Settled;
  readonly each: readonly Settled[];
  /** Undefined when DATA was not sent. */
  readonly data: Settled | undefined;
}

/** The replies to MAIL, RCPT, DATA: pipelined where that is offered (RFC 2920), else one after another as far as it makes sense. */
async function converse(session: SmtpSession, steps: Steps): Promise<Replies> {
  const ask = async (some: readonly Step[]): Promise<Settled[]> => Promise.allSettled(session.send(some));
  const missing: Settled = { status: 'rejected', reason: undefined };
  if (session.extensions.has('PIPELINING')) {
    const [mail = missing, ...rest] = await ask([steps.mail, ...steps.rcpt, ...(steps.data ? [steps.data] : [])]);
    return { mail, data: steps.data && rest.pop(), each: rest };
  }
  const [mail = missing] = await ask([steps.mail]);
  const each: Settled[] = [];
  if (isTaken(mail)) for (const step of steps.rcpt) each.push(...(await ask([step])));
  const [data] = steps.data && each.some(isTaken) ? await ask([steps.data]) : [];
  return { mail, each, data };
}

function rcpt(recipient: QueuedRecipient, envelope: Envelope, session: SmtpSession): string {
  const line = `RCPT TO:<${envelope.addresses.get(recipient.number)}>`;
  if (!session.extensions.has('DSN')) return line;
  // RFC 3461 section 5.2.1: passed on as they came.
  const notify = recipient.notify?.length ? ` NOTIFY=${recipient.notify.join(',')}` : '';
  return `${line}${notify}${isParameter(recipient.orcpt) ? ` ORCPT=${recipient.orcpt}` : ''}`;
}

/** Notes who was refused and gives the others. */
function accepts(
  peer: Peer,
  recipients: readonly QueuedRecipient[],
  mail: Settled,
  each: readonly Settled[],
  result: Transaction,
): readonly QueuedRecipient[] {
  if (!isTaken(mail)) {
    for (const { number } of recipients) put(result, number, judge(peer, mail, 'mail'));
    return [];
  }
  const accepted = recipients.filter((_, i) => isTaken(each[i]));
  recipients.forEach(({ number }, i) => {
    const reply = each[i];
    if (isTaken(reply)) return;
    const why = judge(peer, reply, 'rcpt');
    // RFC 5321 section 4.5.3.1.10: 452, and 552 from old servers, also say that there are enough for one transaction.
    if (accepted.length > 0 && reply?.status === 'fulfilled' && isTooMany(reply.value)) {
      const soft: Trouble = { ...why, kind: 'deferred', status: statusOf(reply.value, 'deferred') };
      result.again.set(number, soft);
    } else put(result, number, why);
  });
  return accepted;
}
const isTaken = (reply: Settled | undefined): boolean => reply?.status === 'fulfilled' && reply.value.code < 300;
const isTooMany = ({ code, status }: SmtpReply): boolean =>
  (code === 452 && !status.startsWith('4.2.')) || (code === 552 && (status === '5.0.0' || status === '5.5.3'));

/** Temporary: another host may be asked. */
function put(result: Transaction, number: number, why: Trouble): void {
  if (why.kind === 'deferred') result.elsewhere.set(number, why);
  else result.outcomes.set(number, why);
}

function judge(peer: Peer, reply: Settled | undefined, stage: Stage): Trouble {
  if (reply?.status === 'fulfilled' && reply.value.code >= 400) return said(peer, reply.value, stage);
  if (reply?.status === 'fulfilled') return broken(peer, new SessionError('malformed', stage, reply.value.text));
  return broken(peer, (reply?.reason as SessionError | undefined) ?? new SessionError('lost', stage));
}

async function send(
  session: SmtpSession,
  peer: Peer,
  accepted: readonly QueuedRecipient[],
  envelope: Envelope,
  result: Transaction,
): Promise<void> {
  // RFC 2033 section 4.2: LMTP answers for each recipient that was taken, in their order.
  const lmtp = session.lmtp;
  const answers = await session.data(envelope.source.chunks(), lmtp ? accepted.length : 1);
  result.open = false;
  accepted.forEach(({ number }, i) => {
    const answer = answers[lmtp ? i : 0];
    if (answer?.status === 'fulfilled' && answer.value.code < 300)
      result.outcomes.set(number, taken(session, peer, answer.value.status, answer.value.text, session.extensions.has('DSN')));
    else if (answer?.status === 'rejected' && (answer.reason as SessionError).stage === 'body')
      put(result, number, judge(peer, answer, 'body'));
    // What was lost behind the dot may have been delivered: nobody else is asked.
    else result.outcomes.set(number, judge(peer, answer, 'dot'));
  });
}
