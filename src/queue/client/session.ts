// What the client needs of a connection to another server; `queue/nodemailer-adapter.ts` gives it.
import type { X509Certificate } from 'node:crypto';
import type { ConnectionOptions } from 'node:tls';
import type { Socket } from 'node:net';
import type { Clock } from '../../lib/clock.ts';
import type { SmtpReply } from './reply.ts';

/** Where a conversation is, in Postfix's words for the log. */
export const STAGES = {
  greeting: 'receiving the initial server greeting',
  ehlo: 'performing the EHLO handshake',
  helo: 'performing the HELO handshake',
  lhlo: 'performing the LHLO handshake',
  starttls: 'receiving the STARTTLS response',
  tls: 'performing the TLS handshake',
  auth: 'performing the SASL authentication',
  mail: 'sending MAIL FROM',
  rcpt: 'sending RCPT TO',
  data: 'sending DATA command',
  body: 'sending message body',
  dot: 'sending end of data -- message may be sent more than once',
  rset: 'sending final RSET',
} as const;
export type Stage = keyof typeof STAGES;

export type SessionErrorKind =
  /** The connection ended. */
  | 'lost'
  | 'timeout'
  /** `reply` is one that ends the session (greeting, EHLO, STARTTLS, AUTH). */
  | 'reply'
  /** What came is no reply, or more than one. */
  | 'malformed'
  /** STARTTLS is needed and was not offered. */
  | 'no-tls'
  /** The handshake failed, or the certificate is not what was asked for: `detail`. */
  | 'tls'
  /** We stopped it. */
  | 'aborted'
  /** The whole delivery took too long. */
  | 'deadline'
  /** The message could not be read. */
  | 'local';

/** Ends a session: it is not alive any more when this is thrown. */
export class SessionError extends Error {
  readonly kind: SessionErrorKind;
  readonly stage: Stage;
  readonly detail: string;
  readonly reply: SmtpReply | undefined;

  constructor(kind: SessionErrorKind, stage: Stage, detail = '', reply?: SmtpReply) {
    super(`${kind} while ${STAGES[stage]}${detail === '' ? '' : `: ${detail}`}`);
    this.kind = kind;
    this.stage = stage;
    this.detail = detail;
    this.reply = reply;
  }
}

export interface SessionTls {
  /** The chain leads to a trusted root and names the host. */
  readonly verified: boolean;
  /** Why not; empty when verified. */
  readonly problem: string;
  readonly protocol: string;
  readonly cipher: string;
}

export interface Step {
  /** Without CRLF. */
  readonly line: string;
  readonly stage: Stage;
}

export interface SmtpSession {
  readonly lmtp: boolean;
  /** Upper-case keyword → its parameters; empty after HELO. */
  readonly extensions: ReadonlyMap<string, string>;
  readonly tls: SessionTls | undefined;
  /** What the server calls itself in its answer to EHLO, lower case. */
  readonly peerName: string;
  readonly alive: boolean;
  /** @throws SessionError */
  authenticate(user: string, password: string): Promise<void>;
  /** Sends the lines at once (RFC 2920); the replies come in order. They reject with SessionError. */
  send(steps: readonly Step[]): readonly Promise<SmtpReply>[];
  /**
   * Behind a 354: the message, dots stuffed, line ends CRLF, and the final dot; `replies` of them come (LMTP: one a recipient). A reply that
   * comes before the dot is every recipient's, and the session is over.
   */
  data(chunks: AsyncIterable<Buffer>, replies: number): Promise<readonly PromiseSettledResult<SmtpReply>[]>;
  /** Ends what is under way with this kind of error. */
  abort(kind: 'aborted' | 'deadline'): void;
  /** Says QUIT and closes without waiting for the answer (as Postfix's smtp_skip_quit_response). */
  quit(): void;
}

export interface SessionTimeouts {
  readonly smtp_helo_timeout: number;
  readonly smtp_starttls_timeout: number;
  readonly smtp_mail_timeout: number;
  readonly smtp_rcpt_timeout: number;
  readonly smtp_data_init_timeout: number;
  readonly smtp_data_xfer_timeout: number;
  readonly smtp_data_done_timeout: number;
  readonly smtp_rset_timeout: number;
}

export interface SessionOptions {
  /** Connected; the session's from now on. */
  readonly socket: Socket;
  readonly lmtp: boolean;
  readonly heloName: string;
  /** Name of the host that TLS asks for. */
  readonly host: string;
  readonly tls: 'never' | 'opportunistic' | 'required';
  readonly tlsOptions: ConnectionOptions;
  /** Judges the certificate, whoever signed it: why it will not do, or undefined. Without it the chain and the name decide. */
  readonly judge?: (certificate: X509Certificate) => string | undefined;
  readonly timeouts: SessionTimeouts;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}
