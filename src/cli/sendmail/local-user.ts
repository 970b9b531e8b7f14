// Who calls: name and full name of the process's user, as /etc/passwd has them.
import { readFile } from 'node:fs/promises';

export interface LocalUser {
  readonly name: string;
  /** From the gecos field; empty when it has none. */
  readonly fullName: string;
}

/** undefined for a uid without an entry. */
export async function localUser(uid: number, passwd = '/etc/passwd'): Promise<LocalUser | undefined> {
  for (const line of (await readFile(passwd, 'utf8').catch(() => '')).split('\n')) {
    const [name = '', , id, , gecos = ''] = line.split(':');
    if (id !== String(uid) || name === '') continue;
    const [first = ''] = gecos.split(',');
    // passwd(5): & stands for the name itself.
    return { name, fullName: first.replaceAll('&', name.charAt(0).toUpperCase() + name.slice(1)) };
  }
  return undefined;
}
