// Reservations on the dashboard: make, change, cancel.
import { addActions } from "./actions.js";
import { call } from "./api.js";
import { booking, moment, nextHour, seats } from "./booking.js";
import { ask, choice, field } from "./confirm.js";
import { refresh } from "./live.js";
import { say } from "./toast.js";

addActions({
  reserve: async ({ dataset }) => {
    const environments = JSON.parse(dataset.environments); // in the settings' own order
    const made = await ask({
      title: "Reserve machines",
      text: "They are ready a quarter of an hour before the start, unless the settings say otherwise, and only this group gets them until the end.",
      yes: "Reserve",
      fields: [
        field("What for", { name: "title", required: true, maxLength: 80, placeholder: "Mantid course" }),
        choice("Environment", "environment", environments),
        field("Group", { name: "group", required: true, maxLength: 64 }),
        seats(12),
        moment("From", "starts_at", nextHour(1)),
        moment("To", "ends_at", nextHour(4)),
      ],
      send: (answer) => call("POST", "/admin/reservations", { ...answer, ...booking(answer) }),
    });
    if (!made) return;
    say(`${made.seats} machines are reserved for ${made.title}.`);
    refresh();
  },
  "change-reservation": async ({ dataset }) => {
    const changed = await ask({
      title: `Change ${dataset.title}`,
      text: "More seats, or another time, are only had where the pools have room for them.",
      yes: "Change",
      fields: [seats(dataset.seats), moment("From", "starts_at", new Date(dataset.starts)), moment("To", "ends_at", new Date(dataset.ends))],
      send: (answer) => call("PATCH", `/admin/reservations/${dataset.reservation}`, booking(answer)),
    });
    if (!changed) return;
    say(`${dataset.title} was changed.`);
    refresh();
  },
  "cancel-reservation": async ({ dataset }) => {
    const sure = await ask({ title: `Cancel ${dataset.title}?`, text: "Its machines are kept no longer: others may have them. Desktops that run go on.", yes: "Cancel it", no: "Keep it", danger: true });
    if (!sure) return;
    await call("DELETE", `/admin/reservations/${dataset.reservation}`);
    say(`${dataset.title} is cancelled.`);
    refresh();
  },
});
