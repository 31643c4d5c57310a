// Regions of the page that are fetched afresh: <div hx-get="…" hx-trigger="refresh" data-live="session pool">.
// They are morphed, so that focus, open details and running animations stay.
import { toSignIn } from "./api.js";
import { onChange } from "./live.js";
import { say } from "./toast.js";

const { htmx, Idiomorph } = window;

/** Fetch the regions that show one of these kinds; all where kinds is null. */
function refreshRegions(kinds) {
  for (const region of document.querySelectorAll("[data-live]")) {
    if (kinds === null || region.dataset.live.split(" ").some((kind) => kinds.has(kind))) {
      htmx.trigger(region, "refresh");
    }
  }
}

/** Whether a piece stays as it is: what asks for it, and a time that the reader's clock words already. */
function stays(old, fresh) {
  if (!(old instanceof Element)) return false;
  const time = old.localName === "time" && old.getAttribute("datetime");
  return old.hasAttribute("data-keep") || Boolean(time && fresh.getAttribute?.("datetime") === time);
}

/** Whether an attribute is as the reader has set it: of details, or a menu, that may be open. */
function setByReader(name, node) {
  return (name === "open" && node.tagName === "DETAILS") || node.matches('[data-bs-toggle="dropdown"], .dropdown-menu');
}

/** Begin: keep regions fresh from now on. */
export function keepFresh() {
  Object.assign(Idiomorph.defaults.callbacks, {
    beforeNodeMorphed: (old, fresh) => !stays(old, fresh),
    beforeAttributeUpdated: (name, node) => !setByReader(name, node),
  });
  onChange(refreshRegions);
  document.body.addEventListener("htmx:responseError", ({ detail }) => {
    if (detail.xhr.status === 401) toSignIn();
    else if (detail.xhr.status === 404) location.reload(); // what it shows is gone: the page itself says so in words
    else if (detail.xhr.status < 500) say("This part of the page could not be fetched.", { danger: true });
    else away(true);
  });
  document.body.addEventListener("htmx:sendError", () => away(true));
  document.body.addEventListener("htmx:afterRequest", ({ detail }) => { if (detail.successful) away(false); });
}

function away(is) {
  document.getElementById("offline")?.toggleAttribute("hidden", !is);
}
