// The server as a program on its host: its user, processes, folders, log, name servers.
import { z } from 'zod';
import { field, group } from './field.ts';
import { readIpAddress, readPath, readText, readWord, readWorkers } from './readers.ts';
import { readInteger, readList, readTime } from './values.ts';

export function hostFields(base: string) {
  return {
    user: field(
      {
        type: 'user name or id',
        description: 'Who serves and owns the mail tree when `virtual_uid_maps` is not set.',
        default: 'vmail',
        example: 'vmail',
        restart: true,
      },
      readText,
    ),
    group: field(
      {
        type: 'group name or id',
        description: 'Group of the same, when `virtual_gid_maps` is not set.',
        default: 'vmail',
        example: 'vmail',
        restart: true,
      },
      readText,
    ),
    workers: field(
      {
        type: 'number, auto',
        description:
          'Processes that serve (`auto`: one for each core); another one watches over them and alone keeps the rights that it was started with. `0` serves everything in one process.',
        default: 'auto',
        example: 2,
        restart: true,
      },
      readWorkers,
    ).prefault('auto'),
    data_directory: field(
      {
        type: 'path',
        description: 'Small files of the server’s own, such as the record of deliveries in progress.',
        default: '/var/lib/buzon',
        example: '/var/lib/buzon',
        restart: true,
      },
      readPath(base),
    ),
    queue_directory: field(
      {
        type: 'path',
        description: 'Messages while they are taken in, and those that wait to go out.',
        default: '/var/spool/buzon',
        example: '/var/spool/buzon',
        restart: true,
      },
      readPath(base),
    ),
    log: group(
      {
        type: 'group',
        description: 'Where the log goes.',
        example: { file: '/var/log/mail.log', format: 'postfix', level: 'info' },
      },
      z
        .strictObject({
          file: field(
            {
              type: 'path',
              description: 'A file (opened anew on reload, as logrotate wants it), or `-` for standard output.',
              default: '-',
              example: '/var/log/mail.log',
            },
            (value) => (value === '-' ? undefined : readPath(base)(value)),
          ).prefault('-'),
          format: field(
            {
              type: 'json, postfix',
              description: 'One JSON line an event, or the lines of Postfix and Dovecot for fail2ban and the like.',
              default: 'json',
              example: 'postfix',
            },
            readWord(['json', 'postfix']),
          ).prefault('json'),
          level: field(
            {
              type: 'debug, info, warn, error',
              description: 'The least level that is written.',
              default: 'info',
              example: 'info',
            },
            readWord(['debug', 'info', 'warn', 'error']),
          ).prefault('info'),
        })
        .prefault({}),
    ),
    dns: group(
      { type: 'group', description: 'How names are looked up.', example: { servers: ['127.0.0.1'], timeout: '5s' } },
      z
        .strictObject({
          servers: field(
            {
              type: 'list of addresses',
              description:
                'Resolvers, with a port where it is not 53 (`127.0.0.1:5353`, `[::1]:5353`); without it, those of /etc/resolv.conf.',
              default: [],
              example: ['127.0.0.1'],
            },
            readServers,
          ).prefault([]),
          timeout: field(
            { type: 'time', description: 'How long a look-up may take in all.', default: '5s', example: '5s' },
            (value) => readTime(value, 100, 120_000),
          ).prefault('5s'),
        })
        .prefault({}),
    ),
  };
}

function readServers(value: unknown): readonly string[] {
  return readList(value).map((entry) => {
    const [, host = entry, port] = /^(\[[^\]]+\]|[^:]+):(\d{1,5})$/.exec(entry) ?? [];
    const address = readIpAddress(host);
    return port === undefined ? address : `${address.includes(':') ? `[${address}]` : address}:${readInteger(port, 1, 65535)}`;
  });
}
