// AUTH (RFC 4954): the exchange in base64 lines around the mechanism's own.
import type { Account, Authenticator, LoginOrigin, LoginResult } from '../auth/types.ts';
import type { SmtpLimits } from './limits.ts';
import { reply, type Reply } from './reply.ts';
import type { SmtpWire } from './wire.ts';

export interface AuthOutcome {
  readonly reply: Reply;
  readonly mechanism: string;
  readonly account?: Account;
  /** Wrong credentials: for the log. */
  readonly failed?: boolean;
  readonly user?: string;
}

/** RFC 4954 4: 12288 octets for a line. */
const MAX_LINE = 12_288;

export async function authenticate(
  argument: string,
  authenticator: Authenticator,
  origin: LoginOrigin,
  wire: SmtpWire,
  limits: SmtpLimits,
  strict: boolean,
): Promise<AuthOutcome> {
  const [name = '', initial, ...more] = argument.split(' ');
  const mechanism = name.toUpperCase();
  const outcome = (answer: Reply, rest: Omit<AuthOutcome, 'reply' | 'mechanism'> = {}): AuthOutcome => ({
    reply: answer,
    mechanism,
    ...rest,
  });
  if (mechanism === '' || more.length > 0) return outcome(reply(501, '5.5.4', 'Syntax: AUTH mechanism'));
  const exchange = authenticator.start(mechanism, origin);
  if (!exchange) return outcome(reply(504, '5.5.4', 'Unrecognized authentication type'));
  let response = initial === undefined ? undefined : decode(initial);
  if (response === null) return outcome(reply(501, '5.5.2', 'Invalid base64 data'));
  let user: string | undefined;
  for (let round = 0; round < 10; round++) {
    user ??= userIn(mechanism, response);
    if (/[\x00-\x1f\x7f]/.test(user ?? '')) return outcome(reply(501, '5.5.4', 'Control characters in the user name'));
    const step = await exchange.respond(response ?? undefined);
    if ('malformed' in step) return outcome(reply(501, '5.5.2', step.malformed));
    if ('result' in step) {
      if (step.data && step.result.ok) {
        const answer = await ask(wire, limits, step.data, strict);
        if (answer !== '') return outcome(typeof answer === 'string' ? ABORTED : answer);
      }
      return outcome(
        answerFor(step.result),
        step.result.ok
          ? { account: step.result.account }
          : { failed: step.result.reason !== 'unavailable', ...(user === undefined ? {} : { user }) },
      );
    }
    const line = await ask(wire, limits, step.challenge, strict);
    if (typeof line !== 'string') return outcome(line);
    if (line === '*') return outcome(ABORTED);
    response = decode(line);
    if (response === null) return outcome(reply(501, '5.5.2', 'Invalid base64 data'));
  }
  return outcome(reply(501, '5.5.2', 'Too many steps'));
}

const ABORTED = reply(501, '5.7.0', 'Authentication aborted');

/** The client's answer to a challenge, still in base64; or how to end it all. */
async function ask(wire: SmtpWire, limits: SmtpLimits, challenge: Buffer, strict: boolean): Promise<string | Reply> {
  await wire.write(`334 ${challenge.toString('base64')}\r\n`);
  const line = await wire.line(MAX_LINE, limits.commandTimeout, limits.lineTimeout);
  if (line.kind === 'too-long') return reply(500, '5.5.6', 'Error: authentication exchange line is too long');
  if (line.kind !== 'line') return reply(421, '4.4.2', 'Error: timeout exceeded');
  const text = line.bytes.toString('latin1');
  return /[\x00-\x1f\x7f]/.test(text) || (line.bareLf && strict) ? reply(501, '5.5.4', 'Control characters or bare <LF>') : text;
}

/** `=` is an empty response; null what is no base64. */
function decode(text: string): Buffer | null {
  if (text === '=') return Buffer.alloc(0);
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return null;
  return Buffer.from(text, 'base64');
}

/** The user's name as far as the log may tell it. */
function userIn(mechanism: string, response: Buffer | null | undefined): string | undefined {
  if (!response || (mechanism !== 'PLAIN' && mechanism !== 'LOGIN')) return undefined;
  const text = response.toString('utf8');
  return (mechanism === 'PLAIN' ? text.split('\0')[1] : text)?.slice(0, 100);
}

function answerFor(result: LoginResult): Reply {
  if (result.ok) return reply(235, '2.7.0', 'Authentication successful');
  switch (result.reason) {
    case 'failed':
      return reply(535, '5.7.8', 'Error: authentication failed');
    case 'unavailable':
      return reply(454, '4.7.0', 'Temporary authentication failure');
    case 'throttled':
      return reply(421, '4.7.0', 'Error: too many failed log-ins');
  }
}
