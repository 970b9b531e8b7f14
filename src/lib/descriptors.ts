// Files by plain descriptor, for the path where each call counts (a delivery): a FileHandle takes several times as much of the loop, and its
// close another way through libuv's threads. Whoever opens a descriptor closes it, whatever happens in between.
import { fdatasync, fsync, futimes, open, read, write, writev } from 'node:fs';
import { promisify } from 'node:util';

/** Flags as fs.open's. @throws the system's error */
export const openDescriptor: (path: string, flags: string | number, mode?: number) => Promise<number> = promisify(open);

/** A descriptor on which it failed is not to be synced again: the next success would be a lie. @throws the system's error */
export const syncDescriptor: (fd: number) => Promise<void> = promisify(fsync);

/** The same for the bytes alone, without times. @throws the system's error */
export const datasyncDescriptor: (fd: number) => Promise<void> = promisify(fdatasync);

/** Sets access and modification time. @throws the system's error */
export const touchDescriptor: (fd: number, accessed: Date, modified: Date) => Promise<void> = promisify(futimes);

/**
 * All of `parts`, `length` bytes in all, at a place in the file, or where the descriptor stands; with one call, unless the file system takes less at a time.
 * @throws the system's error
 */
export async function writeDescriptor(
  fd: number,
  parts: readonly Buffer[],
  length: number,
  at: number | null = null,
): Promise<void> {
  const written = await new Promise<number>((resolve, reject) =>
    writev(fd, parts, at, (error, count) => (error ? reject(error) : resolve(count))),
  );
  if (written === length) return;
  const rest = Buffer.concat(parts).subarray(written);
  for (let done = 0; done < rest.length;)
    done += await new Promise<number>((resolve, reject) =>
      write(fd, rest, done, rest.length - done, at === null ? null : at + written + done, (error, count) =>
        error ? reject(error) : resolve(count),
      ),
    );
}

/** At most `length` bytes from a place in the file; fewer at its end. @throws the system's error */
export function readDescriptor(fd: number, at: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  return new Promise((resolve, reject) =>
    read(fd, buffer, 0, length, at, (error, count) => (error ? reject(error) : resolve(buffer.subarray(0, count)))),
  );
}
