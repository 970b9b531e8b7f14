// One transaction of a client from outside, verified: SPF is asked for with its first recipient, the rest when the message is there.
import type { Logger } from '../lib/logger.ts';
import type { InboundAuthentication, Judgement } from '../policy/inbound.ts';
import type { SpfResult } from '../policy/spf/check.ts';
import type { Peer, UnverifiedMessage } from '../policy/verify.ts';

export class Verification {
  readonly #authentication: InboundAuthentication;
  readonly #peer: Peer;
  readonly #spf: Promise<SpfResult>;

  constructor(authentication: InboundAuthentication, peer: Peer) {
    this.#authentication = authentication;
    this.#peer = peer;
    this.#spf = authentication.spf(peer);
  }

  /** @throws MailError not-permitted where this recipient is not to hear from such a client */
  recipient(address: string): Promise<void> {
    return this.#authentication.checkRecipient(address, this.#peer, this.#spf);
  }

  /** @throws as InboundAuthentication.judge */
  judge(message: UnverifiedMessage & { readonly id: string }, recipients: readonly string[], log: Logger): Promise<Judgement> {
    return this.#authentication.judge(message, this.#peer, this.#spf, recipients, log);
  }
}
