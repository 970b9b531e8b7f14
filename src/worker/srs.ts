// The secrets of SRS as the settings now name them: read at the start and at each reload, by the supervisor where only root may.
import type { PemFile } from '../config/certificates.ts';
import type { Settings } from '../config/settings.ts';
import type { SenderRewriting } from '../delivery/forwarding.ts';
import { loadSenderRewriting } from '../delivery/srs.ts';

export class LiveSenderRewriting implements SenderRewriting {
  readonly #now: () => number;
  #current: SenderRewriting | undefined;

  /** `now`: milliseconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** @throws MailError config `SRS_SECRETS`; then nothing has changed */
  async load(settings: Settings, readPem?: (path: string) => Promise<PemFile>): Promise<void> {
    this.#current = await loadSenderRewriting(settings, this.#now, readPem);
  }

  forward(sender: string): string {
    return this.#current?.forward(sender) ?? sender;
  }
  original(address: string): string | null | undefined {
    return this.#current?.original(address);
  }
}
