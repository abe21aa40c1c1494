// Live pages, and small things that need no server. Without it everything works by links and forms.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];

  // ---- relative times: the server's words, kept fresh here ---------------------------------------------------------
  const span = (s) => {
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 86400) {
      const [h, m] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60)];
      return h < 5 && m ? `${h} h ${m} min` : `${h} h`;
    }
    return `${Math.floor(s / 86400)} d`;
  };
  // The server's clock decides what "ago" means, not this machine's.
  const skew = Date.now() - Number(root.dataset.now || Date.now());
  const freshen = () => {
    const now = Date.now() - skew;
    for (const time of $$("time[data-rel]")) {
      const s = Math.round((now - Date.parse(time.dateTime)) / 1000);
      const words = s === 0 ? "now" : s > 0 ? `${span(s)} ago` : `in ${span(-s)}`;
      if (time.textContent !== words) time.textContent = words;
    }
  };
  setInterval(() => document.hidden || selecting() || freshen(), 1000);

  // ---- hold: the button "Live" and the key p -----------------------------------------------------------------------
  const live = $("#live");
  let held = false;
  let missed = false;
  const hold = (on) => {
    held = on;
    if (live) {
      live.classList.toggle("off", on);
      live.setAttribute("aria-pressed", String(!on));
      live.textContent = on ? "Held" : "Live";
    }
    if (!on && missed) changed();
  };
  live?.addEventListener("click", () => hold(!held));

  // ---- changes: the server says that something changed, the page asks for its parts --------------------------------
  const selecting = () => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed;
  };
  const busy = (part) => {
    const focus = document.activeElement;
    if (focus && focus !== document.body && part.contains(focus)) return true;
    if ($("dialog[open], [popover]:popover-open", part)) return true;
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && part.contains(selection.anchorNode)) return true;
    return Boolean($("input:checked", part));
  };
  const changed = () => {
    if (held || document.hidden) {
      missed = true;
      return;
    }
    missed = false;
    window.htmx?.trigger(document.body, "changed");
  };
  document.addEventListener("visibilitychange", () => !document.hidden && missed && changed());

  if (live && window.EventSource) {
    let source;
    const listen = () => {
      source = new EventSource("/events");
      source.addEventListener("changed", changed);
      source.addEventListener("open", () => live.classList.toggle("off", held));
      source.addEventListener("error", () => live.classList.add("off"));
    };
    listen();
    // A page that waits in the background, or in the history, holds no connection.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) source.close();
      else if (source.readyState === EventSource.CLOSED) {
        listen();
        changed();
      }
    });
    window.addEventListener("pagehide", () => source.close());
    window.addEventListener("pageshow", (event) => event.persisted && listen());
  }

  // A part that did not change costs no bytes: its ETag goes along.
  const tags = new Map();
  const name = (element) => element.getAttribute("hx-headers") || element.id;
  document.addEventListener("htmx:configRequest", (event) => {
    const element = event.detail.elt;
    if (element.id === "log-more") {
      const last = $("#log-lines > li:last-child");
      if (last) event.detail.parameters.after = last.dataset.at;
    } else if (event.detail.verb === "get" && tags.has(name(element))) {
      event.detail.headers["If-None-Match"] = tags.get(name(element));
    }
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.requestConfig.verb === "get" && (held || busy(event.detail.elt))) {
      missed = true;
      event.preventDefault();
    }
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, target, elt, requestConfig } = event.detail;
    if (requestConfig.verb !== "get") return;
    const gate = xhr.status === 401 || xhr.getResponseHeader("X-Page") === "gate";
    if (xhr.status !== 200 || gate || (elt.id !== "log-more" && busy(target))) {
      event.detail.shouldSwap = false;
      if (gate) location.reload();
      return;
    }
    const tag = xhr.getResponseHeader("ETag");
    if (tag) tags.set(name(elt), tag);
    if (elt.id === "log-more") following = atEnd();
  });
  // What had to be left alone is caught up with as soon as it can be.
  document.addEventListener("focusout", () => setTimeout(() => missed && changed(), 500));
  document.addEventListener("selectionchange", () => !selecting() && missed && setTimeout(() => missed && changed(), 500));

  // ---- log: follows when it stands at its end ----------------------------------------------------------------------
  let following = true;
  const log = () => $(".log");
  const atEnd = () => {
    const box = log();
    return !box || box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  };
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.elt.id === "log-more" || event.detail.target?.id === "log-lines") {
      if (following && log()) log().scrollTop = log().scrollHeight;
    }
    freshen();
  });
  if (log()) log().scrollTop = log().scrollHeight;

  // ---- questions: a page that asks before something is done, over the one that led there -----------------------------
  const dialog = $("#dialog");
  const ask = async (address) => {
    const answer = await fetch(address, { headers: { "X-Fragment": "question" } }).catch(() => null);
    // What is no question is a page of its own.
    if (!answer?.ok || answer.headers.get("X-Page") === "gate") return location.assign(address);
    dialog.innerHTML = await answer.text();
    // A page has one first heading, and it is not this one's.
    const head = document.createElement("h2");
    const first = $("h1", dialog);
    head.textContent = first.textContent;
    first.replaceWith(head);
    freshen();
    dialog.showModal();
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest("#dialog [data-close]")) {
      event.preventDefault();
      return dialog.close();
    }
    const asks = event.target.closest("[data-dialog]");
    if (!asks || !dialog?.showModal || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const form = asks.form && new URLSearchParams(new FormData(asks.form, asks));
    ask(form ? `${asks.form.getAttribute("action")}?${form}` : asks.href);
  });

  // ---- small things: copy, dismiss, follow a line, keys ------------------------------------------------------------
  document.addEventListener("click", (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      const text = $(copy.dataset.copy)?.textContent ?? "";
      const done = () => {
        const before = copy.textContent;
        copy.textContent = "Copied";
        setTimeout(() => (copy.textContent = before), 1500);
      };
      navigator.clipboard?.writeText(text).then(done, () => {});
      return;
    }
    event.target.closest("[data-dismiss]")?.closest(".toast, .msg")?.remove();
    const line = event.target.closest(".log i");
    if (line) location.hash = line.parentElement.id;
  });
  const places = { o: "/", f: "/failures", r: "/runs", s: "/schedule", p: "/plugins" };
  let going = false;
  const step = (by) => {
    const rows = $$("main tbody tr a, main .group h2 a, main .needs a.b").filter((a, n, all) => all.findIndex((b) => b.closest("tr, li") === a.closest("tr, li")) === n);
    const at = rows.findIndex((a) => a.closest("tr, li").contains(document.activeElement));
    rows[Math.max(0, Math.min(rows.length - 1, at + by))]?.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]")) return;
    if (going && places[event.key]) {
      location.href = places[event.key];
    } else if (event.key === "p") {
      hold(!held);
    } else if (event.key === "/") {
      const find = $(".filters input[type=search]") || $(".find input");
      if (!find) return;
      find.focus();
      event.preventDefault();
    } else if (event.key === "?") {
      $("#keys")?.togglePopover?.();
    } else if (event.key === "j") {
      step(1);
    } else if (event.key === "k") {
      step(-1);
    }
    going = event.key === "g";
  });
  // On a phone the bar scrolls: bring the current entry into view.
  $(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
})();
