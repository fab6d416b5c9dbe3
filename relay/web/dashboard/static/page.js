// Scripts besides htmx: local times, copy buttons, "/" for search, menus, the theme, and forms that send themselves.
(() => {
  // The zone that the operator chose for everybody, else the reader's own.
  const fixed = document.documentElement.dataset.timeZone;
  const zone = fixed ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
  const day = { day: "2-digit", month: "short", year: "numeric", timeZone: zone, ...(fixed && { timeZoneName: "short" }) };
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const written = new Intl.DateTimeFormat(undefined, { ...day, ...time });
  const exact = new Intl.DateTimeFormat(undefined, { ...day, ...time, fractionalSecondDigits: 3 });
  const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone });

  const localise = (root) => {
    for (const element of root.querySelectorAll("time[datetime]")) {
      element.title ||= element.textContent;
      element.textContent = ("exact" in element.dataset ? exact : written).format(new Date(element.dateTime));
    }
    for (const element of root.querySelectorAll("[data-at]")) {
      element.textContent = element.textContent.replace(/^\d\d:\d\d/, hour.format(new Date(element.dataset.at)));
    }
    for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
    for (const label of root.querySelectorAll(".select-all")) label.hidden = false;
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

  // A page update keeps filters that are being edited and open details, and shows local times at once.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const page = new DOMParser().parseFromString(event.detail.serverResponse, "text/html");
    localise(page);
    event.detail.serverResponse = page.documentElement.outerHTML;
  });
  Object.assign(Idiomorph.defaults.callbacks, {
    beforeNodeMorphed: (old, now) => !(old.matches?.("form.filters") || (old.matches?.("input.select, [data-select-all]") && old.id === now.id)),
    beforeAttributeUpdated: (name, node) => !(name === "open" && node.matches("details")),
  });
  document.addEventListener("change", (event) => {
    event.target.closest("form[data-autosubmit]")?.requestSubmit();
    if (event.target.matches("[data-select-all]")) {
      for (const box of event.target.form.querySelectorAll("input.select")) box.checked = event.target.checked;
    }
  });

  // The second click of a double-click would send a form again, and hide the answer to the first: a secret shown once.
  const sent = new WeakMap();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (event.timeStamp - (sent.get(form) ?? -Infinity) < 2000) event.preventDefault();
    else sent.set(form, event.timeStamp);
  });

  const switcher = document.getElementById("theme");
  switcher.closest("label").hidden = false;
  switcher.value = document.documentElement.dataset.theme ?? "system";
  switcher.addEventListener("change", () => {
    const theme = switcher.value;
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try { localStorage.setItem("theme", theme); } catch { /* the choice lasts for this page */ }
  });

  localise(document);
  for (const name of document.querySelectorAll("[data-zone]")) name.textContent = zone;
})();
