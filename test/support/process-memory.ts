// How much memory another process takes, as the kernel counts it.
import { readFile, writeFile } from 'node:fs/promises';

/** Bytes of a line of /proc/PID/status. */
export async function memoryOf(pid: number, line: 'VmRSS' | 'VmHWM'): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${line}:\\s+(\\d+)`, 'm').exec(text)?.[1]) * 1024;
}

/** By how many bytes the process's resident memory grew over its begin while `work` ran, at its highest. */
export async function growthOf(pid: number, work: () => Promise<void>): Promise<number> {
  const before = await memoryOf(pid, 'VmRSS');
  // The peak is counted from now on.
  await writeFile(`/proc/${pid}/clear_refs`, '5');
  await work();
  return (await memoryOf(pid, 'VmHWM')) - before;
}
