// Which address goes where, and what a receiving session asks of the rest of the house.
import type { MessageSource } from '../message/source.ts';

/** How an envelope recipient is handled. */
export type Route =
  /** Mailboxes (after aliases), each once, and addresses outside. */
  | { readonly kind: 'deliver'; readonly targets: readonly Target[] }
  /** 550 5.1.1 in a domain of ours, or of relay_domains where relay_recipient_maps does not have it. */
  | { readonly kind: 'unknown-user' }
  /** Not our domain: only for those who may relay. `targets` where virtual_alias_maps make something else of it; `rejection` is told to those only. */
  | { readonly kind: 'relay'; readonly targets?: readonly Target[]; readonly rejection?: Rejection }
  /** Of ours, but transport_maps say `error:`, or all that it leads to may not be written to: refused with this. */
  | ({ readonly kind: 'rejected' } & Rejection)
  /** An alias to `|command` or `/file`, a loop, too many expansions: refused, with the reason for the log. */
  | { readonly kind: 'refused'; readonly code: string; readonly reason: string };

/** Why a recipient is refused: `status` is an enhanced code of class 5 (RFC 3463), `reason` fit for a client. */
export interface Rejection {
  readonly status: string;
  readonly reason: string;
}

export type Target =
  /** `address` is the account (the key of virtual_mailbox_maps); `recipient` the final address after aliases, its extension included: Delivered-To. */
  | { readonly kind: 'mailbox'; readonly address: string; readonly recipient: string }
  /** Goes into the queue: an address outside or of relay_domains, or one of ours that transport_maps or virtual_transport send elsewhere. */
  | {
      readonly kind: 'remote';
      readonly address: string;
      /** The recipient whose alias led there: the copy gets a Delivered-To of it, so that a circle ends. */
      readonly via?: string;
      /** The domain is nobody's of this host: a forwarded copy needs a sender that we may use (SRS). */
      readonly outside?: boolean;
    };

export interface Router {
  /** @throws MailError temporary when a map cannot be read */
  route(recipient: string): Promise<Route>;
  /** Whether the domain is ours (mydestination, virtual_mailbox_domains, virtual_alias_domains). */
  isLocalDomain(domain: string): Promise<boolean>;
  /** The addresses an account may send as: itself, aliases that lead to it (virtual_alias_maps), and what smtpd_sender_login_maps give it. */
  maySendAs(account: string, sender: string): Promise<boolean>;
}

/** DSN options of one recipient (RFC 3461). */
export interface DsnRecipient {
  readonly notify?: readonly ('NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY')[];
  readonly orcpt?: string;
}

export interface EnvelopeRecipient extends DsnRecipient {
  /** As the client wrote it, without angle brackets: X-Original-To. */
  readonly address: string;
  readonly route: Route;
  /** Its copy goes into the mailbox for junk: the message is not to be trusted. */
  readonly junk?: boolean;
}

/**
 * What sendmail -bv and -v ask for: a `verify` message is never delivered, its sender gets a report of what would become of each recipient; a `record` one is
 * delivered, and its sender gets a report of the first try.
 */
export type Trace = 'verify' | 'record';

export interface MailEnvelope {
  /** Empty for `<>`. */
  readonly sender: string;
  readonly recipients: readonly EnvelopeRecipient[];
  readonly smtpUtf8: boolean;
  readonly bodyType: '7BIT' | '8BITMIME' | 'BINARYMIME';
  readonly ret?: 'FULL' | 'HDRS';
  readonly envid?: string;
  /** RFC 8689: only over TLS with a verified certificate, and only to hosts that promise the same. */
  readonly requireTls?: boolean;
  /** XVERP: a sender of its own for each recipient (verp.ts), with these delimiters; '' for those of the settings. */
  readonly verp?: string;
  readonly trace?: Trace;
}

export interface ReceivedMessage {
  /** Queue id: in the 250, the Received header and every log line. */
  readonly id: string;
  readonly envelope: MailEnvelope;
  /** CRLF, our Received header already at its head; without Return-Path, Delivered-To, X-Original-To. */
  readonly source: MessageSource;
  /** The bytes as the client sent them: the same when it sends the message again. */
  readonly original: MessageSource;
  /** Delivered-To addresses found in the message as it came (loop check). */
  readonly deliveredTo: readonly string[];
  /** Log-in of the sender, when there was one. */
  readonly account?: string;
  /** From somebody who may relay (logged in, of mynetworks, a user of this host) or of OpenDKIM's InternalHosts. Such mail is ours, and signed. */
  readonly trusted?: boolean;
}

/**
 * Takes responsibility for a message: when it resolves, every recipient's copy is synced on disk or in the queue (principle 2).
 * @throws MailError when it did not; then nothing may be left behind that would be delivered a second time after a repeat.
 */
export type AcceptMessage = (message: ReceivedMessage) => Promise<void>;

/** The queue for outside (filled by the outbound queue; until then it throws MailError temporary `NO_QUEUE`). */
export interface OutboundQueue {
  /** False while mail to outside cannot be taken: recipients there are told 451 4.3.0 before the message comes. */
  readonly available: boolean;
  enqueue(message: ReceivedMessage, recipients: readonly (DsnRecipient & { readonly address: string })[]): Promise<void>;
}

/** What one message of an account counts for (account_send_limits). */
export interface SendMeter {
  /** One more recipient, who counts when it resolves. @throws MailError too-many `SEND_LIMIT` */
  recipient(address: string): Promise<void>;
  /** The message is there: counts it, for all workers. Gives what takes that back when it is not accepted after all. @throws as recipient */
  charge(): Promise<() => Promise<void>>;
}
