// What a message needs of a server, held against what the server offers, before anything of it is sent.
import { domainToASCII } from 'node:url';
import type { MessageSource } from '../../message/source.ts';
import type { Job, QueuedRecipient } from '../types.ts';
import type { Peer } from './connect.ts';
import type { SmtpSession } from './session.ts';
import { trouble, type Trouble } from './wording.ts';

/** Ends of headers are looked for this far (smtp limits keep headers shorter). */
const MAX_HEADER = 1_048_576;

/** What is sent, and how it is announced. `owned`: the source was made here. */
export interface Envelope {
  readonly source: MessageSource;
  readonly owned: boolean;
  readonly sender: string;
  /** Address as it goes into RCPT TO, by recipient number. */
  readonly addresses: ReadonlyMap<number, string>;
  readonly mailParameters: readonly string[];
  /** Those that cannot be sent to this server, by number. */
  readonly refused: ReadonlyMap<number, Trouble>;
}

export type Fitted =
  | { readonly kind: 'fits'; readonly envelope: Envelope }
  /** `next`: another host may offer what this one does not. */
  | { readonly kind: 'unfit'; readonly trouble: Trouble; readonly next: boolean };

type Downgrade = ((source: MessageSource) => Promise<MessageSource | undefined>) | undefined;

/** @throws what reading the source throws */
export async function fit(
  job: Job,
  recipients: readonly QueuedRecipient[],
  source: MessageSource,
  session: SmtpSession,
  peer: Peer,
  downgrade: Downgrade,
): Promise<Fitted> {
  const { extensions } = session;
  const about = { relay: peer.relay, remote: peer.name };
  const unfit = (status: string, reason: string, next = false): Fitted => ({
    kind: 'unfit',
    trouble: trouble('failed', status, reason, about),
    next,
  });
  const limit = Number(/^\d{1,15}$/.exec((extensions.get('SIZE') ?? '').trim())?.[0] ?? 0);
  // RFC 1870 section 6.1.
  if (limit > 0 && source.size > limit)
    return unfit('5.3.4', `message size ${source.size} exceeds size limit ${limit} of server ${peer.label}`);
  // RFC 8689 section 4.2.1: rather not at all than without.
  if (job.envelope.requireTls === true && (session.tls?.verified !== true || !extensions.has('REQUIRETLS')))
    return unfit('5.7.30', requireTlsMissing(peer), true);
  const names = await addressed(job, recipients, source, extensions.has('SMTPUTF8'), peer);
  if (names.kind === 'unfit') return names;
  const eightBit = job.envelope.bodyType !== '7BIT' && !extensions.has('8BITMIME') && (await hasEightBit(source));
  if (!eightBit && job.envelope.bodyType !== 'BINARYMIME')
    return { kind: 'fits', envelope: { ...names.envelope, mailParameters: parameters(job, source, session, names.utf8) } };
  // RFC 6152 section 3: made 7-bit, or returned.
  const seven = names.utf8 ? undefined : await downgrade?.(source);
  if (seven === undefined)
    return unfit('5.6.3', `host ${peer.label} does not take 8-bit mail, and the message cannot be converted`);
  const sent = parameters(job, seven, session, false).filter((parameter) => !parameter.startsWith('BODY='));
  return { kind: 'fits', envelope: { ...names.envelope, source: seven, owned: true, mailParameters: sent } };
}

export const requireTlsMissing = (peer: Peer): string =>
  `REQUIRETLS support with a verified certificate is required, but was not offered by host ${peer.label}`;

type Names = { readonly kind: 'names'; readonly envelope: Envelope; readonly utf8: boolean } | Extract<Fitted, { kind: 'unfit' }>;

/** RFC 6531 section 3.2: UTF-8 only to who takes it; a domain alone can also be said in ASCII. */
async function addressed(
  job: Job,
  recipients: readonly QueuedRecipient[],
  source: MessageSource,
  offered: boolean,
  peer: Peer,
): Promise<Names> {
  const reason = `SMTPUTF8 is required, but was not offered by host ${peer.label}`;
  const unfit = trouble('failed', '5.6.7', reason, { relay: peer.relay, remote: peer.name });
  const given = recipients.map(({ number, address }) => [number, address] as const);
  const everything = [job.envelope.sender, ...given.map(([, address]) => address)];
  const envelope = { source, owned: false, mailParameters: [] };
  if (offered) {
    const utf8 = job.envelope.smtpUtf8 || everything.some(isUtf8);
    const all = { ...envelope, sender: job.envelope.sender, addresses: new Map(given), refused: new Map<number, Trouble>() };
    return { kind: 'names', envelope: all, utf8 };
  }
  const sender = inAscii(job.envelope.sender);
  if (sender === undefined || (job.envelope.smtpUtf8 && (await hasEightBit(source, true))))
    return { kind: 'unfit', trouble: unfit, next: false };
  const addresses = new Map<number, string>();
  const refused = new Map<number, Trouble>();
  for (const [number, address] of given) {
    const ascii = inAscii(address);
    if (ascii === undefined) refused.set(number, unfit);
    else addresses.set(number, ascii);
  }
  return { kind: 'names', envelope: { ...envelope, sender, addresses, refused }, utf8: false };
}

const isUtf8 = (text: string): boolean => /[^\0-\x7f]/.test(text);

function inAscii(address: string): string | undefined {
  if (!isUtf8(address)) return address;
  const at = address.lastIndexOf('@');
  const domain = domainToASCII(address.slice(at + 1));
  return isUtf8(address.slice(0, at)) || domain === '' ? undefined : `${address.slice(0, at + 1)}${domain}`;
}

/** Parameters of MAIL: RFC 1870, 6152, 6531, 3461 section 4.3 and 4.4, 8689 section 4.2. */
function parameters({ envelope }: Job, source: MessageSource, session: SmtpSession, utf8: boolean): string[] {
  const { extensions } = session;
  return [
    ...(extensions.has('SIZE') ? [`SIZE=${source.size}`] : []),
    ...(extensions.has('8BITMIME') && envelope.bodyType !== '7BIT' ? ['BODY=8BITMIME'] : []),
    ...(utf8 ? ['SMTPUTF8'] : []),
    ...(extensions.has('DSN') && envelope.ret ? [`RET=${envelope.ret}`] : []),
    ...(extensions.has('DSN') && isParameter(envelope.envid) ? [`ENVID=${envelope.envid}`] : []),
    ...(envelope.requireTls === true ? ['REQUIRETLS'] : []),
  ];
}

/** Fit to stand behind `=`: what the queue kept of a client's xtext is, unless its file was damaged. */
export const isParameter = (text: string | undefined): text is string => text !== undefined && /^[!-~]{1,500}$/.test(text);

/** Whether a byte has its highest bit set; of the header only, when asked so. */
async function hasEightBit(source: MessageSource, header = false): Promise<boolean> {
  let seen = 0;
  let tail = '';
  for await (const chunk of source.chunks()) {
    const text = chunk.toString('latin1');
    const end = header ? (tail + text).search(/\r?\n\r?\n/) : -1;
    const part = end < 0 ? text : (tail + text).slice(0, end);
    if (/[\x80-\xff]/.test(part)) return true;
    seen += chunk.length;
    tail = text.slice(-3);
    if (end >= 0 || (header && seen > MAX_HEADER)) return false;
  }
  return false;
}
