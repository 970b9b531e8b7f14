// Where buzon.yaml has the server listen, and whom it believes: Postfix's names.
import { z } from 'zod';
import { field, group } from './field.ts';
import { optional, readIpAddress, readNetworks, readWord, readWords } from './readers.ts';
import { readInteger, readList, ValueError } from './values.ts';

/** Listened on where the settings say nothing. */
export const MAIL_PROTOCOLS = ['smtp', 'submission', 'submissions', 'imap', 'imaps'] as const;
export const PROTOCOLS = [...MAIL_PROTOCOLS, 'http', 'https'] as const;

export function networkFields() {
  return {
    mynetworks: field(
      {
        type: 'list of networks',
        description:
          'Clients that may relay to other domains without logging in. Networks in CIDR form; `!` excludes, the first that matches decides.',
        default: '127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128',
        example: ['127.0.0.0/8', '[::1]/128', '192.168.7.0/24'],
      },
      readNetworks,
    ),
    inet_protocols: field(
      {
        type: 'ipv4, ipv6',
        description: 'Which kinds of address are listened on and connected to; `all` for both.',
        default: 'all',
        example: 'ipv4',
        restart: true,
      },
      (value) => {
        const words = readWords(['all', 'ipv4', 'ipv6'])(value);
        if (words.length === 0) throw new ValueError('no protocol is left', 'all, ipv4 or ipv6');
        return words.includes('all') ? (['ipv4', 'ipv6'] as const) : words.filter((word) => word !== 'all');
      },
    ),
    inet_interfaces: field(
      {
        type: 'list of addresses',
        description: 'Addresses listened on where a listener names none: `all`, `loopback-only`, or addresses.',
        default: 'all',
        example: ['192.0.2.1', '2001:db8::1'],
        restart: true,
      },
      (value) =>
        readList(value).flatMap((entry) => {
          if (entry === 'all') return ['0.0.0.0', '::'];
          if (entry === 'loopback-only') return ['127.0.0.1', '::1'];
          return [readIpAddress(entry)];
        }),
    ),
    listeners: group(
      {
        type: 'list of groups',
        description:
          'What is listened on, any number of entries. Without this setting: smtp on 25, submission on 587, submissions on 465, imap on 143, imaps on 993.',
        default: 'smtp, submission, submissions, imap, imaps',
        example: [
          { protocol: 'smtp', port: 25 },
          { protocol: 'imaps', address: '192.0.2.1', port: 993 },
        ],
        restart: true,
      },
      z
        .array(
          z.strictObject({
            protocol: field(
              {
                type: PROTOCOLS.join(', '),
                description:
                  '`submissions`, `imaps` and `https` speak TLS from the first byte. `https` serves MTA-STS policies; `http` does so for a web server in front (`http_proxy_networks`).',
                example: 'imaps',
              },
              readWord(PROTOCOLS),
            ),
            address: field(
              {
                type: 'IP address',
                description: 'Where to listen; without it, on all of `inet_interfaces`.',
                default: 'none',
                example: '192.0.2.1',
              },
              optional(readIpAddress),
            ).optional(),
            port: field(
              {
                type: 'port',
                description: 'The default is the protocol’s own port; 0 takes a free one.',
                default: 'none',
                example: 2525,
              },
              optional((value) => readInteger(value, 0, 65535)),
            ).optional(),
          }),
        )
        .optional(),
    ),
    smtpd_forbid_bare_newline: field(
      {
        type: 'reject, normalize, no',
        description:
          'What happens to a message from outside that has a line end other than CRLF (SMTP smuggling): `reject` refuses it, `normalize` (or `yes`) makes it CRLF. Clients of `mynetworks` and logged-in users are always normalized. Only CRLF.CRLF ends a message in any case; `no` takes bare line ends as they come.',
        default: 'reject',
        example: 'normalize',
      },
      (value) => {
        const word = readWord(['reject', 'normalize', 'yes', 'no'])(value);
        return word === 'yes' ? 'normalize' : word;
      },
    ),
  };
}
