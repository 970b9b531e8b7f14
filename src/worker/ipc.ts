// What the supervisor and its workers say to each other. The supervisor is root, a worker is not and reads what strangers send: whatever
// comes from a worker is checked like a peer's input, and there is no message that makes the supervisor bind, open or start what the
// settings do not name. How it comes: channel.ts.
import type { PemFile } from '../config/certificates.ts';
import type { Settings } from '../config/settings.ts';
import type { InheritedSocket } from './systemd.ts';

/** Where a worker finds its end of the channel; inherited sockets follow. */
export const CHANNEL_FD = 3;

/** To a worker. */
export type Order =
  /** First of all: serve with these. */
  | {
      readonly type: 'start';
      readonly settings: Settings;
      readonly number: number;
      readonly inherited: readonly InheritedSocket[];
    }
  | { readonly type: 'reload'; readonly settings: Settings }
  | { readonly type: 'stop' }
  | { readonly type: 'answer'; readonly id: number; readonly value?: unknown; readonly error?: string };

/** From a worker. */
export type Word =
  | { readonly type: 'ready' }
  | { readonly type: 'failed'; readonly error: string }
  | { readonly type: 'ask'; readonly id: number; readonly question: Question };

/** What a worker may ask for. */
export type Question =
  /** A TLS certificate or key, or a DKIM key, that the settings name; with `last`, as it was when it was last good. */
  | { readonly kind: 'pem'; readonly path: string; readonly last?: boolean }
  /** One more of `key` (connections of an address, sessions of a user) unless `limit` is reached in all workers. Answer: boolean. */
  | { readonly kind: 'admit'; readonly scope: string; readonly key: string; readonly limit: number }
  /** Failed log-ins of an address. Answer: whether it is blocked; the milliseconds that a failure's answer is to take. */
  | { readonly kind: 'login-blocked'; readonly address: string }
  | { readonly kind: 'login-failed'; readonly address: string }
  /** No answer is waited for. */
  | { readonly kind: 'login-succeeded'; readonly address: string }
  /** One less. No answer is waited for. */
  | { readonly kind: 'leave'; readonly scope: string; readonly key: string };

/** A PemFile as JSON has it. */
export interface SentPem extends Omit<PemFile, 'bytes'> {
  readonly base64: string;
}

/** By kind of question. */
export interface Answers {
  readonly pem: SentPem;
  readonly admit: boolean;
  readonly leave: undefined;
  readonly 'login-blocked': boolean;
  readonly 'login-failed': number;
  readonly 'login-succeeded': undefined;
}

const MAX_TEXT = 4_096;
const isText = (value: unknown): value is string => typeof value === 'string' && value.length <= MAX_TEXT;

/** A worker's message, checked; undefined for what is none. */
export function readWord(message: unknown): Word | undefined {
  if (typeof message !== 'object' || message === null) return undefined;
  const { type, error, id, question } = message as Record<string, unknown>;
  if (type === 'ready') return { type };
  if (type === 'failed' && typeof error === 'string') return { type, error: error.slice(0, MAX_TEXT) };
  if (type !== 'ask' || typeof id !== 'number' || typeof question !== 'object' || question === null) return undefined;
  const asked = readQuestion(question as Record<string, unknown>);
  return asked && { type, id, question: asked };
}

function readQuestion({ kind, path, last, address, scope, key, limit }: Record<string, unknown>): Question | undefined {
  if (kind === 'login-blocked' || kind === 'login-failed' || kind === 'login-succeeded')
    return isText(address) ? { kind, address } : undefined;
  if (kind === 'pem') return isText(path) ? { kind, path, last: last === true } : undefined;
  if (!isText(scope) || !isText(key)) return undefined;
  if (kind === 'leave') return { kind, scope, key };
  return kind === 'admit' && typeof limit === 'number' ? { kind, scope, key, limit } : undefined;
}
