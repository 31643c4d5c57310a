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

/** Begin: keep regions fresh from now on. */
export function keepFresh() {
  Object.assign(Idiomorph.defaults.callbacks, {
    beforeNodeMorphed: (old) => !(old instanceof Element && old.hasAttribute("data-keep")),
    beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
  });
  onChange(refreshRegions);
  document.body.addEventListener("htmx:responseError", ({ detail }) => {
    if (detail.xhr.status === 401) toSignIn();
    else if (detail.xhr.status < 500) say("This part of the page could not be fetched.", { danger: true });
    else away(true);
  });
  document.body.addEventListener("htmx:sendError", () => away(true));
  document.body.addEventListener("htmx:afterRequest", ({ detail }) => { if (detail.successful) away(false); });
}

function away(is) {
  document.getElementById("offline")?.toggleAttribute("hidden", !is);
}
