// Domains against each other, and addresses against mailboxes and aliases.
import { splitAliasValue } from '../../config/maps/text.ts';
import { lookupKeys, splitAddress } from '../../delivery/address-keys.ts';
import { domainOf, virtualDomains, type Report, type World } from './finding.ts';

export function checkAddresses(world: World, report: Report): void {
  checkDomains(world, report);
  checkOwner(world, report);
  checkMailboxes(world, report);
  checkAliases(world, report);
}

function checkDomains(world: World, report: Report): void {
  const { mydestination, mailboxDomains, aliasDomains } = world;
  for (const domain of mydestination) {
    if (mailboxDomains.includes(domain))
      report.error(
        'MYDESTINATION_VIRTUAL',
        domain,
        'it is in mydestination and in virtual_mailbox_domains: its mailboxes would get nothing',
        'it in virtual_mailbox_domains only',
      );
    if (aliasDomains.includes(domain))
      report.error(
        'MYDESTINATION_VIRTUAL_ALIAS',
        domain,
        'it is in mydestination and in virtual_alias_domains',
        'it in one of the two',
      );
  }
  for (const domain of aliasDomains)
    if (mailboxDomains.includes(domain))
      report.error(
        'DOMAIN_TWICE',
        domain,
        'it is in virtual_alias_domains and in virtual_mailbox_domains',
        'it in virtual_mailbox_domains only; aliases work there too',
      );
  const used = new Set([...world.mailboxes.keys(), ...world.virtualAliases.keys()].map(domainOf));
  for (const domain of virtualDomains(world))
    if (!used.has(domain) && !world.openEnded.mailboxes && !world.openEnded.virtualAliases)
      report.warn(
        'DOMAIN_EMPTY',
        domain,
        'it has neither mailbox nor alias: all its mail is refused',
        `a line such as: info@${domain}  ${domain}/info/`,
      );
}

/** All mail has one owner. */
function checkOwner({ settings }: World, report: Report): void {
  for (const [setting, what] of [
    ['virtual_uid_maps', 'uid'],
    ['virtual_gid_maps', 'gid'],
  ] as const) {
    const [spec, ...more] = settings[setting];
    if (spec !== undefined && (more.length > 0 || !/^static:\s*[1-9]\d{0,9}\s*$/.test(spec)))
      report.error(
        `${what.toUpperCase()}_NOT_ONE`,
        setting,
        `it does not come to one ${what} for all mailboxes`,
        `${setting}: static:5000`,
      );
  }
}

function checkMailboxes(world: World, report: Report): void {
  for (const [address, value] of world.mailboxes) {
    const domain = domainOf(address);
    // `example.com anything` in a table that is also the list of domains.
    if (!address.includes('@')) {
      if (!world.mailboxDomains.includes(domain))
        report.warn('MAILBOX_NO_DOMAIN', address, 'the address has no domain: no mail reaches it', `${address}@your.domain`);
      continue;
    }
    if (!value.endsWith('/'))
      report.error(
        'MAILBOX_MBOX',
        address,
        `${value} without a slash at its end is an mbox file, which is not supported: its mail is refused`,
        `${address}  ${value}/`,
      );
    if (value.split('/').includes('..'))
      report.error(
        'MAILBOX_OUTSIDE',
        address,
        `${value} leads out of virtual_mailbox_base`,
        `${address}  ${domain}/${address.slice(0, address.lastIndexOf('@'))}/`,
      );
    if (!world.mailboxDomains.includes(domain))
      report.warn(
        'MAILBOX_FOREIGN_DOMAIN',
        address,
        `${domain} is not in virtual_mailbox_domains: no mail reaches the mailbox`,
        `virtual_mailbox_domains with ${domain}`,
      );
  }
}

function checkAliases(world: World, report: Report): void {
  for (const [name, value] of world.aliases) checkTargets(world, report, name, value, 'alias_maps');
  for (const [name, value] of world.virtualAliases) {
    checkTargets(world, report, name, value, 'virtual_alias_maps');
    if (name.startsWith('@')) checkCatchAll(world, report, name, value);
  }
  checkLoops(world, report);
  for (const name of ['postmaster', 'root'])
    if (
      world.mydestination.length > 0 &&
      !world.aliases.has(name) &&
      !(name === 'postmaster' && world.settings.postmaster !== undefined)
    )
      report.warn(
        'ALIAS_MISSING',
        name,
        `mail for ${name} of this host is refused`,
        `"${name}: info@example.com" in a table of alias_maps`,
      );
}

