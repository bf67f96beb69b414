// Only what is more convenient with it: every page works without.
"use strict";
// A second click would throw away the answer to the first, and with it the cookie of a renewed session.
document.addEventListener("submit", (event) => {
  // Not by the clock, which may be set back.
  const form = event.target, now = event.timeStamp;
  if (now - form.dataset.sent < 2000) event.preventDefault();
  else form.dataset.sent = now;
});
for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  const label = button.textContent;
  // Screen readers do not announce the new text of a button.
  const status = document.createElement("span");
  status.className = "aside";
  status.setAttribute("role", "status");
  button.after(status);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = status.textContent = button.dataset.done;
      setTimeout(() => { button.textContent = label; status.textContent = ""; }, 2000);
    } catch { /* Then it is copied by hand. */ }
  });
}
for (const button of document.querySelectorAll("button[data-follow]")) {
  const region = document.getElementById(button.dataset.follow);
  const status = document.getElementById(button.dataset.follow + "-status");
  let timer = 0, isLooking = false;
  const stop = (text) => {
    clearInterval(timer);
    timer = 0;
    button.setAttribute("aria-pressed", "false");
    status.textContent = text;
  };
  const look = async () => {
    // A search may take longer than the time between two, and a server refuses too many at once.
    if (isLooking) return;
    isLooking = true;
    try {
      const answer = await fetch(button.dataset.url, { redirect: "error" });
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.getElementById(region.id);
      if (next.textContent === region.textContent || !timer) return;
      // Whoever is in the list with the keyboard would lose their place.
      if (region.contains(document.activeElement)) {
        const waiting = "There are new events: they show up once you leave the list.";
        if (status.textContent !== waiting) status.textContent = waiting;
        return;
      }
      region.replaceChildren(...next.childNodes);
      status.textContent = "New events came at " + new Date().toISOString().slice(11, 19) + " UTC.";
    } catch {
      if (timer) stop("It is not followed any more: reload the page.");
    } finally {
      isLooking = false;
    }
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    if (timer) return stop("");
    button.setAttribute("aria-pressed", "true");
    status.textContent = "New events show up by themselves.";
    timer = setInterval(look, Number(button.dataset.every) * 1000);
  });
}
for (const button of document.querySelectorAll("button[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}
for (const left of document.querySelectorAll("[data-countdown]")) {
  const ends = Date.now() + left.dataset.countdown * 1000;
  const show = () => {
    const seconds = Math.ceil((ends - Date.now()) / 1000);
    left.textContent = seconds > 0 ? ` (in ${seconds} s)` : " (it has ended)";
    if (seconds <= 0) clearInterval(timer);
  };
  const timer = setInterval(show, 1000);
  left.hidden = false;
  show();
}
