// A range of a message's file as wire octets, from any octet on. Clients fetch big parts piece by piece: where the last piece ended on disk is
// remembered, so that the next one does not read the file from its beginning again.
import { CrlfEncoder } from '../message/line-ends.ts';
import type { MessageContent, Uid } from '../storage/types.ts';

interface Place {
  readonly uid: Uid;
  readonly start: number;
  /** Byte on disk, and the octets on the wire of the range before it. */
  readonly disk: number;
  readonly wire: number;
}

/** The place of one session's last piece. Files never change, so that it stays right for as long as UIDs do: one mailbox. */
export class ResumePoint {
  #place: Place | undefined;

  /** Where to begin for octet `from` of the range at `start`. */
  find(uid: Uid, start: number, from: number): { disk: number; wire: number } {
    const place = this.#place;
    if (place?.uid === uid && place.start === start && place.wire <= from) return place;
    return { disk: start, wire: 0 };
  }
  note(place: Place): void {
    this.#place = place;
  }
}

/** Wire octets of the bytes from `range.start` to `range.end` on disk, without the first `from` octets. */
export async function* wireFrom(
  content: MessageContent,
  uid: Uid,
  range: { readonly start: number; readonly end: number },
  from: number,
  resume: ResumePoint,
): AsyncGenerator<Buffer> {
  let { disk, wire } = resume.find(uid, range.start, from);
  const encoder = new CrlfEncoder();
  let afterCr = false;
  for await (const chunk of content.read(disk, range.end)) {
    // Between CR and LF nobody can begin: the LF would get a second CR.
    if (!afterCr) resume.note({ uid, start: range.start, disk, wire });
    const octets = encoder.push(chunk);
    disk += chunk.length;
    wire += octets.length;
    afterCr = chunk.at(-1) === 0x0d;
    if (wire > from) yield octets.subarray(Math.max(0, from - (wire - octets.length)));
  }
}
