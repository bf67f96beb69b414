// Only what is more convenient with it: every page works without.
"use strict";
for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  const label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = button.dataset.done;
      setTimeout(() => { button.textContent = label; }, 2000);
    } catch { /* Then it is copied by hand. */ }
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
