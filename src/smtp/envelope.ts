// The envelope: what MAIL and RCPT say, and whether we take it (RFC 5321 sections 3.3, 3.6.2, 4.1.1.2, 4.1.1.3; RFC 6409 section 6.1).
import type { Account } from '../auth/types.ts';
import { targetsOf } from '../delivery/forwarding.ts';
import type { EnvelopeRecipient, Rejection, Route, SendMeter } from '../delivery/types.ts';
import { formatMailbox, parsePath, type MailboxAddress } from '../message/address-spec.ts';
import type { SmtpSessionOptions } from './options.ts';
import { parseMailParameters, parseRcptParameters, type MailParameters } from './parameters.ts';
import { reply, type Reply } from './reply.ts';
import type { Verification } from './verification.ts';

export interface Transaction {
  /** Empty for `<>`. */
  readonly sender: string;
  readonly params: MailParameters;
  readonly recipients: EnvelopeRecipient[];
  /** Of an account whose sending is limited. */
  readonly meter?: SendMeter;
  /** Of a client from outside, from its first recipient on. */
  verification?: Verification;
}

/** A command that is not taken, with the addresses for the log. `error` is answered by its kind. */
export interface Refusal {
  readonly refused: Reply | { readonly error: unknown; readonly subject: string };
  readonly from?: string;
  readonly to?: string;
}

/** Whom a session talks to. */
export interface Client {
  /** Logged in as. */
  readonly account: Account | undefined;
  /** Logged in, or in mynetworks: may relay. */
  readonly trusted: boolean;
  /** The connection is encrypted. */
  readonly tls: boolean;
}

/** What stands behind MAIL. */
export async function mailCommand(
  argument: string,
  { account, tls, trusted }: Client,
  options: SmtpSessionOptions,
): Promise<Transaction | Refusal> {
  if (!/^FROM:/i.test(argument)) return { refused: reply(501, '5.5.4', 'Syntax: MAIL FROM:<address>') };
  const text = argument.slice('FROM:'.length);
  const path = parsePath(text);
  if (!path) return { refused: reply(501, '5.1.7', 'Bad sender address syntax') };
  const params = parametersBehind(text, path.end, (rest) => parseMailParameters(rest, { tls, trusted }));
  if ('code' in params) return { refused: params };
  const sender = path.mailbox ? asWritten(text.slice(0, path.end), path.mailbox, options.hostname) : '';
  const problem = checkSender(path.mailbox, params, options.limits.messageSize);
  if (problem) return { refused: problem, from: sender };
  if (account && sender !== '') {
    const theirs = await owns(account, sender, options);
    if (theirs !== true) return { refused: theirs, from: sender };
  }
  const refused = await options.onStage?.('mail');
  if (refused) return { refused, from: sender };
  try {
    const meter = account && (await options.meter?.(account.address));
    return { sender, params, recipients: [], ...(meter ? { meter } : {}) };
  } catch (error) {
    return { refused: { error, subject: '' }, from: sender };
  }
}

/** The address with its domain in the case that the client gave it: Return-Path, X-Original-To and Delivered-To keep that, as Postfix's do. */
function asWritten(path: string, { local, domain, address }: MailboxAddress, hostname: string): string {
  if (domain === '') return formatMailbox(local, hostname);
  const given = path.slice(path.lastIndexOf('@') + 1).replace(/>$/, '');
  return given.toLowerCase() === domain ? formatMailbox(local, given) : address;
}
/** A local part goes on in the case that it came in: only its own host knows whether that matters (RFC 5321 section 2.4). */
function writtenRoute(route: Route, written: string, address: string): Route {
  if (route.kind !== 'deliver') return route;
  const direct = written.toLowerCase();
  const targets = route.targets.map((target) => {
    if (target.kind === 'mailbox') return target.recipient === direct ? { ...target, recipient: written } : target;
    return target.via === undefined && target.address === direct ? { ...target, address } : target;
  });
  return { ...route, targets };
}

/** RFC 5321 4.1.2: a space parts the path from what follows. */
function parametersBehind<T>(text: string, end: number, parse: (text: string) => T | Reply): T | Reply {
  const rest = text.slice(end);
  return rest === '' || rest.startsWith(' ') ? parse(rest) : reply(501, '5.5.4', 'Syntax: a space must follow the address');
}

