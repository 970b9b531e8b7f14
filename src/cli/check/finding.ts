// What a check finds, and what the checks share.
import { openDomainList, type DomainList } from '../../config/domain-list.ts';
import { openAliases, openTable, type OpenTable } from '../../config/maps/table.ts';
import type { Settings } from '../../config/settings.ts';
import type { Clock } from '../../lib/clock.ts';
import { MailError } from '../../lib/errors.ts';
import { silentLogger } from '../../lib/logger.ts';

export interface Finding {
  /** Stable: `MYDESTINATION_VIRTUAL`. */
  readonly code: string;
  /** An error stops mail or gives it away; a warning is worth a look. */
  readonly severity: 'error' | 'warning';
  /** What it is about: a setting, a file, a domain, an address. */
  readonly subject: string;
  readonly text: string;
  /** What to write or do instead. */
  readonly right: string;
}

/** Collects findings; opened tables are shared by the checks. */
export class Report {
  readonly findings: Finding[] = [];

  error(code: string, subject: string, text: string, right: string): void {
    this.findings.push({ code, severity: 'error', subject, text, right });
  }
  warn(code: string, subject: string, text: string, right: string): void {
    this.findings.push({ code, severity: 'warning', subject, text, right });
  }
}

type Entries = readonly (readonly [key: string, value: string])[];

/** The settings' tables, read once; those that cannot be read are empty here (their check says so). */
export interface World {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly mydestination: readonly string[];
  readonly mailboxDomains: readonly string[];
  readonly aliasDomains: readonly string[];
  /** Addresses (and `@domain`) with their mailboxes; the first table's entry counts. */
  readonly mailboxes: ReadonlyMap<string, string>;
  readonly virtualAliases: ReadonlyMap<string, string>;
  readonly aliases: ReadonlyMap<string, string>;
  /** Whether some table answers to patterns or everything: then a missing entry proves nothing. */
  readonly openEnded: { readonly mailboxes: boolean; readonly virtualAliases: boolean };
}

export async function readWorld(settings: Settings, clock: Clock): Promise<World> {
  const deps = { logger: silentLogger, clock };
  const tables = (specs: readonly string[], open: typeof openTable) => mergeTables(specs.map((spec) => open(spec, deps)));
  const names = async (list: readonly string[]) => namesOf(openDomainList(list, deps));
  const endless = (specs: readonly string[]): boolean => specs.some((spec) => /^(regexp|pcre|static):/.test(spec));
  return {
    settings,
    clock,
    mydestination: await names(settings.mydestination),
    mailboxDomains: await names(settings.virtual_mailbox_domains),
    aliasDomains: await names(settings.virtual_alias_domains),
    mailboxes: await tables(settings.virtual_mailbox_maps, openTable),
    virtualAliases: await tables(settings.virtual_alias_maps, openTable),
    aliases: await tables(settings.alias_maps, openAliases),
    openEnded: { mailboxes: endless(settings.virtual_mailbox_maps), virtualAliases: endless(settings.virtual_alias_maps) },
  };
}

/** Domains of ours that have addresses of their own. */
export function virtualDomains(world: World): string[] {
  return [...new Set([...world.mailboxDomains, ...world.aliasDomains])];
}

export function domainOf(address: string): string {
  return address.slice(address.lastIndexOf('@') + 1);
}

/** Entries of several tables, as if they were one; of those that cannot be read none. */
export async function mergeTables(tables: readonly OpenTable[]): Promise<Map<string, string>> {
  const merged = new Map<string, string>();
  for (const table of tables) {
    const entries: Entries = await unlessUnreadable(() => table.entries(), []);
    for (const [key, value] of entries) if (!merged.has(key)) merged.set(key, value);
    table.close();
  }
  return merged;
}

export async function namesOf(list: DomainList): Promise<readonly string[]> {
  const names = await unlessUnreadable(() => list.names(), []);
  list.close();
  return names;
}

async function unlessUnreadable<T>(read: () => Promise<T>, otherwise: T): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof MailError) return otherwise;
    throw error;
  }
}
