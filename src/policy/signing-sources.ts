// Where the settings say that keys for signing are: dkim_keys themselves, the folder of `buzon dkim rotate`, OpenDKIM's tables. What is read here besides
// the keys, and which files that leads to: the supervisor, which reads for the workers, goes by the same.
import { readPemFile, type PemFile } from '../config/certificates.ts';
import { errnoOf, MailError } from '../lib/errors.ts';
import { directoryKeyFile, parseSelectors, selectorsFile, type DirectoryKey } from './dkim-selectors.ts';
import { textReader } from './opendkim/conf.ts';
import { loadOpenDkim, type OpenDkimSetup } from './opendkim/load.ts';

/** As the setting `dkim_keys` has them. */
export interface DkimKeyFile {
  /** Lower case. */
  readonly domain: string;
  readonly selector: string;
  readonly file: string;
}

export type ReadPem = (path: string) => Promise<PemFile>;

/** As the settings name them. */
export interface SigningSources {
  readonly dkim_keys: readonly DkimKeyFile[];
  readonly dkim_directory?: string | undefined;
  readonly opendkim_config?: string | undefined;
}

export interface ReadSources {
  /** Of dkim_directory, those that sign. */
  readonly directory: readonly DkimKeyFile[];
  /** Of dkim_directory, those that have signed. */
  readonly retired: readonly DirectoryKey[];
  readonly openDkim: OpenDkimSetup | undefined;
}

/** @throws MailError config: what is wrong in the files, with its line */
export async function readSources(sources: Partial<SigningSources>, readPem: ReadPem = readPemFile): Promise<ReadSources> {
  const { dkim_directory: directory, opendkim_config: conf } = sources;
  const keys = directory === undefined ? [] : await readDirectory(directory, readPem);
  const openDkim = conf === undefined ? undefined : await loadOpenDkim(conf, textReader(readPem));
  return {
    directory: keys
      .filter(({ state }) => state === 'active')
      .map((key) => ({ domain: key.domain, selector: key.selector, file: directoryKeyFile(directory ?? '', key) })),
    retired: keys.filter(({ state }) => state === 'retired'),
    openDkim,
  };
}

/** No file is no keys: none has been made yet. @throws MailError config */
export async function readDirectory(directory: string, readPem: ReadPem = readPemFile): Promise<DirectoryKey[]> {
  const file = selectorsFile(directory);
  return parseSelectors((await emptyWhenAbsent(file, readPem)).bytes.toString('utf8'), file);
}

/** Over `readPem` for a file that need not be there. @throws as readPem for anything else */
export async function emptyWhenAbsent(file: string, readPem: ReadPem = readPemFile): Promise<PemFile> {
  try {
    return await readPem(file);
  } catch (error) {
    if (!(error instanceof MailError) || errnoOf(error.cause) !== 'ENOENT') throw error;
    return { bytes: Buffer.alloc(0), mode: 0o600, mtime: 0, state: 'absent' };
  }
}

/** All keys that sign, those of OpenDKIM for each author's domain (`%`) too. @throws as readSources */
export async function signingKeyFiles(sources: SigningSources): Promise<DkimKeyFile[]> {
  const { directory, openDkim } = await readSources(sources);
  return [...directory, ...sources.dkim_keys, ...(openDkim?.keys ?? [])];
}

export interface FurtherFiles {
  readonly files: readonly string[];
  /** False where one of them cannot be, or not be read: then there are only those that were asked for until then. */
  readonly complete: boolean;
}

/** Files that the settings lead to besides those that they name themselves. */
export async function filesOf(sources: Partial<SigningSources>, readPem: ReadPem = readPemFile): Promise<FurtherFiles> {
  const files = new Set<string>();
  const noting: ReadPem = (path) => {
    files.add(path);
    return readPem(path);
  };
  try {
    const { directory, openDkim } = await readSources(sources, noting);
    const keys = [...directory, ...(openDkim?.keys ?? [])];
    return { files: [...new Set([...files, ...keys.map(({ file }) => file)])], complete: true };
  } catch (error) {
    if (!(error instanceof MailError)) throw error;
    return { files: [...files], complete: false };
  }
}
