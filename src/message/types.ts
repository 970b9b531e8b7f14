// What the MIME parser finds in a message: enough for ENVELOPE, BODY, BODYSTRUCTURE and any BODY[section] (RFC 3501, RFC 2045).
// All of it is JSON-safe, so that storage can cache it. Strings are the raw header bytes read as latin1 (undecoded RFC 2047
// words stay as they are), with folding removed; null is "not there".

/** One address of an address list (RFC 3501 section 7.4.2): a group start has only `mailbox`, a group end is all null. */
export interface EnvelopeAddress {
  readonly name: string | null;
  readonly route: string | null;
  readonly mailbox: string | null;
  readonly host: string | null;
}

export interface Envelope {
  readonly date: string | null;
  readonly subject: string | null;
  readonly from: readonly EnvelopeAddress[];
  /** As in the message: IMAP's "absent means From" is applied by the IMAP layer. */
  readonly sender: readonly EnvelopeAddress[];
  readonly replyTo: readonly EnvelopeAddress[];
  readonly to: readonly EnvelopeAddress[];
  readonly cc: readonly EnvelopeAddress[];
  readonly bcc: readonly EnvelopeAddress[];
  readonly inReplyTo: string | null;
  readonly messageId: string | null;
}

export type Parameters = readonly (readonly [name: string, value: string])[];

export interface Disposition {
  readonly type: string;
  readonly params: Parameters;
}

/**
 * One MIME entity. Offsets are bytes in the file as it is on disk (LF or CRLF); sizes are octets on the wire, where
 * every line end is CRLF.
 */
export interface MimePart {
  /** First byte of the entity's header on disk. */
  readonly headerStart: number;
  /** First byte of the entity's body on disk (behind the empty line). */
  readonly bodyStart: number;
  /** Byte behind the body on disk (the line end before a boundary belongs to the boundary). */
  readonly bodyEnd: number;
  /** Wire octets of the header, its closing empty line included. */
  readonly headerSize: number;
  /** Wire octets of the body. */
  readonly bodySize: number;
  /** Line ends in the body. */
  readonly bodyLines: number;
  readonly type: string;
  readonly subtype: string;
  readonly params: Parameters;
  readonly id: string | null;
  readonly description: string | null;
  /** Content-Transfer-Encoding, "7BIT" when absent. */
  readonly encoding: string;
  readonly md5: string | null;
  readonly disposition: Disposition | null;
  readonly language: readonly string[] | null;
  readonly location: string | null;
  /** The parts of a multipart, in order; at least one for every multipart. Empty for others. */
  readonly children: readonly MimePart[];
  /** For message/rfc822 (and message/global): what is inside. */
  readonly message: EmbeddedMessage | null;
}

export interface EmbeddedMessage {
  readonly envelope: Envelope;
  readonly root: MimePart;
}

/** A parsed message. `root` begins at byte 0 and ends with the file. */
export interface MessageStructure extends EmbeddedMessage {
  /** Bytes on disk. */
  readonly size: number;
  /** Octets on the wire (RFC822.SIZE). */
  readonly wireSize: number;
}

/** Past these the parser stops going deeper; what it has found stays valid (RELIABILITY row 10). */
export interface MimeLimits {
  /** Parts of a message, embedded ones included. */
  readonly parts: number;
  readonly depth: number;
  /** Bytes of one header block that are looked at. */
  readonly headerBytes: number;
  /** Header fields of one block that are looked at. */
  readonly headerFields: number;
  /** Parameters of one field. */
  readonly parameters: number;
  /** Bytes of one address field, and addresses in it. */
  readonly addressBytes: number;
  readonly addresses: number;
}

export const DEFAULT_MIME_LIMITS: MimeLimits = {
  parts: 10_000,
  depth: 100,
  headerBytes: 1_048_576,
  headerFields: 10_000,
  parameters: 200,
  addressBytes: 65_536,
  addresses: 2_000,
};
