// What the commands of mailutils know of a mailbox, whatever kind it is of.
import { stat } from 'node:fs/promises';
import { errnoOf } from '../../lib/errors.ts';

export interface BoxMessage {
  /** Header as latin1, lines LF, at most 64 KB. */
  readonly header: string;
  readonly size: number;
  readonly lines: number;
  /** Milliseconds since the epoch. */
  readonly received: number;
  /** Not looked at by anybody, and not read. */
  readonly isNew: boolean;
  seen: boolean;
  answered: boolean;
  deleted: boolean;
  /** The whole message, lines LF. */
  read(): Promise<Buffer>;
}

export interface Box {
  readonly path: string;
  readonly kind: 'mbox' | 'maildir';
  readonly messages: readonly BoxMessage[];
  /** Writes what was marked: seen and answered, and deleted messages go. */
  save(): Promise<void>;
  close(): Promise<void>;
}

/** undefined where nothing is. */
export async function kindOf(path: string): Promise<'mbox' | 'maildir' | undefined> {
  try {
    const found = await stat(path);
    if (!found.isDirectory()) return 'mbox';
    await stat(`${path}/cur`);
    return 'maildir';
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
