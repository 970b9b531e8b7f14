// LOGIN (RFC 3501 section 6.2.3).
import type { LoginResult } from '../../auth/types.ts';
import { no, ok, type Completion } from '../status.ts';
import { plainText, type Scanner } from '../syntax/scanner.ts';
import type { ImapSession } from '../session.ts';
import { capabilities, mayLogIn } from './capability.ts';
import { NOT_AUTHENTICATED, type CommandHandler } from './handler.ts';

function readLogin(args: Scanner): { user: string; password: string } {
  args.space();
  const user = plainText(args.astring());
  args.space();
  const password = plainText(args.astring());
  args.end();
  return { user, password };
}

/** How it was tried. `user` as the client named it: empty where only the mechanism knows. */
interface Attempt {
  readonly mechanism: string;
  readonly user: string;
}

/** The answer to a log-in, LOGIN's or AUTHENTICATE's; undefined when the session ends with BYE instead. */
export async function admit(
  session: ImapSession,
  result: LoginResult,
  { mechanism, user }: Attempt,
): Promise<Completion | undefined> {
  if (result.ok)
    return (await session.begin(result.account, mechanism)) ?? ok('Logged in', `CAPABILITY ${capabilities(session)}`);
  const fields = { user: user.slice(0, 100), mechanism, secure: session.encrypted };
  switch (result.reason) {
    case 'failed':
      session.logger.warn('imap.auth.failed', fields);
      return no('Authentication failed', 'AUTHENTICATIONFAILED');
    case 'unavailable':
      session.logger.error('imap.auth.unavailable', fields);
      return no('Authentication is not possible at the moment', 'UNAVAILABLE');
    case 'throttled':
      session.logger.warn('imap.auth.throttled', fields);
      session.finish('Too many failed log-ins');
      return undefined;
  }
}

export const login: CommandHandler = {
  states: NOT_AUTHENTICATED,
  sync: 'none',
  async run(session, { args }) {
    // Before the arguments are looked at: the password is not to be sent at all (RFC 5530).
    if (!mayLogIn(session)) return no('Use STARTTLS first', 'PRIVACYREQUIRED');
    const { user, password } = readLogin(args);
    return admit(session, await session.options.authenticator.login(user, password, session.origin), {
      mechanism: 'LOGIN',
      user,
    });
  },
};
