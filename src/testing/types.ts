// What the users of the test server see.
import type { SettingsInput } from '../config/settings-object.ts';
import type { Resolver, StaticRecords } from '../dns/resolver.ts';
import type { LogSink } from '../lib/logger.ts';
import type { DecodedMail } from '../message/decode.ts';

/** Names that the test server fills in itself. */
export type ReservedSetting =
  | 'listeners'
  | 'virtual_mailbox_base'
  | 'virtual_mailbox_maps'
  | 'virtual_mailbox_domains'
  | 'virtual_alias_maps'
  | 'mynetworks'
  | 'data_directory'
  | 'queue_directory'
  | 'smtpd_tls_cert_file'
  | 'smtpd_tls_key_file'
  | 'log';

export interface TestServerOptions {
  /** Addresses that have a mailbox, with their passwords: `{ 'ana@example.test': 'secret' }`. Their domains are the server's own. */
  readonly users?: Readonly<Record<string, string>>;
  /** More domains of the server's own: an address there that is neither a user nor an alias is refused with 550 5.1.1. */
  readonly domains?: readonly string[];
  /** Where mail for an address goes instead: `{ 'sales@example.test': ['ana@example.test'] }`, `{ '@example.test': … }` for all others. */
  readonly aliases?: Readonly<Record<string, string | readonly string[]>>;
  /**
   * Clients that may send to other domains over `smtp` without logging in, as in buzon.yaml. Default: loopback, so that whatever the program
   * under test sends is caught. `[]` for a server that relays for nobody.
   */
  readonly mynetworks?: readonly string[];
  /** Anything else of buzon.yaml, under its name there (docs/settings.md): `{ smtpd_tls_security_level: 'none' }`. */
  readonly settings?: Omit<SettingsInput, ReservedSetting>;
  /**
   * What time it is for the server (Received, Date, `receivedAt`), in milliseconds since the epoch. Timers run on real time; a clock
   * that is set forward ends SMTP sessions which are older than they may get.
   */
  readonly clock?: { now(): number };
  /** What DNS answers, by name (for reverse look-ups by address); everything else does not exist. The real DNS is never asked. */
  readonly dns?: Resolver | Readonly<Record<string, StaticRecords>>;
  /** Gets every event of the server's log. Default: nothing is logged. */
  readonly log?: LogSink;
}

/** Where to connect to: spread it into nodemailer's `createTransport` or imapflow's options. */
export interface TestEndpoint {
  readonly host: string;
  readonly port: number;
  /** True where TLS comes first. The others offer STARTTLS. */
  readonly secure: boolean;
}

export interface TestRecipient {
  /** As the client wrote it. */
  readonly address: string;
  /** Users whose mailboxes got the message for it. */
  readonly mailboxes: readonly string[];
  /** Addresses outside that it would have gone to. Nothing is ever sent. */
  readonly outside: readonly string[];
  /** RFC 3461: NOTIFY and ORCPT, where they were given. */
  readonly notify?: readonly string[];
  readonly orcpt?: string;
}

export interface TestEnvelope {
  /** Empty for the null sender `<>`. */
  readonly from: string;
  /** Addresses as the client wrote them, in their order. */
  readonly to: readonly string[];
  readonly recipients: readonly TestRecipient[];
  /** Who had logged in; undefined for mail that came without. */
  readonly user: string | undefined;
  readonly smtpUtf8: boolean;
  readonly bodyType: '7BIT' | '8BITMIME' | 'BINARYMIME';
  /** RFC 3461: RET and ENVID, where they were given. */
  readonly ret?: 'FULL' | 'HDRS';
  readonly envid?: string;
}

/** A message that the server accepted. */
export interface TestMessage {
  /** The id in the server's reply and in its Received field. */
  readonly id: string;
  /** When it was accepted, by the server's clock. */
  readonly receivedAt: Date;
  readonly envelope: TestEnvelope;
  /** As it was taken: CRLF, our Received field at its head, and what a submission server changes (Date and Message-ID added, Bcc gone). */
  readonly raw: Buffer;
  /** The bytes as the client sent them, with CRLF line ends. */
  readonly original: Buffer;
  /** `raw` decoded. */
  readonly parsed: DecodedMail;
}

/** A text must be the whole value, without regard to case; a pattern is searched for. */
export type TextMatch = string | RegExp;

/** All that are given must fit. */
export interface MessageFields {
  /** The envelope's sender, or an address in From. */
  readonly from?: TextMatch;
  /** A recipient of the envelope, or an address in To or Cc. */
  readonly to?: TextMatch;
  readonly subject?: TextMatch;
  /** Found in the text (or, where there is none, in the HTML): a text need not be all of it here. */
  readonly text?: TextMatch;
  /** Who had logged in. */
  readonly user?: TextMatch;
}

export type MessageFilter = MessageFields | ((message: TestMessage) => boolean);

export type FailureStage = 'connect' | 'auth' | 'mail' | 'rcpt' | 'data';

export interface Failure {
  /** Where the next client to get there is refused. `data`: after the whole message has come. */
  readonly stage: FailureStage;
  /** 400 … 599. After 421 the server closes the connection, and always at `connect`. */
  readonly code: number;
  /** The enhanced status code (RFC 3463), of the same class as `code`; default: what fits the code and the stage. */
  readonly enhanced?: string;
  readonly text?: string;
}
