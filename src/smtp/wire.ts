// What a session needs of its connection. The adapter gives it; tests may give another.

export interface TlsInfo {
  readonly version: string;
  readonly cipher: string;
  readonly bits: number;
}

export type WireLine =
  | {
      readonly kind: 'line';
      readonly bytes: Buffer;
      /** Ended by LF without CR. */
      readonly bareLf: boolean;
    }
  | { readonly kind: 'too-long' }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'end' };

export interface SmtpWire {
  readonly remoteAddress: string;
  readonly localAddress: string;
  readonly tls: TlsInfo | undefined;
  /** The peer has gone. */
  readonly ended: boolean;
  /** Bytes that have come and are not read yet. */
  readonly waiting: number;
  /** The next command line. `idle`: milliseconds until its first byte, `whole`: from there to its end. */
  line(max: number, idle: number, whole: number): Promise<WireLine>;
  /** The next bytes, at most `max` of them; undefined at the end or when none came until `deadline` (milliseconds since the epoch). */
  chunk(max: number, deadline: number): Promise<Buffer | undefined>;
  /** Gives bytes back: they are read next. */
  unread(bytes: Buffer): void;
  /** Resolves when the client has room for more, rejects when it has gone. */
  write(text: string): Promise<void>;
  /** The handshake behind STARTTLS; bytes that came in clear are forgotten. False when it failed. */
  startTls(): Promise<boolean>;
  /** Says goodbye on the transport; what still comes is passed over. */
  close(): void;
  /** Cuts the connection. */
  destroy(): void;
}
