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
    const step = await exchange.respond(response ?? undefined);
    if ('malformed' in step) return outcome(reply(501, '5.5.2', step.malformed));
    if ('result' in step) {
      if (step.data && step.result.ok) await ask(wire, limits, step.data);
      return outcome(
        answerFor(step.result),
        step.result.ok
          ? { account: step.result.account }
          : { failed: step.result.reason !== 'unavailable', ...(user === undefined ? {} : { user }) },
      );
    }
    const line = await ask(wire, limits, step.challenge);
    if (line === undefined) return outcome(reply(421, '4.4.2', 'Error: timeout exceeded'));
    if (line === '*') return outcome(reply(501, '5.7.0', 'Authentication aborted'));
    response = decode(line);
    if (response === null) return outcome(reply(501, '5.5.2', 'Invalid base64 data'));
  }
  return outcome(reply(501, '5.5.2', 'Too many steps'));
}

async function ask(wire: SmtpWire, limits: SmtpLimits, challenge: Buffer): Promise<string | undefined> {
  await wire.write(`334 ${challenge.toString('base64')}\r\n`);
  const line = await wire.line(MAX_LINE, limits.commandTimeout, limits.lineTimeout);
  return line.kind === 'line' ? line.bytes.toString('latin1') : undefined;
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
