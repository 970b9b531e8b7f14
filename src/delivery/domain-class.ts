// Whose an address is: Postfix's address classes (ADDRESS_CLASS_README).

/** A set of domains (a list of the settings). */
export interface Domains {
  /** @throws MailError temporary when a table cannot be read */
  has(domain: string): Promise<boolean>;
}

/** `local`: mydestination; `mailbox`: virtual_mailbox_domains; `alias`: virtual_alias_domains; `relay`: relay_domains. */
export type DomainClass = 'local' | 'mailbox' | 'alias' | 'relay' | 'outside';

export interface DomainLists {
  readonly myDestination: Domains;
  readonly virtualMailboxDomains: Domains;
  readonly virtualAliasDomains: Domains;
  /** Their subdomains are meant too, as in Postfix (parent_domain_matches_subdomains). */
  readonly relayDomains?: Domains;
}

/** Tells a domain's class; the host's own are asked first, so that a domain listed twice keeps its mailboxes. An address without domain is local. */
export function domainClasses(lists: DomainLists): (domain: string) => Promise<DomainClass> {
  return async (domain) => {
    if (domain === '' || (await lists.myDestination.has(domain))) return 'local';
    if (await lists.virtualMailboxDomains.has(domain)) return 'mailbox';
    if (await lists.virtualAliasDomains.has(domain)) return 'alias';
    if (lists.relayDomains && (await hasOrParent(lists.relayDomains, domain))) return 'relay';
    return 'outside';
  };
}

async function hasOrParent(domains: Domains, domain: string): Promise<boolean> {
  if (domain.startsWith('[')) return domains.has(domain);
  for (let name = domain; name !== ''; name = parentOf(name)) if (await domains.has(name)) return true;
  return false;
}

/** Empty behind the last label. */
export function parentOf(domain: string): string {
  const dot = domain.indexOf('.', 1);
  return dot < 0 ? '' : domain.slice(dot + 1);
}
