// The private keys that outbound mail is signed with (DKIM, RFC 6376), in memory: a worker gets them from the supervisor, since only root and
// the signing service's user may read the files.
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readPemFile } from '../config/certificates.ts';
import { MailError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { networkMatcher } from '../config/networks.ts';
import type { DirectoryKey } from './dkim-selectors.ts';
import type { OpenDkimSetup } from './opendkim/load.ts';
import { readSources, type DkimKeyFile, type ReadPem, type SigningSources } from './signing-sources.ts';

export interface DkimKey extends DkimKeyFile {
  /** RSA of 1024 bits or more (RFC 8301 3.2), or Ed25519 (RFC 8463). */
  readonly key: KeyObject;
  /** `i=`, within the domain; without it there is none. */
  readonly identity?: string;
}

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

/** What a message may be signed with. */
interface SigningPlan {
  /** Of dkim_directory: where a domain has one, the others do not sign for it. */
  readonly directory: readonly DkimKey[];
  readonly retired: readonly DirectoryKey[];
  readonly keys: readonly DkimKey[];
  readonly openDkim: OpenDkimSetup | undefined;
  /** Keys of OpenDKIM's tables by name. */
  readonly tableKeys: ReadonlyMap<string, KeyObject>;
  readonly isInternal: (address: string) => boolean;
}

/** Keys of one server, and whose mail they sign. */
export class DkimKeys {
  readonly #logger: Logger;
  readonly #readPem: ReadPem;
  #plan: SigningPlan;

  private constructor(plan: SigningPlan, logger: Logger, readPem: ReadPem) {
    this.#plan = plan;
    this.#logger = logger;
    this.#readPem = readPem;
  }

  /** @throws MailError config as loadDkimKey when one of them cannot be used, as loadOpenDkim for its tables */
  static async load(sources: SigningSources, logger: Logger, readPem: ReadPem = readPemFile): Promise<DkimKeys> {
    const plan = await makePlan(sources, logger, readPem, (entry) => loadDkimKey(entry, readPem));
    return new DkimKeys(plan, logger, readPem);
  }

  /** Those that mail of this author is signed with: of dkim_directory; without one there of the settings in their order, then what OpenDKIM's tables say. */
  find(domain: string, local = ''): readonly DkimKey[] {
    const author = domain.toLowerCase();
    const { directory, keys, openDkim, tableKeys } = this.#plan;
    const rotated = directory.filter((key) => key.domain === author);
    if (rotated.length > 0) return rotated;
    const found = keys.filter((key) => key.domain === author);
    for (const { key: entry, identity, ...match } of openDkim?.match(local.toLowerCase(), author) ?? []) {
      const key = tableKeys.get(entry.name);
      const twice = found.some((one) => one.domain === match.domain && one.selector === entry.selector);
      if (!key || twice) continue;
      found.push({ ...match, selector: entry.selector, file: entry.file, key, ...(identity === undefined ? {} : { identity }) });
    }
    return found;
  }

  /** Whether a signature with these `d=` and `s=` is made with one of the keys. */
  has(domain: string, selector: string): boolean {
    const { directory, retired, keys, openDkim } = this.#plan;
    const isIt = (key: Omit<DkimKeyFile, 'file'>): boolean =>
      (key.domain === domain || key.domain === '%') && key.selector === selector;
    return [...directory, ...retired, ...keys].some(isIt) || (openDkim?.keys.some(isIt) ?? false);
  }

  /** Whether a client is of OpenDKIM's InternalHosts: its mail is signed, though it need not be of mynetworks. */
  isInternal(address: string): boolean {
    return this.#plan.isInternal(address);
  }

  /**
   * Reads all again. A key that cannot be used keeps its predecessor of the same domain and selector, and is left out when it has none; tables of OpenDKIM
   * that cannot be read leave everything as it was.
   */
  async reload(sources: SigningSources): Promise<void> {
    const { openDkim, tableKeys } = this.#plan;
    const tableKey = ({ domain, selector }: DkimKeyFile): KeyObject | undefined =>
      tableKeys.get(openDkim?.keys.find((key) => key.domain === domain && key.selector === selector)?.name ?? '');
    const before = [...this.#plan.directory, ...this.#plan.keys];
    const load = async (entry: DkimKeyFile): Promise<DkimKey | undefined> => {
      const old = before.find(({ domain, selector }) => domain === entry.domain && selector === entry.selector);
      try {
        return await loadDkimKey(entry, this.#readPem);
      } catch (error) {
        if (!(error instanceof MailError)) throw error;
        const { code, message } = error;
        const kept = old?.key ?? tableKey(entry);
        this.#logger.error('dkim.key-broken', { file: entry.file, code, reason: message, kept: kept !== undefined });
        return kept && { ...entry, key: kept };
      }
    };
    try {
      this.#plan = await makePlan(sources, this.#logger, this.#readPem, load);
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      this.#logger.error('dkim.tables-broken', { code: error.code, reason: error.message });
    }
  }
}

async function makePlan(
  sources: SigningSources,
  logger: Logger,
  readPem: ReadPem,
  load: (entry: DkimKeyFile) => Promise<DkimKey | undefined>,
): Promise<SigningPlan> {
  const { directory, retired, openDkim } = await readSources(sources, readPem);
  const loadAll = async (entries: readonly DkimKeyFile[]): Promise<DkimKey[]> => {
    const keys: DkimKey[] = [];
    for (const entry of entries) {
      const key = await load(entry);
      if (key) keys.push(key);
    }
    return keys;
  };
  const tableKeys = new Map<string, KeyObject>();
  for (const entry of openDkim?.keys ?? []) {
    const key = await load(entry);
    if (key) tableKeys.set(entry.name, key.key);
  }
  if (openDkim && openDkim.ignored.length > 0)
    logger.info('dkim.opendkim-ignored', { file: sources.opendkim_config, parameters: openDkim.ignored });
  return {
    directory: await loadAll(directory),
    retired,
    keys: await loadAll(sources.dkim_keys),
    openDkim,
    tableKeys,
    isInternal: networkMatcher(openDkim?.internal ?? []),
  };
}
