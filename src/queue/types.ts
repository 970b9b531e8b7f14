// The outbound queue: what its parts (store, scheduler, clients, reports, routing) say to each other.
//
//   AcceptMessage → QueueStore.add: body file with the envelope at its head, synced → folder synced → row committed → 250
//   Runner (in one process at a time) → due destinations in a ring → a job: one message, recipients of one next hop → DeliveryAgent
//     → outcomes → reports due (DSN) accepted → QueueStore.settle
import type { DsnRecipient, Trace } from '../delivery/types.ts';
import type { MessageSource } from '../message/source.ts';

/** `smtp:example.com` asks for MX records; `smtp:[mail.example.com]:587` and addresses in brackets do not. LMTP never asks (RFC 2033). */
export interface InetHop {
  readonly kind: 'smtp' | 'lmtp';
  /** Lower case, without brackets or the dot at the end. */
  readonly host: string;
  readonly port: number;
  /** False for a host in brackets. */
  readonly mx: boolean;
}

/** Where a recipient's mail goes next: transport(5)'s result. */
export type NextHop =
  | InetHop
  /** `smtp:[a], [b]:587, c`: tried in this order (smtp(8)); two or more, all of one kind. */
  | { readonly kind: 'list'; readonly hops: readonly InetHop[] }
  /** `lmtp:unix:/path`. */
  | { readonly kind: 'lmtp-unix'; readonly path: string }
  /** Taken and thrown away (discard(8)). */
  | { readonly kind: 'discard'; readonly reason: string }
  /** Kept until an administrator releases it. */
  | { readonly kind: 'hold'; readonly reason: string }
  /** Fails, `5.x.x text` or, with 4, waits (error(8)). */
  | { readonly kind: 'error'; readonly status: string; readonly reason: string };

/** A waiting recipient is `ready` (to be tried now), `deferred` (until `nextAttempt`) or `held` (by an administrator). */
export type RecipientState = 'ready' | 'deferred' | 'held';

/** A recipient on its way into the queue. */
export interface NewRecipient extends DsnRecipient {
  readonly address: string;
  /** formatNextHop of where it goes: what concurrency, fairness and dead-host memory count by. */
  readonly destination: string;
  /** Held from the beginning, with the reason. */
  readonly hold?: string;
}

/** What belongs to a message as a whole; also what its file has at its head. */
export interface QueuedEnvelope {
  /** Queue id: upper-case letters and digits, unique. */
  readonly id: string;
  /** Empty for `<>`. */
  readonly sender: string;
  /** Milliseconds since the epoch, of the server's clock. */
  readonly arrived: number;
  readonly smtpUtf8: boolean;
  readonly bodyType: '7BIT' | '8BITMIME' | 'BINARYMIME';
  readonly ret?: 'FULL' | 'HDRS';
  readonly envid?: string;
  /** RFC 8689. */
  readonly requireTls?: boolean;
  /** Log-in of who sent it; undefined for mynetworks, sendmail and reports. */
  readonly account?: string;
  /** Message-ID field, for lists and logs. */
  readonly messageId?: string;
  /** `verify` goes as far as RCPT TO, once. */
  readonly trace?: Trace;
  /** An administrator wants it returned to its sender (postsuper -e). The file says so by its mode, not in its head. */
  readonly expire?: true;
}

export interface NewMessage {
  readonly envelope: QueuedEnvelope;
  /** CRLF, complete: as it is to be sent. */
  readonly source: MessageSource;
  readonly recipients: readonly NewRecipient[];
}

/** A recipient that waits. */
export interface QueuedRecipient extends NewRecipient {
  /** Place in the message, from 0; names the recipient together with the message's id. */
  readonly number: number;
  readonly state: RecipientState;
  /** Tries so far. */
  readonly attempts: number;
  /** Milliseconds since the epoch; of the past when ready. */
  readonly nextAttempt: number;
  /** Why it was put off last; undefined before the first try. */
  readonly lastFailure?: Failure;
  /** A notice of delay was sent (RFC 3461 NOTIFY=DELAY, delay_warning_time). */
  readonly delayReported: boolean;
}

