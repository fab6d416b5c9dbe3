// What pages do beyond htmx: times in the reader's own zone, copying, and finding the search with "/".
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const written = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  const localise = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      time.title ||= time.textContent;
      time.textContent = written.format(new Date(time.dateTime));
    }
    for (const name of document.querySelectorAll("[data-zone]")) name.textContent = zone;
    for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser does not allow copying: select the text instead";
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });

  document.addEventListener("keydown", (event) => {
    const typing = /^(input|textarea|select)$/i.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      document.getElementById("q")?.focus();
    }
  });

  // A page drawn anew leaves a filter that is being filled in, and what was unfolded.
  Object.assign(Idiomorph.defaults.callbacks, {
    beforeNodeMorphed: (old) => !(old.matches?.("form.filters")),
    beforeAttributeUpdated: (name, node) => !(name === "open" && node.matches("details")),
  });
  document.addEventListener("htmx:afterSettle", localise);
  localise();
})();
