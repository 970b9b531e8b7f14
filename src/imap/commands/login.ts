// LOGIN (RFC 3501 section 6.2.3).
import type { LoginResult } from '../../auth/types.ts';
import { no, ok, type Completion } from '../status.ts';
import { plainText, type Scanner } from '../syntax/scanner.ts';
import type { ImapSession } from '../session.ts';
import { capabilities } from './capability.ts';
import { NOT_AUTHENTICATED, type CommandHandler } from './handler.ts';

function readLogin(args: Scanner): { user: string; password: string } {
  args.space();
  const user = plainText(args.astring());
  args.space();
  const password = plainText(args.astring());
  args.end();
  return { user, password };
}

/** The answer to a log-in, LOGIN's or AUTHENTICATE's; undefined when the session ends with BYE instead. */
export function admit(session: ImapSession, result: LoginResult): Completion | undefined {
  if (result.ok) return session.begin(result.account) ?? ok('Logged in', `CAPABILITY ${capabilities(session)}`);
  session.logger.info('imap.login.failed', { remote: session.origin.remoteAddress, reason: result.reason });
  if (result.reason === 'failed') return no('Authentication failed', 'AUTHENTICATIONFAILED');
  if (result.reason === 'unavailable') return no('Authentication is not possible at the moment', 'UNAVAILABLE');
  session.finish('Too many failed log-ins');
  return undefined;
}

export const login: CommandHandler = {
  states: NOT_AUTHENTICATED,
  sync: 'none',
  async run(session, { args }) {
    // Before the arguments are looked at: the password is not to be sent at all (RFC 5530).
    if (!session.origin.secure) return no('Use STARTTLS first', 'PRIVACYREQUIRED');
    const { user, password } = readLogin(args);
    return admit(session, await session.options.authenticator.login(user, password, session.origin));
  },
};
