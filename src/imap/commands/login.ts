// LOGIN and AUTHENTICATE (RFC 3501 sections 6.2.2, 6.2.3; SASL-IR: RFC 4959).
import type { LoginResult } from '../../auth/types.ts';
import type { Session } from '../session.ts';
import { bad, no, ok, type Answer } from '../status.ts';
import { BadSyntax, type Scanner } from '../syntax/scanner.ts';

const MAX_RESPONSE = 8_192;

export async function login(session: Session, scan: Scanner): Promise<Answer> {
  scan.space();
  const user = scan.astring().toString('utf8');
  scan.space();
  const password = scan.astring().toString('utf8');
  scan.end();
  if (!session.mayLogin) return no('Passwords are taken over TLS only: STARTTLS first', 'PRIVACYREQUIRED');
  return finish(session, await session.options.authenticator.login(user, password, session.origin), user, 'PLAIN');
}

export async function authenticate(session: Session, scan: Scanner): Promise<Answer> {
  scan.space();
  const mechanism = scan.atom('a mechanism').toUpperCase();
  const initial = scan.take(' ') ? scan.base64() : undefined;
  scan.end();
  if (!session.mayLogin) return no('Passwords are taken over TLS only: STARTTLS first', 'PRIVACYREQUIRED');
  const exchange = session.options.authenticator.start(mechanism, session.origin);
  if (!exchange) return no('The mechanism is not supported');
  let response = initial === undefined ? undefined : decode(initial);
  for (let round = 0; round < 10; round++) {
    const step = await exchange.respond(response);
    if ('malformed' in step) return bad(step.malformed);
    if ('result' in step) {
      if (step.data && step.result.ok) {
        // SCRAM's last word: the client acknowledges it with an empty line.
        await challenge(session, step.data);
      }
      return finish(session, step.result, '', mechanism);
    }
    const line = await challenge(session, step.challenge);
    if (line === undefined || line === '*') return bad('Authentication cancelled');
    response = decode(line);
  }
  return bad('Too many steps');
}

async function challenge(session: Session, bytes: Buffer): Promise<string | undefined> {
  session.writer.line(`+ ${bytes.toString('base64')}`);
  await session.writer.drain();
  const line = await session.reader.line(MAX_RESPONSE);
  return line.kind === 'line' ? line.bytes.toString('latin1') : undefined;
}

function decode(text: string): Buffer {
  if (text === '=') return Buffer.alloc(0);
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) throw new BadSyntax('Bad base64');
  return Buffer.from(text, 'base64');
}

function finish(session: Session, result: LoginResult, user: string, mechanism: string): Answer {
  const fields = { mechanism, local: session.peer.localAddress, secure: session.secure };
  if (result.ok) {
    session.login(result.account);
    session.log.info('imap.login', { user: result.account.address, ...fields });
    return ok('Logged in', `CAPABILITY ${session.capabilities()}`);
  }
  switch (result.reason) {
    case 'failed':
      session.log.warn('imap.auth.failed', { user: user.slice(0, 100), ...fields });
      return no('Authentication failed', 'AUTHENTICATIONFAILED');
    case 'unavailable':
      return no('Authentication is not available now, try again later', 'UNAVAILABLE');
    case 'throttled':
      session.log.warn('imap.auth.throttled', { user: user.slice(0, 100), ...fields });
      session.bye('Too many failed log-ins');
      return no('Too many failed log-ins', 'UNAVAILABLE');
  }
}
