// What the measurements know of a mail server.
import type { Accounting } from '../accounting.ts';

/** Which checks a server makes; README.md says what each means on each side. */
export type Checks = 'off' | 'on';

/** Running. Disposing it stops it; that can be done again. */
export interface Server extends AsyncDisposable {
  readonly name: string;
  readonly smtpPort: number;
  /** Where its 20 mailboxes are, by address. */
  readonly maildirs: ReadonlyMap<string, string>;
  readonly accounting: Accounting;
  /** Resolves when nothing that was accepted is still on its way. @throws after 60 s */
  drained(): Promise<void>;
  /** The settings it runs with, in its own form; `$folder` stands for its folder. */
  settings(): Promise<string>;
  /** What it has logged. */
  log(): Promise<string>;
}

export const DOMAIN = 'example.test';
/** Password of every mailbox. */
export const PASSWORD = 'bench-secret';
export const SERVER_NAME = 'mail.example.test';

/** box01@…, box02@…, … */
export const addresses = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `box${String(i + 1).padStart(2, '0')}@${DOMAIN}`);
