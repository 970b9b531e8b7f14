// The certificates, keys and files with passwords that the settings name, read by the supervisor as whom it was started; nothing else is. What was good last
// stays in memory: a worker that has to be started anew while a broken certificate lies on disk gets that.
import { certificateFiles, loadPair, readPemFile, type CertificateFiles, type PemFile } from '../config/certificates.ts';
import type { Settings } from '../config/settings.ts';
import { MailError } from '../lib/errors.ts';
import { selectorsFile } from '../policy/dkim-selectors.ts';
import { emptyWhenAbsent, filesOf } from '../policy/signing-sources.ts';
import { secretTablePath } from '../queue/credentials.ts';

export class KeyFiles {
  #pairs: readonly CertificateFiles[];
  #named: readonly string[];
  #readable: ReadonlySet<string>;
  #mayBeAbsent: string | undefined;
  /** Path → state that was looked at. */
  readonly #seen = new Map<string, string>();
  readonly #good = new Map<string, PemFile>();

  constructor(settings: Settings) {
    this.#pairs = certificateFiles(settings);
    this.#named = pathsOf(settings);
    this.#readable = new Set(this.#named);
  }

  /**
   * From now on those of new settings, and those that OpenDKIM's files lead to; a worker may ask for those of before until it has got the new ones. Where
   * OpenDKIM's cannot be read, those of before stay: the worker, which reads the same, says what is wrong.
   */
  async reload(settings: Settings): Promise<void> {
    const before = this.#named;
    const further = await filesOf(settings);
    this.#pairs = certificateFiles(settings);
    this.#mayBeAbsent = settings.dkim_directory === undefined ? undefined : selectorsFile(settings.dkim_directory);
    this.#named = [...pathsOf(settings), ...further.files, ...(further.complete ? [] : before)];
    this.#readable = new Set([...before, ...this.#named]);
    for (const kept of [this.#seen, this.#good]) for (const path of kept.keys()) if (!this.#readable.has(path)) kept.delete(path);
  }

  isNamed(path: string): boolean {
    return this.#readable.has(path);
  }

  /** @throws MailError config when the settings do not name it, or it cannot be read */
  async read(path: string): Promise<PemFile> {
    this.#demandNamed(path);
    const file = await (path === this.#mayBeAbsent ? emptyWhenAbsent(path) : readPemFile(path));
    if (this.#seen.get(path) !== file.state) {
      this.#seen.set(path, file.state);
      for (const pair of this.#pairs) if (pair.cert === path || pair.key === path) await this.#remember(pair);
    }
    return file;
  }

  /** As it was when it was last good with its other half. @throws MailError config when the settings do not name it, or it never was */
  lastGood(path: string): PemFile {
    this.#demandNamed(path);
    const file = this.#good.get(path);
    if (!file) throw new MailError('config', 'NEVER_GOOD', `${path} was never usable`);
    return file;
  }

  #demandNamed(path: string): void {
    if (!this.isNamed(path)) throw new MailError('config', 'NOT_NAMED', `${path} is not in the settings`);
  }
  async #remember(pair: CertificateFiles): Promise<void> {
    const read = new Map<string, PemFile>();
    try {
      await loadPair(pair, async (path) => {
        const file = await readPemFile(path);
        read.set(path, file);
        return file;
      });
    } catch (error) {
      // The worker that asked says what is wrong.
      if (error instanceof MailError) return;
      throw error;
    }
    for (const [path, file] of read) this.#good.set(path, file);
  }
}

const pathsOf = (settings: Settings): string[] => [
  ...certificateFiles(settings).flatMap(({ cert, key }) => [cert, key]),
  ...settings.dkim_keys.map(({ file }) => file),
  ...(settings.opendkim_config === undefined ? [] : [settings.opendkim_config]),
  ...(settings.dkim_directory === undefined ? [] : [selectorsFile(settings.dkim_directory)]),
  ...(settings.srs_secrets_file === undefined ? [] : [settings.srs_secrets_file]),
  ...settings.smtp_sasl_password_maps.flatMap((spec) => secretTablePath(spec) ?? []),
];
