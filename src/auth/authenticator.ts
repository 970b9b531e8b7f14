// Log-ins: unknown user, wrong password, locked account, forbidden address are one answer after the same time; failures slow an address down;
// sessions hear when their account's password changes.
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import type { Clock } from '../lib/clock.ts';
import { toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { Accounts, Credentials } from './accounts.ts';
import type { Hashing } from './hashing.ts';
import { hmacMd5From, cramMd5Context } from './md5.ts';
import { cramMd5, login, plain, scram, type SaslBackend } from './sasl.ts';
import { parseScram, parseStored, unsupportedReason, type ScramSecret } from './stored-password.ts';
import { Throttle, type ThrottleOptions } from './throttle.ts';
import type { Account, Authenticator, LoginOrigin, LoginResult, SaslExchange, SaslStep } from './types.ts';

export interface AuthenticatorOptions {
  readonly accounts: Accounts;
  readonly hashing: Hashing;
  /** auth_mechanisms, best first. */
  readonly mechanisms: readonly string[];
  /** disable_plaintext_auth: no mechanism at all without TLS or loopback. */
  readonly plaintextNeedsTls: boolean;
  /** auth_default_realm. */
  readonly realm?: string;
  /** default_pass_scheme. */
  readonly defaultScheme: string;
  readonly hostname: string;
  readonly throttle: Omit<ThrottleOptions, 'now'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How often watched accounts are looked at. */
const WATCH_MS = 2_000;
const MAX_REMEMBERED = 2_000;
const MAX_USER = 320;
const FAILED: LoginResult = { ok: false, reason: 'failed' };
const derive = promisify(pbkdf2);

interface Watch {
  readonly address: string;
  readonly mark: string;
  readonly onRevoked: () => void;
}

export class PasswdAuthenticator implements Authenticator {
  readonly #o: AuthenticatorOptions;
  readonly #throttle: Throttle;
  /** Keys what is only to be recognised within this process: remembered passwords, invented salts. */
  readonly #key = randomBytes(32);
  /** Address → the stored password and the keyed digest of the password that fitted it. */
  readonly #remembered = new Map<string, { stored: string; digest: Buffer }>();
  /** What unknown users are checked against: the last stored password seen, so that it takes as long as a known user's. */
  #decoy =
    '{SSHA512}AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==';
  readonly #watches = new Set<Watch>();
  #cancelWatch: (() => void) | undefined;

  constructor(options: AuthenticatorOptions) {
    this.#o = options;
    this.#throttle = new Throttle({ ...options.throttle, now: () => options.clock.now() });
  }

  mechanisms({ secure }: Pick<LoginOrigin, 'secure'>): readonly string[] {
    return secure || !this.#o.plaintextNeedsTls ? this.#o.mechanisms : [];
  }

  start(mechanism: string, origin: LoginOrigin): SaslExchange | undefined {
    if (!this.mechanisms(origin).includes(mechanism)) return undefined;
    const backend = this.#backend(origin);
    switch (mechanism) {
      case 'PLAIN':
        return plain(backend);
      case 'LOGIN':
        return login(backend);
      case 'CRAM-MD5':
        return cramMd5(backend);
      case 'SCRAM-SHA-1':
        return scram(backend, 'sha1');
      case 'SCRAM-SHA-256':
        return scram(backend, 'sha256');
      default:
        return undefined;
    }
  }

  async login(user: string, password: string, origin: LoginOrigin): Promise<LoginResult> {
    if (this.#throttle.isBlocked(origin.remoteAddress)) return { ok: false, reason: 'throttled' };
    const began = Date.now();
    try {
      const credentials = await this.#lookUp(user);
      const good = await this.#check(credentials, password, origin);
      return await this.#finish(good ? credentials?.account : undefined, origin, began);
    } catch (error) {
      const mail = toMailError(error, 'a log-in');
      this.#o.logger.error('auth.unavailable', { code: mail.code, detail: mail.detail });
      return { ok: false, reason: 'unavailable' };
    }
  }

  /** The canonical address; undefined for what no user can be called. */
  #address(user: string): string | undefined {
    if (user === '' || user.length > MAX_USER || /[\p{Cc}\s]/u.test(user)) return undefined;
    if (user.includes('@')) return user.startsWith('@') ? undefined : user.toLowerCase();
    return this.#o.realm === undefined ? undefined : `${user}@${this.#o.realm}`.toLowerCase();
  }
  async #lookUp(user: string): Promise<Credentials | undefined> {
    const address = this.#address(user);
    return address === undefined ? undefined : this.#o.accounts.credentials(address);
  }

  async #check(credentials: Credentials | undefined, password: string, origin: LoginOrigin): Promise<boolean> {
    const stored = credentials?.stored;
    if (stored !== undefined) this.#noteStored(credentials?.account.address ?? '', stored);
    const allowed = credentials !== undefined && credentials.mayComeFrom(origin.remoteAddress);
    if (allowed && credentials.noPassword) return true;
    const address = credentials?.account.address ?? '';
    const digest = createHmac('sha256', this.#key).update(password).digest();
    const remembered = this.#remembered.get(address);
    if (allowed && remembered && remembered.stored === stored && timingSafeEqual(remembered.digest, digest)) return true;
    const fits = await this.#o.hashing.verify(password, stored ?? this.#decoy, this.#o.defaultScheme);
    if (stored === undefined || !allowed || !fits) return false;
    this.#remembered.delete(address);
    this.#remembered.set(address, { stored, digest });
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= MAX_REMEMBERED) break;
      this.#remembered.delete(oldest);
    }
    return true;
  }

  #noteStored(address: string, stored: string): void {
    const reason = unsupportedReason(stored, this.#o.defaultScheme);
    if (reason === undefined) this.#decoy = stored;
    else this.#o.logger.warn('auth.scheme.unsupported', { user: address, reason });
  }

  /** Success at once; failure when its time has come, however long the check took. */
  async #finish(account: Account | undefined, origin: LoginOrigin, began: number): Promise<LoginResult> {
    if (account) {
      this.#throttle.succeeded(origin.remoteAddress);
      return { ok: true, account };
    }
    const delay = this.#throttle.failed(origin.remoteAddress);
    const wait = began + delay - Date.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    return this.#throttle.isBlocked(origin.remoteAddress) ? { ok: false, reason: 'throttled' } : FAILED;
  }

  // ---- mechanisms that prove a secret

  #backend(origin: LoginOrigin): SaslBackend {
    const began = Date.now();
    return {
      hostname: this.#o.hostname,
      nonce: () => randomBytes(18).toString('base64url'),
      password: async (user, password) => ({ result: await this.login(user, password, origin) }),
      scram: (user, hash) => this.#scramSecret(user, hash),
      cramMd5: (user, challenge) => this.#cramMd5(user, challenge),
      conclude: (user, proven) => this.#conclude(user, proven, origin, began),
    };
  }

  async #conclude(user: string, proven: boolean, origin: LoginOrigin, began: number): Promise<SaslStep> {
    if (this.#throttle.isBlocked(origin.remoteAddress)) return { result: { ok: false, reason: 'throttled' } };
    try {
      const credentials = await this.#lookUp(user);
      const good = proven && credentials?.mayComeFrom(origin.remoteAddress) === true;
      return { result: await this.#finish(good ? credentials.account : undefined, origin, began) };
    } catch (error) {
      this.#o.logger.error('auth.unavailable', { detail: toMailError(error, 'a log-in').detail });
      return { result: { ok: false, reason: 'unavailable' } };
    }
  }

  /** A stored SCRAM secret, or one made of a plain password; for others one that stays the same for a name and fits nothing. */
  async #scramSecret(user: string, hash: 'sha1' | 'sha256'): Promise<ScramSecret> {
    const credentials = await this.#lookUp(user).catch(() => undefined);
    const stored = credentials?.stored === undefined ? undefined : parseStored(credentials.stored, this.#o.defaultScheme);
    if (stored?.scheme === (hash === 'sha1' ? 'SCRAM-SHA-1' : 'SCRAM-SHA-256')) {
      const secret = parseScram(stored.data);
      if (secret) return secret;
    }
    const salt = createHmac('sha256', this.#key).update(`salt:${user.toLowerCase()}`).digest().subarray(0, 16);
    const isPlain =
      stored !== undefined && ['PLAIN', 'CLEARTEXT', 'CLEAR'].includes(stored.scheme) && stored.encoding === undefined;
    const password = isPlain ? stored.data : randomBytes(16).toString('hex');
    const salted = await derive(password.normalize('NFKC'), salt, SCRAM_ROUNDS, hash === 'sha1' ? 20 : 32, hash);
    const clientKey = createHmac(hash, salted).update('Client Key').digest();
    return {
      iterations: SCRAM_ROUNDS,
      salt,
      storedKey: createHash(hash).update(clientKey).digest(),
      serverKey: createHmac(hash, salted).update('Server Key').digest(),
    };
  }

  async #cramMd5(user: string, challenge: Buffer): Promise<Buffer | undefined> {
    const credentials = await this.#lookUp(user).catch(() => undefined);
    if (credentials?.stored === undefined) return undefined;
    const stored = parseStored(credentials.stored, this.#o.defaultScheme);
    if (stored.scheme === 'CRAM-MD5' || stored.scheme === 'HMAC-MD5') {
      const context = Buffer.from(stored.data, stored.data.length === 64 ? 'hex' : 'base64');
      return context.length === 32 ? hmacMd5From(context, challenge) : undefined;
    }
    if (!['PLAIN', 'CLEARTEXT', 'CLEAR'].includes(stored.scheme) || stored.encoding !== undefined) return undefined;
    return hmacMd5From(
      cramMd5Context(Buffer.from(stored.data), (bytes) => createHash('md5').update(bytes).digest()),
      challenge,
    );
  }

  // ---- changes under open sessions

  watch(account: Account, onRevoked: () => void): () => void {
    const state = { live: true };
    void this.#mark(account.address).then(
      (mark) => {
        if (!state.live || mark === undefined) return;
        const watch: Watch = { address: account.address, mark, onRevoked };
        this.#watches.add(watch);
        end = () => void this.#watches.delete(watch);
        this.#schedule();
      },
      () => undefined,
    );
    let end = (): void => {
      state.live = false;
    };
    return () => {
      state.live = false;
      end();
    };
  }

  /** What must stay the same for a session to go on; empty when the account is gone, undefined when it cannot be told now. */
  async #mark(address: string): Promise<string | undefined> {
    try {
      const credentials = await this.#o.accounts.credentials(address);
      return credentials ? `${credentials.noPassword}:${credentials.stored ?? ''}:${credentials.account.maildir}` : '';
    } catch {
      return undefined;
    }
  }

  #schedule(): void {
    if (this.#watches.size === 0 || this.#cancelWatch) return;
    this.#cancelWatch = this.#o.clock.after(WATCH_MS, () => {
      void this.#look().finally(() => {
        this.#cancelWatch = undefined;
        this.#schedule();
      });
    });
  }
  async #look(): Promise<void> {
    const marks = new Map<string, string | undefined>();
    for (const watch of [...this.#watches]) {
      if (!marks.has(watch.address)) marks.set(watch.address, await this.#mark(watch.address));
      const now = marks.get(watch.address);
      if (now === undefined || now === watch.mark) continue;
      this.#watches.delete(watch);
      watch.onRevoked();
    }
  }

  close(): void {
    this.#cancelWatch?.();
    this.#watches.clear();
  }
}

const SCRAM_ROUNDS = 4_096;
