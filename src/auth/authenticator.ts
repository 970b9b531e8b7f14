// Log-ins: unknown user, wrong password, locked account, forbidden address are one answer after the same time; failures slow an address down;
// sessions hear when their account's password changes.
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../lib/clock.ts';
import { toMailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { AccountWatch } from './account-watch.ts';
import type { Accounts, Credentials } from './accounts.ts';
import { Decoys } from './decoys.ts';
import type { Hashing } from './hashing.ts';
import { hmacMd5From, cramMd5Context } from './md5.ts';
import { cramMd5, login, plain, scram, type SaslBackend } from './sasl.ts';
import { parseScram, parseStored, plainSecret, unsupportedReason, type ScramSecret } from './stored-password.ts';
import { Throttle, type LoginThrottle, type ThrottleOptions } from './throttle.ts';
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
  /** Stands for the own table: several processes share one. */
  readonly sharedThrottle?: LoginThrottle;
  readonly clock: Clock;
  readonly logger: Logger;
}

const MAX_REMEMBERED = 2_000;
const MAX_USER = 320;
const FAILED: LoginResult = { ok: false, reason: 'failed' };
const THROTTLED: LoginResult = { ok: false, reason: 'throttled' };
const UNAVAILABLE: LoginResult = { ok: false, reason: 'unavailable' };

export class PasswdAuthenticator implements Authenticator {
  readonly #o: AuthenticatorOptions;
  readonly #own: Throttle;
  readonly #throttle: LoginThrottle;
  readonly #watch: AccountWatch;
  /** Keys what is only to be recognised within this process: remembered passwords, invented salts. */
  #key = randomBytes(32);
  /** Address → the stored password and the keyed digest of the password that fitted it. */
  #remembered = new Map<string, { stored: string; digest: Buffer }>();
  #decoys: Decoys;
  /** What an account looked like when somebody logged in to it. */
  readonly #marks = new WeakMap<Account, string>();

  constructor(options: AuthenticatorOptions) {
    this.#o = options;
    const { clock, defaultScheme } = options;
    this.#own = new Throttle({ ...options.throttle, now: () => clock.now() });
    this.#throttle = options.sharedThrottle ?? this.#own;
    this.#watch = new AccountWatch({ clock, markOf: (address) => this.#markNow(address) });
    this.#decoys = new Decoys(this.#key, defaultScheme, () => clock.now());
  }

