// Certificates and keys of buzon.yaml: TLS, and signing with DKIM.
import { z } from 'zod';
import { field, group } from './field.ts';
import { optional, readHostname, readPath, readWord, readSelector } from './readers.ts';
import { isDomainName, readList, readTime, show, ValueError } from './values.ts';

export function tlsFields(base: string) {
  const certificate = (what: string, example: string) =>
    field({ type: 'path', description: what, default: 'none', example }, optional(readPath(base)));
  return {
    smtpd_tls_security_level: field(
      {
        type: 'none, may, encrypt',
        description:
          'TLS on port 25: offered (`may`), demanded (`encrypt`, not for a host that takes mail from the internet), or not offered.',
        default: 'may',
        example: 'may',
      },
      readWord(['none', 'may', 'encrypt']),
    ),
    smtpd_tls_cert_file: certificate(
      'The default certificate (PEM, with its chain), for clients that ask for no name or for one that no other certificate covers.',
      '/etc/letsencrypt/live/mail.example.com/fullchain.pem',
    ),
    smtpd_tls_key_file: certificate(
      'Key of the default certificate. Nobody but root and its owner may read it.',
      '/etc/letsencrypt/live/mail.example.com/privkey.pem',
    ),
    certificates: group(
      {
        type: 'list of groups',
        description: 'Certificates by the name that a client asks for (SNI), for SMTP and IMAP.',
        default: [],
        example: [
          {
            domains: ['mail.example.org', '*.example.org'],
            cert: '/etc/buzon/example.org.pem',
            key: '/etc/buzon/example.org.key',
          },
        ],
      },
      z
        .array(
          z.strictObject({
            domains: field(
              {
                type: 'list of names',
                description:
                  'Names this certificate is for; `*.example.org` is one label deep. Without it: the names in the certificate.',
                default: [],
                example: ['mail.example.org', '*.example.org'],
              },
              readCertificateNames,
            ).prefault([]),
            cert: field(
              { type: 'path', description: 'Certificate and chain, PEM.', example: '/etc/buzon/example.org.pem' },
              readPath(base),
            ),
            key: field({ type: 'path', description: 'Its key, PEM.', example: '/etc/buzon/example.org.key' }, readPath(base)),
          }),
        )
        .prefault([]),
    ),
  };
}

export function signingFields(base: string) {
  return {
    dkim_keys: group(
      {
        type: 'list of groups',
        description:
          'Private keys for signing with DKIM, RSA or Ed25519, PEM. Nobody but root and the file’s owner and group may read them (`opendkim`, for instance, may keep its own). What logged-in users and clients of `mynetworks` send is signed when its From is of that domain (of several keys, with each: RSA beside Ed25519). `buzon dkim keygen` makes one.',
        default: [],
        example: [{ domain: 'example.com', selector: 'default', file: '/etc/opendkim/keys/example.com/default.private' }],
      },
      z
        .array(
          z.strictObject({
            domain: field({ type: 'domain', description: 'The signing domain.', example: 'example.com' }, readHostname),
            selector: field(
              { type: 'label', description: 'Where its public key is: `SELECTOR._domainkey.DOMAIN`.', example: 'default' },
              readSelector,
            ),
            file: field(
              {
                type: 'path',
                description: 'The private key.',
                example: '/etc/opendkim/keys/example.com/default.private',
              },
              readPath(base),
            ),
          }),
        )
        .prefault([]),
    ),
    dkim_directory: field(
      {
        type: 'path',
        description:
          'The folder in which `buzon dkim rotate DOMAIN` keeps keys, RSA and Ed25519, as `DOMAIN/SELECTOR.private`, and the file `selectors` that says which of them sign. A domain that has keys there is signed with those alone, not with `dkim_keys` or OpenDKIM’s.',
        default: 'none',
        example: '/etc/buzon/dkim',
      },
      optional(readPath(base)),
    ),
    dkim_retire_time: field(
      {
        type: 'time',
        description:
          'How long the record of a key that no longer signs must stay in DNS: as long as mail may be under way, and be looked at again.',
        default: '7d',
        example: '14d',
      },
      (value) => readTime(value),
    ),
    opendkim_config: field(
      {
        type: 'path',
        description:
          'OpenDKIM’s settings, whose keys are used beside `dkim_keys`: `KeyTable` with `SigningTable` (`file:`, `refile:`, lists; `MultipleSignatures`), or `Domain`, `Selector`, `KeyFile` (`SubDomains`). Mail of `InternalHosts` is signed as that of `mynetworks` is, but may not relay for it. The files stay as they are, root’s and opendkim’s. A start refuses what cannot be read with file and line; `buzon check` tells what in it is not done.',
        default: 'none',
        example: '/etc/opendkim.conf',
      },
      optional(readPath(base)),
    ),
  };
}

function readCertificateNames(value: unknown): readonly string[] {
  return readList(value).map((entry) => {
    const name = entry.toLowerCase().replace(/\.$/, '');
    if (isDomainName(name.replace(/^\*\./, ''))) return name;
    throw new ValueError(`${show(entry)} is not a name that a certificate can be for`, 'mail.example.com or *.example.com');
  });
}
