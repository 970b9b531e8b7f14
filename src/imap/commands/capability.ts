// CAPABILITY (RFC 3501 section 6.1.1): only what is done completely.
import type { ImapSession } from '../session.ts';
import { ok } from '../status.ts';
import { ANY_STATE, type CommandHandler } from './handler.ts';

const AFTER_LOGIN = 'IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN SPECIAL-USE';

/** What may be used now: log-in mechanisms and STARTTLS before log-in (RFC 3501 6.2.1), the rest after it as well. */
export function capabilities(session: ImapSession): string {
  return session.state === 'not-authenticated' ? capabilitiesBeforeLogin(session) : AFTER_LOGIN;
}
/** Whether a password may cross here: TLS, loopback, or disable_plaintext_auth says so. */
export function mayLogIn({ origin, options }: ImapSession): boolean {
  return origin.secure || options.authenticator.mechanisms(origin).length > 0;
}
export function capabilitiesBeforeLogin(session: ImapSession): string {
  const mechanisms = session.options.authenticator.mechanisms(session.origin);
  return [
    'IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE',
    ...(session.options.startTls && !session.encrypted ? ['STARTTLS'] : []),
    ...(mayLogIn(session) ? [] : ['LOGINDISABLED']),
    ...mechanisms.map((name) => `AUTH=${name}`),
  ].join(' ');
}

export const capability: CommandHandler = {
  states: ANY_STATE,
  sync: 'flags',
  async run(session, { args }) {
    args.end();
    session.untagged(`CAPABILITY ${capabilities(session)}`);
    return ok('Capability completed');
  },
};
