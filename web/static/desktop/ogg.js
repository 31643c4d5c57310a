// Ogg pages (RFC 3533, 6) that carry Opus (RFC 7845). Pure: bytes in, packets out.

const HEAD = 27; // bytes before the table of segments, of which the last one counts them
const WHOLE = 255; // of a segment that is not a packet's last one

/** The sound's packets in one page; none of those that only tell of the stream. */
export function packets(page) {
  const count = page[HEAD - 1];
  const sizes = page.subarray(HEAD, HEAD + count);
  const found = [];
  let [begin, end] = [HEAD + count, HEAD + count];
  for (const size of sizes) {
    end += size;
    if (size === WHOLE) continue;
    found.push(page.subarray(begin, end));
    begin = end;
  }
  return found.filter((packet) => packet.length && !tells(packet));
}

/** Whether it is OpusHead or OpusTags. */
function tells(packet) {
  return packet.length >= 8 && String.fromCharCode(...packet.subarray(0, 4)) === "Opus";
}
