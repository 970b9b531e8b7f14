// CAPABILITY, NOOP, CHECK, LOGOUT, STARTTLS (RFC 3501 6.1, 6.2), ID (RFC 2971), ENABLE (RFC 5161), NAMESPACE (RFC 2342).
import type { Session } from '../session.ts';
import { no, ok, type Answer } from '../status.ts';
import { BadSyntax, type Scanner } from '../syntax/scanner.ts';
import { quoted } from '../syntax/quote.ts';

export async function capability(session: Session, scan: Scanner): Promise<Answer> {
  scan.end();
  session.writer.line(`* CAPABILITY ${session.capabilities()}`);
  return ok('Capability completed');
}

export async function noop(session: Session, scan: Scanner): Promise<Answer> {
  scan.end();
  await session.look();
  return ok('Completed');
}

export async function logout(session: Session, scan: Scanner): Promise<Answer> {
  scan.end();
  session.writer.line('* BYE Logging out');
  session.logout();
  return ok('Logout completed');
}

export async function starttls(session: Session, scan: Scanner, tag: string): Promise<Answer | undefined> {
  scan.end();
  if (!session.mayStartTls) return no('TLS is not available');
  await session.startTls(tag);
  // The OK was sent in clear, before the handshake: there is nothing more to say.
  return undefined;
}

/** RFC 2971: at most 30 pairs, keys of 30 and values of 1024 octets. */
export async function id(session: Session, scan: Scanner): Promise<Answer> {
  scan.space();
  if (scan.peek() === '(') {
    const values = scan.list(() => scan.nstring()?.toString('latin1') ?? '');
    if (values.length % 2 !== 0 || values.length > 60) throw new BadSyntax('Bad list of ID fields');
    const pairs = values.flatMap((value, i) => (i % 2 === 0 ? [`${value}=${values[i + 1] ?? ''}`.slice(0, 100)] : []));
    session.log.info('imap.id', { fields: pairs });
  } else scan.expect('NIL');
  scan.end();
  session.writer.line(`* ID (${quoted('name')} ${quoted('Buzon')})`);
  return ok('ID completed');
}

export async function enable(session: Session, scan: Scanner): Promise<Answer> {
  do {
    scan.space();
    scan.atom('a capability');
  } while (!scan.atEnd);
  // Nothing that is announced needs enabling yet.
  session.writer.line('* ENABLED');
  return ok('Enabled');
}

export async function namespace(session: Session, scan: Scanner): Promise<Answer> {
  scan.end();
  const { prefix, separator } = session.options.namespace;
  session.writer.line(`* NAMESPACE ((${quoted(prefix)} ${quoted(separator)})) NIL NIL`);
  return ok('Namespace completed');
}
