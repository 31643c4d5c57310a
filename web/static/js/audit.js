// The audit log's page: its filters' moments in the reader's own zone, and the look through the chain.
import { addActions } from "./actions.js";
import { call } from "./api.js";
import { refresh } from "./live.js";
import { say } from "./toast.js";

addActions({
  "verify-audit": async () => {
    const report = await call("POST", "/admin/audit/verify");
    if (report.good) say(`Good: ${report.head.seq} rows are as they were sealed.`);
    else say("The audit log is NOT good.", { hint: report.findings[0].said, danger: true });
    refresh(new Set(["audit"]));
  },
  "copy-head": async ({ dataset: { head } }) => {
    await navigator.clipboard.writeText(head);
    say("Copied.");
  },
});

const two = (number) => String(number).padStart(2, "0");
const local = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;

for (const input of document.querySelectorAll("input[data-iso]")) {
  if (input.dataset.iso) input.value = local(new Date(input.dataset.iso));
}
document.querySelector(".audit-filters").addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) {
    if (!value) formData.delete(name);
    else if (name === "since" || name === "until") formData.set(name, new Date(value).toISOString());
  }
});
