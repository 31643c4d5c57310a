// Courses: what teachers do, taking one's seat, and pictures that are fetched afresh every few seconds.
import { addActions } from "./actions.js";
import { call, leave } from "./api.js";
import { booking, moment, nextHour, seats } from "./booking.js";
import { ask, choice, field } from "./confirm.js";
import { rejoin } from "./launch.js";
import { refresh } from "./live.js";
import { say } from "./toast.js";

const OFTEN = 5000; // ms between two pictures of a desktop, and two looks at who is there
const kinds = new Set(["course"]);

function words(label, name, value) {
  const wrap = document.createElement("label");
  wrap.append(label, Object.assign(document.createElement("textarea"), { className: "form-control", name, value, rows: 3, maxLength: 4000 }));
  return wrap;
}

function showLink(link) {
  const dialog = document.getElementById("course-link");
  dialog.querySelector("[data-link]").textContent = link;
  dialog.showModal();
}

addActions({
  "make-course": async ({ dataset }) => {
    const ends = choice("When it ends", "end_sessions", [["yes", "end its desktops"], ["no", "let people keep their desktops"]]);
    const made = await ask({
      title: "New course",
      text: "Its desktops are warm before it begins, and only your people get them.",
      yes: "Make it",
      fields: [
        field("Title", { name: "title", required: true, maxLength: 80, placeholder: "Mantid for beginners" }),
        choice("Environment", "environment", JSON.parse(dataset.environments)),
        seats(12),
        moment("From", "starts_at", nextHour(1)),
        moment("To", "ends_at", nextHour(4)),
        ends,
        field("Teachers, by account name (empty: you)", { name: "teachers", maxLength: 400, placeholder: "ada, grace" }),
        words("What people agree to", "notice", dataset.notice),
      ],
      send: (answer) => {
        const teachers = answer.teachers.split(/[\s,]+/).filter(Boolean);
        return call("POST", "/courses", { ...answer, ...booking(answer), teachers, end_sessions: answer.end_sessions === "yes" });
      },
    });
    if (!made) return;
    refresh();
    if (made.link) showLink(made.link);
  },
  "change-course": async ({ dataset }) => {
    const changed = await ask({
      title: `Change ${dataset.title}`,
      text: "Desktops that end with it end at its new end.",
      yes: "Change",
      fields: [seats(dataset.seats), moment("From", "starts_at", new Date(dataset.starts)), moment("To", "ends_at", new Date(dataset.ends))],
      send: (answer) => call("PATCH", `/courses/${dataset.course}`, booking(answer)),
    });
    if (!changed) return;
    say(`${dataset.title} was changed.`);
    refresh();
  },
  "end-course": async ({ dataset }) => {
    const open = dataset.when === "open";
    const sure = await ask({
      title: `${open ? "End" : "Cancel"} ${dataset.title}?`,
      text: open && dataset.ends === "true" ? "All its desktops end now, and what is not saved is lost. Files in homes stay." : "Its seats and its link go.",
      yes: open ? "End it" : "Cancel it",
      no: "Keep it",
      danger: true,
    });
    if (!sure) return;
    await call("DELETE", `/courses/${dataset.course}`);
    say(`${dataset.title} is over.`);
    refresh();
  },
  "add-teacher": async ({ dataset }) => {
    const added = await ask({
      title: "Add a teacher",
      text: `They see and do all in ${dataset.title} that you can, pictures of desktops included. People in the course see who teaches it.`,
      yes: "Add",
      fields: [field("Account name", { name: "name", required: true, maxLength: 64, autocapitalize: "none", spellcheck: false })],
      send: async ({ name }) => {
        await call("POST", `/courses/${dataset.course}/teachers`, { name: name.trim() });
        return name.trim();
      },
    });
    if (!added) return;
    say(`${added} teaches ${dataset.title}, too.`);
    refresh();
  },
  "remove-teacher": async ({ dataset }) => {
    const self = dataset.self === "true";
    const sure = await ask({
      title: self ? `Leave ${dataset.title}?` : `${dataset.fullName} teaches no longer?`,
      text: self ? "You see this course no longer. Its other teachers go on." : "They see this course no longer, from now on.",
      yes: self ? "Leave it" : "Remove",
      danger: true,
    });
    if (!sure) return;
    await call("DELETE", `/courses/${dataset.course}/teachers/${encodeURIComponent(dataset.name)}`);
    if (self) return void await leave("/courses");
    say(`${dataset.fullName} teaches ${dataset.title} no longer.`);
    refresh();
  },
  "course-new-link": async ({ dataset }) => {
    const sure = dataset.open === "false" || await ask({ title: "A new invite link?", text: "The link before opens nothing any more. Who has a seat keeps it.", yes: "Make a new one" });
    if (!sure) return;
    const { link } = await call("POST", `/courses/${dataset.course}/link`);
    refresh();
    showLink(link);
  },
  "course-close-link": async ({ dataset }) => {
    await call("DELETE", `/courses/${dataset.course}/link`);
    say("The link opens nothing any more.");
    refresh();
  },
  "join-course": async ({ dataset }) => {
    const seat = await call("POST", "/courses/join", { token: dataset.token, pictures: dataset.pictures === "true" });
    await leave(`/courses/${seat.course}/seat`);
  },
  "sit-down": async ({ dataset }) => {
    const session = await call("POST", `/courses/${dataset.course}/seat`);
    if (session.state === "ready") await leave(`/desktop/${session.id}`);
    else rejoin(session.id, dataset.title);
    refresh();
  },
  "share-pictures": async ({ dataset }) => {
    const pictures = dataset.pictures === "true";
    await call("PATCH", `/courses/${dataset.course}/seat`, { pictures });
    say(pictures ? "Your teacher sees your desktop in this course." : "Your teacher sees your desktop no longer.");
    refresh();
  },
});

const asked = new WeakSet(); // images whose next picture is on its way

/** Fetch each picture again, once at a time; one that does not come leaves the last one, faded. */
function renew() {
  for (const image of document.querySelectorAll("[data-picture]")) {
    if (asked.has(image)) continue;
    asked.add(image);
    const next = new Image();
    next.onload = () => { asked.delete(image); image.src = next.src; image.classList.remove("stale"); };
    next.onerror = () => { asked.delete(image); image.classList.add("stale"); };
    next.src = `${image.dataset.picture}?${Date.now()}`;
  }
}

setInterval(() => {
  if (document.hidden || !document.querySelector("[data-often]")) return;
  refresh(kinds);
  renew();
}, OFTEN);
