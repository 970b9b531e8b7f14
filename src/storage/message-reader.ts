// What a mailbox's message files hold: content, sizes and dates, MIME structure; from memory or the index where it is known. Another program may
// rename a file at any time: then it is looked for again.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MailError, toMailError } from '../lib/errors.ts';
import { parseStructure } from '../message/structure.ts';
import type { MessageStructure } from '../message/types.ts';
import { isMissing } from './files.ts';
import type { FoundFile } from './folder-scan.ts';
import type { AccountIndex } from './index-cache.ts';
import { sizeInName } from './maildir-name.ts';
import { measure, openContent } from './message-file.ts';
import type { MessageContent, MessageFacts } from './types.ts';

/** Parsed structures kept in memory, a mailbox. */
const STRUCTURES_KEPT = 500;
/** Renames by others that are followed. */
const ATTEMPTS = 3;

/** A message's file: where it was last, and how to find it when it is there no more. */
export interface Located {
  readonly baseName: string;
  readonly file: FoundFile;
  readonly findAgain: () => Promise<FoundFile | undefined>;
}

export const gone = (): MailError => new MailError('no-such-mailbox', 'MESSAGE_GONE', 'The message has been expunged');

export class MessageReader {
  readonly #folder: string;
  readonly #index: () => AccountIndex;
  readonly #structures = new Map<string, MessageStructure>();
  readonly #facts = new Map<string, MessageFacts>();

  constructor(folder: string, index: () => AccountIndex) {
    this.#folder = folder;
    this.#index = index;
  }

  /** The message has been removed. */
  forget(baseName: string): void {
    this.#facts.delete(baseName);
    this.#structures.delete(baseName);
    this.#index().remove(baseName);
  }

  /** The first result of `look` at the file, wherever it is by now. @throws MailError no-such-mailbox when it is nowhere */
  async #reach<T>({ file, findAgain }: Located, look: (path: string) => Promise<T | undefined>): Promise<T> {
    for (let found: FoundFile | undefined = file, attempt = 0; found && attempt < ATTEMPTS; attempt++) {
      const result = await look(join(this.#folder, found.sub, found.name));
      if (result !== undefined) return result;
      found = await findAgain();
    }
    throw gone();
  }

  async facts(message: Located): Promise<MessageFacts> {
    const { baseName } = message;
    const known = this.#facts.get(baseName) ?? this.#index().get(baseName)?.facts;
    if (known) {
      this.#facts.set(baseName, known);
      return known;
    }
    const wireSize = sizeInName(baseName, 'W');
    const found = await this.#reach(message, (path) => (wireSize === undefined ? measure(path) : dated(path, wireSize)));
    const facts = { wireSize: found.wireSize, internalDate: Math.floor(found.internalDate / 1000) * 1000 };
    this.#facts.set(baseName, facts);
    this.#index().put(baseName, { facts });
    return facts;
  }

  content(message: Located): Promise<MessageContent> {
    return this.#reach(message, openContent);
  }

  async structure(message: Located): Promise<MessageStructure> {
    const { baseName } = message;
    const known = this.#structures.get(baseName) ?? this.#index().get(baseName)?.structure;
    const structure = known ?? (await this.#parse(message));
    if (!known) this.#index().put(baseName, { structure });
    this.#structures.set(baseName, structure);
    for (const key of this.#structures.keys()) {
      if (this.#structures.size <= STRUCTURES_KEPT) break;
      this.#structures.delete(key);
    }
    return structure;
  }
  async #parse(message: Located): Promise<MessageStructure> {
    const content = await this.content(message);
    try {
      return await parseStructure(content.read(0, content.size));
    } finally {
      await content.close();
    }
  }
}

async function dated(path: string, wireSize: number): Promise<MessageFacts | undefined> {
  try {
    return { wireSize, internalDate: (await stat(path)).mtimeMs };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw toMailError(error, 'looking at a message');
  }
}
