/* What the page does by itself: theme, keys, uploads, links, and numbers as text. The rest is the server's. */
window.dabseg = (() => {
  const find = (id) => document.getElementById(id);
  const busy = {};

  /* Ask for something that a slider changes faster than it can be done: only the latest value is asked for. */
  async function latest(name, value) {
    if (busy[name]) { busy[name].next = value; return; }
    busy[name] = {};
    await window.trame.trigger(name, [value]);
    const { next } = busy[name];
    delete busy[name];
    if (next !== undefined) latest(name, next);
  }

  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    localStorage.setItem("dabseg-theme", name);
  }

  function toast(text) {
    find("toast").textContent = text;
    find("toast").classList.add("on");
    setTimeout(() => find("toast").classList.remove("on"), 2500);
  }

  function help() {
    const dialog = find("help");
    if (dialog.open) dialog.close(); else dialog.showModal();
  }

  async function copyLink(query) {
    const folder = location.pathname.replace(/s\/[^/]+\/.*$/, "").replace(/[^/]*$/, "");
    const link = `${location.origin}${folder}?${query}`;
    try {
      await navigator.clipboard.writeText(link);
      toast("Link copied");
    } catch {
      window.prompt("The link to this view:", link);
    }
  }

  function upload(form) {
    const [bar, fault] = [form.querySelector("progress"), form.querySelector(".fault")];
    const request = new XMLHttpRequest();
    const fail = (text) => { fault.textContent = text; fault.hidden = false; bar.hidden = true; };
    fault.hidden = true;
    bar.hidden = false;
    request.upload.onprogress = (event) => { bar.value = event.loaded / event.total; };
    request.onerror = () => fail("The server stopped taking the files; they may be too large, or it may have ended.");
    request.onload = () => {
      bar.hidden = true;
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* not ours: a proxy's, perhaps */ }
      if (request.status === 200) { find("upload").close(); form.reset(); }
      else fail(answer.error || `The server answered ${request.status}.`);
    };
    request.open("POST", "upload");
    request.send(new FormData(form));
  }

  function onKey(event) {
    const typing = event.target.closest("input, select, textarea, dialog[open]");
    const keys = window.trame?.state?.get("keys") || [];
    if (typing || event.ctrlKey || event.altKey || event.metaKey || !keys.includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation(); // the view itself must not take it, too
    if (event.key === "?") help(); else latest("key", event.key);
  }

  setTheme(localStorage.getItem("dabseg-theme") || (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark"));
  window.addEventListener("keydown", onKey, true);

  return {
    latest, help, copyLink, upload,
    theme: () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
    number: (id) => find(id).valueAsNumber,
    text: (value, digits) => (value == null ? "–" : value.toFixed(digits)),
    better: (before, after, digits) => {
      if (before == null || after == null || before.toFixed(digits) === after.toFixed(digits)) return "";
      return after > before ? "better" : "worse";
    },
    size: (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`),
    otherSeed: () => { find("seed").value = Math.floor(Math.random() * 1e6); },
    tellLevel: (levels) => { find("level").textContent = levels[find("severity").valueAsNumber]; },
    synthetic: (row) => /pseudo-clear|difference|fused/.test(row),
    chooseUpload: () => find("upload").showModal(),
    closeUpload: () => find("upload").close(),
    place: (look) => {
      const ends = { Axial: "SI", Sagittal: "RL", Coronal: "AP" }[look.plane];
      return `${look.offset < 0 ? ends[1] : ends[0]} ${Math.abs(look.offset).toFixed(1)} mm`;
    },
    row: (item) => {
      if (item.kind === "difference" && !item.there) window.trame.trigger("maps", [true]);
      else window.trame.trigger("rows", [item.kind, !item.on]);
    },
    window: (windows, cell) => {
      const modality = (window.trame.state.get("modalities") || []).find((one) => one.title === cell.column);
      const values = cell.row === "difference" || !modality ? null : windows[modality.name];
      return values ? `W ${values[0]}  L ${values[1]}` : "";
    },
  };
})();
