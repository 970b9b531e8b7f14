// What is served over HTTP(S): the MTA-STS policies of our domains (RFC 8461).
import { z } from 'zod';
import { field, group } from './field.ts';
import { readHostname, readNetworks, readWord } from './readers.ts';
import { isDomainName, readList, readTime, show, ValueError } from './values.ts';

const MODES = ['enforce', 'testing', 'none'] as const;
/** RFC 8461 section 3.2. */
const MAX_AGE_MS = 31_557_600_000;

export function httpFields() {
  return {
    mta_sts_mode: field(
      {
        type: MODES.join(', '),
        description:
          'MTA-STS for the virtual domains, served at `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` where there is a listener `https` (or `http` behind a web server): `enforce` has others send only over TLS with a right certificate, `testing` has them report what would fail, `none` takes it back. `buzon check` says which record belongs into DNS.',
        default: 'testing',
        example: 'enforce',
      },
      readWord(MODES),
    ),
    mta_sts_mx: field(
      {
        type: 'list of names',
        description:
          'The MX hosts that the policies name: the hosts themselves, not the domains. `*.example.com` is one label deep.',
        default: ['$myhostname'],
        example: ['mail.example.com', 'mx2.example.net'],
      },
      readMx,
    ),
    mta_sts_max_age: field(
      { type: 'time', description: 'How long others may rely on a policy; at most a year.', default: '7d', example: '30d' },
      readAge,
    ),
    mta_sts_policies: group(
      {
        type: 'list of groups',
        description: 'Domains whose policy is another; what is not named is as in the settings above.',
        default: [],
        example: [{ domain: 'example.org', mode: 'enforce', mx: ['mail.example.org'] }],
      },
      z
        .array(
          z.strictObject({
            domain: field({ type: 'domain', description: 'The mail domain.', example: 'example.org' }, readHostname),
            mode: field(
              { type: MODES.join(', '), description: 'As `mta_sts_mode`.', default: '$mta_sts_mode', example: 'none' },
              readWord(MODES),
            ).optional(),
            mx: field(
              { type: 'list of names', description: 'As `mta_sts_mx`.', default: '$mta_sts_mx', example: ['mail.example.org'] },
              readMx,
            ).optional(),
            max_age: field(
              { type: 'time', description: 'As `mta_sts_max_age`.', default: '$mta_sts_max_age', example: '1d' },
              readAge,
            ).optional(),
          }),
        )
        .prefault([]),
    ),
    http_proxy_networks: field(
      {
        type: 'list of networks',
        description:
          'Web servers that pass requests on to a listener `http`, with the Host header as it came. They are answered there; everybody else is sent to `https`.',
        default: '127.0.0.0/8 [::1]/128',
        example: ['127.0.0.0/8', '10.0.0.7/32'],
      },
      readNetworks,
    ),
  };
}

function readAge(value: unknown): number {
  return readTime(value, 0, MAX_AGE_MS);
}

function readMx(value: unknown): readonly string[] {
  const names = readList(value).map((entry) => {
    const name = entry.toLowerCase().replace(/\.$/, '');
    if (isDomainName(name.replace(/^\*\./, '')) && !/[^\0-\x7f]/.test(name) && name.includes('.')) return name;
    throw new ValueError(`${show(entry)} is no name of an MX`, 'the host that the MX record points to, such as mail.example.com');
  });
  if (names.length > 0) return names;
  throw new ValueError('no MX is named', 'the host that the MX record points to, such as mail.example.com');
}
