// Why a recipient was put off or refused, in Postfix's words.
import type { Outcome } from '../types.ts';
import type { Peer } from './connect.ts';
import { printable, type SmtpReply } from './reply.ts';
import { STAGES, type SessionError, type Stage } from './session.ts';

export type Trouble = Extract<Outcome, { kind: 'deferred' | 'failed' }>;

const MAX_REASON = 1_000;

export function trouble(kind: 'deferred' | 'failed', status: string, reason: string, more: Partial<Trouble> = {}): Trouble {
  return { ...more, kind, status, reason: printable(reason, MAX_REASON) };
}

const COMMANDS: Partial<Record<Stage, string>> = {
  ehlo: 'EHLO command',
  helo: 'HELO command',
  lhlo: 'LHLO command',
  starttls: 'STARTTLS command',
  mail: 'MAIL FROM command',
  rcpt: 'RCPT TO command',
  data: 'DATA command',
  dot: 'end of DATA command',
  body: 'end of DATA command',
};

/** 4xx waits, 5xx is final (RFC 5321 section 4.2.1). */
export function said(peer: Peer, reply: SmtpReply, stage: Stage): Trouble {
  const kind = reply.code >= 500 ? 'failed' : 'deferred';
  const reason = `host ${peer.label} said: ${reply.text} (in reply to ${COMMANDS[stage] ?? stage})`;
  return trouble(kind, statusOf(reply, kind), reason, { relay: peer.relay, remote: peer.name, reply: reply.text });
}

/** A greeting or EHLO refused: `kind` decides, whatever the code. */
export function refusedUs(peer: Peer, reply: SmtpReply, kind: 'deferred' | 'failed'): Trouble {
  const reason = `host ${peer.label} refused to talk to me: ${reply.text}`;
  return trouble(kind, statusOf(reply, kind), reason, { relay: peer.relay, remote: peer.name, reply: reply.text });
}

/** The reply's status, its class made to fit. */
export const statusOf = (reply: SmtpReply, kind: 'deferred' | 'failed'): string =>
  (kind === 'failed' ? '5' : '4') + reply.status.slice(1);

export const cannotConnect = (peer: Peer, why: string): Trouble =>
  trouble('deferred', '4.4.1', `connect to ${peer.relay}: ${why}`, { remote: peer.name });

/** A session that ended in the middle; always temporary. `reply`, `no-tls` and `tls` errors are for the set-up to judge. */
export function broken(peer: Peer, error: SessionError): Trouble {
  const where = STAGES[error.stage];
  const [status, reason] = ((): [string, string] => {
    switch (error.kind) {
      case 'timeout':
        return ['4.4.2', `conversation with ${peer.label} timed out while ${where}`];
      case 'deadline':
        return ['4.4.2', `conversation with ${peer.label} took too long and was ended while ${where}`];
      case 'aborted':
        return ['4.3.2', `conversation with ${peer.label} ended by the server's stop while ${where}`];
      case 'malformed':
        return ['4.5.0', `malformed reply from ${peer.label} while ${where}: ${error.detail}`];
      case 'local':
        return ['4.3.0', `local data error while talking to ${peer.label}`];
      default:
        return ['4.4.2', `lost connection with ${peer.label} while ${where}`];
    }
  })();
  return trouble('deferred', status, reason, { relay: peer.relay, remote: peer.name });
}
