// What people type of a reservation or course: seats, and moments in their own zone; and what the API takes of it.
import { field } from "./confirm.js";

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** A labelled field for a moment, to the minute, in the reader's own zone. */
export function moment(label, name, value) {
  const local = new Date(value.getTime() - value.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  return field(`${label} (${zone})`, { type: "datetime-local", name, value: local, required: true });
}

/** A labelled field for how many seats. */
export function seats(value) {
  return field("Seats", { type: "number", name: "seats", value, min: 1, max: 10000, required: true, inputMode: "numeric" });
}

/** What was typed, for the API. */
export function booking(answer) {
  const utc = (text) => new Date(text).toISOString();
  return { seats: Number(answer.seats), starts_at: utc(answer.starts_at), ends_at: utc(answer.ends_at) };
}

/** The next full hour, so many hours later. */
export function nextHour(more = 0) {
  return new Date(Math.ceil(Date.now() / 3600000 + more) * 3600000);
}
