// What pages do beyond htmx: times in the reader's own zone, copying, finding the search with "/", closing menus.
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const day = { day: "2-digit", month: "short", year: "numeric" };
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const written = new Intl.DateTimeFormat(undefined, { ...day, ...time });
  const exact = new Intl.DateTimeFormat(undefined, { ...day, ...time, fractionalSecondDigits: 3 });
  const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

  const localise = (root) => {
    for (const element of root.querySelectorAll("time[datetime]")) {
      element.title ||= element.textContent;
      element.textContent = ("exact" in element.dataset ? exact : written).format(new Date(element.dateTime));
    }
    for (const element of root.querySelectorAll("[data-at]")) {
      element.textContent = element.textContent.replace(/^\d\d:\d\d/, hour.format(new Date(element.dataset.at)));
    }
    for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  };

  document.addEventListener("click", async (event) => {
    for (const menu of document.querySelectorAll("details.ask[open]")) if (!menu.contains(event.target)) menu.open = false;
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
    const menu = event.key === "Escape" && event.target.closest?.("details.ask[open]");
    if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
  });

  // A page drawn anew leaves a filter that is being filled in, and what was unfolded; its times come in the reader's
  // zone at once.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const page = new DOMParser().parseFromString(event.detail.serverResponse, "text/html");
    localise(page);
    event.detail.serverResponse = page.documentElement.outerHTML;
  });
  Object.assign(Idiomorph.defaults.callbacks, {
    beforeNodeMorphed: (old) => !(old.matches?.("form.filters")),
    beforeAttributeUpdated: (name, node) => !(name === "open" && node.matches("details")),
  });
  localise(document);
  for (const name of document.querySelectorAll("[data-zone]")) name.textContent = zone;
})();