  /** Takes over what another learned: failures, watched sessions, kinds of passwords. For a reload. */
  inherit(old: PasswdAuthenticator): void {
    this.#key = old.#key;
    this.#remembered = old.#remembered;
    this.#decoys = old.#decoys;
    this.#own.inherit(old.#own);
    this.#watch.inherit(old.#watch);
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
    if (await this.#throttle.isBlocked(origin.remoteAddress)) return THROTTLED;
    const began = performance.now();
    try {
      const credentials = await this.#lookUp(user);
      const good = await this.#check(user, credentials, password, origin);
      return await this.#finish(good ? credentials : undefined, origin, began);
    } catch (error) {
      return this.#unavailable(error);
    }
  }

  #unavailable(error: unknown): LoginResult {
    const mail = toMailError(error, 'a log-in');
    this.#o.logger.error('auth.unavailable', { code: mail.code, detail: mail.detail });
    return UNAVAILABLE;
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

  async #check(user: string, credentials: Credentials | undefined, password: string, origin: LoginOrigin): Promise<boolean> {
    const stored = this.#usable(credentials);
    const allowed = credentials !== undefined && credentials.mayComeFrom(origin.remoteAddress);
    if (allowed && credentials.noPassword) return true;
    const address = credentials?.account.address ?? '';
    const digest = createHmac('sha256', this.#key).update(password).digest();
    const remembered = this.#remembered.get(address);
    if (allowed && remembered && remembered.stored === stored && timingSafeEqual(remembered.digest, digest)) return true;
    const against = stored ?? this.#decoys.for(this.#address(user) ?? user);
    const fits = await this.#o.hashing.verify(password, against, this.#o.defaultScheme);
    if (stored === undefined || !allowed || !fits || password === '') return false;
    this.#remembered.delete(address);
    this.#remembered.set(address, { stored, digest });
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= MAX_REMEMBERED) break;
      this.#remembered.delete(oldest);
    }
    return true;
  }

  /** The stored password when it can match at all. */
  #usable(credentials: Credentials | undefined): string | undefined {
    const stored = credentials?.stored;
    if (stored === undefined) return undefined;
    const reason = unsupportedReason(stored, this.#o.defaultScheme);
    if (reason === undefined) {
      this.#decoys.note(stored);
      return stored;
    }
    this.#o.logger.warn('auth.scheme.unsupported', { user: credentials?.account.address ?? '', reason });
    return undefined;
  }

  /** Success at once; failure when its time has come, however long the check took. */
  async #finish(credentials: Credentials | undefined, origin: LoginOrigin, began: number): Promise<LoginResult> {
    if (credentials) {
      this.#throttle.succeeded(origin.remoteAddress);
      this.#marks.set(credentials.account, markOf(credentials));
      return { ok: true, account: credentials.account };
    }
    const delay = await this.#throttle.failed(origin.remoteAddress);
    const wait = began + delay - performance.now();
    if (wait > 0) await new Promise<void>((resolve) => void this.#o.clock.after(wait, resolve));
    return (await this.#throttle.isBlocked(origin.remoteAddress)) ? THROTTLED : FAILED;
  }

  // ---- mechanisms that prove a secret

  #backend(origin: LoginOrigin): SaslBackend {
    const began = performance.now();
    return {
      hostname: this.#o.hostname,
      nonce: () => randomBytes(18).toString('base64url'),
      password: async (user, password) => ({ result: await this.login(user, password, origin) }),
      scram: async (user, hash) => {
        if (await this.#throttle.isBlocked(origin.remoteAddress)) return { result: THROTTLED };
        try {
          return await this.#scramSecret(user, hash);
        } catch (error) {
          return { result: this.#unavailable(error) };
        }
      },
      cramMd5: (user, challenge) => this.#cramMd5(user, challenge),
      conclude: (user, proven) => this.#conclude(user, proven, origin, began),
    };
  }

  async #conclude(user: string, proven: boolean, origin: LoginOrigin, began: number): Promise<SaslStep> {
    if (await this.#throttle.isBlocked(origin.remoteAddress)) return { result: THROTTLED };
    try {
      const credentials = await this.#lookUp(user);
      const good = proven && credentials?.mayComeFrom(origin.remoteAddress) === true;
      return { result: await this.#finish(good ? credentials : undefined, origin, began) };
    } catch (error) {
      return { result: this.#unavailable(error) };
    }
  }

  /**
   * A stored SCRAM secret, or one made of a plain password; for others one that stays the same for a name and fits nothing. Keys are computed in
   * each case, also where they are not needed, so that all take the same time. @throws MailError
   */
  async #scramSecret(user: string, hash: 'sha1' | 'sha256'): Promise<ScramSecret> {
    const scheme = hash === 'sha1' ? 'SCRAM-SHA-1' : 'SCRAM-SHA-256';
    const text = this.#usable(await this.#lookUp(user));
    const stored = text === undefined ? undefined : parseStored(text, this.#o.defaultScheme);
    const secret = stored?.scheme === scheme ? parseScram(stored.data) : undefined;
    const { iterations, saltLength } = this.#decoys.scramFor(user, scheme);
    const invented = createHmac('sha512', this.#key).update(`salt:${user.toLowerCase()}`).digest().subarray(0, saltLength);
    const salt = secret?.salt ?? invented;
    const password = (secret || !stored ? undefined : plainSecret(stored)?.toString('utf8')) ?? randomBytes(16).toString('hex');
    const rounds = secret?.iterations ?? iterations;
    const made = await this.#o.hashing.scram(password, salt, rounds, hash);
    return secret ?? { iterations: rounds, salt, ...made };
  }

  async #cramMd5(user: string, challenge: Buffer): Promise<Buffer | undefined> {
    const credentials = await this.#lookUp(user).catch(() => undefined);
    if (credentials?.stored === undefined) return undefined;
    const stored = parseStored(credentials.stored, this.#o.defaultScheme);
    if (stored.scheme === 'CRAM-MD5' || stored.scheme === 'HMAC-MD5') {
      const context = Buffer.from(stored.data, stored.data.length === 64 ? 'hex' : 'base64');
      return context.length === 32 ? hmacMd5From(context, challenge) : undefined;
    }
    const secret = plainSecret(stored);
    if (!secret) return undefined;
    return hmacMd5From(
      cramMd5Context(secret, (bytes) => createHash('md5').update(bytes).digest()),
      challenge,
    );
  }

  // ---- changes under open sessions

  watch(account: Account, onRevoked: () => void): () => void {
    return this.#watch.add(account.address, this.#marks.get(account), onRevoked);
  }

  async #markNow(address: string): Promise<string | undefined> {
    try {
      const credentials = await this.#o.accounts.credentials(address);
      return credentials ? markOf(credentials) : '';
    } catch {
      return undefined;
    }
  }

  close(): void {
    this.#watch.close();
  }
}

/** What must stay the same for a session to go on. */
const markOf = ({ noPassword, stored, account }: Credentials): string => `${noPassword}:${stored ?? ''}:${account.maildir}`;