function checkSender(mailbox: MailboxAddress | null, params: MailParameters, limit: number): Reply | undefined {
  if (mailbox?.domain === '') return reply(553, '5.1.7', 'Sender address has no domain');
  if (mailbox?.utf8 && !params.smtpUtf8) return reply(553, '5.6.7', 'The address needs SMTPUTF8');
  if (!mailbox && params.verp !== undefined) return reply(503, '5.5.4', 'Error: XVERP requires a non-null sender');
  if ((params.size ?? 0) > limit) return reply(552, '5.3.4', 'Message size exceeds fixed limit');
  return undefined;
}

async function owns(account: Account, sender: string, options: SmtpSessionOptions): Promise<true | Refusal['refused']> {
  try {
    if (await options.router.maySendAs(account.address, sender)) return true;
  } catch (error) {
    return { error, subject: '' };
  }
  return reply(553, '5.7.1', `<${sender}>: Sender address rejected: not owned by user ${account.address}`);
}

/** What stands behind RCPT. */
export async function rcptCommand(
  argument: string,
  transaction: Transaction,
  client: Client,
  options: SmtpSessionOptions,
): Promise<EnvelopeRecipient | Refusal> {
  const from = transaction.sender;
  if (!/^TO:/i.test(argument)) return { refused: reply(501, '5.5.4', 'Syntax: RCPT TO:<address>'), from };
  const text = argument.slice('TO:'.length);
  const path = parsePath(text);
  if (!path?.mailbox) return { refused: reply(501, '5.1.3', 'Bad recipient address syntax'), from };
  const { address } = path.mailbox;
  const fields = { from, to: address };
  const params = parametersBehind(text, path.end, (rest) => parseRcptParameters(rest, transaction.params.smtpUtf8));
  if ('code' in params) return { refused: params, ...fields };
  const problem = checkRecipient(path.mailbox, transaction, options.limits.recipients) ?? (await options.onStage?.('rcpt'));
  if (problem) return { refused: problem, ...fields };
  try {
    const route = await options.router.route(address);
    const refused = checkRoute(address, route, client.trusted, options.queue.available);
    if (refused) return { refused, ...fields };
    for (const target of targetsOf(address, route)) if (target.kind === 'mailbox') await options.checkMailbox?.(target.address);
    await transaction.meter?.recipient(address);
    // Only mailboxes hear how it was written; to others the same address twice is one.
    const written = route.kind === 'deliver' ? asWritten(text.slice(0, path.end), path.mailbox, options.hostname) : address;
    return { address: written, route: writtenRoute(route, written, address), ...params };
  } catch (error) {
    return { refused: { error, subject: `<${address}>` }, ...fields };
  }
}

function checkRecipient(mailbox: MailboxAddress, { params, recipients }: Transaction, limit: number): Reply | undefined {
  // RFC 5321 4.5.1: postmaster needs no domain.
  if (mailbox.domain === '' && mailbox.local.toLowerCase() !== 'postmaster')
    return reply(550, '5.1.3', `<${mailbox.address}>: Recipient address has no domain`);
  if (mailbox.utf8 && !params.smtpUtf8) return reply(553, '5.6.7', 'The address needs SMTPUTF8');
  return recipients.length >= limit ? TOO_MANY_RECIPIENTS : undefined;
}

/** RFC 5321 4.5.3.1.10. */
export const TOO_MANY_RECIPIENTS = reply(452, '4.5.3', 'Error: too many recipients');
const NO_QUEUE = reply(451, '4.3.0', 'Mail to other hosts cannot be taken now');

function checkRoute(address: string, route: Route, trusted: boolean, queueAvailable: boolean): Reply | undefined {
  const rejected = ({ status, reason }: Rejection): Reply =>
    reply(550, status, `<${address}>: Recipient address rejected: ${reason}`);
  switch (route.kind) {
    case 'unknown-user':
      return rejected({ status: '5.1.1', reason: 'User unknown' });
    case 'rejected':
      return rejected(route);
    case 'refused':
      return reply(554, '5.3.5', `<${address}>: Recipient address rejected: ${route.reason}`);
    case 'relay':
      if (!trusted) return reply(554, '5.7.1', `<${address}>: Relay access denied`);
      if (route.rejection) return rejected(route.rejection);
  }
  return !queueAvailable && targetsOf(address, route).some((target) => target.kind === 'remote') ? NO_QUEUE : undefined;
}
