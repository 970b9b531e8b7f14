/** Why nothing more will be read from or written to a connection. */
export type WireEndReason = 'closed' | 'line-too-long' | 'timeout' | 'interrupted';

/** Ends the session's loop; never an answer to one command. */
export class WireEnd extends Error {
  readonly reason: WireEndReason;
  constructor(reason: WireEndReason, options?: ErrorOptions) {
    super(`connection ended: ${reason}`, options);
    this.reason = reason;
  }
}
