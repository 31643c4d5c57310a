// Loaded before the page is drawn: keeps the click that comes before the page's scripts do; actions.js does it then.
window.earlyClick = null;
window.keepEarlyClick = ({ target }) => { window.earlyClick = target.closest("[data-action]") ?? window.earlyClick; };
document.addEventListener("click", window.keepEarlyClick);