function checkTargets(world: World, report: Report, name: string, value: string, setting: string): void {
  for (const target of splitAliasValue(value)) {
    const refused = target.startsWith('|')
      ? 'COMMAND'
      : target.startsWith('/')
        ? 'FILE'
        : target.startsWith(':include:')
          ? 'INCLUDE'
          : undefined;
    if (refused) {
      const what = { COMMAND: 'a command', FILE: 'a file', INCLUDE: 'a list in a file' }[refused];
      report.error(
        `ALIAS_${refused}`,
        name,
        `${setting} sends it to ${what} (${target}): such mail is refused`,
        'a mailbox or an address elsewhere',
      );
    } else if (isDeadEnd(world, target))
      report.warn(
        'ALIAS_UNKNOWN',
        name,
        `${setting} sends it to ${target}, which does not exist`,
        'an address that has a mailbox or an alias',
      );
  }
}

/** An address in a domain of ours that neither a mailbox nor an alias knows. */
function isDeadEnd(world: World, target: string): boolean {
  if (!target.includes('@')) return false;
  const address = splitAddress(target, world.settings.recipient_delimiter);
  if (!virtualDomains(world).includes(address.domain) || world.openEnded.mailboxes || world.openEnded.virtualAliases)
    return false;
  return !lookupKeys(address, false).some(({ key }) => world.mailboxes.has(key) || world.virtualAliases.has(key));
}

/** virtual(5): aliases come before mailboxes, so a catch-all takes the mail of every mailbox that has no alias of its own. */
function checkCatchAll(world: World, report: Report, name: string, value: string): void {
  const swallowed = [...world.mailboxes.keys()].filter(
    (address) => address.endsWith(name) && address !== name && !world.virtualAliases.has(address),
  );
  const targets = splitAliasValue(value).map((target) => target.toLowerCase());
  const lost = swallowed.filter((address) => !targets.includes(address));
  if (lost.length === 0) return;
  const shown = lost.slice(0, 3).join(', ') + (lost.length > 3 ? ` and ${lost.length - 3} more` : '');
  report.warn(
    'ALIAS_CATCHALL',
    name,
    `the catch-all takes the mail of the mailboxes ${shown}`,
    `a line for each mailbox, such as: ${lost[0]}  ${lost[0]}`,
  );
}

/** Circles in virtual_alias_maps and alias_maps, each told once. An address that stands for itself ends there (virtual(5)). */
function checkLoops(world: World, report: Report): void {
  const done = new Set<string>();
  const next = (address: string): string[] => {
    const split = splitAddress(address, world.settings.recipient_delimiter);
    const hit = address.includes('@') ? lookupKeys(split, false).find(({ key }) => world.virtualAliases.has(key)) : undefined;
    const local = !address.includes('@') || world.mydestination.includes(split.domain);
    const value = hit ? world.virtualAliases.get(hit.key) : local ? world.aliases.get(split.local) : undefined;
    return value === undefined ? [] : splitAliasValue(value).map((target) => target.toLowerCase());
  };
  for (const start of [...world.virtualAliases.keys(), ...world.aliases.keys()].filter((name) => !name.startsWith('@'))) {
    // Depth first without recursion: chains may be long.
    const path: string[] = [];
    const stack: { readonly address: string; readonly targets: string[] }[] = [];
    const enter = (address: string): void => {
      const circle = path.indexOf(address);
      if (circle >= 0 && path.length - circle > 1)
        report.error(
          'ALIAS_LOOP',
          address,
          `its alias leads back to it: ${[...path.slice(circle), address].join(' → ')}`,
          'one of them with a mailbox',
        );
      if (circle >= 0 || done.has(address)) return;
      path.push(address);
      stack.push({ address, targets: next(address) });
    };
    enter(start);
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const target = top.targets.shift();
      if (target !== undefined) enter(target);
      else {
        done.add(top.address);
        path.pop();
        stack.pop();
      }
    }
  }
}
