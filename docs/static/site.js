// From a file instead of a server there is no fetch: search then shows titles alone.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// What scrolls inside itself can be scrolled by keyboard, and nothing else becomes a stop of the tab key.
function focusable() {
  for (const box of document.querySelectorAll("pre, .table-wrapper, .formula > math")) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("DOMContentLoaded", focusable);
addEventListener("DOMContentLoaded", () => {          // the theme says heading, and not of which level
  for (const caption of document.querySelectorAll(".caption[role=heading]")) caption.ariaLevel = 2;
});
addEventListener("resize", focusable);
