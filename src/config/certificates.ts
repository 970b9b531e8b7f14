// TLS certificates: loaded from PEM files, chosen by the name a client asks for (SNI, RFC 6066 3), replaced while serving. A new pair
// that is broken never takes the place of one that works: it is logged as an error (`tls.certificate-broken`) and tried again.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { open } from 'node:fs/promises';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import { Mutex } from '../lib/async.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';

/** Mozilla's "intermediate" (version 5.7): TLS 1.2 with forward secrecy and AEAD only, TLS 1.3. */
const TLS_PROFILE: SecureContextOptions = {
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.3',
  ciphers: [
    'TLS_AES_128_GCM_SHA256',
    'TLS_AES_256_GCM_SHA384',
    'TLS_CHACHA20_POLY1305_SHA256',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
    'ECDHE-ECDSA-CHACHA20-POLY1305',
    'ECDHE-RSA-CHACHA20-POLY1305',
    'DHE-RSA-AES128-GCM-SHA256',
    'DHE-RSA-AES256-GCM-SHA384',
    'DHE-RSA-CHACHA20-POLY1305',
  ].join(':'),
  ecdhCurve: 'X25519:prime256v1:secp384r1',
  dhparam: 'auto',
  honorCipherOrder: false,
};
const MAX_PEM_BYTES = 1024 * 1024;
const EXPIRES_SOON_MS = 14 * 86_400_000;
/** A pair younger than this may be half written: it gets until the next look before it is called broken. */
const SETTLING_MS = 5000;

export interface CertificateFiles {
  /** Lower case; empty for the names in the certificate itself. */
  readonly domains: readonly string[];
  readonly cert: string;
  readonly key: string;
}

/** A file's content and what says that it changed. Injected where the serving process may not read keys itself. */
export interface PemFile {
  readonly bytes: Buffer;
  /** Permission bits. */
  readonly mode: number;
  /** Milliseconds since the epoch. */
  readonly mtime: number;
  /** Differs when the file does. */
  readonly state: string;
}

export interface CertificateStoreOptions {
  /** The first is the default: for clients that ask for no name, or for one that no certificate covers. */
  readonly certificates: readonly CertificateFiles[];
  readonly logger: Logger;
  readonly clock?: Clock;
  /** How often `watch` looks at the files, in milliseconds; default 10 s. */
  readonly interval?: number;
  readonly readPem?: (path: string) => Promise<PemFile>;
  /** Files as they were when they were last good: `load` takes these where those on disk are broken. */
  readonly lastPem?: (path: string) => Promise<PemFile>;
}

/** One loaded pair. */
export interface LoadedCertificate {
  readonly files: CertificateFiles;
  /** Names it is chosen for. */
  readonly names: readonly string[];
  readonly x509: X509Certificate;
  readonly context: SecureContext;
  readonly state: string;
}

/** The settings' certificates as the store wants them, the default first. */
export function certificateFiles(settings: {
  readonly smtpd_tls_cert_file?: string | undefined;
  readonly smtpd_tls_key_file?: string | undefined;
  readonly certificates: readonly CertificateFiles[];
}): CertificateFiles[] {
  const { smtpd_tls_cert_file: cert, smtpd_tls_key_file: key, certificates } = settings;
  return cert !== undefined && key !== undefined ? [{ domains: [], cert, key }, ...certificates] : [...certificates];
}

/** The certificates of one server, shared by its listeners. */
export class CertificateStore {
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #interval: number;
  readonly #readPem: (path: string) => Promise<PemFile>;
  readonly #loading = new Mutex();
  /** Broken states that have been said: once each. */
  readonly #said = new Map<string, string>();
  #loaded: readonly LoadedCertificate[] = [];
  #exact = new Map<string, LoadedCertificate>();
  #stopWatch: (() => void) | undefined;

  private constructor(options: CertificateStoreOptions) {
    this.#logger = options.logger;
    this.#clock = options.clock ?? systemClock;
    this.#interval = options.interval ?? 10_000;
    this.#readPem = options.readPem ?? readPemFile;
  }

