// What a session is told of the house and of its settings.
import type { Authenticator } from '../auth/types.ts';
import type { AcceptMessage, OutboundQueue, Router, SendMeter } from '../delivery/types.ts';
import type { Clock } from '../lib/clock.ts';
import type { InboundAuthentication } from '../policy/inbound.ts';
import type { SmtpLimits } from './limits.ts';
import type { Reply } from './reply.ts';

export type SmtpService = 'smtp' | 'submission';
export type SmtpStage = 'connect' | 'auth' | 'mail' | 'rcpt' | 'data';
export type BareNewline = 'reject' | 'normalize' | 'no';

export interface SmtpSessionOptions {
  readonly service: SmtpService;
  readonly hostname: string;
  readonly limits: SmtpLimits;
  readonly router: Router;
  readonly accept: AcceptMessage;
  readonly queue: OutboundQueue;
  readonly authenticator: Authenticator;
  readonly spoolFolder: string;
  readonly clock: Clock;
  /** Whether an address is in mynetworks. */
  readonly isTrusted: (address: string) => boolean;
  /** Whether an address may not relay and yet sends mail of ours, which is signed where it goes on (OpenDKIM's InternalHosts). */
  readonly isInternal?: (address: string) => boolean;
  /** smtpd_tls_security_level, `none` also where no certificate is set. */
  readonly tlsLevel: 'none' | 'may' | 'encrypt';
  /** smtpd_forbid_bare_newline for clients outside mynetworks that have not logged in. */
  readonly bareNewline: BareNewline;
  /** Asked before each stage's own checks: a reply refuses it. */
  readonly onStage?: (stage: SmtpStage) => Promise<Reply | undefined> | Reply | undefined;
  /** A client's verified name for the Received field, undefined when it has none. Never rejects, and ends in a bounded time. */
  readonly clientName?: (address: string) => Promise<string | undefined>;
  /** Whether a mailbox can take anything at all now. @throws MailError over-quota and the like */
  readonly checkMailbox?: (address: string) => Promise<void>;
  /** Verifies what comes from outside; undefined where nothing is verified. */
  readonly authentication?: InboundAuthentication | undefined;
  /** Begins to count a message of an account; undefined when nothing limits it. @throws MailError temporary */
  readonly meter?: (account: string) => Promise<SendMeter | undefined>;
}
