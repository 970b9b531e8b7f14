// TLS towards other hosts, under Postfix's names.
import { isIP } from 'node:net';
import { field } from './field.ts';
import { optional, readMapList, readPath, readText, readWord } from './readers.ts';
import { readBoolean, readList, ValueError } from './values.ts';

const LEVELS = ['none', 'may', 'encrypt', 'dane', 'dane-only', 'fingerprint', 'verify', 'secure'] as const;

export function outboundTlsFields(base: string) {
  const names = (level: string, standard: readonly string[]) =>
    field(
      {
        type: 'list of names',
        description: `Of which names a certificate must have one at level \`${level}\`: \`hostname\` (the MX), \`nexthop\`, \`dot-nexthop\` (names below it), or names themselves.`,
        default: standard,
        example: standard,
      },
      (value) => readList(value).flatMap((entry) => entry.toLowerCase().split(':')),
    );
  return {
    smtp_tls_security_level: field(
      {
        type: LEVELS.join(', '),
        description:
          'TLS towards other hosts: `may` when they offer it, without a look at the certificate; `encrypt` always; `dane` as `may`, but where DNSSEC vouches for a host’s TLSA records (RFC 7672) only with a certificate that they name, `dane-only` only there (`dnssec_resolver`); `fingerprint` only with a certificate or key of `smtp_tls_fingerprint_cert_match`; `verify` and `secure` only with a certificate that is right for the host, or for the next hop itself.',
        default: 'may',
        example: 'may',
      },
      readWord(LEVELS),
    ),
    smtp_tls_policy_maps: field(
      {
        type: 'list of tables',
        description:
          'A level of its own for a next hop, as Postfix’s TLS policy table: `example.net  secure match=mx.example.net:.example.net`, `[mail.example.org]:587  fingerprint match=DIGEST`, `.example.com  encrypt protocols=>=TLSv1.2 ciphers=high`. Asked for the next hop as it is written, with brackets and port; for a domain then `.domain` of each domain above. For next hops of `lmtp:` too. An entry comes before MTA-STS; one that cannot be understood holds the mail up with 4.7.5.',
        default: [],
        example: 'hash:/etc/postfix/tls_policy',
      },
      readMapList(base),
    ),
    dnssec_resolver: field(
      {
        type: 'address of a resolver',
        description:
          'A validating resolver on this host (Debian’s `unbound`, for instance), for `dane`: address, and port where it is not 53. Only loopback is believed.',
        default: '127.0.0.1',
        example: '127.0.0.1:5335',
      },
      readLoopback,
    ),
    smtp_tls_CAfile: field(
      {
        type: 'path',
        description:
          'Certificates (PEM) of the authorities that are trusted, towards other hosts and for MTA-STS policies. Without it: Mozilla’s, which Node brings.',
        default: 'none',
        example: '/etc/ssl/certs/ca-certificates.crt',
      },
      optional(readPath(base)),
    ),
    smtp_mta_sts: field(
      {
        type: 'enforce, testing, off',
        description:
          'MTA-STS policies of other domains (RFC 8461): `enforce` heeds them, so that mail for a domain that wants it goes only to MX hosts which its policy names and whose certificate is right, and waits otherwise; `testing` only logs what would wait; `off` asks for none. Not where `smtp_tls_policy_maps` has an entry, nor with `smtp_tls_security_level: none`.',
        default: 'enforce',
        example: 'enforce',
      },
      readWord(['enforce', 'testing', 'off']),
    ),
    smtp_mta_sts_private_addresses: field(
      {
        type: 'boolean',
        description:
          'Fetch policies also from addresses that are not of the public internet: for a network of its own, and for tests.',
        default: 'no',
        example: 'no',
      },
      readBoolean,
    ),
    smtp_tls_verify_cert_match: names('verify', ['hostname']),
    smtp_tls_secure_cert_match: names('secure', ['nexthop', 'dot-nexthop']),
    smtp_tls_fingerprint_digest: field(
      {
        type: 'sha256, sha384, sha512, sha1',
        description: 'The digest of fingerprints.',
        default: 'sha256',
        example: 'sha256',
      },
      readWord(['sha256', 'sha384', 'sha512', 'sha1']),
    ),
    smtp_tls_fingerprint_cert_match: field(
      {
        type: 'list of fingerprints',
        description: 'Certificates or public keys for level `fingerprint` where `match=` says nothing, as hex digits.',
        default: [],
        example: ['3D:95:34:51:24:66:33:B9:D2:40:99:C0:C1:17:0B:D1:3D:95:34:51:24:66:33:B9:D2:40:99:C0:C1:17:0B:D1'],
      },
      (value) =>
        readList(value).map((entry) => {
          const digits = entry.replaceAll(':', '').toLowerCase();
          if (/^([0-9a-f]{2}){20,64}$/.test(digits)) return digits;
          throw new ValueError(
            `"${entry.slice(0, 150)}" is no fingerprint`,
            'hex digits, as openssl x509 -fingerprint -sha256 shows',
          );
        }),
    ),
  };
}

/** `127.0.0.1`, `127.0.0.1:5335`, `::1`, `[::1]:5335`. */
function readLoopback(value: unknown): { readonly address: string; readonly port: number } {
  const text = readText(value);
  const [, six, four, port = '53'] = /^(?:\[?(::1)\]?|(127(?:\.\d{1,3}){3}))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const address = six ?? four ?? '';
  if (isIP(address) !== 0 && Number(port) > 0 && Number(port) < 65_536) return { address, port: Number(port) };
  throw new ValueError(`"${text}" is not on this host: its answers could be changed on the way`, '127.0.0.1, or 127.0.0.1:5335');
}
