// Stored passwords that nobody has, as costly to check as those of this host's accounts: what unknown users are checked against, so that the time of
// an answer does not tell them apart. Where accounts differ in cost, unknown names differ too, each name always the same way.
import { createHmac } from 'node:crypto';
import { parseScram, parseStored } from './stored-password.ts';

/** Kinds remembered. */
const MAX_KINDS = 16;
/** Kinds that no account has shown for this long are forgotten, in milliseconds. */
const FORGET_MS = 86_400_000;

/** As `buzon user` stores new passwords; counts until the first account has shown another. */
const DEFAULT = `{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$${'A'.repeat(22)}$${'A'.repeat(43)}`;
const DEFAULT_SCRAM = { iterations: 15_000, saltLength: 16 };

export interface ScramShape {
  readonly iterations: number;
  /** In bytes. */
  readonly saltLength: number;
}

export class Decoys {
  readonly #key: Buffer;
  readonly #defaultScheme: string;
  readonly #now: () => number;
  readonly #kinds = new Map<string, { stored: string; seen: number }>();

  constructor(key: Buffer, defaultScheme: string, now: () => number) {
    this.#key = key;
    this.#defaultScheme = defaultScheme;
    this.#now = now;
  }

  /** A known account's stored password: its kind is one that unknown users may seem to have. */
  note(stored: string): void {
    const kind = kindOf(stored, this.#defaultScheme);
    this.#kinds.delete(kind);
    this.#kinds.set(kind, { stored, seen: this.#now() });
    for (const [oldest, { seen }] of this.#kinds) {
      if (this.#kinds.size <= MAX_KINDS && this.#now() - seen < FORGET_MS) break;
      this.#kinds.delete(oldest);
    }
  }

  /** What a user without a usable password is checked against. */
  for(user: string): string {
    return (
      this.#pick(
        user,
        [...this.#kinds.values()].map(({ stored }) => stored),
      ) ?? DEFAULT
    );
  }

  /** What the SCRAM secret of an unknown user looks like. */
  scramFor(user: string, scheme: string): ScramShape {
    const shapes = [...this.#kinds.values()].flatMap(({ stored }) => {
      const parsed = parseStored(stored, this.#defaultScheme);
      const secret = parsed.scheme === scheme ? parseScram(parsed.data) : undefined;
      return secret ? [{ iterations: secret.iterations, saltLength: secret.salt.length }] : [];
    });
    return this.#pick(user, shapes) ?? DEFAULT_SCRAM;
  }

  #pick<T>(user: string, from: readonly T[]): T | undefined {
    const number = createHmac('sha256', this.#key).update(`decoy:${user.toLowerCase()}`).digest().readUInt32BE(0);
    return from[number % Math.max(1, from.length)];
  }
}

/** Scheme and cost, without salt and hash. */
function kindOf(stored: string, defaultScheme: string): string {
  const { scheme, data } = parseStored(stored, defaultScheme);
  const cost =
    /^\$(?:argon2[a-z]+\$v=\d+\$[^$]*|2[abxy]\$\d\d|[156](?:\$rounds=\d+)?)/.exec(data)?.[0] ??
    (scheme === 'PBKDF2' ? data.split('$')[3] : scheme.startsWith('SCRAM') ? data.split(',', 1)[0] : '');
  return `${scheme} ${cost ?? ''}`;
}