/** What a try ended with, and what a report and `mailq` say. Text fit for a log: no line ends, at most 1,000 characters. */
export interface Failure {
  /** RFC 3463: `4.4.1`, `5.1.1`. */
  readonly status: string;
  /** As Postfix says it: `host mx.example.com[192.0.2.1] said: 550 5.1.1 <x@example.com>: unknown (in reply to RCPT TO command)`. */
  readonly reason: string;
  /** Name of the host that said it, when one did (Remote-MTA). */
  readonly remote?: string;
  /** Its reply as it came (Diagnostic-Code), lines joined by a space; undefined when no reply was the cause. */
  readonly reply?: string;
}

/** One transaction's worth: recipients of one message that go to the same next hop and want the same DSN options. */
export interface Job {
  readonly envelope: QueuedEnvelope;
  readonly size: number;
  readonly destination: string;
  readonly recipients: readonly QueuedRecipient[];
}

export type Outcome =
  /** 2xx behind the final dot (or, for LMTP, for this recipient); of a message that only asks (trace `verify`), 2xx to RCPT TO. */
  | {
      readonly kind: 'delivered';
      /** `mx.example.com[192.0.2.1]:25`, or what stands in its place for discard and unix sockets. */
      readonly relay: string;
      readonly status: string;
      /** The reply as it came, for the log. */
      readonly reply: string;
      /** The next hop speaks DSN and was told: it reports success itself. */
      readonly dsnPassedOn: boolean;
      /** The transaction was encrypted; whether the certificate was verified. */
      readonly tls?: 'encrypted' | 'verified';
    }
  | ({ readonly kind: 'deferred'; readonly relay?: string } & Failure)
  | ({ readonly kind: 'failed'; readonly relay?: string } & Failure);

/** How a job ended. */
export interface JobResult {
  /** By recipient number; each recipient of the job has one. */
  readonly outcomes: ReadonlyMap<number, Outcome>;
  /**
   * What the destination's concurrency and the memory of dead ones go by: `up` when a host answered and took the session, `down` when no host could be
   * reached or none would speak to us (connect, greeting, EHLO, TLS, 421), whatever became of the recipients.
   */
  readonly site: 'up' | 'down';
}

/** Carries jobs to their next hop. Never throws for what a peer or the network does: that is an outcome. Every call ends within its time-outs. */
export interface DeliveryAgent {
  /** `source` stays the caller's. `signal` aborts what is under way (the server stops): its recipients are deferred unless the reply has come. */
  deliver(job: Job, hop: NextHop, source: MessageSource, signal: AbortSignal): Promise<JobResult>;
  /** Says QUIT on kept connections. */
  close(): Promise<void>;
}

/** Which messages a command means; all given must hold. Addresses match whole, in any case; `domain` the recipient's. */
export interface QueueFilter {
  readonly ids?: readonly string[];
  readonly sender?: string;
  readonly recipient?: string;
  readonly domain?: string;
  readonly destination?: string;
  readonly state?: RecipientState;
  /** Milliseconds since the epoch. */
  readonly arrivedBefore?: number;
  readonly arrivedAfter?: number;
  /** Part of the last failure's reason, in any case. */
  readonly reason?: string;
}

export interface QueuedMessage {
  readonly envelope: QueuedEnvelope;
  /** Bytes of the message without the head. */
  readonly size: number;
  /** Those that still wait, by number. */
  readonly recipients: readonly QueuedRecipient[];
}

/** Where things stand in a message's file: bytes from its beginning. */
export interface FileLayout {
  readonly envelope: number;
  /** By recipient number; also those that are done. */
  readonly recipients: readonly number[];
  /** Its first byte; the message goes up to the end of the file. */
  readonly message: number;
}

/** What became of a recipient, for `settle`. */
export type Settlement =
  /** Delivered, failed and reported, or deleted: it leaves the queue. */
  | { readonly number: number; readonly kind: 'done' }
  | {
      readonly number: number;
      readonly kind: 'deferred';
      readonly nextAttempt: number;
      readonly failure: Failure;
      readonly delayReported: boolean;
    }
  | { readonly number: number; readonly kind: 'held'; readonly failure: Failure };

export interface QueueStats {
  readonly messages: number;
  readonly recipients: Readonly<Record<RecipientState, number>>;
  /** Bytes of all messages. */
  readonly bytes: number;
  /** Milliseconds since the epoch of the oldest message; undefined when empty. */
  readonly oldest?: number;
  /** The destinations with most recipients, at most 20. */
  readonly destinations: readonly { readonly destination: string; readonly recipients: number; readonly failure?: Failure }[];
}

