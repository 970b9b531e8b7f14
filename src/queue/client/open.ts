// From an address to a session that takes mail: connection, greeting, EHLO, TLS as the policy says, AUTH.
import { checkServerIdentity, type ConnectionOptions, type PeerCertificate } from 'node:tls';
import { createHash, type X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { tlsaProblem } from '../../policy/dane/tlsa.ts';
import type { Credentials } from '../credentials.ts';
import { openSession } from '../nodemailer-adapter.ts';
import { dial, DialError, type Peer } from './connect.ts';
import { requireTlsMissing } from './needs.ts';
import type { ClientOptions, TlsPolicy, TlsRules } from './options.ts';
import { SessionError, type SessionOptions, type SmtpSession } from './session.ts';
import { broken, cannotConnect, refusedUs, statusOf, trouble, type Trouble } from './wording.ts';

/** How a next hop is spoken to; equal plans may share connections. */
export interface Plan {
  readonly lmtp: boolean;
  readonly policy: TlsPolicy;
  /** The next hop's host: what `secure` looks for in the certificate. */
  readonly destination: string;
  readonly credentials?: Credentials;
  readonly localAddress?: string;
  /** Asked for MX records: an answer by ourselves is a loop. */
  readonly detectLoop: boolean;
  /** RFC 8689. */
  readonly requireTls: boolean;
}

export type Opened =
  | { readonly kind: 'open'; readonly session: SmtpSession }
  /** `next`: another host may do better. `dead`: nobody answered at all. */
  | { readonly kind: 'closed'; readonly trouble: Trouble; readonly next: boolean; readonly dead: boolean };

/** Never throws for what the peer does. */
export async function open(peer: Peer, plan: Plan, options: ClientOptions, signal: AbortSignal): Promise<Opened> {
  const { policy } = plan;
  if (policy.level === 'refused') return closed(trouble('deferred', policy.status, policy.reason, { remote: peer.name }));
  const { level } = policy;
  const tls = level === 'none' ? 'never' : level === 'may' ? 'opportunistic' : 'required';
  try {
    const session = await connected(peer, plan, policy, options, signal, tls).catch((error: unknown) => {
      if (!mayGoClear(error, plan)) throw error;
      // RFC 7435 section 3: no encryption rather than no mail.
      const why = error instanceof SessionError ? error.message : '';
      options.logger.info('queue.tls-failed', { relay: peer.relay, reason: why });
      return connected(peer, plan, policy, options, signal, 'never');
    });
    if (plan.detectLoop && session.peerName === options.hostname.toLowerCase()) {
      session.quit();
      return closed(trouble('failed', '5.4.6', `mail for ${plan.destination} loops back to myself`), false);
    }
    return await loggedIn(peer, session, plan, options, signal);
  } catch (error) {
    if (error instanceof DialError) return closed(cannotConnect(peer, error.message), true, error.dead);
    if (error instanceof SessionError) return judged(peer, error, plan, options);
    throw error;
  }
}

const closed = (why: Trouble, next = true, dead = false): Opened => ({ kind: 'closed', trouble: why, next, dead });

async function connected(
  peer: Peer,
  plan: Plan,
  rules: TlsRules,
  options: ClientOptions,
  signal: AbortSignal,
  tls: 'never' | 'opportunistic' | 'required',
): Promise<SmtpSession> {
  const { clock } = options;
  const limits = options.limits();
  const ca = await options.roots?.();
  const socket = await dial(peer, {
    timeout: limits.smtp_connect_timeout,
    clock,
    signal,
    ...(plan.localAddress === undefined ? {} : { localAddress: plan.localAddress }),
  });
  return openSession({
    socket,
    lmtp: plan.lmtp,
    heloName: options.heloName ?? options.hostname,
    host: peer.name,
    tls,
    tlsOptions: { ...tlsOptions(peer, plan.destination, rules), ...(ca === undefined ? {} : { ca }) },
    ...judgeOf(peer, plan.destination, rules, clock.now()),
    timeouts: limits,
    clock,
    signal,
  });
}

/** RFC 3207 section 4.1, RFC 6125 section 6. With `may` and `encrypt` the certificate is looked at and not relied upon. */
function tlsOptions(peer: Peer, destination: string, rules: TlsRules): ConnectionOptions {
  const { level, minVersion, maxVersion, ciphers } = rules;
  const isChecked = level === 'verify' || level === 'secure';
  const names = (rules.names ?? ['nexthop', 'dot-nexthop']).map((name) => standFor(name, peer.name, destination));
  return {
    rejectUnauthorized: isChecked,
    ...(isIP(peer.name) === 0 ? { servername: rules.tlsaBase ?? peer.name } : {}),
    ...(minVersion === undefined ? {} : { minVersion }),
    ...(maxVersion === undefined ? {} : { maxVersion }),
    ...(ciphers === undefined ? {} : { ciphers }),
    ...(level === 'secure' || (isChecked && rules.names !== undefined)
      ? { checkServerIdentity: (_host: string, certificate: PeerCertificate) => checkNames(names, certificate) }
      : {}),
  };
}

/** Levels at which the certificate itself is what was told, whoever signed it. */
function judgeOf(peer: Peer, destination: string, rules: TlsRules, now: number): Pick<SessionOptions, 'judge'> {
  if (rules.level === 'fingerprint') return { judge: (certificate) => checkFingerprint(rules, certificate) };
  if (rules.level !== 'dane') return {};
  // RFC 7672 section 3.2.2: the base of the records, the destination.
  const names = [...new Set([rules.tlsaBase ?? peer.name, peer.name, destination])];
  return { judge: (certificate) => tlsaProblem(rules.tlsa ?? [], certificate, names, now) };
}

/** The words of smtp_tls_secure_cert_match. */
function standFor(name: string, host: string, nexthop: string): string {
  if (name === 'hostname') return host;
  if (name === 'nexthop') return nexthop;
  return name === 'dot-nexthop' ? `.${nexthop}` : name;
}

/** Of the certificate or of its public key, as smtp_tls_fingerprint_cert_match. */
function checkFingerprint({ fingerprints = [], digest = 'sha256' }: TlsRules, certificate: X509Certificate): string | undefined {
  const of = (bytes: Buffer): string => createHash(digest).update(bytes).digest('hex');
  const own = [of(certificate.raw), of(certificate.publicKey.export({ type: 'spki', format: 'der' }))];
  if (own.some((one) => fingerprints.includes(one))) return undefined;
  return `the certificate has none of the fingerprints that are wanted, but ${digest} ${own[0]}, its key ${own[1]}`;
}

/** smtp_tls_secure_cert_match: one of the names must be there; `.example.com` is any name below it. */
function checkNames(names: readonly string[], certificate: PeerCertificate): Error | undefined {
  const own = (certificate.subjectaltname ?? '')
    .split(', ')
    .flatMap((entry) => /^DNS:(.+)$/.exec(entry)?.[1]?.toLowerCase() ?? []);
  for (const name of names) {
    if (name.startsWith('.') ? own.some((have) => have.endsWith(name)) : checkServerIdentity(name, certificate) === undefined)
      return undefined;
  }
  return new Error(`certificate is not for ${names.join(', ')}`);
}

/** Where TLS is welcome and not needed, what fails because of it is done without. Never with a password (Postfix's rule). */
function mayGoClear(error: unknown, { policy, credentials }: Plan): boolean {
  if (policy.level !== 'may' || credentials || !(error instanceof SessionError)) return false;
  return error.kind === 'tls' || (error.stage === 'tls' && error.kind === 'timeout') || error.stage === 'starttls';
}

async function loggedIn(
  peer: Peer,
  session: SmtpSession,
  plan: Plan,
  options: ClientOptions,
  signal: AbortSignal,
): Promise<Opened> {
  const { credentials } = plan;
  if (!credentials) return { kind: 'open', session };
  const mechanisms = session.extensions.get('AUTH');
  if (mechanisms === undefined || (session.tls === undefined && options.authInClear !== true)) {
    session.quit();
    const reason = `SASL authentication failed: server ${peer.label} offered no compatible authentication mechanisms for this type of connection security`;
    return closed(trouble('deferred', '4.7.0', reason, { relay: peer.relay, remote: peer.name }));
  }
  const stop = (): void => session.abort(signal.reason === 'deadline' ? 'deadline' : 'aborted');
  signal.addEventListener('abort', stop);
  try {
    await session.authenticate(credentials.user, credentials.password);
    return { kind: 'open', session };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** What the end of a set-up means. */
function judged(peer: Peer, error: SessionError, plan: Plan, options: ClientOptions): Opened {
  const about = { relay: peer.relay, remote: peer.name };
  const { reply, stage } = error;
  if (error.kind === 'no-tls' && plan.requireTls) return closed(trouble('failed', '5.7.30', requireTlsMissing(peer), about));
  if (error.kind === 'no-tls')
    return closed(trouble('deferred', '4.7.4', `TLS is required, but was not offered by host ${peer.label}`, about));
  if (error.kind === 'tls')
    return closed(trouble('deferred', '4.7.5', `Cannot start TLS with ${peer.label}: ${error.detail}`, about));
  if (reply === undefined)
    return closed(broken(peer, error), true, stage === 'greeting' && (error.kind === 'timeout' || error.kind === 'lost'));
  const more = { ...about, reply: reply.text };
  switch (stage) {
    case 'starttls':
      return closed(
        trouble('deferred', '4.7.5', `TLS is required, but host ${peer.label} refused to start TLS: ${reply.text}`, more),
      );
    case 'auth': {
      // A password that is wrong today may be right tomorrow (smtp_sasl_auth_soft_bounce).
      const reason = `SASL authentication failed; server ${peer.label} said: ${reply.text}`;
      return closed(trouble('deferred', statusOf(reply, 'deferred'), reason, more));
    }
    case 'greeting': {
      const soft = reply.code < 500 || options.smtp_skip_5xx_greeting;
      return closed(refusedUs(peer, reply, soft ? 'deferred' : 'failed'), soft);
    }
    default: {
      const soft = reply.code < 500;
      return closed(refusedUs(peer, reply, soft ? 'deferred' : 'failed'), soft);
    }
  }
}