  /** @throws MailError config (`TLS_UNREADABLE`, `TLS_KEY_EXPOSED`, `TLS_INVALID`) when one of them cannot be used */
  static async load(options: CertificateStoreOptions): Promise<CertificateStore> {
    const store = new CertificateStore(options);
    const loaded = [];
    for (const files of options.certificates) loaded.push(await store.#first(files, options.lastPem));
    store.#use(loaded);
    return store;
  }

  /** @throws MailError config when it is broken and never was good */
  async #first(files: CertificateFiles, lastPem: CertificateStoreOptions['lastPem']): Promise<LoadedCertificate> {
    try {
      return await loadPair(files, this.#readPem);
    } catch (error) {
      const last = lastPem && (await loadPair(files, lastPem).catch(() => undefined));
      if (!last) throw error;
      this.#sayBroken(files, error, true);
      return last;
    }
  }

  /** Loaded certificates, the default first. */
  get certificates(): readonly LoadedCertificate[] {
    return this.#loaded;
  }

  /** For this name, else the default; undefined when there is no certificate at all. */
  secureContextFor(servername: string | undefined): SecureContext | undefined {
    const name = servername?.toLowerCase().replace(/\.$/, '') ?? '';
    const dot = name.indexOf('.');
    const found = this.#exact.get(name) ?? (dot > 0 ? this.#exact.get(`*${name.slice(dot)}`) : undefined);
    return (found ?? this.#loaded[0])?.context;
  }

  /** For `tls.createServer` and `new TLSSocket`. */
  readonly sniCallback = (servername: string, callback: (error: Error | null, context?: SecureContext) => void): void => {
    callback(null, this.secureContextFor(servername));
  };

  /**
   * Reads all files again, `certificates` instead of those before when given. Connections keep what they have; new ones get the new.
   * A pair that cannot be used keeps its predecessor (same file names), and is left out when it has none. Gives false when one was broken.
   */
  async reload(certificates?: readonly CertificateFiles[]): Promise<boolean> {
    return this.#loading.run(() => this.#refresh(certificates, true));
  }

  /** Looks at the files from time to time until `close`. */
  watch(): void {
    const look = (): void => {
      void this.#loading.run(() => this.#refresh(undefined, false)).finally(again);
    };
    const again = (): void => {
      if (this.#stopWatch) this.#stopWatch = this.#clock.after(this.#interval, look);
    };
    this.#stopWatch ??= this.#clock.after(this.#interval, look);
  }

  close(): void {
    this.#stopWatch?.();
    this.#stopWatch = undefined;
  }

  async #refresh(certificates: readonly CertificateFiles[] | undefined, forced: boolean): Promise<boolean> {
    const wanted = certificates ?? this.#loaded.map(({ files }) => files);
    const loaded: LoadedCertificate[] = [];
    let whole = true;
    for (const files of wanted) {
      const old = this.#loaded.find((one) => one.files.cert === files.cert && one.files.key === files.key);
      const result = await this.#tryPair(files, old, forced);
      whole &&= result.ok;
      if (result.loaded) loaded.push(result.loaded);
    }
    this.#use(loaded);
    return whole;
  }

  async #tryPair(
    files: CertificateFiles,
    old: LoadedCertificate | undefined,
    forced: boolean,
  ): Promise<{ ok: boolean; loaded?: LoadedCertificate }> {
    const kept = old && { ...old, files, names: namesOf(files, old.x509) };
    try {
      const loaded = await loadPair(files, this.#readPem);
      this.#said.delete(files.cert);
      if (old && loaded.state === old.state) return { ok: true, loaded: kept };
      this.#logger.info('tls.certificate-loaded', { certificate: files.cert, names: loaded.names, until: loaded.x509.validTo });
      return { ok: true, loaded };
    } catch (error) {
      const { young, state } = describe(error, this.#clock.now());
      if ((forced || !young) && (forced || this.#said.get(files.cert) !== state))
        this.#sayBroken(files, error, old !== undefined);
      return { ok: false, loaded: kept };
    }
  }

  #sayBroken(files: CertificateFiles, error: unknown, kept: boolean): void {
    const { code, message, state } = describe(error, this.#clock.now());
    this.#said.set(files.cert, state);
    this.#logger.error('tls.certificate-broken', { certificate: files.cert, code, reason: message, kept });
  }

  #use(loaded: readonly LoadedCertificate[]): void {
    const exact = new Map<string, LoadedCertificate>();
    for (const one of loaded) for (const name of one.names) if (!exact.has(name)) exact.set(name, one);
    this.#loaded = loaded;
    this.#exact = exact;
    for (const { files, x509 } of loaded) this.#sayExpiry(files, x509);
  }

  #sayExpiry(files: CertificateFiles, x509: X509Certificate): void {
    const left = x509.validToDate.getTime() - this.#clock.now();
    const said = `expiry ${files.cert}`;
    const state = left < 0 ? 'expired' : left < EXPIRES_SOON_MS ? 'expires-soon' : '';
    if (state !== '' && this.#said.get(said) !== state)
      this.#logger[state === 'expired' ? 'error' : 'warn'](`tls.certificate-${state}`, {
        certificate: files.cert,
        until: x509.validTo,
      });
    this.#said.set(said, state);
  }
}

class PairError extends MailError {
  readonly pair: readonly PemFile[];
  constructor(code: string, text: string, pair: readonly PemFile[]) {
    super('config', code, text);
    this.pair = pair;
  }
}

function describe(error: unknown, now: number): { code: string; message: string; young: boolean; state: string } {
  const message = error instanceof Error ? error.message : String(error);
  const pair = error instanceof PairError ? error.pair : [];
  const young = pair.some(({ mtime }) => Math.abs(now - mtime) < SETTLING_MS);
  return {
    code: error instanceof MailError ? error.code : 'TLS_INVALID',
    message,
    young,
    state: pair.map(({ state }) => state).join(' ') || message,
  };
}

/** @throws MailError config `TLS_UNREADABLE`, `TLS_KEY_EXPOSED`, `TLS_INVALID` */
export async function loadPair(
  files: CertificateFiles,
  readPem: (path: string) => Promise<PemFile> = readPemFile,
): Promise<LoadedCertificate> {
  const cert = await readPem(files.cert);
  const key = await readPem(files.key);
  if ((key.mode & 0o007) !== 0)
    throw new PairError(
      'TLS_KEY_EXPOSED',
      `${files.key} can be used by everybody (mode ${(key.mode & 0o777).toString(8)}); run chmod 600 on it`,
      [cert, key],
    );
  try {
    const x509 = new X509Certificate(cert.bytes);
    if (!x509.checkPrivateKey(createPrivateKey(key.bytes))) throw new Error('the key is not the certificate’s');
    const context = createSecureContext({ ...TLS_PROFILE, cert: cert.bytes, key: key.bytes });
    return { files, names: namesOf(files, x509), x509, context, state: `${cert.state} ${key.state}` };
  } catch (error) {
    throw new PairError('TLS_INVALID', `${files.cert} with ${files.key}: ${(error as Error).message}`, [cert, key]);
  }
}

function namesOf(files: CertificateFiles, x509: X509Certificate): readonly string[] {
  return files.domains.length > 0 ? files.domains : certificateNames(x509);
}

/** DNS names of a certificate's subjectAltName, lower case (RFC 6125: the common name does not count). */
export function certificateNames(x509: X509Certificate): string[] {
  return (x509.subjectAltName ?? '')
    .split(', ')
    .filter((part) => part.startsWith('DNS:'))
    .map((part) => part.slice('DNS:'.length).toLowerCase());
}

/** @throws MailError config `TLS_UNREADABLE` */
export async function readPemFile(path: string): Promise<PemFile> {
  try {
    await using handle = await open(path, 'r');
    const { mode, mtimeMs, size, ino, ctimeMs } = await handle.stat();
    if (size > MAX_PEM_BYTES) throw new Error(`over ${MAX_PEM_BYTES} bytes`);
    return { bytes: await handle.readFile(), mode: mode & 0o7777, mtime: mtimeMs, state: `${ino}:${size}:${mtimeMs}:${ctimeMs}` };
  } catch (error) {
    throw new MailError('config', 'TLS_UNREADABLE', `${path}: ${errnoOf(error) ?? (error as Error).message}`, { cause: error });
  }
}
