// The private keys that outbound mail is signed with (DKIM, RFC 6376), in memory: a worker gets them from the supervisor, since only root and
// the signing service's user may read the files.
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readPemFile, type PemFile } from '../config/certificates.ts';
import { MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';

/** As the setting `dkim_keys` has them. */
export interface DkimKeyFile {
  /** Lower case. */
  readonly domain: string;
  readonly selector: string;
  readonly file: string;
}

export interface DkimKey extends DkimKeyFile {
  /** RSA of 1024 bits or more (RFC 8301 3.2), or Ed25519 (RFC 8463). */
  readonly key: KeyObject;
}

type ReadPem = (path: string) => Promise<PemFile>;

/** @throws MailError config `DKIM_KEY_UNREADABLE`, `DKIM_KEY_EXPOSED`, `DKIM_KEY_INVALID` */
export async function loadDkimKey(entry: DkimKeyFile, readPem: ReadPem = readPemFile): Promise<DkimKey> {
  const { file } = entry;
  const { bytes, mode } = await readPem(file).catch((error: unknown) => {
    throw new MailError('config', 'DKIM_KEY_UNREADABLE', error instanceof Error ? error.message : String(error), {
      cause: error,
    });
  });
  if ((mode & 0o007) !== 0)
    throw new MailError(
      'config',
      'DKIM_KEY_EXPOSED',
      `${file} can be used by everybody (mode ${(mode & 0o777).toString(8)}); run chmod 600 on it`,
    );
  const key = privateKey(bytes);
  const bits = key?.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key?.asymmetricKeyType === 'ed25519' || (key?.asymmetricKeyType === 'rsa' && bits >= 1024)) return { ...entry, key };
  throw new MailError('config', 'DKIM_KEY_INVALID', `${file} is no private key in PEM, RSA of 1024 bits or more or Ed25519`);
}

function privateKey(bytes: Buffer): KeyObject | undefined {
  try {
    return createPrivateKey(bytes);
  } catch {
    return undefined;
  }
}

/** Keys of one server by domain. */
export class DkimKeys {
  readonly #logger: Logger;
  readonly #readPem: ReadPem;
  #keys: readonly DkimKey[];

  private constructor(keys: readonly DkimKey[], logger: Logger, readPem: ReadPem) {
    this.#keys = keys;
    this.#logger = logger;
    this.#readPem = readPem;
  }

  /** @throws MailError config as loadDkimKey when one of them cannot be used */
  static async load(entries: readonly DkimKeyFile[], logger: Logger, readPem: ReadPem = readPemFile): Promise<DkimKeys> {
    const keys = [];
    for (const entry of entries) keys.push(await loadDkimKey(entry, readPem));
    return new DkimKeys(keys, logger, readPem);
  }

  /** Those that mail of this domain is signed with, in the order of the settings. */
  find(domain: string): readonly DkimKey[] {
    return this.#keys.filter((key) => key.domain === domain.toLowerCase());
  }

  /** Reads all again. One that cannot be used keeps its predecessor of the same domain and selector, and is left out when it has none. */
  async reload(entries: readonly DkimKeyFile[]): Promise<void> {
    const keys: DkimKey[] = [];
    for (const entry of entries) {
      const old = this.#keys.find(({ domain, selector }) => domain === entry.domain && selector === entry.selector);
      try {
        keys.push(await loadDkimKey(entry, this.#readPem));
      } catch (error) {
        if (!(error instanceof MailError)) throw error;
        const { code, message } = error;
        this.#logger.error('dkim.key-broken', { file: entry.file, code, reason: message, kept: old !== undefined });
        if (old) keys.push(old);
      }
    }
    this.#keys = keys;
  }
}
