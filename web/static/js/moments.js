// Moments that people type, in their own zone, and the API's, in UTC.
import { field } from "./confirm.js";

/** A labelled field for a moment, to the minute. */
export function moment(label, name, value) {
  const local = new Date(value.getTime() - value.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  return field(label, { type: "datetime-local", name, value: local, required: true });
}

/** What was typed, for the API. */
export function utc(text) {
  return new Date(text).toISOString();
}

/** The next full hour, so many hours later. */
export function nextHour(more = 0) {
  return new Date(Math.ceil(Date.now() / 3600000 + more) * 3600000);
}
