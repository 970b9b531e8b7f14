// The file `selectors` in dkim_directory: which keys of the folder sign, which are to sign once DNS shows them, and which are kept published for what they
// have signed. Written by `buzon dkim rotate`, whole and synced; the keys are DOMAIN/SELECTOR.private beside it.
//
//   # comment
//   example.com  20261128r  active  2026-11-28T11:00:00Z
import { join } from 'node:path';
import { readHostname, readSelector } from '../config/readers.ts';
import { show, ValueError } from '../config/values.ts';
import { MailError } from '../lib/errors.ts';

const STATES = ['waiting', 'active', 'retired'] as const;

export interface DirectoryKey {
  /** Lower case. */
  readonly domain: string;
  readonly selector: string;
  /** Waiting for DNS, signing, or only to be found in DNS. */
  readonly state: (typeof STATES)[number];
  /** Since when, milliseconds since the epoch, in whole seconds. */
  readonly since: number;
}

export const selectorsFile = (directory: string): string => join(directory, 'selectors');
export const directoryKeyFile = (directory: string, { domain, selector }: Pick<DirectoryKey, 'domain' | 'selector'>): string =>
  join(directory, domain, `${selector}.private`);

/** @throws MailError config `DKIM_SELECTORS_INVALID` with file and line */
export function parseSelectors(text: string, file: string): DirectoryKey[] {
  return text.split('\n').flatMap((line, i) => {
    const content = line.trim();
    if (content === '' || content.startsWith('#')) return [];
    try {
      return [parseLine(content)];
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      throw new MailError('config', 'DKIM_SELECTORS_INVALID', `${file}:${i + 1}: ${error.message}; write ${error.right}`);
    }
  });
}

function parseLine(content: string): DirectoryKey {
  const [domain, selector, word, at = '', ...more] = content.split(/\s+/);
  const state = STATES.find((one) => one === word);
  const since = Date.parse(at);
  if (!state || Number.isNaN(since) || more.length > 0)
    throw new ValueError(
      `${show(content)} is no key`,
      `example.com default active 2026-11-28T11:00:00Z (or ${STATES.join(', ')})`,
    );
  return { domain: readHostname(domain), selector: readSelector(selector), state, since };
}

export function formatSelectors(keys: readonly DirectoryKey[]): string {
  const lines = keys.map(
    ({ domain, selector, state, since }) =>
      `${domain}  ${selector}  ${state}  ${new Date(since).toISOString().replace(/\.\d+Z$/, 'Z')}\n`,
  );
  return `# Kept by buzon dkim rotate: waiting for DNS, active (signs), or retired (to stay published for a while).\n${lines.join('')}`;
}
