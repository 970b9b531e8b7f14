// Files by plain descriptor, for the path where each call counts (a delivery): a FileHandle takes several times as much of the loop, and its
// close another way through libuv's threads. Whoever opens a descriptor closes it, whatever happens in between.
import { fsync, futimes, open, write, writev } from 'node:fs';
import { promisify } from 'node:util';

/** Flags as fs.open's. @throws the system's error */
export const openDescriptor: (path: string, flags: string | number, mode?: number) => Promise<number> = promisify(open);

/** A descriptor on which it failed is not to be synced again: the next success would be a lie. @throws the system's error */
export const syncDescriptor: (fd: number) => Promise<void> = promisify(fsync);

/** Sets access and modification time. @throws the system's error */
export const touchDescriptor: (fd: number, accessed: Date, modified: Date) => Promise<void> = promisify(futimes);

/** All of `parts`, `length` bytes in all, where the descriptor stands; with one call, unless the file system takes less at a time. @throws the system's error */
export async function writeDescriptor(fd: number, parts: readonly Buffer[], length: number): Promise<void> {
  const written = await new Promise<number>((resolve, reject) =>
    writev(fd, parts, (error, count) => (error ? reject(error) : resolve(count))),
  );
  if (written === length) return;
  const rest = Buffer.concat(parts).subarray(written);
  for (let at = 0; at < rest.length;)
    at += await new Promise<number>((resolve, reject) =>
      write(fd, rest, at, rest.length - at, null, (error, count) => (error ? reject(error) : resolve(count))),
    );
}
