// One taken file on its way to `accept`. Its name in pickup/ says how far it is, so that a crash repeats as little as can be:
//
//   ID          not accepted for anybody yet
//   ID.s        being made into parts, as its recipients fare differently
//   ID.r3       one of these: only the fourth recipient
//   ….b         accepted for those who can be reached; the report about the others is due
//
// A message that only asks (sendmail -bv) is accepted for nobody: those outside are asked by way of the queue, the others are looked up (probe.ts).
//
// A repeat gives `accept` the same bytes: copies that were made before a crash are found by the delivery's intents.
import { link, readdir, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { AcceptMessage, EnvelopeRecipient, ReceivedMessage, Route, Router } from '../delivery/types.ts';
import { toMailError, type MailError } from '../lib/errors.ts';
import { syncFolder } from '../storage/files.ts';
import { replyFor } from '../smtp/reply.ts';
import type { DropEnvelope } from './format.ts';
import { askOutside, mailboxAnswers, refused, type ProbeParts } from './probe.ts';
import type { TakenMessage } from './taken-file.ts';

/** Why a recipient never gets the message. */
export interface DropFailure {
  readonly recipient: EnvelopeRecipient;
  /** RFC 3463, class 5. */
  readonly status: string;
  readonly reason: string;
}

/** Reports to the sender (who is not `<>`) that these recipients do not get the message. Resolves when the report is accepted. @throws MailError when it is not */
export type Bounce = (message: ReceivedMessage, failures: readonly DropFailure[]) => Promise<void>;

/** How far a file is: the parts of its name. */
export interface WorkName {
  readonly id: string;
  /** Number of the only recipient it stands for. */
  readonly part?: number;
  /** Only the report is left. */
  readonly accepted: boolean;
  /** Its parts are being made; none of them is handed in before it is gone. */
  readonly splitting: boolean;
}

export function parseWorkName(name: string): WorkName | undefined {
  const [, id, splitting, part, accepted] = /^([0-9A-F]{12})(?:(\.s)|(?:\.r(\d{1,5}))?(\.b)?)$/.exec(name) ?? [];
  if (id === undefined) return undefined;
  return {
    id,
    accepted: accepted !== undefined,
    splitting: splitting !== undefined,
    ...(part === undefined ? {} : { part: Number(part) }),
  };
}

export interface HandInParts {
  readonly router: Router;
  readonly accept: AcceptMessage;
  readonly bounce: Bounce;
  /** For messages that only ask. */
  readonly probe: ProbeParts;
  /** Milliseconds for which a recipient is tried. */
  readonly lifetime: number;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** The whole message without recipients: what every way below begins with. */
function withRecipients(id: string, taken: TakenMessage, recipients: readonly EnvelopeRecipient[]): ReceivedMessage {
  const { sender, bodyType, ret, envid, trace } = taken.envelope;
  return {
    id,
    envelope: {
      sender,
      recipients,
      smtpUtf8: [sender, ...recipients.map(({ address }) => address)].some((address) => /[^\x00-\x7f]/.test(address)),
      bodyType: bodyType ?? (taken.eightBit ? '8BITMIME' : '7BIT'),
      ...(ret === undefined ? {} : { ret }),
      ...(envid === undefined ? {} : { envid }),
      ...(trace === undefined ? {} : { trace }),
    },
    source: taken.source,
    original: taken.original,
    deliveredTo: taken.deliveredTo,
    trusted: true,
  };
}

/**
 * Hands a message in; when it resolves with `done` the file is gone, with `split` there are parts of it to be handed in instead.
 * @throws MailError when it is to be tried again
 */
export async function handIn(folder: string, work: WorkName, taken: TakenMessage, parts: HandInParts): Promise<'done' | 'split'> {
  if (work.splitting) return split(folder, work, taken.envelope.recipients.length);
  const routed = await routeAll(recipientsOf(taken.envelope, work.part), parts.router);
  if (taken.envelope.trace === 'verify') return probe(folder, work, taken, routed, parts);
  const failures = [...routed.failures];
  if (!work.accepted && routed.good.length > 0) {
    const outcome = await accept(withRecipients(work.id, taken, routed.good), taken, parts);
    if (outcome === 'split') return split(folder, work, taken.envelope.recipients.length);
    failures.push(...outcome);
  }
  let name = nameOf(work);
  if (failures.length > 0 && taken.envelope.sender !== '') {
    if (!work.accepted) name = await advance(folder, work, { accepted: true });
    await parts.bounce(
      withRecipients(
        work.id,
        taken,
        failures.map(({ recipient }) => recipient),
      ),
      failures,
    );
  }
  await unlink(join(folder, name));
  return 'done';
}

/** Delivers nothing. @throws MailError when it is to be tried again */
async function probe(
  folder: string,
  work: WorkName,
  taken: TakenMessage,
  { good, failures }: Routed,
  parts: HandInParts,
): Promise<'done'> {
  const message = withRecipients(work.id, taken, good);
  const answers = [...failures.map(refused), ...(await mailboxAnswers(message, parts.probe))];
  let name = nameOf(work);
  if (!work.accepted) {
    answers.push(...(await askOutside(message, parts.probe, isTooOld(taken, parts))));
    name = await advance(folder, work, { accepted: true });
  }
  await parts.probe.report(message, answers);
  await unlink(join(folder, name));
  return 'done';
}

function recipientsOf({ recipients, notify }: DropEnvelope, part: number | undefined): Omit<EnvelopeRecipient, 'route'>[] {
  const wanted = part === undefined ? recipients : recipients.slice(part, part + 1);
  return wanted.map((address) => ({ address, ...(notify === undefined ? {} : { notify }) }));
}

interface Routed {
  readonly good: readonly EnvelopeRecipient[];
  readonly failures: readonly DropFailure[];
}

async function routeAll(recipients: readonly Omit<EnvelopeRecipient, 'route'>[], router: Router): Promise<Routed> {
  const good: EnvelopeRecipient[] = [];
  const failures: DropFailure[] = [];
  for (const one of recipients) {
    const route = await router.route(one.address);
    const recipient = { ...one, route };
    const failure = failureOf(one.address, route);
    if (failure) failures.push({ recipient, ...failure });
    else good.push(recipient);
  }
  return { good, failures };
}

/** Local users may relay, as clients of mynetworks. */
function failureOf(address: string, route: Route): { status: string; reason: string } | undefined {
  switch (route.kind) {
    case 'deliver':
    case 'relay': {
      const { rejection } = route as { rejection?: { status: string; reason: string } };
      return rejection;
    }
    case 'unknown-user':
      return { status: '5.1.1', reason: `<${address}>: User unknown` };
    default: {
      const { status, reason } = route as { status?: string; reason: string };
      return { status: status ?? '5.3.5', reason: `<${address}>: ${reason}` };
    }
  }
}

/** Errors that may be about one recipient and say nothing of the others. */
const OF_A_RECIPIENT: ReadonlySet<string> = new Set<MailError['kind']>([
  'over-quota',
  'no-such-user',
  'no-such-mailbox',
  'not-permitted',
  'mail-loop',
  'too-many',
  'too-large',
  'cannot',
]);

/** Gives who will never get it. @throws MailError to be tried again */
async function accept(message: ReceivedMessage, taken: TakenMessage, parts: HandInParts): Promise<DropFailure[] | 'split'> {
  const { recipients } = message.envelope;
  try {
    await parts.accept(message);
    return [];
  } catch (thrown) {
    const error = toMailError(thrown, 'accepting a message');
    if (recipients.length > 1 && (OF_A_RECIPIENT.has(error.kind) || error.code === 'NO_QUEUE')) return 'split';
    const { code, enhanced } = replyFor(error);
    if (code < 500 && !isTooOld(taken, parts)) throw error;
    const status = enhanced.replace(/^4/, '5');
    return recipients.map((recipient) => ({ recipient, status, reason: `<${recipient.address}>: ${error.clientText}` }));
  }
}

const isTooOld = ({ written }: TakenMessage, { now, lifetime }: HandInParts): boolean => now - Math.min(now, written) > lifetime;

function nameOf({ id, part, accepted, splitting }: WorkName): string {
  return `${id}${splitting ? '.s' : ''}${part === undefined ? '' : `.r${part}`}${accepted ? '.b' : ''}`;
}

async function advance(folder: string, work: WorkName, to: Partial<WorkName>): Promise<string> {
  const name = nameOf({ ...work, ...to });
  if (name === nameOf(work)) return name;
  await rename(join(folder, nameOf(work)), join(folder, name));
  await syncFolder(folder);
  return name;
}

/** Each recipient gets a name of the file for himself. */
async function split(folder: string, work: WorkName, recipients: number): Promise<'split'> {
  const path = join(folder, await advance(folder, work, { splitting: true }));
  const names = new Set(await readdir(folder));
  for (let part = 0; part < recipients; part++) {
    const name = nameOf({ id: work.id, part, accepted: false, splitting: false });
    if (!names.has(name)) await link(path, join(folder, name));
  }
  await syncFolder(folder);
  await unlink(path);
  await syncFolder(folder);
  return 'split';
}