/**
 * The durable queue: `queue_directory`, opened by any number of processes at a time (each worker adds, one runs, commands look and change).
 * All errors are MailError: `temporary` (QUEUE_BUSY when another process holds the database for longer than 10 s), `disk-full`, `corrupt`.
 */
export interface QueueStore {
  /** Resolves when the message is safe (principle 2). @throws MailError when it is not; nothing stays behind then */
  add(message: NewMessage): Promise<void>;

  // -- for the runner: one at a time (a lease held by its process)

  /**
   * Deferred recipients whose time has come become ready; gives when the next one's comes (ms since the epoch), or undefined. So do those whose time is
   * beyond `latest`: nobody is put off for so long, the clock was set back since.
   */
  promote(now: number, latest?: number): Promise<number | undefined>;
  /**
   * Destinations with ready recipients, in the order of a ring that starts behind `after` (and wraps); at most `limit`. Those in `busy` only when they have
   * more ready ones than that: so many are in jobs.
   */
  readyDestinations(after: string, limit: number, busy?: ReadonlyMap<string, number>): Promise<string[]>;
  /** Jobs of a destination in fair order (between senders, then age), none of recipients in `busy` (`ID/NUMBER`); at most `limit` jobs of at most `recipientsEach`. */
  jobs(destination: string, limit: number, recipientsEach: number, busy: ReadonlySet<string>): Promise<Job[]>;
  /**
   * Durable when it resolves. Recipients that are gone meanwhile are passed over. A message without recipients leaves the queue, its file removed; says
   * whether that was now.
   */
  settle(id: string, settlements: readonly Settlement[]): Promise<boolean>;
  /** Sends waiting recipients elsewhere: the maps have changed. */
  redirect(id: string, numbers: readonly number[], destination: string): Promise<void>;
  /** The message's bytes, CRLF; whoever opened it disposes it. @throws MailError corrupt when the file is missing or damaged */
  open(id: string): Promise<MessageSource>;
  /** Calls `listener` soon after any process added or changed something; the returned function ends it. */
  onChange(listener: () => void): () => void;

  // -- for commands

  /** Pages by arrival, oldest first: memory is one page. */
  list(filter: QueueFilter): AsyncIterable<QueuedMessage>;
  find(id: string): Promise<QueuedMessage | undefined>;
  /** @throws MailError corrupt when the file is missing or its head is damaged */
  layout(id: string): Promise<FileLayout>;
  stats(): Promise<QueueStats>;
  /** Each gives the number of messages it changed. `hold` keeps recipients until `release`; `retry` makes deferred ones ready; `requeue` also forgets tries and failures. */
  hold(filter: QueueFilter): Promise<number>;
  release(filter: QueueFilter): Promise<number>;
  retry(filter: QueueFilter): Promise<number>;
  requeue(filter: QueueFilter): Promise<number>;
  /**
   * Returned to their senders instead of being tried once more; deferred ones now, held ones when they are released. Whole messages, whatever recipients are
   * meant; those that are expired already are not counted.
   */
  expire(filter: QueueFilter): Promise<number>;
  /** Without a report to anybody. */
  remove(filter: QueueFilter): Promise<number>;

  close(): Promise<void>;
}

/** Answers where mail goes (transport_maps, relayhost, …), anew for each try, so that changed maps count. */
export interface Transports {
  /** @throws MailError temporary when a map cannot be read */
  resolve(recipient: string, sender: string): Promise<NextHop>;
}

/** What a report is about. */
export interface ReportedRecipient {
  readonly recipient: QueuedRecipient;
  readonly outcome: Outcome;
}

/** Sends delivery status notifications. Resolves when every report that is due is accepted for delivery (or none is). @throws MailError when it is not: then the recipients stay */
export interface Reporter {
  /** After a job: failures, successes asked for (unless passed on), the warning of delay when `delay`. Never to `<>`. */
  report(message: QueuedMessage, recipients: readonly ReportedRecipient[], source: MessageSource, delay: boolean): Promise<void>;
  /** What a message with `trace` asks for: how the first try ended for each recipient. Never to `<>`. */
  trace(message: Pick<QueuedMessage, 'envelope'>, recipients: readonly ReportedRecipient[], source: MessageSource): Promise<void>;
}
