// AUTHENTICATE (RFC 3501 section 6.2.2) with an initial response (SASL-IR, RFC 4959).
import type { SaslExchange, SaslStep } from '../../auth/types.ts';
import type { ImapSession } from '../session.ts';
import { badReply, no, type Completion } from '../status.ts';
import { bad, type Scanner } from '../syntax/scanner.ts';
import { NOT_AUTHENTICATED, type CommandHandler } from './handler.ts';
import { admit } from './login.ts';

/** Challenges of one exchange: no mechanism needs more. */
const MAX_STEPS = 10;

function readAuthenticate(args: Scanner): { mechanism: string; initial: string | undefined } {
  args.space();
  const mechanism = args.atom().toUpperCase();
  if (args.atEnd) return { mechanism, initial: undefined };
  args.space();
  return { mechanism, initial: args.rest() };
}

/** Strict base64 (RFC 3501 section 9); undefined when it is none. */
function decodeBase64(text: string): Buffer | undefined {
  if (text.length % 4 !== 0) return undefined;
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** The client's next response; undefined when it cancels with `*`. */
async function readResponse(session: ImapSession, challenge: Buffer): Promise<Buffer | undefined> {
  await session.proceed(challenge.toString('base64'));
  const line = (await session.line(session.limits.lineBeforeLogin, session.limits.loginTimeout)).toString('latin1');
  if (line === '*') return undefined;
  const bytes = decodeBase64(line);
  if (!bytes) throw bad('Invalid base64');
  return bytes;
}

async function converse(
  session: ImapSession,
  mechanism: string,
  exchange: SaslExchange,
  first: Buffer | undefined,
): Promise<Completion | undefined> {
  let step: SaslStep = await exchange.respond(first);
  for (let steps = 0; steps < MAX_STEPS; steps++) {
    if ('malformed' in step) return badReply('Malformed authentication response');
    if ('result' in step) {
      // Data with success has no place in the tagged answer: one more round (RFC 4422 section 4 item 2b).
      if (step.result.ok && step.data && !(await readResponse(session, step.data))) return badReply('Authentication cancelled');
      return admit(session, step.result, { mechanism, user: '' });
    }
    const response = await readResponse(session, step.challenge);
    if (!response) return badReply('Authentication cancelled');
    step = await exchange.respond(response);
  }
  return badReply('Too many steps');
}

export const authenticate: CommandHandler = {
  states: NOT_AUTHENTICATED,
  sync: 'none',
  async run(session, { args }) {
    const { mechanism, initial } = readAuthenticate(args);
    const exchange = session.options.authenticator.start(mechanism, session.origin);
    if (!exchange) {
      if (!session.origin.secure) return no('Use STARTTLS first', 'PRIVACYREQUIRED');
      return no('Unknown mechanism', 'CANNOT');
    }
    const first = initial === undefined ? undefined : initial === '=' ? Buffer.alloc(0) : decodeBase64(initial);
    if (initial !== undefined && !first) return badReply('Invalid base64');
    return converse(session, mechanism, exchange, first);
  },
};
